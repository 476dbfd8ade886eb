// A process that records acks and waits to be killed: it says each receipt once its ack is durable.

import Backstop
import BackstopTesting
import Foundation

setbuf(stdout, nil)
let directory = URL(fileURLWithPath: CommandLine.arguments[1])
let network = try FakeNetwork()
await BackstopTesting.start(on: network, directory: directory)
try await Backstop.setPushToken(Data([1, 2, 3]))
try network.behave(.offline)
var count = 0
while true {
    count += 1
    let receipt = "receipt-\(count)"
    let push = Backstop.Payload(try BackstopTesting.simulatePush(receipt: receipt))
    let result = try await Backstop.handlePush(push, timeout: 0)
    guard case .ours(_, ack: .stored) = result else { fatalError("\(result)") }
    print(receipt)
}
