"""Experiments: which there are, who was in which arm, what came of it, and what to do about it."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.domain.catalogue import Experiment, Thing, Variant
from app.domain.refusals import Refused
from app.flows import catalogue as flow
from app.flows.experiments import METRICS, ArmFigures, Figure, Findings, findings
from app.flows.node import Node
from app.rules.sequential import ALPHA
from app.state.results import Stage
from app.web.catalogue.parsing import parse
from app.web.catalogue.render import to_document
from app.web.catalogue.routes import merged
from app.web.console.figures import Cell, Column, Interval, Link, Table
from app.web.console.frame import Form, caller_of, form_of, may, node_of, page, problems_of
from app.web.console.pages import ROOT
from app.web.problems import status_of

EXPERIMENTS = f"{ROOT}/experiments"
LEAST_IMPRESSIONS = 1_000
# What is told of each arm: the metric, how it is called, as what it is written, and whether more is better.
TOLD: tuple[tuple[str, str, str, bool | None], ...] = (
    ("ctr", "CTR", "percent", True),
    ("ecpm", "eCPM", "number", True),
    ("revenue", "revenue of 1,000 placements", "number", True),
    ("fill", "fill", "percent", True),
    ("cvr", "CVR", "percent", True),
    ("calibration", "predicted / actual clicks", "number", None),
    ("log_loss", "log loss, nats", "number", False),
    ("latency_ms", "decision time, ms", "number", False),
)
assert {*METRICS, "latency_ms"} == {name for name, *_ in TOLD}


class _Changed:
    """What a form asks for, as the API's own patch."""

    def __init__(self, form: Form, known: Experiment) -> None:
        self.action = form.get("action", "")
        self.changes: dict[str, Any] = {}
        match self.action:
            case "ramp":
                shares = {each.name: form.get(f"variants.{each.name}.share", "") for each in known.variants}
                self.changes["variants"] = {
                    name: {"share": share_of(text)} for name, text in shares.items() if text.strip()
                }
            case "stop":
                self.changes["status"] = "paused"
            case "start":
                self.changes["status"] = "active"
            case "promote":
                self.changes["promoted"] = form.get("promoted", "")
            case _:
                raise Refused("invalid", "what is to be done?", "action")


async def experiments(request: Request) -> Response:
    """List all experiments, those that run first."""
    node = node_of(request)
    known = node.state.catalogue.things["experiment"].values()
    things = [each for each in known if isinstance(each, Experiment)]
    rows: list[list[Cell]] = []
    for each in sorted(things, key=lambda thing: (not thing.runs, thing.status == "archived", thing.id)):
        found = findings(node, each.id)
        rows.append(
            [
                Link(each.id, f"{EXPERIMENTS}/{each.id}"), each.name, _phase(found),
                ", ".join(_arm_words(variant) for variant in each.variants),
                sum(round(arm.sums["decisions"]) for arm in found.arms),
                found.stages[0].begun_at_ms if found.stages else None,
            ]
        )  # fmt: skip
    columns = [
        Column("experiment"), Column("name"), Column("state"), Column("variants beside the control"),
        Column("placements decided", "number"), Column("since", "time"),
    ]  # fmt: skip
    table = Table(
        id="experiments", title="All experiments", columns=columns, rows=rows, empty="No experiment yet."
    )
    return page(request, "experiments.html", table=table, writes=may(request, "POST", "/v1/experiments"))


async def experiment(request: Request) -> Response:
    """Show one experiment; a form ramps, stops or promotes it, with the API's own checks."""
    node, identity = node_of(request), request.path_params["id"]
    if request.method != "POST":
        return _shown(request, findings(node, identity))
    found, form = findings(node, identity), form_of(request)
    try:
        changed = _Changed(form, found.experiment)
        revision = form.get("revision", "")
        match = frozenset({int(revision)}) if revision.isdigit() and len(revision) < 19 else frozenset[int]()
        zone = node.settings.fold.time_zone

        def edit(thing: Thing) -> Thing:
            return parse("experiment", merged(to_document(thing), changed.changes), zone, identity).thing

        await flow.patch(node, "experiment", identity, match, edit, caller_of(request))
    except Refused as refused:
        return _shown(request, found, dict(form), refused)
    return RedirectResponse(f"{EXPERIMENTS}/{identity}", 303)


