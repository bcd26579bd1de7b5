"""`compare`: the models of one table over one log, the truth beside them, and the page that shows it."""

import json
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli import app as commands
from app.domain.refusals import Refused
from app.offline import compare, rivals
from app.offline.compare import TRUTH, Comparison, compare_file, compared, model_of, table
from app.offline.late import WAYS
from app.offline.replay import replay_file
from app.offline.report import Axis, report_html
from app.offline.rivals import Predicted
from app.offline.simulate import simulate_file
from app.offline.world.log import LogPlan
from app.rules.evaluation import Gap, measure, over_time, paired_gap, reliability
from app.rules.learner import Samples

OPEN_BANDIT = Path(__file__).parents[3] / "shared" / "data" / "open_bandit"
SCHEMAS = Path(__file__).parent / "schemas"
MODELS = ("main", "ftrl", "hctr", "ffm", "ffm8")


@cache
def simulated(folder: Path) -> tuple[Path, Path]:
    result = simulate_file(folder / "log.parquet", LogPlan(20_000), creatives=100)
    return result.log, result.schema


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return simulated(tmp_path_factory.mktemp("compare"))


@cache
def compared_files(log: Path, schema: Path) -> Comparison:
    return compare_file(log, schema, MODELS)


def test_every_model_is_what_replay_makes_of_it_and_the_truth_is_better(files: tuple[Path, Path]) -> None:
    result = compared_files(*files)
    assert [entry.model for entry in result.entries] == [TRUTH, *MODELS]
    truth = result.entries[0].second_half
    for entry in result.entries[1:]:
        replayed = replay_file(*files, entry.model)
        assert (entry.all, entry.second_half) == (replayed.all, replayed.second_half)
        assert truth.ne is not None
        assert entry.second_half.ne is not None
        assert truth.ne < entry.second_half.ne
    assert truth.calibration == pytest.approx(1.0, abs=0.2)


def test_what_all_models_are_held_to_is_the_first(files: tuple[Path, Path]) -> None:
    result = compared_files(*files)
    gaps = {entry.model: entry.gap for entry in result.entries}
    assert gaps[TRUTH] is None
    assert gaps["main"] is None
    for entry in result.entries[2:]:
        assert entry.gap is not None
        assert entry.second_half.ne is not None
        first = result.entries[1].second_half.ne
        assert first is not None
        assert entry.gap.mean == pytest.approx(entry.second_half.ne - first)


def test_a_model_may_have_settings_of_its_own(files: tuple[Path, Path]) -> None:
    named = compare_file(*files, ["ftrl", "ftrl:cross_alpha=0.02:alpha=0.1", "ftrl:l1=5:cross_l1=5"], 4_000)
    first, same, other = (entry.p for entry in named.entries[1:])
    assert len(named.samples) == 4_000
    assert first.tolist() == same.tolist()
    assert first.tolist() != other.tolist()


