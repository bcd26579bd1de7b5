"""What came of an experiment: each arm's figures, and how they differ from the control's, at any look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from app.domain.catalogue import Experiment
from app.domain.money import MICROS
from app.domain.refusals import Refused
from app.flows.decision_times import Moments
from app.rules.sequential import Effect, Estimate, effect, interval, ratio, verdict
from app.state.arms import Arm
from app.state.results import FIELD, Stage

if TYPE_CHECKING:
    from app.flows.node import Node

# What is divided by what, and in which unit it is told.
METRICS: dict[str, tuple[str, str, float]] = {
    "ctr": ("clicks", "impressions", 1.0),
    "ecpm": ("revenue_micros", "impressions", 1000.0 / MICROS),
    "revenue": ("revenue_micros", "decisions", 1000.0 / MICROS),  # of 1,000 placements asked for
    "fill": ("filled", "decisions", 1.0),
    "cvr": ("conversions", "clicks", 1.0),
    "calibration": ("predicted", "clicks", 1.0),
    "log_loss": ("loss", "impressions", 1.0),
}
LATENCY = "latency_ms"
SUMS = ("decisions", "filled", "impressions", "clicks", "conversions", "revenue_micros")
SHARED_NOTE = (
    "Variants share data and budgets: all learn from what one of them explores, and what one spends is "
    "missing to all. What exploration or another learner gains is understated."
)
ISOLATED_NOTE = (
    "Variants learn from their own bucket alone and have their share of each budget: they are compared as if "
    "each was the whole node with so much less to learn from."
)


class Figure(Struct, frozen=True, kw_only=True):
    """A value and where it lies; against the control where there is one. Intervals hold at every look."""

    value: float | None
    low: float | None = None
    high: float | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    lift: float | None = None  # the difference as a share of the control's
    verdict: str | None = None  # higher, lower or undecided; None for the control


class ModelFigures(Struct, frozen=True, kw_only=True):
    """A variant's own model beside the default's, over the impressions of everybody."""

    impressions: int
    predicted_clicks: float
    default_predicted_clicks: float
    log_loss: float | None
    default_log_loss: float | None
    difference: Figure


class ExplorationFigures(Struct, frozen=True, kw_only=True):
    """What exploring by a scale of its own costs a variant, as a share of greedy choices' eCPM, lately."""

    scale: float
    factor: float
    cost: float


class ArmFigures(Struct, frozen=True, kw_only=True):
    """One arm. Units: sums of money in micros. `seats` are its numbers in reports, by stage."""

    name: str
    share: float
    seats: list[int]
    sums: dict[str, float]
    metrics: dict[str, Figure]
    model: ModelFigures | None
    exploration: ExplorationFigures | None


class ShadowFigures(Struct, frozen=True, kw_only=True):
    """One that only looks on: how often it would have chosen otherwise, and what was to be paid then."""

    name: str
    share: float
    decisions: int
    differing: Figure
    served_ecpm: float | None
    would_be_ecpm: float | None
    model: ModelFigures | None


class Findings(Struct, frozen=True, kw_only=True):
    """Everything about one experiment."""

    experiment: Experiment
    phase: str  # forming, serving, stopped or promoted
    note: str
    stages: list[Stage]
    arms: list[ArmFigures]
    shadows: list[ShadowFigures]


def findings(node: Node, experiment_id: str) -> Findings:
    """Look at an experiment as it stands.

    Cost    some 2 ms.
    Errors  Refused `not_found`.
    """
    state = node.state
    experiment = state.catalogue.get("experiment", experiment_id)
    if not isinstance(experiment, Experiment):
        raise Refused("not_found", f"there is no experiment {experiment_id}", "id")
    told = state.experiments.results.of_experiment(experiment_id)
    stages = [stage for stage, _ in told]
    tables = np.array([table for _, table in told]) if told else None  # (stages, arms, FIELDS, BUCKETS)
    phase = "stopped"
    if experiment.promoted is not None:
        phase = "promoted"
    elif experiment.runs:
        phase = "serving" if state.experiments.stage is not None else "forming"
    served = [variant.name for variant in experiment.served]
    shares = [variant.share for variant in experiment.served]
    exploring = {arm.name: _exploration(arm) for arm in state.experiments.arms if experiment.runs}
    arms, shadows = [], []
    if tables is not None:
        times = node.decision_times.by_seat
        for at, (name, share) in enumerate(
            zip(["control", *served], [1.0 - sum(shares), *shares], strict=True)
        ):
            seats = [stage.first + at for stage in stages]
            its = times.get(seats[-1]), times.get(stages[-1].first)
            control = tables[:, 0] if at else None
            arms.append(_arm(name, share, seats, tables[:, at], control, its, exploring.get(name)))
        for at, variant in enumerate(experiment.shadows, start=1 + len(served)):
            shadows.append(_shadow(variant.name, variant.share, tables[:, at]))
    return Findings(
        experiment=experiment, phase=phase, note=ISOLATED_NOTE if experiment.isolated else SHARED_NOTE,
        stages=stages, arms=arms, shadows=shadows,
    )  # fmt: skip