def _shown(
    request: Request, found: Findings, typed: dict[str, str] | None = None, refused: Refused | None = None
) -> Response:
    node, its = node_of(request), found.experiment
    reads = may(request, "GET", f"/v1/experiments/{its.id}/results")
    tables = [_compared(each, found.arms[0], node) for each in found.arms[1:]] if reads else []
    return page(
        request, "experiment.html", status=status_of(refused.code) if refused else 200,
        problems=problems_of(refused) if refused else {}, typed=typed or {}, found=found, its=its,
        phase=_phase(found), revision=node.state.catalogue.revision("experiment", its.id), alpha=ALPHA,
        writes=may(request, "PATCH", f"/v1/experiments/{its.id}") and its.promoted is None, reads=reads,
        exposure=_exposure(found) if reads else None, verdicts=_verdicts(found) if reads else [],
        tables=tables, shadows=_shadows(found) if reads and found.shadows else None, stages=_stages(found),
        promotable=[(each.name, each.name) for each in its.served],
        settings=[(each, _settings(each)) for each in its.variants],
    )  # fmt: skip


def share_of(text: str) -> Any:
    """Read a share as people write it, `10` or `10 %`; what is no number is left for the API to refuse.

    >>> share_of("10 %"), share_of("12.5"), share_of("many")
    (0.1, 0.125, 'many')
    """
    try:
        return round(float(text.replace("%", "").strip()) / 100.0, 10)
    except ValueError:
        return text


def _phase(found: Findings) -> str:
    if found.phase == "promoted":
        return f"promoted: {found.experiment.promoted}"
    return found.phase


def _arm_words(variant: Variant) -> str:
    return f"{variant.name} {100 * variant.share:g} %" + (" (looks on)" if variant.shadow else "")


def _settings(variant: Variant) -> str:
    """Tell what a variant does otherwise, as its document does."""
    told = to_document(Experiment(id="x", variants=(variant,)))["variants"]
    own = told[variant.name] if isinstance(told, dict) else {}
    other = {name: value for name, value in own.items() if name not in ("name", "share", "shadow")}
    learner = other.pop("learner", None) or {}
    told_of = {**{f"learner {name}": value for name, value in learner.items()}, **other}
    said = ", ".join(f"{name} {value}" for name, value in told_of.items() if value is not None)
    return said or "nothing otherwise"


def _exposure(found: Findings) -> Table:
    """Tell who got whom: the shares that were set, and those of the decisions that came."""
    total = sum(arm.sums["decisions"] for arm in found.arms)
    columns = [
        Column("arm"), Column("share now", "percent"), Column("of all that was decided", "percent"),
        Column("placements decided", "number"), Column("impressions", "number"), Column("clicks", "number"),
        Column("conversions", "number"), Column("revenue", "money"),
    ]  # fmt: skip
    rows: list[list[Cell]] = [
        [
            arm.name, arm.share, arm.sums["decisions"] / total if total else None,
            *(round(arm.sums[name]) for name in ("decisions", "impressions", "clicks", "conversions")),
            arm.sums["revenue_micros"],
        ]
        for arm in found.arms
    ]  # fmt: skip
    thin = _thin_arms(found.arms)
    return Table(
        id="exposure", title="Exposure", columns=columns, rows=rows, thin=thin,
        why_thin=f"fewer than {LEAST_IMPRESSIONS:,} impressions", empty="Nothing was decided by it yet.",
    )  # fmt: skip


def _thin_arms(arms: list[ArmFigures]) -> frozenset[int]:
    return frozenset(at for at, arm in enumerate(arms) if arm.sums["impressions"] < LEAST_IMPRESSIONS)


