"""Judges the bars of a run, and writes RESULTS.md and the plots. Standard library only.

python3 report.py RUN COMMIT OUT: RUN holds the JSON of `backstop bench` and the peers' lines, OUT gets the pages. What
people wrote in OUT/RESULTS.md below the line "## Where it bends, and why" stays.
"""

import json
import os
import statistics
import sys
import time
from pathlib import Path

import plot

BY_HAND = "## Where it bends, and why"
MIB = 1 << 20


def main():
    run, commit, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    found = Found(run)
    bars = judge(found)
    width = max(len(bar[0]) for bar in bars)
    for what, value, limit, word in bars:
        print(f"{word:<7} {what:<{width}}  {value:>14}  bar {limit}")
    page = out / "RESULTS.md"
    old = page.read_text() if page.exists() else ""
    by_hand = old[old.index(BY_HAND):] if BY_HAND in old else f"{BY_HAND}\n\nNobody has said yet.\n"
    page.write_text(results(found, bars, commit) + by_hand)
    (out / "growth.svg").write_text(plot.growth(found.growth))
    (out / "peers.svg").write_text(plot.peers(found.beside()))
    missed = [bar for bar in bars if bar[3] == "missed"]
    broken = [bar for bar in bars if bar[3] == "BROKEN"]
    print(f"{len(bars) - len(missed) - len(broken)} ok, {len(missed)} missed, {len(broken)} broken; see {page}")
    strict = os.environ.get("BACKSTOP_BENCH_STRICT") == "1"
    sys.exit(1 if broken or (strict and missed) else 0)


class Found:
    """Everything that a run left behind."""

    def __init__(self, run):
        one = lambda name: json.loads((run / f"{name}.json").read_text())
        lines = lambda name: [json.loads(line) for line in (run / f"{name}.jsonl").read_text().splitlines()]
        names = sorted(path.stem for path in run.glob("library-*.json"))
        self.library = [one(name) for name in names]
        self.bullmq = [lines(name.replace("library", "bullmq"))[0] for name in names]
        self.others = lines("postgres") if (run / "postgres.jsonl").exists() else []
        self.bullmq_1024 = lines("bullmq-1024")[0] if (run / "bullmq-1024.jsonl").exists() else None
        self.precision = lines("precision")[0] if (run / "precision.jsonl").exists() else None
        self.http, self.deep, self.growth_run = one("http"), one("deep"), one("growth")
        self.growth = self.growth_run["growth"]
        self.rates = {rate["what"]: rate for rate in self.http["rates"]}

    def calls(self, what, lanes=64):
        """Ours by calls, one number a round."""
        name = f"{what}, {lanes} in flight"
        return [rate["per_second"] for run in self.library for rate in run["library"] if rate["what"] == name]

    def ratio(self, what, theirs):
        """Ours to BullMQ's: the median of the rounds."""
        pairs = zip(self.calls(what), (line[theirs] for line in self.bullmq))
        return statistics.median(our / their for our, their in pairs)

    def probe_p50_us(self):
        """The slowest of the probes around the runs that are compared: the disk as it was."""
        return max(run[probe]["p50"] for run in self.library for probe in ("fsync_before", "fsync_after"))

    def beside(self):
        """Rows (name, creates/s, acks/s) at 64 in flight."""
        median = lambda key: statistics.median(line[key] for line in self.bullmq)
        ours = lambda *names: [statistics.median(self.calls(name)) for name in names]
        rows = [
            ("Backstop: jobs", *ours("jobs created", "jobs cancelled")),
            ("with push, ack", *ours("creates, with their pushes", "acks")),
            ("BullMQ", median("creates_per_s"), median("cancels_per_s")),
        ]
        return rows + [(line["name"], line["creates_per_s"], line["cancels_per_s"]) for line in self.others]


