"""Tallies: sums that agree with plain arithmetic, seconds kept apart, and memory that stays bounded."""

import io
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from app.offline.live import FIGURES, dashboard, plain_line
from app.offline.tally import HISTORY_LENGTH, Ledger, Shown, Tally, added, summary

ads = st.builds(
    Shown,
    pctr=st.floats(0.001, 0.5),
    truth=st.floats(0.001, 0.5),
    clicked=st.booleans(),
    charged=st.floats(0, 1_000),
    worth=st.floats(0, 100_000),
)


def filled(seconds: int, per_second: int = 1) -> Ledger:
    """A ledger whose second s has requests of latency s ms and one impression of worth s."""
    ledger = Ledger()
    for second in range(seconds):
        for _ in range(per_second):
            ledger.at(second + 0.5).answered(second / 1000, asked=2, filled=1)
        ledger.at(second).shown(Shown(0.02, 0.01, second % 2 == 0, 10.0, float(second)))
    return ledger


@given(st.lists(ads, min_size=1, max_size=50))
def test_rates_are_those_of_plain_arithmetic(shown: list[Shown]) -> None:
    tally = Tally()
    for ad in shown:
        tally.shown(ad)
    clicks = sum(ad.clicked for ad in shown)
    losses = [-math.log(ad.pctr if ad.clicked else 1 - ad.pctr) for ad in shown]
    assert tally.log_loss == pytest.approx(statistics.fmean(losses))
    assert tally.ctr == clicks / len(shown)
    assert tally.calibration == (pytest.approx(sum(ad.pctr for ad in shown) / clicks) if clicks else None)
    assert tally.ecpm == pytest.approx(1000 * statistics.fmean(ad.charged for ad in shown))
    assert tally.truth_ecpm == pytest.approx(statistics.fmean(ad.worth for ad in shown))
    assert tally.distance == pytest.approx(
        statistics.fmean(abs(math.log(ad.pctr / ad.truth)) for ad in shown)
    )


@given(st.lists(st.integers(0, 400_000), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99]))
def test_quantiles_are_within_a_bin_of_the_sorted_list(latencies_us: list[int], share: float) -> None:
    tally = Tally()
    for latency_us in latencies_us:
        tally.answered(latency_us / 1e6, asked=1, filled=0)
    exact_ms = sorted(latencies_us)[math.ceil(share * len(latencies_us)) - 1] / 1000
    quantile_ms = tally.quantile_ms(share)
    assert quantile_ms is not None
    assert exact_ms - 1e-9 <= quantile_ms <= exact_ms + 0.0501


@given(st.lists(st.tuples(st.integers(0, 3), ads), max_size=30))
def test_tallies_add_up(shown: list[tuple[int, Shown]]) -> None:
    parts, whole = [Tally() for _ in range(4)], Tally()
    for part, ad in shown:
        parts[part].shown(ad)
        whole.shown(ad)
    total = added(parts)
    assert (total.impressions, total.clicks) == (whole.impressions, whole.clicks)
    assert total.log_loss_sum == pytest.approx(whole.log_loss_sum)
    assert total.worth == pytest.approx(whole.worth)


#   seconds  first ten's mean worth  last ten's
WINDOWS = [
    (5, 2.0, 2.0),
    (10, 4.5, 4.5),
    (15, 4.5, 9.5),
    (60, 4.5, 54.5),
    (1_000, 4.5, 994.5),
]  # fmt: skip


@pytest.mark.parametrize(("seconds", "first", "last"), WINDOWS)
def test_the_first_and_last_ten_seconds_stay_apart(seconds: int, first: float, last: float) -> None:
    ledger = filled(seconds)
    figures = summary(ledger, float(seconds))
    assert (figures["truth_ecpm_first"], figures["truth_ecpm_last"]) == (first, last)
    assert figures["requests"] == seconds
    assert figures["requests_per_s"] == 1.0
    assert figures["fill"] == 0.5


def test_a_long_run_is_kept_in_little_and_nothing_is_lost() -> None:
    ledger = filled(3_000)
    trail = ledger.trail()
    assert len(trail) <= HISTORY_LENGTH + 25
    assert added(trail).requests == ledger.whole().requests == 3_000
    worths = [tally.truth_ecpm or 0.0 for tally in trail]
    assert worths == sorted(worths)  # in order of time


def test_seconds_in_which_nothing_happened_count_as_such() -> None:
    ledger = Ledger()
    ledger.at(0.1).answered(0.001, 1, 1)
    ledger.at(7.0).answered(0.001, 1, 1)
    assert len(ledger.seconds) == 8
    assert ledger.latest(7.5).requests == 2
    assert ledger.latest(100.0).requests == 0


def test_the_summary_has_the_documented_fields() -> None:
    empty = summary(Ledger(), 3.0)
    assert list(empty) == [
        "seconds", "requests", "requests_per_s", "p50_ms", "p99_ms", "fill", "ctr", "ecpm_first", "ecpm_last",
        "truth_ecpm_first", "truth_ecpm_last", "log_loss", "calibration",
    ]  # fmt: skip
    assert empty["ctr"] is None


@pytest.mark.parametrize("seconds", [0, 1, 12, 200])
def test_the_picture_shows_every_figure(seconds: int) -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    console.print(dashboard(filled(seconds), float(seconds)))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert all(name in text for name, _, _ in FIGURES)
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "\n" not in plain_line(filled(seconds), float(seconds))
