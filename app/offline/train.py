"""`adjudge train`: a model of a node's own archive, as a file that nodes load without a restart.

Progressive, as a node learns: each impression is predicted, then learned; its click is known by then. What
the file tells of NE and calibration are those predictions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from app.domain.ids import HOUR_MS
from app.domain.refusals import Refused
from app.journal.models import encode_model
from app.offline.archived import Archived, Hour, Universe
from app.offline.replay import check_size, warm
from app.rules.evaluation import Metrics, measure
from app.rules.ftrl import Rates
from app.rules.ftrl_learner import ftrl_learner
from app.rules.learner import F64, Learner, Samples, State, copy_of
from app.rules.sampling import corrected, thinned, thinned_space, without_empty
from app.rules.trained import LEARNER, Trained

Progress = Callable[[int, int], None]  # hours done, hours in all


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """What to learn and how: [from_ms, to_ms) in whole hours, None: as far as the archive reaches.

    `keep` is the share of the non-clicks that is learned; so many hours in a row (`partitions`) are learned
    apart, each from the model of those before, and merged.
    """

    from_ms: int | None = None
    to_ms: int | None = None
    keep: float = 1.0
    partitions: int = 1
    prior: float = 0.01
    rates: Rates = field(default_factory=Rates)


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A trained model as a file's bytes, and the facts that stand in it."""

    content: bytes
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """The name that a node keeps it under."""
        return sha256(self.content).hexdigest()


def train_archive(folder: Path, plan: TrainPlan, progress: Progress | None = None) -> TrainResult:
    """Learn the impressions of an archive's hours in order.

    The same archive and plan give the same bytes.
    Cost    some 15 us an impression, 20 bytes for each row x column that the archive lights.
    Errors  Refused: `not_whole_hours`, `no_archive`, `no_samples`, `too_large`.
    """
    archived = Archived(folder, _hour(plan.from_ms, "from"), _hour(plan.to_ms, "to"))
    universe = archived.universe()
    space = universe.space(plan.prior)
    check_size(space, LEARNER)
    warm(ftrl_learner)
    learner = ftrl_learner(thinned_space(space, plan.keep), plan.rates)
    learning = _Learning(learner, plan.keep)
    left_out: dict[str, int] = {}
    done = 0
    for some in _in_groups(archived.samples(universe), plan.partitions):
        learning.take([hour.samples for hour in some])
        for hour in some:
            for reason, count in hour.left_out.items():
                left_out[reason] = left_out.get(reason, 0) + count
        done += len(some)
        if progress is not None:
            progress(done, len(archived.hours))
    if not learning.impressions:
        raise Refused("no_samples", "no impression of that time may be learned", "archive")
    facts = {
        "from": _time(archived.hours[0]), "to": _time(archived.hours[-1] + 1), "hours": len(archived.hours),
        **archived.span(), "impressions": learning.impressions,
        "clicks": learning.clicks, "learned": learning.learned, "left_out": left_out,
        "keep": plan.keep, "partitions": plan.partitions, **learning.figures(),
    }  # fmt: skip
    model = trained_of(learning.state, universe, space.prior_logit, plan.rates)
    facts["cells"] = model.row.size
    return TrainResult(encode_model(model, facts), facts)