def _compared(arm: ArmFigures, control: ArmFigures, node: Node) -> Table:
    """Hold an arm against the control, metric by metric; CSV has the bounds, too."""
    columns = [
        Column("metric"), Column("control"), Column(arm.name), Column("difference"),
        Column("lift", "percent"), Column("verdict"),
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    thin = []
    for at, (name, called, kind, more_is_better) in enumerate(TOLD):
        own, base = arm.metrics[name], control.metrics[name]
        in_unit = f", {node.settings.currency}" if name in ("ecpm", "revenue") else ""
        gap = Figure(value=own.difference, low=own.difference_low, high=own.difference_high)
        rows.append(
            [
                called + in_unit, _words(base, kind), _words(own, kind), _words(gap, kind, signed=True),
                own.lift, _verdict(own, more_is_better),
            ]
        )  # fmt: skip
        if own.difference_low is None:
            thin.append(at)
    return Table(
        id=f"results-{arm.name}", title=f"{arm.name} against the control", columns=columns, rows=rows,
        thin=frozenset(thin), why_thin="too few users had such an event for an interval",
    )  # fmt: skip


def _words(figure: Figure, kind: str, *, signed: bool = False) -> str | None:
    """Write a value with its interval: metrics of several kinds share a column.

    >>> _words(Figure(value=0.0123, low=0.01, high=0.015), "percent")
    '1.23 % (1.00 to 1.50)'
    """
    if figure.value is None:
        return None
    scale, unit = (100.0, " %") if kind == "percent" else (1.0, "")
    size = abs(figure.value * scale)
    places = 0 if size >= 1000 else 2 if size >= 0.1 or size == 0 else 4

    def one(value: float) -> str:
        return f"{value * scale:{'+' if signed else ''},.{places}f}"

    told = one(figure.value) + unit
    if figure.low is None or figure.high is None:
        return told
    return f"{told} ({one(figure.low)} to {one(figure.high)})"


def _verdict(figure: Figure, more_is_better: bool | None) -> str:
    match figure.verdict:
        case "higher" | "lower" if more_is_better is not None:
            better = (figure.verdict == "higher") == more_is_better
            return f"{figure.verdict}: {'better' if better else 'worse'}"
        case None | "undecided":
            return "undecided"
        case other:
            return other


def _verdicts(found: Findings) -> list[tuple[str, str, str]]:
    """Tell in a word per arm what revenue and CTR say: the arm, its state for the eye, and the words."""
    told = []
    for arm in found.arms[1:]:
        said = [(name, arm.metrics[name]) for name in ("revenue", "ecpm", "ctr")]
        clear = [(name, figure) for name, figure in said if figure.verdict in ("higher", "lower")]
        if not clear:
            told.append((arm.name, "", "undecided so far"))
            continue
        words = ", ".join(
            f"{name.replace('ecpm', 'eCPM').replace('ctr', 'CTR')} {figure.verdict}"
            + (f" by {abs(figure.lift):.1%}" if figure.lift is not None else "")
            for name, figure in clear
        )
        told.append((arm.name, "bad" if any(each.verdict == "lower" for _, each in clear) else "", words))
    return told


def _shadows(found: Findings) -> Table:
    columns = [
        Column("looks on"), Column("decisions", "number"), Column("would have chosen otherwise", "percent"),
        Column("eCPM served", "number", "", 0), Column("eCPM by its own lights", "number", "", 0),
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    for each in found.shadows:
        figure = each.differing
        differing: Cell = figure.value
        if figure.value is not None and figure.low is not None and figure.high is not None:
            differing = Interval(figure.value, figure.low, figure.high)
        rows.append([each.name, each.decisions, differing, each.served_ecpm, each.would_be_ecpm])
    return Table(id="shadows", title="Those who only look on", columns=columns, rows=rows)


def _stages(found: Findings) -> Table:
    columns = [Column("shares"), Column("since", "time")]
    rows: list[list[Cell]] = [[_shares(stage), stage.begun_at_ms] for stage in reversed(found.stages)]
    return Table(
        id="stages", title="Stages, the latest first", columns=columns, rows=rows,
        empty="It has not decided anything yet.",
    )  # fmt: skip


def _shares(stage: Stage) -> str:
    named = zip(stage.names, stage.shares, strict=False)
    return ", ".join(f"{name} {100 * share:g} %" for name, share in named)
