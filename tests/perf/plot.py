# SPDX-License-Identifier: Apache-2.0
"""The figures of docs/benchmarks.json as one picture: the time of an all-reduce over its size, and what training steps are made of."""
import math
from xml.sax.saxutils import escape

COLOURS = ["#0b6e4f", "#7bc8a4", "#c8553d", "#e0a458", "#3d5a80", "#8d8d8d"]
WIDTH, PANEL, LEFT, TOP = 980, 300, 70, 40


def text(x, y, words, anchor="start", size=12):
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-size="{size}">{escape(words)}</text>'


def size_name(size):
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


def time_name(us):
    return f"{us:g} us" if us < 1000 else f"{us / 1000:g} ms"


class LogAxis:
    def __init__(self, low, high, begin, end):
        self.low, self.high, self.begin, self.end = math.log10(low), math.log10(high), begin, end

    def at(self, value):
        share = (math.log10(value) - self.low) / max(self.high - self.low, 1e-9)
        return self.begin + share * (self.end - self.begin)


def all_reduce_panel(figures, ranks, x0):
    mine = [f for f in figures if f.get("ranks") == ranks and f.get("bench") in ("allreduce", "memcpy")]
    if not mine:
        return []
    labels = [("memcpy, every rank" if f["bench"] == "memcpy" else f["tool"]) for f in mine]
    sizes = sorted({f["bytes"] for f in mine})
    low = 10 ** math.floor(math.log10(min(f["p50_us"] for f in mine)))
    high = 10 ** math.ceil(math.log10(max(f["p50_us"] for f in mine)))
    x, y = LogAxis(sizes[0], sizes[-1], x0 + LEFT, x0 + 330), LogAxis(low, high, TOP + 220, TOP)
    out = [text(x0 + LEFT, TOP - 16, f"all-reduce, {ranks} ranks, median time", size=14)]
    decade = low
    while decade <= high:
        out += [f'<line x1="{x0 + LEFT}" x2="{x0 + 330}" y1="{y.at(decade):.1f}" y2="{y.at(decade):.1f}" stroke="#ddd"/>',
                text(x0 + LEFT - 6, y.at(decade) + 4, time_name(decade), "end", 10)]
        decade *= 10
    out += [text(x.at(size), TOP + 236 + 13 * (i % 2), size_name(size), "middle", 10) for i, size in enumerate(sizes)]
    for i, label in enumerate(dict.fromkeys(labels)):
        points = sorted((f["bytes"], f["p50_us"]) for f, l in zip(mine, labels) if l == label)
        path = " ".join(f"{x.at(a):.1f},{y.at(b):.1f}" for a, b in points)
        colour = COLOURS[i % len(COLOURS)]
        out += [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
                *(f'<circle cx="{x.at(a):.1f}" cy="{y.at(b):.1f}" r="3" fill="{colour}"/>' for a, b in points),
                f'<rect x="{x0 + 342}" y="{TOP + 10 + 18 * i}" width="10" height="10" fill="{colour}"/>',
                text(x0 + 357, TOP + 19 + 18 * i, label, size=11)]
    return out


def step_panel(results, top):
    bars = []
    for group, words in (("step", ""), ("exposed", ", same malloc"), ("hosts", ", 4 hosts")):
        for figure in results.get(group, {}).get("figures", []):
            if "alone_us" in figure:
                bars.append((f"{figure['model']}{words}: {figure['tool']}", figure["alone_us"], max(figure["exposed_us"], 0)))
    if not bars:
        return [], top
    longest = max(alone + exposed for _, alone, exposed in bars)
    out = [text(LEFT, top, "training step: the same step without exchange, and what the exchange adds", size=14)]
    for i, (label, alone, exposed) in enumerate(bars):
        y, scale = top + 14 + 20 * i, 520 / longest
        out += [text(300, y + 11, label, "end", 11),
                f'<rect x="308" y="{y}" width="{alone * scale:.1f}" height="14" fill="#8d8d8d"/>',
                f'<rect x="{308 + alone * scale:.1f}" y="{y}" width="{exposed * scale:.1f}" height="14" fill="#c8553d"/>',
                text(314 + (alone + exposed) * scale, y + 11, f"{alone / 1e3:.0f} + {exposed / 1e3:.0f} ms", size=11)]
    return out, top + 14 + 20 * len(bars)


def picture(results):
    figures = results.get("allreduce", {}).get("figures", [])
    panels = all_reduce_panel(figures, 2, 0) + all_reduce_panel(figures, 4, 490)
    steps, bottom = step_panel(results, TOP + PANEL if panels else TOP)
    height = max(bottom, TOP + PANEL) + 20
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" fill="#222">',
                      f'<rect width="{WIDTH}" height="{height}" fill="white"/>', *panels, *steps, "</svg>", ""])
