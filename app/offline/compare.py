"""`adjudge compare`: several models over one click log, each sample predicted before it is learned.

Which models there are is one table; the figures of the later half of the log are what counts, since every
model had the first half to learn from. The truth, where a log tells it, stands beside them.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np

from app.domain.refusals import Refused
from app.offline import rivals
from app.offline.late import WAYS, Late, Learnt
from app.offline.logs import Log, read_log
from app.offline.replay import MODELS as LEARNERS
from app.offline.replay import check_size, encoded, keeping, progressive
from app.offline.rivals import Predicted, Run
from app.offline.schema import Schema, read_schema
from app.rules.evaluation import Gap, Metrics, measure, paired_gap
from app.rules.ftrl import Rates
from app.rules.learner import F64, Samples, Space, used_bytes

TRUTH = "the truth"
# What a model of another's is made with, and by which function.
RIVALS: dict[str, tuple[str, Run]] = {
    "trees": ("lightgbm", rivals.trees_and_linear),
    "vw": ("vowpalwabbit", rivals.vowpal_wabbit_main),
    "vw-crosses": ("vowpalwabbit", rivals.vowpal_wabbit_crosses),
    "river": ("river", rivals.river_main),
}
MODELS = (*LEARNERS, *RIVALS)
_SETTINGS = {"alpha": "alpha_main", "cross_alpha": "alpha_cross", "l1": "l1_main", "cross_l1": "l1_cross"}

Progress = Callable[[str], None]  # the name of the model that begins


@dataclass(frozen=True, slots=True)
class Entry:
    """One model's figures; `gap` is its NE less that of the first model."""

    model: str
    samples_per_s: float | None
    bytes: int | None
    all: Metrics
    second_half: Metrics
    gap: Gap | None
    p: F64 = field(repr=False)


@dataclass(frozen=True, slots=True)
class Comparison:
    """All models' figures over a log. Units: seconds of predicting and learning, reading left out."""

    log: str
    samples: Samples = field(repr=False)
    entries: tuple[Entry, ...] = ()
    counted: Literal["clicks", "conversions"] = "clicks"  # what the labels of the log tell

    def as_json(self) -> dict[str, Any]:
        """The shape that `compare --json` prints."""
        models = []
        for entry in self.entries:
            told = {one.name: getattr(entry, one.name) for one in fields(entry) if one.name != "p"}
            told |= {name: asdict(told[name]) for name in ("all", "second_half")}
            models.append(told | {"gap": None if entry.gap is None else asdict(entry.gap)})
        clicks = int(self.samples.clicks.sum())
        return {"log": self.log, "samples": len(self.samples), "clicks": clicks, "models": models}


def compare_file(
    log: Path, schema: Path, models: Iterable[str], most: int | None = None, progress: Progress | None = None
) -> Comparison:
    """Run models over the first `most` rows of a log, one after the other.

    A log whose schema tells a `delay` is compared over WAYS of learning from labels that come late.
    Errors  Refused: unknown_model, bad_setting, not_installed; the schema's; the log's; too_large.
    """
    models = list(models)
    ways = [name for name in models if name in WAYS]
    chosen = [(name, *model_of(name)) for name in models if name not in WAYS]
    read = read_schema(schema)
    if (read.delay is not None and chosen) or (read.delay is None and ways):
        late = "labels of this log come late" if chosen else "the schema tells no delay"
        known = ", ".join(WAYS if chosen else MODELS)
        raise Refused(
            "unknown_model", f"{chosen[0][0] if chosen else ways[0]}: {late}; known: {known}", "models"
        )
    if ways:
        return _compare_late(log, read, schema.parent, ways, most, progress)
    rows = read_log(log, read, schema.parent)
    space, samples = encoded(rows, read)
    if most is not None:
        samples = samples.part(0, most)
    runs = []
    for name, run, rates in chosen:
        if progress is not None:
            progress(name)
        runs.append((name, run(space, samples, rates)))
    return compared(log.name, samples, runs, _truth(rows, len(samples)))


def _compare_late(
    log: Path, schema: Schema, folder: Path, ways: list[str], most: int | None, progress: Progress | None
) -> Comparison:
    """Run ways of learning from late labels: each row is predicted from what had come by its moment.

    What comes so late is a click's conversion.
    """
    rows = read_log(log, schema, folder)
    assert rows.at_s is not None
    assert rows.late_s is not None
    assert rows.late_by is not None
    space, samples = encoded(rows, schema)
    check_size(space, "ftrl")
    count = len(samples) if most is None else min(most, len(samples))
    samples = samples.part(0, count)
    truth = np.full(count, np.nan) if rows.truth is None else rows.truth[:count]
    late = Late(
        space, samples.rows, samples.columns, rows.at_s[:count], rows.late_by[:count],
        int(rows.late_by.max()) + 1, truth, samples.clicks > 0.0, np.nan_to_num(rows.late_s[:count]),
    )  # fmt: skip
    runs = []
    for way in ways:
        if progress is not None:
            progress(way)
        started = perf_counter()
        p = Learnt(late).predict(way)
        runs.append((way, Predicted(p, perf_counter() - started, None)))
    return replace(compared(log.name, samples, runs, _truth(rows, count)), counted="conversions")


