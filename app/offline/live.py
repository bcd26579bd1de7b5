"""The demo's picture: a dashboard drawn in place on a terminal, or a line a second where there is none."""

from collections.abc import Callable, Sequence

from rich import box
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from app.offline.tally import EDGE_S, Figure, Ledger, Tally, added

BLOCKS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 48
Read = Callable[[Tally], Figure]

# What is shown: its name, how it is read, how it is written.
FIGURES: tuple[tuple[str, Read, str], ...] = (
    ("p50, ms", lambda tally: tally.quantile_ms(0.5), "{:.2f}"),
    ("p99, ms", lambda tally: tally.quantile_ms(0.99), "{:.2f}"),
    ("fill", lambda tally: tally.fill, "{:.1%}"),
    ("CTR", lambda tally: tally.ctr, "{:.2%}"),
    ("eCPM charged, KRW", lambda tally: tally.ecpm, "{:,.0f}"),
    ("eCPM under the truth, KRW", lambda tally: tally.truth_ecpm, "{:,.0f}"),
    ("log loss", lambda tally: tally.log_loss, "{:.4f}"),
    ("calibration (predicted / actual)", lambda tally: tally.calibration, "{:.2f}"),
    ("distance of pCTR from the truth", lambda tally: tally.distance, "{:.2f}"),
)
# Drawn over the whole run.
SPARKS: tuple[tuple[str, Read, str], ...] = (
    ("eCPM under the truth", lambda tally: tally.truth_ecpm, "green"),
    ("distance from the truth", lambda tally: tally.distance, "yellow"),
)


def dashboard(ledger: Ledger, elapsed_s: float) -> Panel:
    """Draw the first ten seconds beside the last ten, and two lines over the whole run."""
    first, now, whole = ledger.beginning(), ledger.latest(int(elapsed_s)), ledger.whole()
    table = Table(box=box.SIMPLE_HEAD, expand=False)
    table.add_column("")
    for name in ("first 10 s", "last 10 s", "whole run"):
        table.add_column(name, justify="right")
    spans = ((first, 10), (now, 10), (whole, elapsed_s))
    table.add_row(
        "requests / s", *(f"{tally.requests / max(1, min(s, elapsed_s)):.0f}" for tally, s in spans)
    )
    for name, read, pattern in FIGURES:
        table.add_row(name, *(written(read(tally), pattern) for tally, _ in spans))
    trail = _spans(ledger.trail()[:-1], SPARK_WIDTH)
    sparks = [
        Text.assemble((f"{name:26}", "dim"), (sparkline([read(tally) for tally in trail]), colour))
        for name, read, colour in SPARKS
    ]
    foot = f"{elapsed_s:.0f} s, {whole.requests:,} requests, {whole.clicks:,} clicks, {whole.failed:,} failed"
    return Panel(Group(table, *sparks), title="adjudge demo", subtitle=foot, expand=False)


def plain_line(ledger: Ledger, elapsed_s: float) -> str:
    """Write the same in one line, over the last ten seconds."""
    now = ledger.latest(int(elapsed_s))
    parts = [f"{name} {written(read(now), pattern)}" for name, read, pattern in FIGURES]
    rate = now.requests / max(1, min(10, elapsed_s))
    return f"{elapsed_s:.0f} s: requests/s {rate:.0f}; {'; '.join(parts)}"


def written(value: Figure, pattern: str) -> str:
    """Write a figure, or a dash where there is none yet.

    >>> written(0.0123, "{:.1%}"), written(None, "{:.1%}")
    ('1.2%', '-')
    """
    return "-" if value is None else pattern.format(value)


def sparkline(values: Sequence[Figure]) -> str:
    """Draw values as blocks between their least and their most; a gap where there is none.

    >>> sparkline([0.0, 7.0, None, 3.0])
    '▁█ ▄'
    """
    known = [value for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    step = (high - low) / (len(BLOCKS) - 1) or 1.0
    return "".join(" " if value is None else BLOCKS[round((value - low) / step)] for value in values)


def _spans(tallies: Sequence[Tally], count: int) -> list[Tally]:
    """Gather tallies into at most so many."""
    size = -(-len(tallies) // count) or 1
    return [added(tallies[start : start + size]) for start in range(0, len(tallies), size)]


def closing_lines(figures: dict[str, Figure]) -> str:
    """Say in two lines what a run came to.

    >>> print(closing_lines({"seconds": 60.0, "requests": 12_000, "truth_ecpm_first": 20_000.0,
    ...     "truth_ecpm_last": 30_000.0, "calibration": 1.0, "p50_ms": 1.0, "p99_ms": 4.0}))
    60 s, 12,000 ad requests, p50 1.00 ms, p99 4.00 ms, calibration 1.00.
    eCPM under the hidden truth, first ten seconds -> last ten: 20,000 -> 30,000 KRW (+50%).
    """
    first, last = figures["truth_ecpm_first"], figures["truth_ecpm_last"]
    apart = (figures["seconds"] or 0) >= 2 * EDGE_S
    rise = f" ({last / first - 1:+.0%})" if first and last and apart else ""
    return (
        f"{figures['seconds']:.0f} s, {figures['requests']:,} ad requests,"
        f" p50 {written(figures['p50_ms'], '{:.2f}')} ms, p99 {written(figures['p99_ms'], '{:.2f}')} ms,"
        f" calibration {written(figures['calibration'], '{:.2f}')}.\n"
        f"eCPM under the hidden truth, first ten seconds -> last ten:"
        f" {written(first, '{:,.0f}')} -> {written(last, '{:,.0f}')} KRW{rise}."
    )
