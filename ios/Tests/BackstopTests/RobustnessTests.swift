// Nothing is lost and nothing ends the app: no network, kills, panics, full disks, damaged files, strange clocks.

import BackstopTesting
import Foundation
import XCTest

@testable import Backstop

final class RobustnessTests: BackstopCase {
    /// C4: what was recorded without a network goes once with a later flush.
    func testOfflineThenFlush() async throws {
        let network = try FakeNetwork()
        await BackstopTesting.start(on: network)
        try await Backstop.setPushToken(Data([1]))
        try network.behave(.offline)
        let ack = try await Backstop.handlePush(try BackstopTesting.simulatePush(), timeout: 0.1).ack
        XCTAssertEqual(ack, .stored)
        let waiting = try await Backstop.flush(timeout: 0.1)
        XCTAssertEqual(waiting.pending, 1)
        XCTAssertNotNil(waiting.nextFlushIn)
        XCTAssertEqual(waiting.lastFailure, "no connection to the server")
        try network.behave(.work)
        let done = try await Backstop.flush()
        XCTAssertEqual([done.uploaded, done.pending], [1, 0])
        XCTAssertEqual(try network.acks.map(\.receipt), ["receipt-1"])
    }

    /// C4: kill -9 after the record returned, and the next start uploads each ack once.
    func testKilledBetweenRecordAndUpload() async throws {
        let directory = try makeDirectory()
        var recorded = Set<String>()
        for _ in 1...3 {
            recorded.formUnion(try killAfterSome(directory))
        }
        let network = try FakeNetwork()
        await BackstopTesting.start(on: network, directory: directory)
        try await Backstop.flush()
        let arrived = try network.acks.map(\.receipt)
        XCTAssertEqual(arrived.count, Set(arrived).count, "one arrived twice")
        XCTAssert(recorded.count > 0 && recorded.isSubset(of: arrived), "\(recorded.subtracting(arrived)) lost")
    }