def judge(found):
    """Rows (what, value, limit, ok | missed | BROKEN)."""
    bars = []

    def at_least(what, value, limit, unit=""):
        bars.append((what, f"{value:,.1f}{unit}", f"≥ {limit:,}{unit}", "ok" if value >= limit else "missed"))

    def at_most(what, value, limit, unit="", word="missed"):
        bars.append((what, f"{value:,.1f}{unit}", f"≤ {limit:,}{unit}", "ok" if value <= limit else word))

    quiet = found.probe_p50_us() <= 200
    disk = f"disk {'quiet' if quiet else 'busy'}, fsync p50 {found.probe_p50_us()} µs"
    for what, theirs in (("jobs created", "creates_per_s"), ("jobs cancelled", "cancels_per_s")):
        at_least(f"{what} by calls, 64 in flight, to BullMQ ({disk})", found.ratio(what, theirs), 8 if quiet else 3, "×")
    rates = found.rates
    create, ack = rates["creates, with their pushes"], rates["acks, one a request"]
    at_least("creates over HTTP", create["per_second"], 25_000, "/s")
    at_least("acks over HTTP", ack["per_second"], 30_000, "/s")
    at_least("batch acks in order", rates["acks, 100 a request, in order"]["per_second"], 100_000, "/s")
    at_least("batch acks shuffled", rates["acks, 100 a request, shuffled"]["per_second"], 40_000, "/s")
    at_most("server CPU of create + push + ack", create["cpu_us"] + ack["cpu_us"], 80, " µs")
    late, burst, stall = found.deep["lateness"], found.deep["burst"], found.deep["stall"]
    depth = f"{late['pending']:,} pending"
    every = [late, burst["fresh"], stall["lateness"]] + [depth["lateness"] for depth in found.growth]
    at_most("decided early", sum(lateness["early"] for lateness in every), 0, "", "BROKEN")
    undecided = sum(lateness["decided_ms"]["max"] > 3_600_000 for lateness in every + [burst])
    at_most("not decided at all", undecided, 0, "", "BROKEN")
    at_most(f"lateness p50, 1,000/s, {depth}", late["decided_ms"]["p50"], 2, " ms")
    at_most(f"lateness p99, 1,000/s, {depth}", late["decided_ms"]["p99"], 15, " ms")
    at_most(f"{burst['due']:,} due at one instant, all decided", burst["decided_ms"]["max"], 3_000, " ms")
    at_most("fresh ones meanwhile, p99", burst["fresh"]["decided_ms"]["p99"], 5_000, " ms")
    # 100 ms: how often SQLite looks whether the lock is free again. 15 ms: the lateness that is allowed anyway.
    at_most(f"latest decision beyond a stall of {stall['stalled_ms']} ms", stall["beyond_ms"], 115, " ms")
    memory, restart = found.deep["memory"], found.deep["restart"]
    at_most(f"RAM a pending, {memory['pending']:,} of them", memory["bytes_per_pending"], 128, " bytes")
    at_most(f"RSS after traffic, {memory['pending']:,} pending", memory["full_bytes"][1] / MIB, 150, " MiB")
    at_most(f"ready after a kill, {restart['pending']:,} pending", restart["ready_ms"], 1_000, " ms")
    at_most(f"{restart['overdue']:,} overdue decided after a kill", restart["overdue_decided_ms"], 3_000, " ms")
    return bars


