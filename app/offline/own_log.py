"""`adjudge off-policy DATA`: what other ways of choosing would have earned, by a node's own uniform share.

In a share of its decisions a node lets chance choose among the best few, and keeps who they were, with the
chance (`Placed.lots`). Those decisions alone judge, each by what became of the ad that was drawn; so what is
estimated is choosing among the node's best few another way, not among all ads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from app.domain.decisions import Lot, Placed
from app.domain.lines import Clicked, Shown, decode
from app.domain.refusals import Refused
from app.flows.snapshotting import restored
from app.journal import archive, snapshots
from app.journal.decisions import DecisionReader
from app.journal.models import decode_model
from app.journal.reader import SqliteReader
from app.rules import ftrl
from app.rules.features import MAIN_ONLY_FROM
from app.rules.off_policy import Estimate, doubly_robust, effective_count, ips, snips
from app.rules.pricing import ecpm_per_bid
from app.state.loading import terms_of
from app.state.model import MAX_LIT_COLUMNS, MAX_LIT_ROWS, Model
from app.state.prepared import prepare
from app.state.state import DEFAULT_COLUMNS, State

F64 = NDArray[np.float64]
NODE, UNIFORM = "node", "uniform"
COUNTED = frozenset({"learned", "skipped"})
MICROS = 1e6


@dataclass(frozen=True, slots=True)
class Drawn:
    """A decision that was left to chance and whose ad was seen: its lit rows, the lots, which it was."""

    rows: tuple[int, ...]
    placement_id: str
    lots: tuple[Lot, ...]
    chosen: int
    propensity: float
    clicked: bool


@dataclass(frozen=True, slots=True)
class Worth:
    """One policy's estimates: the CTR, and what 1,000 impressions are worth at the bids, in account money."""

    policy: str
    ctr: dict[str, Estimate]
    ecpm: dict[str, Estimate]
    effective: float


@dataclass(frozen=True, slots=True)
class OwnLog:
    """All policies over a node's uniform share; `logged` is what chance itself earned there."""

    decisions: int
    clicks: int
    logged: Worth
    policies: tuple[Worth, ...]

    def as_json(self) -> dict[str, Any]:
        """The shape that `off-policy --json` prints."""
        return asdict(self)


def own_log(data: Path, policies: Iterable[str]) -> OwnLog:
    """Judge policies by the decisions of a data directory, of a node that runs or not.

    `uniform` chooses evenly among the lots, `node` the one that the node itself expects to be worth most; any
    other names a file of `adjudge train`, whose clicks' predictions then stand in for the node's.
    Errors  Refused: `no_data`, `unknown_policy`, the model's, `no_snapshot`, `no_uniform_share`.
    """
    wanted = list(policies)
    if not (data / "journal.db").exists():
        raise Refused("no_data", f"{data} holds no journal", "log")
    models = {one: one for one in wanted if one not in (NODE, UNIFORM)}
    scorers = {one: _scorer(data, Path(one)) for one in models}
    drawn = drawn_decisions(data)
    if not drawn:
        message = "no decision of the uniform share is kept whose ad was seen (ADJUDGE_EXPLORATION)"
        raise Refused("no_uniform_share", message, "log")
    judged = []
    for policy in wanted:
        if policy == UNIFORM:
            probabilities = [np.full(len(each.lots), 1.0 / len(each.lots)) for each in drawn]
        elif policy == NODE:
            probabilities = [_best(each.lots, [lot.pctr for lot in each.lots]) for each in drawn]
        else:
            scorer = scorers[policy]
            probabilities = [_best(each.lots, scorer.predict(each)) for each in drawn]
        judged.append(judge(Path(policy).name, drawn, probabilities))
    # Chance's own probabilities are the propensities: every weight is 1.
    logged = judge("as logged", drawn, [np.full(len(each.lots), each.propensity) for each in drawn])
    return OwnLog(len(drawn), sum(each.clicked for each in drawn), logged, tuple(judged))


