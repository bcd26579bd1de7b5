"""`off-policy`: on the simulator the truth of every policy is known, and the estimates must hold it."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli import app as commands
from app.domain.refusals import Refused
from app.offline.off_policy import Judged, greedy, judge, judged, off_policy_file
from app.offline.sample import sample_catalogue
from app.offline.world.bandit import BanditPlan, draw_decisions
from app.offline.world.market import Market
from app.offline.world.truth import space_of
from app.rules.off_policy import Estimate

OPEN_BANDIT = Path(__file__).parents[3] / "shared" / "data" / "open_bandit"
SCHEMAS = Path(__file__).parent / "schemas"
ACTIONS = 10


@cache
def market() -> Market:
    return Market(1, sample_catalogue(seed=1, creatives=200))


def estimates(one: Judged) -> dict[str, Estimate]:
    return {"ips": one.ips, "snips": one.snips, "doubly robust": one.doubly_robust}


@pytest.mark.parametrize("policy", ["uniform", "best", "mixed"])
def test_intervals_hold_the_truth_as_often_as_they_say(policy: str) -> None:
    """Sixty logs; the model of the doubly robust estimate knows the ads' rates and nothing of people.

    95 % intervals: at least 51 of 60 hold (fewer have a chance of a thousandth), and the doubly robust ones
    are no wider.
    """
    held = dict.fromkeys(("ips", "snips", "doubly robust"), 0)
    width = dict.fromkeys(held, 0.0)
    for seed in range(60):
        decisions, truth = draw_decisions(market(), BanditPlan(2_000, ACTIONS, seed=seed))
        expected = np.broadcast_to(truth.mean(axis=0), truth.shape)
        share = {"uniform": 0.0, "best": 1.0, "mixed": 0.5}[policy]
        of_policy = share * greedy(truth) + (1.0 - share) / ACTIONS
        value = float((of_policy * truth).sum(axis=1).mean())
        for name, one in estimates(judge(policy, decisions, of_policy, expected)).items():
            held[name] += one.low <= value <= one.high
            width[name] += one.high - one.low
    assert min(held.values()) >= 51, held
    assert width["doubly robust"] < 1.05 * min(width["ips"], width["snips"]), width


def test_what_was_learned_from_does_not_judge() -> None:
    """A learned policy is better than chance, by the truth and by every estimate."""
    decisions, truth = draw_decisions(market(), BanditPlan(20_000, ACTIONS, taste=0.0))
    space = space_of(market().rows, market().columns, 0.04)
    result = judged("simulated", space, decisions, ["uniform", "main", "hctr"])
    assert (result.decisions, result.actions) == (10_000, ACTIONS)
    uniform, main, _ = (estimates(one) for one in result.policies)
    assert uniform["ips"].low <= truth[10_000:].mean() <= uniform["ips"].high
    for name, one in main.items():
        assert one.value > uniform[name].high, name
    assert result.policies[0].effective == pytest.approx(10_000)


# ------------------------------------------------------------------------------------ files
LOG = "click,item,chance,user\n" + "1,a,0.5,x\n0,b,0.5,y\n0,a,0.5,x\n1,b,0.5,x\n" * 25
SCHEMA = """
label = "click"
action = "item"
propensity = "chance"
rows = [{field = "user", kind = "value"}]
columns = [{field = "item", kind = "value"}]
"""


def files(folder: Path, log: str = LOG, schema: str = SCHEMA) -> tuple[Path, Path]:
    (folder / "log.csv").write_text(log, encoding="utf-8")
    (folder / "schema.toml").write_text(schema, encoding="utf-8")
    return folder / "log.csv", folder / "schema.toml"


def test_the_command_prints_text_and_json(tmp_path: Path) -> None:
    log, schema = files(tmp_path)
    arguments = [
        "off-policy",
        str(log),
        "--schema",
        str(schema),
        "--policies",
        "uniform",
        "--train-share",
        "0",
    ]
    printed = json.loads(CliRunner().invoke(commands, [*arguments, "--json"]).stdout)
    assert (printed["decisions"], printed["actions"], printed["clicks"]) == (100, 2, 50)
    assert printed["policies"][0]["ips"]["value"] == pytest.approx(0.5)
    assert "500.00 [" in CliRunner().invoke(commands, arguments).stdout


#   schema or log changed                               policies   code
REFUSED = [
    (LOG, SCHEMA,                                       "oracle",  "unknown_policy"),
    (LOG, SCHEMA.replace('action = "item"', ""),        "uniform", "no_propensity"),
    (LOG, SCHEMA.replace('"chance"', '"luck"'),         "uniform", "unknown_field"),
    (LOG.replace("0.5,y", "0,y"), SCHEMA,               "uniform", "bad_value"),
    (LOG.replace("0.5,y", "often,y"), SCHEMA,           "uniform", "bad_value"),
]  # fmt: skip


@pytest.mark.parametrize(("log", "schema", "policy", "code"), REFUSED)
def test_refused(log: str, schema: str, policy: str, code: str, tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        off_policy_file(*files(tmp_path, log, schema), [policy])
    assert refused.value.code == code


@pytest.mark.skipif(not OPEN_BANDIT.is_dir(), reason="the Open Bandit logs are not here")
def test_open_bandit_served_by_thompson_sampling_tells_what_chance_would_have_earned() -> None:
    """The random log says what it did earn: the two intervals must meet (men: 34 items, 46 clicks)."""
    estimated = off_policy_file(
        OPEN_BANDIT / "bts_men.csv.gz", SCHEMAS / "open_bandit_bts_men.toml", ["uniform"], 0.0
    )
    served = off_policy_file(
        OPEN_BANDIT / "random_men.csv.gz", SCHEMAS / "open_bandit_random_men.toml", ["uniform"], 0.0
    )
    assert served.policies[0].ips.value == pytest.approx(served.logged.value, rel=1e-6)
    for one in estimates(estimated.policies[0]).values():
        assert one.low <= served.logged.high
        assert served.logged.low <= one.high