def trained_of(state: State, universe: Universe, prior_logit: float, rates: Rates) -> Trained:
    """Take the cells that learned something out of a learner's state.

    What was learned of a thinned log stands beside that log's prior, so that beside the whole log's own the
    same cells give what is asked for (`sampling.corrected` in logits).
    """
    width = len(universe.column_at)
    cells = np.flatnonzero((state["n"] != 0.0) | (state["z"] != 0.0))
    return Trained(
        prior_logit=prior_logit, rates=rates, row_numbers=universe.row_numbers,
        placements={at: name for name, at in universe.placement_at.items()},
        columns=tuple(universe.column_at),
        row=(cells // width).astype(np.uint16), column=(cells % width).astype(np.uint32),
        z=state["z"][cells], n=state["n"][cells],
    )  # fmt: skip


class _Learning:
    """A learner on its way through the hours, and the predictions that it made before it learned."""

    def __init__(self, learner: Learner, keep: float) -> None:
        self.learner, self.keep = learner, keep
        self.state: State = learner.fresh()
        self.impressions = self.clicks = self.learned = 0
        self._told: list[tuple[F64, F64, F64]] = []

    def take(self, hours: Sequence[Samples]) -> None:
        """Learn some hours: one alone sample by sample, several apart and merged."""
        kept = []
        for samples in hours:
            thin = without_empty(thinned(samples, self.keep, self.impressions))
            self.impressions += len(samples)
            self.clicks += int(samples.clicks.sum())
            kept.append(thin)
        if len(kept) == 1:
            predicted = [self.learner.learn(self.state, kept[0])]
        else:
            predicted = [self.learner.predict(self.state, each) for each in kept]
            self._learn_apart(kept)
        for q, samples in zip(predicted, kept, strict=True):
            self.learned += len(samples)
            # Each that was kept stands for as many as were not: the figures are those of the whole.
            stands_for = samples.clicks + (samples.impressions - samples.clicks) / self.keep
            self._told.append((corrected(q, self.keep), stands_for, samples.clicks))

    def _learn_apart(self, parts: Sequence[Samples]) -> None:
        assert self.learner.merge is not None
        shards = [copy_of(self.state) for _ in parts]
        with ThreadPoolExecutor(min(len(parts), os.cpu_count() or 1)) as pool:
            list(pool.map(self.learner.learn, shards, parts))
        self.state = self.learner.merge(self.state, shards)

    def figures(self) -> dict[str, Any]:
        """Say how good the predictions were, over all and over the later half."""
        p, impressions, clicks = (np.concatenate(each) for each in zip(*self._told, strict=True))
        half = p.size // 2
        later: Metrics = measure(p[half:], impressions[half:], clicks[half:])
        return {"all": asdict(measure(p, impressions, clicks)), "second_half": asdict(later)}


def train_table(result: TrainResult, out: Path) -> str:
    """What was learned, and how good the predictions were on the way."""
    facts = result.facts
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in sorted(facts["left_out"].items()))
    lines = [
        f"{facts['from']} to {facts['to']}: {facts['impressions']:,} impressions, {facts['clicks']:,} clicks"
        + (f"; left out: {left_out}" if left_out else ""),
        f"{'':14}{'log loss':>10}{'NE':>10}{'AUC':>10}{'calibration':>13}",
    ]
    for name, label in (("all", "all"), ("second_half", "second half")):
        figures = [_figure(facts[name][key]) for key in ("log_loss", "ne", "auc", "calibration")]
        lines.append(f"{label:14}" + "".join(f"{one:>10}" for one in figures[:3]) + f"{figures[3]:>13}")
    lines.append(f"{facts['cells']:,} cells, {len(result.content):,} bytes written to {out}")
    lines.append(f"sha256 {result.name}")
    return "\n".join(lines) + "\n"


def write_whole(out: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all.

    Errors  Refused `not_writable`.
    """
    making = out.with_name(f".{out.name}.making")
    try:
        making.write_bytes(content)
        making.replace(out)
    except OSError as broken:
        raise Refused("not_writable", f"{out}: {broken.strerror}", "out") from broken


def read_time_ms(text: str, name: str) -> int:
    """Read an RFC 3339 time, or a date; without an offset it is UTC, as the archive's days are.

    Errors  Refused `not_a_time`.

    >>> read_time_ms("1970-01-01T09:00:00+09:00", "from"), read_time_ms("1970-01-02", "from")
    (0, 86400000)
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Refused("not_a_time", f"{name}: an RFC 3339 time or a date, not {text!r}", name) from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _hour(at_ms: int | None, name: str) -> int | None:
    if at_ms is None:
        return None
    if at_ms % HOUR_MS:
        raise Refused("not_whole_hours", f"{name}: the archive is learned by whole hours", name)
    return at_ms // HOUR_MS


def _in_groups(hours: Iterator[Hour], size: int) -> Iterator[list[Hour]]:
    """Put hours together, but for the first: what is learned apart needs a model to begin at."""
    group: list[Hour] = []
    first = True
    for hour in hours:
        group.append(hour)
        if first or len(group) == size:
            yield group
            group, first = [], False
    if group:
        yield group


def _time(hour: int) -> str:
    return datetime.fromtimestamp(hour * HOUR_MS / 1000, UTC).isoformat().replace("+00:00", "Z")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.6f}"