def judge(policy: str, drawn: Sequence[Drawn], probabilities: Sequence[F64]) -> Worth:
    """All estimates of one policy; what the node expected stands in for what was not tried.

    The probabilities are of each decision's lots.
    """
    weights = np.array(
        [p[each.chosen] / each.propensity for each, p in zip(drawn, probabilities, strict=True)]
    )
    clicked = np.array([float(each.clicked) for each in drawn])
    ctr = _estimates(
        drawn, probabilities, weights, clicked, [np.array([lot.pctr for lot in each.lots]) for each in drawn]
    )
    worth = [np.array([_paid(lot, lot.pctr) for lot in each.lots]) for each in drawn]
    earned = np.array(
        [_paid(each.lots[each.chosen], float(each.clicked)) for each in drawn], dtype=np.float64
    )
    most = max(float(earned.max()), *(float(each.max()) for each in worth), 1e-300)
    ecpm = _estimates(drawn, probabilities, weights, earned / most, [each / most for each in worth])
    scaled = {
        name: Estimate(one.value * most / MICROS, one.low * most / MICROS, one.high * most / MICROS)
        for name, one in ecpm.items()
    }
    return Worth(policy, ctr, scaled, effective_count(weights))


def _estimates(
    drawn: Sequence[Drawn], probabilities: Sequence[F64], weights: F64, rewards: F64, expected: Sequence[F64]
) -> dict[str, Estimate]:
    of_chosen = np.array([e[each.chosen] for each, e in zip(drawn, expected, strict=True)])
    of_policy = np.array([float(p @ e) for p, e in zip(probabilities, expected, strict=True)])
    return {
        "ips": ips(rewards, weights),
        "snips": snips(rewards, weights),
        "doubly_robust": doubly_robust(rewards, weights, of_chosen, of_policy),
    }


def _paid(lot: Lot, clicks: float) -> float:
    """What 1,000 impressions with so many clicks each are worth at the bid. Units: micros."""
    return lot.bid_micros * ecpm_per_bid(lot.kind, clicks, lot.pcvr)


def _best(lots: Sequence[Lot], pctr: Sequence[float]) -> F64:
    """The probabilities of always choosing the lot worth most, as an auction ranks; the first of equals."""
    scores = [_paid(lot, p) * lot.quality for lot, p in zip(lots, pctr, strict=True)]
    found = np.zeros(len(lots))
    found[int(np.argmax(scores))] = 1.0
    return found


class Scorer:
    """A model's predictions for lots, on the rows, columns and priors of a node's state."""

    def __init__(self, state: State, model: Model) -> None:
        self.state, self.model = state, model
        self._cells = np.empty(MAX_LIT_ROWS * MAX_LIT_COLUMNS, dtype=np.int64)

    def predict(self, one: Drawn) -> list[float]:
        """Predict the clicks of each lot on top of its placement."""
        prior, found = self.state.prior_of(one.placement_id), []
        for lot in one.lots:
            rows = np.array([*one.rows, lot.own_row] if lot.own_row else one.rows, dtype=np.int32)
            columns = np.array(lot.columns, dtype=np.int32)
            _, total = ftrl.cells_of(rows, columns, self.model.stride, MAIN_ONLY_FROM, self._cells)
            found.append(
                float(ftrl.sigmoid(ftrl.logit_of(self.model.w.reshape(-1), self._cells, total, prior)))
            )
        return found


def _scorer(data: Path, file: Path) -> Scorer:
    try:
        content = file.read_bytes()
    except OSError as error:
        message = f"{file}: {error.strerror}; policies are {UNIFORM}, {NODE} and files of adjudge train"
        raise Refused("unknown_policy", message, "policies") from error
    trained = decode_model(content)[1]
    sound = [each for each in snapshots.listing(data / "snapshots") if each.reason is None]
    if not sound:
        raise Refused("no_snapshot", f"{data} has no snapshot, which tells what stands where", "log")
    state = restored(sound[0].path, int(sound[0].facts.get("columns", DEFAULT_COLUMNS)))
    return Scorer(state, prepare(file.name, trained, terms_of(state, trained), state.model.columns).model)