def results(found, bars, commit):
    http, deep = found.http, found.deep
    lines = [
        "# What was measured",
        "",
        "Written by `tests/bench/run`; the last section by people. Absolute numbers move with the machine's neighbours:",
        "ratios of one run and CPU per operation are what can be compared.",
        "",
        f"- Command: `tests/bench/run`, commit `{commit}`, {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC",
        f"- Machine: {http['machine']}; {http['kernel']}; generator and server on the same cores",
        "- Disk, fdatasync of 4 KiB, p50/p99/p99.9/max µs: " + "; ".join(
            f"{name} {spread(run['fsync_before'])} before, {spread(run['fsync_after'])} after"
            for name, run in (("calls", found.library[-1]), ("HTTP", http), ("depth", deep),
                              ("growth", found.growth_run))
        ),
        "",
        "## Bars",
        "",
        "| | measured | bar | |",
        "|---|---:|---:|---|",
    ]
    lines += [f"| {what} | {value} | {limit} | {word} |" for what, value, limit, word in bars]
    lines += ["", "## Over HTTP, everything on", "", RATES_HEAD, RATES_LINE]
    lines += [rate_row(rate) for rate in http["rates"]]
    lines += ["", "## By calls, beside the peers' libraries", "", RATES_HEAD, RATES_LINE]
    lines += [rate_row(rate) for rate in found.library[-1]["library"]]
    pushed, acked = (found.ratio(*names) for names in (
        ("creates, with their pushes", "creates_per_s"), ("acks", "cancels_per_s")))
    lines += ["", "A job is what the peers do: a reply that waits for its customer to leave, called off by a read. With the",
              "push of each reply, which the peers do not send, creates are "
              f"{pushed:.1f}× BullMQ's and acks {acked:.1f}×."]
    lines += ["", "![creates and acks a second, 64 in flight, durable](peers.svg)", "", PEERS_HEAD, PEERS_LINE]
    with_1024 = [{**found.bullmq_1024, "name": "bullmq, 1024 in flight"}] if found.bullmq_1024 else []
    lines += [peer_row(line) for line in found.bullmq + found.others + with_1024]
    lines += ["", "## Deadlines", "", LATE_HEAD, LATE_LINE]
    for name, late in (("1,000 a second", deep["lateness"]), ("store stalled 1 s", deep["stall"]["lateness"]),
                       ("fresh ones in the burst", deep["burst"]["fresh"])):
        row = (name, f"{late['pending']:,}", f"{late['measured']:,}", late["early"], spread(late["decided_ms"]),
               spread(late["accepted_ms"]))
        lines.append("| " + " | ".join(map(str, row)) + " |")
    burst = deep["burst"]
    lines += ["", f"Burst: {burst['due']:,} due at one instant, decided after {spread(burst['decided_ms'])} ms."]
    if found.precision:
        p = found.precision
        lines.append(f"BullMQ at {p['rate']:.0f}/s, nothing else pending: late p50/p99/p99.9/max {p['late_p50_ms']}/"
                     f"{p['late_p99_ms']}/{p['late_p999_ms']}/{p['late_max_ms']} ms.")
    lines += ["", "## As the number of pending ones grows", ""]
    lines += ["![the same figures at 10³ and more pending](growth.svg)", "", GROWTH_HEAD, GROWTH_LINE]
    lines += [growth_row(depth) for depth in found.growth]
    return "\n".join(lines) + "\n\n"


RATES_HEAD = "| | count | per second | server CPU µs each | generator CPU µs a request | p50/p99/p99.9/max µs |"
RATES_LINE = "|---|---:|---:|---:|---:|---:|"
PEERS_HEAD = "| peer | creates/s | cancels/s | CPU µs each, server + client | server MB | burst fires/s |"
PEERS_LINE = "|---|---:|---:|---:|---:|---:|"
LATE_HEAD = "| | pending | measured | early | deadline to decision, p50/p99/p99.9/max ms | to the provider's acceptance |"
LATE_LINE = "|---|---:|---:|---:|---:|---:|"
GROWTH_HEAD = "| pending | create CPU µs | ack CPU µs | decided p50/p99/p99.9/max ms | ready ms | RSS MiB | file MiB |"
GROWTH_LINE = "|---:|---:|---:|---:|---:|---:|---:|"


def spread(s):
    return f"{s['p50']}/{s['p99']}/{s['p999']}/{s['max']}"


def rate_row(r):
    return (f"| {r['what']} | {r['done']:,} | {r['per_second']:,.0f} | {r['cpu_us']:.1f} | {r['generator_us']:.1f} | "
            f"{spread(r['request_us'])} |")


def peer_row(p):
    cpu_us = (p["cpu_server_s"] + p["cpu_client_s"]) * 1e6 / (1.9 * p["n"])
    return (f"| {p['name']} | {p['creates_per_s']:,} | {p['cancels_per_s']:,} | {cpu_us:.0f} | {p['rss_mb']} | "
            f"{p['burst_fires_per_s']:,} |")


def growth_row(d):
    return (f"| {d['pending']:,} | {d['creates']['cpu_us']:.1f} | {d['acks']['cpu_us']:.1f} | "
            f"{spread(d['lateness']['decided_ms'])} | {d['ready_ms']} | {d['rss_bytes'] / MIB:.0f} | "
            f"{d['file_bytes'] / MIB:.0f} |")


if __name__ == "__main__":
    main()