def test_a_log_whose_labels_come_late_is_compared_over_ways_of_learning_them(tmp_path: Path) -> None:
    log = simulate_file(tmp_path / "log.parquet", LogPlan(60_000, days=9, ctr=0.2), creatives=60)
    result = compare_file(log.log, log.conversions_schema, WAYS)
    assert [entry.model for entry in result.entries] == [TRUTH, *WAYS]
    assert (len(result.samples), int(result.samples.clicks.sum())) == (log.clicks, log.conversions)
    assert f"{log.conversions:,} conversions; every sample" in report_html(result)
    half = len(result.samples) // 2
    ne = {entry.model: entry.second_half.ne or 9.0 for entry in result.entries}
    assert min(ne, key=ne.__getitem__) == TRUTH
    assert ne["ripening"] < min(ne["negative"], ne["wait-week"])
    waiting = next(entry.p for entry in result.entries if entry.model == "wait-week")
    assert len(set(waiting[: half // 2].tolist())) == 1, (
        "in the first week nothing is known to who waits for one"
    )
    with pytest.raises(Refused, match="labels of this log come late") as refused:
        compare_file(log.log, log.conversions_schema, ["ftrl"])
    assert refused.value.code == "unknown_model"
    with pytest.raises(Refused, match="the schema tells no delay"):
        compare_file(log.log, log.schema, ["ripening"])
    told = CliRunner().invoke(commands, ["compare", str(log.log), "--schema", str(log.conversions_schema)])
    assert told.exit_code == 0, told.output
    assert all(f"\n{way} " in told.stdout for way in WAYS)


#   models                   code             why
REFUSED = [
    ("prophet",               "unknown_model", "not a model"),
    ("ftrl:gamma=1",         "bad_setting",   "not a setting"),
    ("ftrl:alpha=fast",      "bad_setting",   "not a number"),
    ("ftrl:alpha",           "bad_setting",   "no value"),
]  # fmt: skip


@pytest.mark.parametrize(("models", "code", "why"), REFUSED)
def test_refused_before_anything_is_read(models: str, code: str, why: str) -> None:
    with pytest.raises(Refused) as refused:
        compare_file(Path("none.csv"), Path("none.toml"), [models])
    assert refused.value.code == code, why


def test_a_rival_that_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "installed", lambda package: False)
    with pytest.raises(Refused, match=r"adjudge\[compare\]") as refused:
        model_of("trees")
    assert refused.value.code == "not_installed"
    assert compare.installed_models() == ["ftrl", "main", "hctr", "ffm", "ffm8"]


# ------------------------------------------------------------------------------------ the arithmetic
def test_the_gap_of_a_model_to_itself_is_nothing_and_its_interval_covers() -> None:
    """200 logs whose truth has a known gap to a constant: the 95 % interval holds the mean gap in most."""
    random = np.random.default_rng(1)
    truth = random.uniform(0.02, 0.3, 2_000)
    ones, constant = np.ones(2_000), np.full(2_000, truth.mean())
    gaps = []
    for _ in range(200):
        clicks = (random.random(2_000) < truth).astype(np.float64)
        gap = paired_gap(constant, truth, ones, clicks)
        assert gap is not None
        gaps.append(gap)
    middle = float(np.mean([gap.mean for gap in gaps]))
    covered = sum(abs(gap.mean - middle) <= gap.half_width for gap in gaps)
    assert 180 <= covered <= 199
    assert paired_gap(truth, truth, ones, clicks) == Gap(0.0, 0.0)
    assert paired_gap(truth, truth, ones, ones * 0.0) is None


def test_bins_hold_equally_many_impressions_and_all_clicks() -> None:
    random = np.random.default_rng(2)
    p = random.uniform(0.0, 0.2, 5_000)
    impressions = random.integers(1, 4, 5_000).astype(np.float64)
    clicks = random.binomial(impressions.astype(int), p).astype(np.float64)
    of = reliability(p, impressions, clicks, bins=10)
    share = impressions.sum() / 10
    assert (of.actual * share).sum() == pytest.approx(clicks.sum(), rel=0.01)
    assert (np.diff(of.predicted) > 0).all()
    assert ((of.low <= of.actual) & (of.actual <= of.high)).all()
    assert ((of.low <= of.predicted) & (of.predicted <= of.high)).sum() >= 8


def test_spans_over_time() -> None:
    p, ones = np.full(10, 0.5), np.ones(10)
    clicks = np.array([1, 0, 1, 0, 0, 0, 0, 0, 1, 0.0])
    spans = over_time(p, ones, clicks, spans=5)
    assert spans == [pytest.approx(1.0), pytest.approx(1.0), None, None, pytest.approx(1.0)]


# ------------------------------------------------------------------------------------ command and page
def test_compare_prints_and_writes(files: tuple[Path, Path], tmp_path: Path) -> None:
    log, schema = files
    arguments = ["compare", str(log), "--schema", str(schema), "--models", "main,hctr"]
    printed = json.loads(CliRunner().invoke(commands, [*arguments, "--json"]).stdout)
    assert [model["model"] for model in printed["models"]] == [TRUTH, "main", "hctr"]
    assert set(printed["models"][2]["gap"]) == {"mean", "half_width"}
    report = tmp_path / "compare.html"
    text = CliRunner().invoke(commands, [*arguments, "--report", str(report)]).stdout
    assert f"{printed['models'][1]['second_half']['ne']:.4f}" in text
    assert report.read_text(encoding="utf-8").count("<svg") == 2


class Counter(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_shows_every_model(files: tuple[Path, Path]) -> None:
    page, result = Counter(), compared_files(*files)
    page.feed(report_html(result))
    assert page.open == []
    assert page.seen["tr"] == 1 + len(result.entries)
    assert page.seen["polyline"] == 2 * len(result.entries)
    assert "http" not in report_html(result)  # it loads nothing


def test_names_are_escaped_and_a_log_without_clicks_has_a_page() -> None:
    samples = Samples(np.zeros((9, 1), np.int32), np.zeros((9, 1), np.int32), np.ones(9), np.zeros(9))
    one = compared("<b>.csv", samples, [("main", Predicted(np.full(9, 0.1), 1.0, 10))])
    page = report_html(one)
    assert "<b>.csv" not in page
    assert "No click" in page
    assert "-" in table(one)
    assert one.entries[0].all == measure(one.entries[0].p, samples.impressions, samples.clicks)


def test_ticks_are_round_and_inside() -> None:
    for low, high, log in ((0.83, 1.21, False), (0.0, 1.0, False), (0.0007, 0.4, True)):
        ticks = Axis(low, high, 0, 100, log).ticks()
        assert 3 <= len(ticks) <= 12
        assert low <= min(ticks) < max(ticks) <= high


@pytest.mark.skipif(not OPEN_BANDIT.is_dir(), reason="the Open Bandit logs are not here")
def test_real_logs_compare() -> None:
    log, schema = OPEN_BANDIT / "random_men.csv.gz", SCHEMAS / "open_bandit_random_men.toml"
    result = compare_file(log, schema, MODELS)
    assert [entry.model for entry in result.entries] == list(MODELS)
    assert all(entry.all.ne is not None and entry.all.ne < 1.1 for entry in result.entries)


def test_keep_learns_a_share_of_the_non_clicks_and_predictions_stay_right(files: tuple[Path, Path]) -> None:
    thin, whole = compare_file(*files, ["main:keep=0.3", "main"]).entries[-2:]
    assert not np.array_equal(thin.p, whole.p)
    assert thin.second_half.calibration == pytest.approx(1.0, abs=0.25)
    assert thin.second_half.ne == pytest.approx(whole.second_half.ne, abs=0.02)
    assert np.array_equal(replay_file(*files, "main", keep=0.3).p, thin.p)
    for wrong in ("main:keep=0", "main:keep=2", "main:keep=some"):
        with pytest.raises(Refused):
            model_of(wrong)
