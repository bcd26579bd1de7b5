"""The simulated market: one truth for demo, logs and contests, and logs that hold what they say."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from app.cli import app as commands
from app.domain.refusals import Refused
from app.offline.audience import Audience
from app.offline.replay import replay_file
from app.offline.sample import sample_catalogue
from app.offline.simulate import simulate_file
from app.offline.world.contest import ContestPlan, Trail, contest, epsilon_greedy, uniform
from app.offline.world.log import LogPlan, draw_log, draw_shown
from app.offline.world.market import CLICKS, DELAY_MEDIAN_S, Market
from app.offline.world.truth import Plan, Values, draw_truth, space_of
from app.rules.ftrl_learner import ftrl_learner, main_learner
from app.rules.learner import NOTHING

SAMPLES = 60_000


@cache
def market() -> Market:
    return Market(1, sample_catalogue(seed=1, creatives=400))


@cache
def log() -> pl.DataFrame:
    return draw_log(market(), LogPlan(SAMPLES, bots_share=0.02))


def rate(rows: pl.DataFrame) -> tuple[float, float]:
    """The mean of the truth, and the click rate in its standard errors from it."""
    truth, clicks = rows["truth_ctr"].to_numpy(), rows["click"].to_numpy()
    error = np.sqrt((truth * (1 - truth)).sum()) / rows.height
    return float(truth.mean()), float((clicks.mean() - truth.mean()) / error)


# ------------------------------------------------------------------------------------ truth
def test_effects_are_where_the_plan_says_and_as_strong() -> None:
    rows, columns = (
        Values({"a": "abcdefghij", "b": "kl"}),
        Values({"x": [str(k) for k in range(50)], "y": "yz"}),
    )
    plan = Plan(0.01, {"a": 0.5}, {"x": 0.3}, {("b", "y"): 1.0}, {("a", "x"): 0.4}, rank=2)
    effects = draw_truth(np.random.default_rng(1), plan, rows, columns).effects
    a, b, x, y = rows.block("a"), rows.block("b"), columns.block("x"), columns.block("y")
    assert effects.shape == (1 + 10 + 2 + 1, 1 + 50 + 2 + 1)
    assert effects[a, x].std() == pytest.approx(0.4, rel=0.4)
    assert np.linalg.matrix_rank(effects[a, x]) == 2
    assert effects[0, x].std() == pytest.approx(0.3, rel=0.3)
    assert (effects[b, y] != 0).all()
    for nothing in (effects[b, x], effects[a, y], effects[b, 0], effects[0, y], effects[-1], effects[:, -1]):
        assert not nothing.any()


def test_one_request_and_many_samples_are_judged_alike() -> None:
    """The kernel over samples, that over all ads of one request, and the demo's by words."""
    audience = Audience(1, sample_catalogue(seed=1, creatives=400))
    plan = LogPlan(200, bots_share=0.0)
    shown = draw_shown(market(), plan, np.random.default_rng(3))
    p = market().clicks.p(shown.rows, market().ads[shown.ads])
    for k in range(200):
        lit = shown.rows[k][shown.rows[k] != NOTHING]
        everything = market().clicks.p_of_all(lit, market().ads)
        assert everything[shown.ads[k]] == pytest.approx(p[k])
        assert market().clicks.p_of_all(lit, market().ads[:3]) == pytest.approx(everything[:3])
    visit, creative = audience.draw(), market().creatives[7]["id"]
    seen = [audience.seen(visit.person, creative) for _ in range(3)]
    told = [audience.truth(visit.person, visit.placement_id, creative, views) for views in seen]
    assert seen == [0, 1, 2]
    assert told[0] > told[1] > told[2]  # fatigue


# ------------------------------------------------------------------------------------ logs
def test_a_log_follows_from_its_seeds() -> None:
    plan = LogPlan(500, seed=7)
    one, two = (draw_log(Market(2, sample_catalogue(2, 100)), plan) for _ in range(2))
    assert one.equals(two)
    assert not one.equals(draw_log(Market(2, sample_catalogue(2, 100)), LogPlan(500, seed=8)))


def test_low_rank_crosses_are_as_strong_as_asked_and_all_else_stays() -> None:
    weak, plain, strong = (Market(2, sample_catalogue(2, 100), times).clicks.effects for times in (0, 1, 3))
    assert np.array_equal(plain, Market(2, sample_catalogue(2, 100)).clicks.effects)
    crosses, more = (plain - weak)[1:, 1:], (strong - weak)[1:, 1:]
    assert crosses.std() > 0.0
    assert more == pytest.approx(3.0 * crosses)
    assert np.array_equal(weak[1:, 0], strong[1:, 0])


#   column      value    why
GROUPS = [
    ("position", 0,      "the first slot"),
    ("position", 4,      "the last slot"),
    ("views",    0,      "never seen before"),
    ("device",   "desktop", "computers"),
    ("bot",      1,      "bots"),
    ("bot",      0,      "people"),
]  # fmt: skip


@pytest.mark.parametrize(("column", "value", "why"), GROUPS)
def test_clicks_come_as_often_as_the_truth_says(column: str, value: object, why: str) -> None:
    _, errors = rate(log().filter(pl.col(column) == value))
    assert abs(errors) < 4, why