def _arm(
    name: str, share: float, seats: list[int], table: NDArray[np.float64],
    control: NDArray[np.float64] | None, times: tuple[Moments | None, Moments | None],
    exploration: ExplorationFigures | None,
) -> ArmFigures:  # fmt: skip
    metrics = {}
    for metric, (top, bottom, unit) in METRICS.items():
        above, below = table[:, FIELD[top]] * unit, table[:, FIELD[bottom]]
        found = None
        if control is not None:
            found = effect(above, below, control[:, FIELD[top]] * unit, control[:, FIELD[bottom]])
        metrics[metric] = _figure(ratio(above, below), found, compared=control is not None)
    metrics[LATENCY] = _latency(*times, compared=control is not None)
    sums = {field: float(table[:, FIELD[field]].sum()) for field in SUMS}
    return ArmFigures(
        name=name, share=share, seats=seats, sums=sums, metrics=metrics, model=_model(table),
        exploration=exploration,
    )  # fmt: skip


def _exploration(arm: Arm) -> ExplorationFigures | None:
    scale = arm.variant.exploration_scale if arm.variant is not None else None
    if scale is None:
        return None
    explored = arm.exploration
    return ExplorationFigures(scale=scale, factor=explored.factor, cost=explored.cost)


def _figure(own: Estimate | None, found: Effect | None, *, compared: bool) -> Figure:
    if own is None:
        return Figure(value=None, verdict="undecided" if compared else None)
    low, high = interval(own, own.value) or (None, None)
    figure = Figure(value=own.value, low=low, high=high, verdict="undecided" if compared else None)
    if found is None:
        return figure
    bounds = interval(found.difference, found.control)
    gap = found.difference.value
    return Figure(
        value=own.value, low=low, high=high, difference=gap,
        difference_low=bounds[0] if bounds else None, difference_high=bounds[1] if bounds else None,
        lift=gap / found.control if found.control else None, verdict=verdict(bounds),
    )  # fmt: skip


def _latency(own: Moments | None, control: Moments | None, *, compared: bool) -> Figure:
    """Compare the mean times of decisions of the present stage, of this process."""
    if own is None:
        return Figure(value=None, verdict="undecided" if compared else None)
    mine = _in_ms(own)
    if not compared or control is None:
        return _figure(mine, None, compared=compared)
    base = _in_ms(control)
    gap = Estimate(mine.value - base.value, mine.variance + base.variance)
    return _figure(mine, Effect(gap, base.value), compared=True)


def _in_ms(moments: Moments) -> Estimate:
    estimate = moments.estimate
    return Estimate(estimate.value * 1e3, estimate.variance * 1e6)


def _model(table: NDArray[np.float64]) -> ModelFigures | None:
    """Compare an arm's own model with the default's; None where it has none, or has judged nothing."""
    sums = {
        name: float(table[:, FIELD[name]].sum())
        for name in ("judged", "own_predicted", "default_predicted", "own_loss", "default_loss")
    }
    judged = sums["judged"]
    if not judged:
        return None
    gap = table[:, FIELD["own_loss"]] - table[:, FIELD["default_loss"]]
    found = ratio(gap, table[:, FIELD["judged"]])
    level = sums["default_loss"] / judged
    bounds = interval(found, level) if found is not None else None
    value = found.value if found is not None else None
    low, high = bounds or (None, None)
    return ModelFigures(
        impressions=round(judged), predicted_clicks=sums["own_predicted"],
        default_predicted_clicks=sums["default_predicted"], log_loss=sums["own_loss"] / judged,
        default_log_loss=level, difference=Figure(value=value, low=low, high=high, verdict=verdict(bounds)),
    )  # fmt: skip


def _shadow(name: str, share: float, table: NDArray[np.float64]) -> ShadowFigures:
    decisions = table[:, FIELD["decisions"]]
    count = float(decisions.sum())

    def mean(field: str) -> float | None:
        return float(table[:, FIELD[field]].sum()) / count / MICROS if count else None

    return ShadowFigures(
        name=name, share=share, decisions=round(count),
        differing=_figure(ratio(table[:, FIELD["differing"]], decisions), None, compared=False),
        served_ecpm=mean("served_micros"), would_be_ecpm=mean("would_be_micros"), model=_model(table),
    )  # fmt: skip
