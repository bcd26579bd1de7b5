"""A comparison as one HTML file that needs nothing else: the table, NE over time, and a reliability diagram.

The two charts are drawn here, as SVG by hand: a charting library would be a further dependency of everybody
who compares, for two sets of lines.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from app.offline.compare import TRUTH, Comparison
from app.rules.evaluation import Reliability, over_time, reliability

COLOURS = ("#0b6bcb", "#d9480f", "#2b8a3e", "#862e9c", "#c92a2a", "#0c8599", "#5c940d", "#e67700")
TRUTH_COLOUR = "#868e96"
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 620, 420, 62, 44, 14, 34
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axis:
    """A scale from values to pixels, logarithmic or not."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value."""
        low, high, value = (math.log(one) if self.log else one for one in (self.low, self.high, value))
        return self.start + (value - low) / ((high - low) or 1.0) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values to label: 1, 2 and 5 of each power of ten, or about five even steps.

        >>> Axis(0.9, 1.0, 0, 1).ticks()
        [0.9, 0.92, 0.94, 0.96, 0.98, 1.0]
        >>> Axis(0.004, 0.03, 0, 1, log=True).ticks()
        [0.005, 0.01, 0.02]
        """
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            values = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
        else:
            rough = (self.high - self.low) / 5 or 1.0
            power = 10.0 ** math.floor(math.log10(rough))
            step = min((factor * power for factor in (1, 2, 5, 10)), key=lambda one: abs(one - rough))
            first = math.ceil(self.low / step - 1e-9)
            values = [step * k for k in range(first, math.floor(self.high / step + 1e-9) + 1)]
        return [round(one, 12) for one in values if self.low * 0.999999 <= one <= self.high * 1.000001]


def report_html(one: Comparison) -> str:
    """The whole page."""
    clicks = int(one.samples.clicks.sum())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(one.log)}: models compared</title>
<style>{_STYLE}</style></head><body>
<h1>{escape(one.log)}</h1>
<p>{len(one.samples):,} samples, {clicks:,} {one.counted}; every sample was predicted before it was learned.
The table and the reliability diagram are of the second half of the log.</p>
{_table(one)}
<div class="charts"><figure><figcaption>Normalised entropy over the log (less is better)</figcaption>
{_over_time(one)}</figure>
<figure><figcaption>Reliability: rate of {one.counted} by prediction, 95 % intervals</figcaption>
{_reliability(one)}</figure></div>
<p class="legend">{_legend(one)}</p>
</body></html>
"""


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #212529; margin: 2rem; max-width: 1320px }
h1 { font-size: 1.4rem } table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #dee2e6 }
th:first-child, td:first-child { text-align: left } td { font-variant-numeric: tabular-nums }
.charts { display: flex; flex-wrap: wrap; gap: 1.5rem } figure { margin: 0 }
figcaption { margin-bottom: .3rem }
svg text { font: 12px system-ui, sans-serif; fill: #495057 } .legend span { margin-right: 1.2rem }
.legend i { display: inline-block; width: 1.2em; height: 3px; vertical-align: middle; margin-right: .4em }
"""


def _colour(one: Comparison, model: str) -> str:
    if model == TRUTH:
        return TRUTH_COLOUR
    return COLOURS[[entry.model for entry in one.entries if entry.model != TRUTH].index(model) % len(COLOURS)]


def _legend(one: Comparison) -> str:
    return "".join(
        f'<span><i style="background:{_colour(one, entry.model)}"></i>{escape(entry.model)}</span>'
        for entry in one.entries
    )


def _table(one: Comparison) -> str:
    names = ("model", "log loss", "NE", "AUC", "calibration", "NE to the first", "samples/s", "memory, MB")
    rows = []
    for entry in one.entries:
        metrics, gap = entry.second_half, entry.gap
        cells = (
            escape(entry.model), _number(metrics.log_loss, 5), _number(metrics.ne, 4),
            _number(metrics.auc, 4), _number(metrics.calibration, 3),
            "" if gap is None else f"{gap.mean:+.4f} ± {gap.half_width:.4f}",
            "" if entry.samples_per_s is None else f"{entry.samples_per_s:,.0f}",
            "" if entry.bytes is None else f"{entry.bytes / 1e6:,.1f}",
        )  # fmt: skip
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    header = "".join(f"<th>{name}</th>" for name in names)
    return f"<table><tr>{header}</tr>{''.join(rows)}</table>"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _over_time(one: Comparison) -> str:
    samples = one.samples
    lines: dict[str, list[Point]] = {}
    for entry in one.entries:
        spans = over_time(entry.p, samples.impressions, samples.clicks)
        lines[entry.model] = [((k + 0.5) / len(spans), ne) for k, ne in enumerate(spans) if ne is not None]
    values = [y for line in lines.values() for _, y in line]
    if not values:
        return f"<p>No {one.counted}, no entropy.</p>"
    # A learner's first span may be far off: what is above the 99th percentile is cut.
    low, high = min(values), float(np.quantile(values, 0.99))
    margin = (high - low) * 0.05 or 0.05
    across = Axis(0.0, 1.0, LEFT, WIDTH - RIGHT)
    up = Axis(low - margin, high + margin, HEIGHT - BOTTOM, TOP)
    drawn = [_line(across, up, line, _colour(one, model)) for model, line in lines.items()]
    return _svg(across, up, drawn, [f"{len(samples) * tick:,.0f}" for tick in across.ticks()], "samples")


def _reliability(one: Comparison) -> str:
    half = len(one.samples) // 2
    later = one.samples.part(half, len(one.samples))
    found = {
        entry.model: reliability(entry.p[half:], later.impressions, later.clicks) for entry in one.entries
    }
    ends = [
        float(value)
        for of in found.values()
        for part in (of.predicted, of.actual)
        for value in part
        if value > 0
    ]
    if not ends:
        return f"<p>No {one.counted}, no rate.</p>"
    low, high = min(ends) * 0.8, min(max(ends) * 1.25, 1.0)
    across = Axis(low, high, LEFT, WIDTH - RIGHT, log=True)
    up = Axis(low, high, HEIGHT - BOTTOM, TOP, log=True)
    diagonal = f'<path d="M{LEFT} {HEIGHT - BOTTOM}L{WIDTH - RIGHT} {TOP}" stroke="#ced4da" fill="none"/>'
    drawn = [diagonal, *(_bins(across, up, of, _colour(one, model)) for model, of in found.items())]
    return _svg(
        across, up, drawn, [f"{tick:g}" for tick in across.ticks()], f"predicted rate of {one.counted}"
    )


def _bins(across: Axis, up: Axis, of: Reliability, colour: str) -> str:
    """A model's bins as a line, with a dot and an interval for each; those without a click are left out."""
    drawn, points = [], []
    for x, y, low, high in zip(of.predicted, of.actual, of.low, of.high, strict=True):
        if x < across.low or y < up.low:
            continue
        points.append((float(x), float(y)))
        pixel, bottom, top = across.at(x), up.at(max(low, up.low)), up.at(min(high, up.high))
        drawn.append(
            f'<path d="M{pixel:.1f} {bottom:.1f}V{top:.1f}" stroke="{colour}" opacity=".35"/>'
            f'<circle cx="{pixel:.1f}" cy="{up.at(y):.1f}" r="2.5" fill="{colour}"/>'
        )
    return "".join([_line(across, up, points, colour), *drawn])


def _line(across: Axis, up: Axis, points: Sequence[Point], colour: str) -> str:
    at = " ".join(f"{across.at(x):.1f},{max(up.at(y), TOP):.1f}" for x, y in points)
    return f'<polyline points="{at}" fill="none" stroke="{colour}" stroke-width="1.6"/>'


def _svg(across: Axis, up: Axis, drawn: list[str], labels: list[str], name: str) -> str:
    ground = HEIGHT - BOTTOM
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">']
    for tick in up.ticks():
        y = up.at(tick)
        parts.append(
            f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#f1f3f5"/>'
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
        )
    for tick, label in zip(across.ticks(), labels, strict=True):
        x = across.at(tick)
        parts.append(
            f'<path d="M{x:.1f} {ground}v5" stroke="#adb5bd"/>'
            f'<text x="{x:.1f}" y="{ground + 18}" text-anchor="middle">{label}</text>'
        )
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{name}</text>')
    parts.append(f'<path d="M{LEFT} {TOP}V{ground}H{WIDTH - RIGHT}" stroke="#adb5bd" fill="none"/>')
    return "".join([*parts, *drawn, "</svg>"])