def drawn_decisions(data: Path) -> list[Drawn]:
    """List the decisions left to chance whose ad was seen, with what became of it, oldest first.

    Cost    some 20 us for each kept decision, and a look at every line of the journal.
    """
    found: dict[tuple[bytes, int], Placed] = {}
    reader = DecisionReader(data / "decisions.db")
    for record in reader.latest(0):
        for placed in reversed(record.choice.placed):
            if placed.lots and placed.wins and placed.wins[0].propensity > 0.0:
                found[placed.decision_id, placed.wins[0].ad_index] = placed
    reader.close()
    shown, clicked = _outcomes(data, set(found))
    drawn = []
    for key, placed in reversed(found.items()):
        if key in shown:
            win = placed.wins[0]
            chosen = next(at for at, lot in enumerate(placed.lots) if lot.creative_id == win.creative_id)
            drawn.append(
                Drawn(placed.rows, placed.placement_id, placed.lots, chosen, win.propensity, key in clicked)
            )
    return drawn


def _outcomes(
    data: Path, wanted: set[tuple[bytes, int]]
) -> tuple[set[tuple[bytes, int]], set[tuple[bytes, int]]]:
    """Tell which ads were seen and clicked, as the fold judged: by the journal, and before it the archive."""
    found: tuple[set[tuple[bytes, int]], set[tuple[bytes, int]]] = (set(), set())
    reader = SqliteReader(data / "journal.db")
    try:
        trimmed = reader.trimmed_through
        for rows in reader.scan(trimmed, reader.last_position, ("shown", "clicked")):
            lines = [line for _, _, body in rows if isinstance(line := decode(body), Shown | Clicked)]
            mine = [line for line in lines if (line.ad.decision_id, line.ad.ad_index) in wanted]
            verdicts = reader.verdicts([line.event_id for line in mine])
            for line in mine:
                verdict = verdicts.get(line.event_id)
                if verdict is not None and verdict.fate in COUNTED:
                    found[isinstance(line, Clicked)].add((line.ad.decision_id, line.ad.ad_index))
    finally:
        reader.close()
    folder = data / "archive"
    hours = archive.hours(folder)
    old = [hour for hour in hours if archive.facts_of(folder, hour).after_position < trimmed]
    refunds = archive.files(folder, hours, "refunds")
    gone = pl.read_parquet(refunds, columns=["target_id"], hive_partitioning=False) if refunds else None
    for kind, keys in zip(("impressions", "clicks"), found, strict=True):
        files = archive.files(folder, old, kind)
        if files:
            columns = ["decision_id", "ad_index", "event_id", "fate"]
            frame = pl.read_parquet(files, columns=columns, hive_partitioning=False)
            if gone is not None:
                frame = frame.join(gone, left_on="event_id", right_on="target_id", how="anti")
            frame = frame.filter(pl.col("fate").is_in(list(COUNTED)))
            keys.update(set(frame.select("decision_id", "ad_index").iter_rows()) & wanted)
    return found


def own_log_table(one: OwnLog) -> str:
    """A line for each policy, in clicks of 1,000 impressions and in money."""
    head = (
        f"{one.decisions:,} decisions drawn by lot and seen, {one.clicks:,} clicks; clicks of 1,000 "
        "impressions, then what these are worth at the bids, with 95 % intervals"
    )
    columns = f"{'IPS':>30}{'SNIPS':>30}{'doubly robust':>30}"
    lines = [head, f"{'policy':20}{columns}{'effective':>11}"]
    for worth in (one.logged, *one.policies):
        ctr = "".join(f"{_interval(worth.ctr[name], 1e3):>30}" for name in ("ips", "snips", "doubly_robust"))
        ecpm = "".join(
            f"{_interval(worth.ecpm[name], 1.0):>30}" for name in ("ips", "snips", "doubly_robust")
        )
        lines += [f"{worth.policy:20}{ctr}{worth.effective:>11,.0f}", f"{'  eCPM':20}{ecpm}"]
    return "\n".join(lines)


def _interval(one: Estimate, times: float) -> str:
    return f"{one.value * times:,.2f} [{one.low * times:,.2f}, {one.high * times:,.2f}]"