def test_position_and_fatigue_lower_the_rate_and_bots_are_told() -> None:
    people = log().filter(pl.col("bot") == 0)
    by_position = [rate(people.filter(pl.col("position") == k))[0] for k in range(5)]
    assert by_position == sorted(by_position, reverse=True)
    assert by_position[4] < 0.4 * by_position[0]
    often = rate(people.filter(pl.col("views") >= 4))[0]
    assert often < rate(people.filter(pl.col("views") == 0))[0]
    assert log()["bot"].mean() == pytest.approx(0.02, abs=0.003)


def test_seasons_arrivals_and_endings() -> None:
    by_hour = np.bincount(log()["hour"].to_numpy(), minlength=24)
    assert by_hour[21] > 3 * by_hour[9]
    assert log()["at_ms"].is_sorted()
    # Popular ads: seen from the beginning, or not at all in the first days, or not at all in the last.
    day = (log()["at_ms"] - log()["at_ms"][0]) // 86_400_000
    lives = (
        log()
        .with_columns(day=day)
        .group_by("creative")
        .agg(pl.len(), pl.min("day"), pl.max("day").alias("last"))
    )
    popular = lives.filter(pl.col("len") >= 200)
    assert popular.filter(pl.col("day") >= 1).height > 2
    assert popular.filter(pl.col("last") <= 5).height > 2
    assert popular.filter((pl.col("day") == 0) & (pl.col("last") == 6)).height > popular.height / 3


def test_conversions_follow_clicks_late() -> None:
    clicked = log().filter(pl.col("click") == 1)
    assert log().filter((pl.col("conversion") == 1) & (pl.col("click") == 0)).height == 0
    people = clicked.filter(pl.col("bot") == 0)
    converted = people.filter(pl.col("conversion") == 1)
    expected = people["truth_cvr"].mean()
    assert isinstance(expected, float)
    assert converted.height / people.height == pytest.approx(expected, rel=0.2)
    delays = converted["conversion_delay_s"]
    assert delays.null_count() == 0
    median = delays.median()
    assert isinstance(median, float)
    assert DELAY_MEDIAN_S / 5 < median < DELAY_MEDIAN_S * 3
    assert clicked.filter(pl.col("bot") == 1)["conversion"].sum() == 0


def test_the_rate_is_about_what_was_asked_for() -> None:
    for ctr in (0.01, 0.04):
        mean = draw_log(market(), LogPlan(20_000, ctr=ctr, bots_share=0.0))["truth_ctr"].mean()
        assert isinstance(mean, float)
        assert mean == pytest.approx(ctr, rel=0.5)


# ------------------------------------------------------------------------------------ files and contests
@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_a_log_is_a_file_that_replay_reads(kind: str, tmp_path: Path) -> None:
    result = simulate_file(tmp_path / f"log.{kind}", LogPlan(3_000), creatives=100)
    replayed = replay_file(result.log, result.schema)
    assert (replayed.samples, replayed.clicks) == (3_000, result.clicks)


def test_simulate_prints_what_it_wrote(tmp_path: Path) -> None:
    out = tmp_path / "log.parquet"
    arguments = ["simulate", str(out), "--samples", "2000", "--creatives", "100"]
    printed = json.loads(CliRunner().invoke(commands, [*arguments, "--json"]).stdout)
    assert (printed["samples"], printed["log"]) == (2_000, str(out))
    assert printed["truth"]["ne"] < 1
    assert f"{printed['truth']['ne']:.6f}" in CliRunner().invoke(commands, arguments).stdout
    with pytest.raises(Refused, match="none of"):
        simulate_file(tmp_path / "log.xlsx", LogPlan(10))


def test_in_a_contest_learning_beats_chance_and_all_meet_the_same_visits() -> None:
    plan = ContestPlan(visits=3_000)
    learner = main_learner(space_of(market().rows, market().columns, 0.04))
    blind, blind_again = (contest(market(), uniform(), plan) for _ in range(2))
    greedy = contest(market(), epsilon_greedy(learner), plan)
    assert blind.regret.tolist() == blind_again.regret.tolist()
    # What could be had at best is the same for everybody.
    assert (blind.regret + blind.p) == pytest.approx(greedy.regret + greedy.p)
    assert later(greedy) < 0.75 * later(blind)
    assert blind.is_new.any()


def later(trail: Trail) -> float:
    return float(trail.regret[trail.regret.size // 2 :].sum())


@pytest.mark.slow
def test_crosses_are_there_to_be_found() -> None:
    """The learner of all crosses loses less than that of main cells, if it has the time to learn them."""
    space = space_of(market().rows, market().columns, 0.04)
    plan = ContestPlan(visits=20_000)
    lost = [
        later(contest(market(), epsilon_greedy(make(space)), plan)) for make in (ftrl_learner, main_learner)
    ]
    assert lost[0] < lost[1]


def test_the_plan_announces_the_mean_rate() -> None:
    shown = draw_shown(market(), LogPlan(20_000), np.random.default_rng(3))
    at_first_sight = shown.rows.copy()
    at_first_sight[:, -2:] = NOTHING  # neither position nor views: they only lower it
    mean = market().clicks.p(at_first_sight, market().ads[shown.ads]).mean()
    assert mean == pytest.approx(CLICKS.rate, rel=0.4)
