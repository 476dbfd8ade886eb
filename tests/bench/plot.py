"""Draws the plots of RESULTS.md as SVG that reads on light and dark pages. Standard library only."""

import math

STYLE = """<style>
  text { font: 12px system-ui, sans-serif; fill: #24292f } .dim { fill: #6e7781 } .title { font-weight: 600 }
  .grid { stroke: #d0d7de; stroke-width: 1 } .a { stroke: #0969da; fill: #0969da } .b { stroke: #bc4c00; fill: #bc4c00 }
  polyline { fill: none !important; stroke-width: 2 } .page { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .dim { fill: #8d96a0 } .grid { stroke: #30363d } .page { fill: #0d1117 }
    .a { stroke: #4493f8; fill: #4493f8 } .b { stroke: #f0883e; fill: #f0883e }
  }
  text.a, text.b { stroke: none }
</style>"""
SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
WIDTH, HEIGHT, LEFT, TOP = 380, 230, 52, 34


def growth(depths):
    """Four panels over the number of pending ones."""
    xs = [depth["pending"] for depth in depths]
    value = lambda get: [get(depth) for depth in depths]
    panels = [
        ("CPU of the server, µs each", [
            ("create + push", value(lambda d: d["creates"]["cpu_us"])), ("ack", value(lambda d: d["acks"]["cpu_us"]))]),
        ("deadline to decision, ms", [
            ("p99", value(lambda d: d["lateness"]["decided_ms"]["p99"])),
            ("p50", value(lambda d: d["lateness"]["decided_ms"]["p50"]))]),
        ("memory (RSS) when ready, MiB", [("RSS", value(lambda d: d["rss_bytes"] / (1 << 20)))]),
        ("start of the process to ready, ms", [("ready", value(lambda d: d["ready_ms"]))]),
    ]
    parts = [panel(title, xs, lines, i % 2 * WIDTH, i // 2 * HEIGHT) for i, (title, lines) in enumerate(panels)]
    return page(2 * WIDTH, 2 * HEIGHT, "Cost over the number of pending follow-ups", parts)


def panel(title, xs, lines, left, top):
    width, height = WIDTH - LEFT - 28, HEIGHT - TOP - 44
    most = max(max(ys) for _, ys in lines) or 1
    steps = ticks(most)
    first, last = math.log10(xs[0]), math.log10(xs[-1])
    at_x = lambda x: LEFT + (math.log10(x) - first) / ((last - first) or 1) * width
    at_y = lambda y: TOP + height - y / steps[-1] * height
    out = [f'<g transform="translate({left} {top})">', text(LEFT, 20, title, "title")]
    for step in steps:
        y = at_y(step)
        out.append(f'<line class="grid" x1="{LEFT}" x2="{LEFT + width}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(text(LEFT - 6, y + 4, f"{step:g}", "dim", "end"))
    for x in xs:
        out.append(text(at_x(x), TOP + height + 18, power(x), "dim", "middle"))
    out.append(text(LEFT + width / 2, TOP + height + 36, "pending", "dim", "middle"))
    for (name, ys), colour in zip(lines, "ab"):
        points = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in zip(xs, ys))
        out.append(f'<polyline class="{colour}" points="{points}"/>')
        out += [f'<circle class="{colour}" cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="3"/>' for x, y in zip(xs, ys)]
        if len(lines) > 1:
            out.append(text(at_x(xs[-1]), at_y(ys[-1]) - 8, name, colour, "end"))
    return "\n".join(out + ["</g>"])


def peers(rows):
    """Creates and acks a second, a logarithmic bar each."""
    left, width, row_height = 110, 470, 48
    most = max(max(creates, acks) for _, creates, acks in rows)
    decades = range(2, math.ceil(math.log10(most)) + 1)
    at_x = lambda rate: left + (math.log10(max(rate, 100)) - 2) / (decades[-1] - 2) * width
    bottom = TOP + row_height * len(rows)
    out = [text(left, 20, "durable, 64 in flight, a second (logarithmic)", "title")]
    for decade in decades:
        x = at_x(10**decade)
        out.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>')
        out.append(text(x, bottom + 18, f"{10**decade:,}", "dim", "middle"))
    for i, (name, creates, acks) in enumerate(rows):
        y = TOP + i * row_height
        out.append(text(left - 8, y + 26, name, "", "end"))
        for rate, colour, word, dy in ((creates, "a", "creates", 6), (acks, "b", "acks", 24)):
            end = at_x(rate)
            out.append(f'<rect class="{colour}" x="{left}" y="{y + dy}" width="{end - left:.1f}" height="14"/>')
            out.append(text(end + 6, y + dy + 12, f"{rate:,.0f} {word}", colour))
    return page(left + width + 150, bottom + 34, "Creates and acks a second beside the peers", out)


def page(width, height, title, parts):
    body = "\n".join(parts)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'role="img">\n<title>{title}</title>\n{STYLE}\n<rect class="page" width="{width}" height="{height}"/>\n'
            f"{body}\n</svg>\n")


def text(x, y, words, kind="", anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{words}</text>'


def ticks(most):
    """Three to six round steps from 0 to beyond `most`."""
    step = 10 ** math.floor(math.log10(most / 2))
    for factor in (1, 2, 5, 10):
        if most / (step * factor) <= 5:
            return [i * step * factor for i in range(math.ceil(most / (step * factor)) + 1)]
    return [0, most]


def power(x):
    exponent = math.log10(x)
    if exponent == int(exponent):
        return "10" + str(int(exponent)).translate(SUPERSCRIPTS)
    return f"{x:,}"