def _truth(rows: Log, count: int) -> F64 | None:
    return None if rows.truth is None else rows.truth[:count]


def compared(
    name: str, samples: Samples, runs: list[tuple[str, Predicted]], truth: F64 | None = None
) -> Comparison:
    """Measure predictions, the truth's first where it is known."""
    half = len(samples) // 2
    later = samples.part(half, len(samples))
    entries = []
    if truth is not None:
        entries.append(_entry(TRUTH, None, truth, samples, None))
    for model, run in runs:
        first = runs[0][1].p[half:]
        gap = (
            paired_gap(run.p[half:], first, later.impressions, later.clicks) if model != runs[0][0] else None
        )
        entries.append(_entry(model, run, run.p, samples, gap))
    return Comparison(name, samples, tuple(entries))


def _entry(model: str, run: Predicted | None, p: F64, samples: Samples, gap: Gap | None) -> Entry:
    half = len(samples) // 2
    later = samples.part(half, len(samples))
    return Entry(
        model=model,
        samples_per_s=None if run is None else len(samples) / max(run.seconds, 1e-9),
        bytes=None if run is None else run.bytes,
        all=measure(p, samples.impressions, samples.clicks),
        second_half=measure(p[half:], later.impressions, later.clicks),
        gap=gap,
        p=p,
    )


def model_of(name: str) -> tuple[Run, Rates]:
    """What a model's name means: `ftrl`, or `ftrl:cross_alpha=0.05:l1=1` with settings of its own.

    >>> model_of("main:alpha=0.05")[1].alpha_main
    0.05
    """
    model, *settings = name.split(":")
    if model in LEARNERS:
        keep = [one for one in settings if one.startswith("keep=")]
        rates = _rates([one for one in settings if one not in keep])
        return _learner_run(model, _keep(keep[-1]) if keep else 1.0), rates
    if model not in RIVALS:
        raise Refused("unknown_model", f"no model {model!r}; known: {', '.join(MODELS)}", "models")
    package, run = RIVALS[model]
    if not rivals.installed(package):
        message = f"{model} needs {package}: pip install 'adjudge[compare]'"
        raise Refused("not_installed", message, "models")
    return run, _rates(settings)


def _keep(setting: str) -> float:
    """Read the share of the non-clicks that a learner of ours learns: `ftrl:keep=0.1`."""
    try:
        keep = float(setting.removeprefix("keep="))
    except ValueError:
        keep = 0.0
    if not 0.0 < keep <= 1.0:
        raise Refused("bad_setting", f"{setting}: a share above 0 and at most 1", "models")
    return keep


def _rates(settings: list[str]) -> Rates:
    rates = Rates()
    for setting in settings:
        name, _, value = setting.partition("=")
        known = _SETTINGS.get(name, name)
        if known not in {one.name for one in fields(Rates)}:
            raise Refused("bad_setting", f"no setting {name!r} of a model", "models")
        try:
            rates = replace(rates, **{known: float(value)})
        except ValueError:
            raise Refused("bad_setting", f"{name} is a number, not {value!r}", "models") from None
    return rates


def _learner_run(model: str, keep: float = 1.0) -> Run:
    make = keeping(LEARNERS[model], keep)

    def run(space: Space, samples: Samples, rates: Rates) -> Predicted:
        check_size(space, model)
        learner = make(space, rates)
        learner.learn(learner.fresh(), samples.part(0, 1))  # kernels for these very types, before the clock
        started = perf_counter()
        state = learner.fresh()
        p = progressive(learner, samples, state=state)
        seconds = perf_counter() - started
        return Predicted(p, seconds, used_bytes(state))

    return run


def installed_models() -> list[str]:
    """Every model that can run here."""
    return [*LEARNERS, *(name for name, (package, _) in RIVALS.items() if rivals.installed(package))]


def table(one: Comparison) -> str:
    """The figures of the second half, a line a model."""
    header = f"{'':26}{'log loss':>10}{'NE':>9}{'AUC':>8}{'calibration':>13}{'NE to the first':>22}"
    lines = [f"{header}{'samples/s':>12}{'memory':>12}"]
    for entry in one.entries:
        metrics = entry.second_half
        figures = [_figure(metrics.log_loss, 5), _figure(metrics.ne, 4), _figure(metrics.auc, 4)]
        gap = "" if entry.gap is None else f"{entry.gap.mean:+.4f} +- {entry.gap.half_width:.4f}"
        speed = "" if entry.samples_per_s is None else f"{entry.samples_per_s:,.0f}"
        memory = "" if entry.bytes is None else f"{entry.bytes / 1e6:,.1f} MB"
        lines.append(
            f"{entry.model:26}{figures[0]:>10}{figures[1]:>9}{figures[2]:>8}"
            f"{_figure(metrics.calibration, 3):>13}{gap:>22}{speed:>12}{memory:>12}"
        )
    return "\n".join(lines)


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def predictions_of(one: Comparison) -> dict[str, F64]:
    """Each model's predictions by name."""
    return {entry.model: np.asarray(entry.p) for entry in one.entries}