    /// Starts a child that records acks, kills it when it said some receipts, and answers what it said.
    private func killAfterSome(_ directory: URL) throws -> Set<String> {
        let child = Process(), said = Pipe()
        child.executableURL = Bundle.main.bundleURL
            .appendingPathComponent("KilledChild")
        child.arguments = [directory.path]
        child.standardOutput = said
        try child.run()
        var bytes = Data()
        while bytes.filter({ $0 == UInt8(ascii: "\n") }).count < 5 {
            let more = said.fileHandleForReading.availableData
            try failIfEmpty(more, "the child ended by itself")
            bytes += more
        }
        kill(child.processIdentifier, SIGKILL)
        child.waitUntilExit()
        bytes += said.fileHandleForReading.readDataToEndOfFile()
        XCTAssertEqual(child.terminationReason, .uncaughtSignal)
        return Set(String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init))
    }

    private func failIfEmpty(_ data: Data, _ message: String) throws {
        struct Ended: Error {}
        guard data.isEmpty else { return }
        XCTFail(message)
        throw Ended()
    }

    /// Calls from many tasks at once each get their answer.
    func testTwoThousandConcurrentCalls() async throws {
        let network = try FakeNetwork()
        await BackstopTesting.start(on: network)
        try await Backstop.setPushToken(Data([1]))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<2_000 {
                group.addTask {
                    switch number % 4 {
                    case 0: _ = try await Backstop.status()
                    case 1: try await Backstop.flush()
                    default:
                        let push = try BackstopTesting.simulatePush(receipt: "receipt-\(number)")
                        let ack = try await Backstop.handlePush(push, timeout: 60).ack
                        guard case .confirmed = ack else { return XCTFail("\(String(describing: ack))") }
                    }
                }
            }
            try await group.waitForAll()
        }
        let arrived = try network.acks.map(\.receipt)
        XCTAssertEqual(arrived.count, 1_000)
        XCTAssertEqual(Set(arrived).count, 1_000)
    }

    /// A panic in the library is an error of the caller, loses nothing, and the SDK goes on working.
    func testPanicIsAnError() async throws {
        let network = try FakeNetwork()
        await BackstopTesting.start(on: network)
        try await Backstop.setPushToken(Data([1]))
        try network.behave(.panic)
        let ack = try await Backstop.handlePush(try BackstopTesting.simulatePush()).ack
        try network.behave(.work)
        guard case .failed(.defect(let message)) = ack else { return XCTFail("\(String(describing: ack))") }
        XCTAssert(message.hasPrefix("a defect of the SDK: please report it; the SDK goes on working"), message)
        try await Backstop.flush()
        XCTAssertEqual(try network.acks.map(\.receipt), ["receipt-1"])
    }

    /// A damaged database is set aside, reported, and the device registers again.
    func testDamagedDatabaseIsSetAside() async throws {
        let directory = try makeDirectory(), network = try FakeNetwork()
        await BackstopTesting.start(on: network, directory: directory)
        try await Backstop.setPushToken(Data([1]))
        let before = try await Backstop.status()
        await Backstop.close()
        for name in try FileManager.default.contentsOfDirectory(atPath: directory.path) {
            try Data(repeating: 0x5a, count: 40_000).write(to: directory.appendingPathComponent(name))
        }
        await BackstopTesting.start(on: network, directory: directory)
        let after = try await Backstop.status()
        XCTAssertEqual(after.storage, .replaced)
        XCTAssertEqual(after.registration, .noToken)
        XCTAssertNotEqual(after.installId, before.installId)
        let flush = try await Backstop.setPushToken(Data([1]))
        guard case .confirmed = flush.registration else { return XCTFail("\(flush)") }
    }

    /// A full disk is a typed error, the push is there to be shown, and with room all goes on.
    func testFullDisk() async throws {
        let disk = URL(fileURLWithPath: try environment("BACKSTOP_SMALL_DISK"))
        let network = try FakeNetwork()
        await BackstopTesting.start(on: network, directory: disk.appendingPathComponent("sdk"))
        try await Backstop.setPushToken(Data([1]))
        try network.behave(.offline)
        let filler = disk.appendingPathComponent("filler")
        try fill(filler)
        defer { try? FileManager.default.removeItem(at: filler) }
        var result = Backstop.PushResult.notOurs
        // What the storage has in hand takes some.
        for number in 1...2_000 {
            result = try await Backstop.handlePush(
                try BackstopTesting.simulatePush(receipt: "full-\(number)"), timeout: 0)
            if result.ack != .stored { break }
        }
        guard case .ours(let push, ack: .failed(.storageFull(let message))) = result else {
            return XCTFail("\(result)")
        }
        XCTAssertEqual(message, "the device's storage is full: nothing was stored")
        XCTAssertEqual(push.body, "Hello")
        try FileManager.default.removeItem(at: filler)
        try network.behave(.work)
        let ack = try await Backstop.handlePush(try BackstopTesting.simulatePush(receipt: "room"), timeout: 60).ack
        XCTAssertEqual(ack, .confirmed(.accepted, counted: true))
    }

    private func fill(_ file: URL) throws {
        XCTAssert(FileManager.default.createFile(atPath: file.path, contents: nil))
        let descriptor = open(file.path, O_WRONLY)
        defer { close(descriptor) }
        var size = 65_536
        let block = [UInt8](repeating: 1, count: size)
        while size > 0 {
            if write(descriptor, block, size) < size { size /= 2 }
        }
    }

    /// The device's clock is reported and never trusted.
    func testClockYearsOff() async throws {
        for year in [0.0, 4_102_444_800] {
            let network = try FakeNetwork(), clock = try VirtualClock(Date(timeIntervalSince1970: year))
            await BackstopTesting.start(on: network, clock: clock)
            try await Backstop.setPushToken(Data([1]))
            try network.behave(.offline)
            try await Backstop.handlePush(try BackstopTesting.simulatePush())
            try clock.set(Date(timeIntervalSince1970: 1_800_000_000))
            try network.behave(.work)
            let flush = try await Backstop.flush()
            XCTAssertEqual([flush.uploaded, flush.pending], [1, 0])
            guard case .confirmed = flush.registration else { return XCTFail("\(flush)") }
            await Backstop.close()
        }
    }

    /// A certificate of an unknown authority is a typed error that says TLS; naming the authority mends it.
    func testWrongCertificate() async throws {
        let url = try environment("BACKSTOP_TLS_URL")
        let root = try Data(contentsOf: URL(fileURLWithPath: try environment("BACKSTOP_TLS_ROOT")))
        let sandbox = try await makeSandbox()
        var config = BackstopConfig(baseUrl: url, appKey: try sandbox.appKey)
        await BackstopTesting.start(config, in: BackstopTesting.surroundings(alerts: .allowed, directory: nil))
        let refused = try await Backstop.setPushToken(Data([1]))
        XCTAssertEqual(refused.registration, .pending)
        XCTAssert(refused.lastFailure?.hasPrefix("TLS: ") == true, "\(refused)")
        await Backstop.close()
        config.extraRootCertificates = [root]
        await BackstopTesting.start(config, in: BackstopTesting.surroundings(alerts: .allowed, directory: nil))
        let taken = try await Backstop.setPushToken(Data([1]))
        guard case .confirmed = taken.registration else { return XCTFail("\(taken)") }
    }

    /// Cancelling the task ends the call; what was recorded stays.
    func testCancelEndsTheCall() async throws {
        let network = try FakeNetwork()
        await BackstopTesting.start(on: network)
        try await Backstop.setPushToken(Data([1]))
        try network.behave(.hang)
        let push = Backstop.Payload(try BackstopTesting.simulatePush())
        let call = Task { try await Backstop.handlePush(push, timeout: 3_600) }
        try await until { try network.requests.contains { $0.path == "/v1/acks" } }
        call.cancel()
        let ack = try await call.value.ack
        let message = "cancelled by the caller; what was recorded stays recorded"
        XCTAssertEqual(ack, .failed(.cancelled(message: message)))
        let before = Task { try await Backstop.flush(timeout: 3_600) }
        before.cancel()
        await XCTAssertThrows(.cancelled(message: message)) { try await before.value }
        try network.behave(.work)
        try await Backstop.flush()
        XCTAssertEqual(try network.acks.map(\.receipt), ["receipt-1"])
    }

    /// C4: what a cancelled call recorded goes by itself, without another call.
    func testWhatACancelledCallStoredGoesByItself() async throws {
        let network = try FakeNetwork()
        var surroundings = surroundings(network)
        surroundings.sleep = { seconds in
            // The second after a cancelled call is over at once; nothing else comes.
            guard seconds == 1 else { return try await Task.sleep(nanoseconds: 1 << 60) }
        }
        await BackstopTesting.start(
            BackstopConfig(baseUrl: "https://backstop.invalid", appKey: "app_1"), in: surroundings)
        try await Backstop.setPushToken(Data([1]))
        try network.behaveOnce(.hang)
        let push = Backstop.Payload(try BackstopTesting.simulatePush())
        let call = Task { try await Backstop.handlePush(push, timeout: 3_600) }
        try await until { try network.requests.contains { $0.path == "/v1/acks" } }
        call.cancel()
        _ = try await call.value
        try await until { try !network.acks.isEmpty }
        XCTAssertEqual(try network.acks.map(\.receipt), ["receipt-1"])
    }

    /// C4: a long queue goes up in the background of other calls, each ack once.
    func testTenThousandQueuedAcksFlushWithoutBlocking() async throws {
        let network = try FakeNetwork()
        await BackstopTesting.start(on: network)
        try await Backstop.setPushToken(Data([1]))
        try network.behave(.offline)
        for number in 1...10_000 {
            try await Backstop.handlePush(try BackstopTesting.simulatePush(receipt: "receipt-\(number)"), timeout: 0)
        }
        let queued = try await Backstop.status().pending
        XCTAssertEqual(queued, 10_000)
        try network.behave(.work)
        let flush = Task { try await Backstop.flush(timeout: 120) }
        var slowest: TimeInterval = 0
        var looks = 0
        while try await Backstop.status().pending > 0 {
            looks += 1
            let began = Date()
            _ = try await Backstop.status()
            slowest = max(slowest, Date().timeIntervalSince(began))
        }
        _ = try await flush.value
        XCTAssertEqual(Set(try network.acks.map(\.receipt)).count, 10_000)
        XCTAssertEqual(try network.acks.count, 10_000)
        XCTAssertGreaterThan(looks, 0, "the flush was done before anybody looked")
        XCTAssertLessThan(slowest, 1, "a call waited for the flush")
    }
}
