"""The offline commands, as `app/cli` registers them: arguments in, text or JSON out, bars on a terminal."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from app.domain.refusals import Refused
from app.flows.attributing import AttributionAsked, attribution_table, run_attribution
from app.offline.compare import MODELS, Comparison, compare_file, installed_models, table
from app.offline.fit import FitResult, fit_file
from app.offline.late import WAYS
from app.offline.off_policy import off_policy_file, off_policy_table
from app.offline.own_log import own_log, own_log_table
from app.offline.replay import ReplayResult, replay_file
from app.offline.report import report_html
from app.offline.schema import read_schema
from app.offline.simulate import Simulated, simulate_file
from app.offline.train import TrainPlan, read_time_ms, train_archive, train_table, write_whole
from app.offline.world.log import LogPlan
from app.rules.attribution import HALF_LIFE_H
from app.rules.evaluation import Metrics
from app.rules.ftrl import Rates


@contextmanager
def _bar(what: str) -> Iterator[tuple[Progress, TaskID]]:
    """A progress bar on standard error, shown on a terminal only."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        yield bar, bar.add_task(what, total=None)


def fit_command(
    samples: Annotated[
        Path, typer.Argument(metavar="SAMPLES.svm", help="libsvm-style lines, plain or gzip.")
    ],
    alpha: Annotated[float, typer.Option(help="Learning rate, for all cells.")],
    beta: Annotated[float, typer.Option(help="Smooths the first steps.")],
    l1: Annotated[float, typer.Option(help="Weights are 0 while |z| is at most this.")],
    l2: Annotated[float, typer.Option(help="Draws weights to 0.")],
    out: Annotated[Path | None, typer.Option(help="Write index, z, n and w here, tab-separated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Learn libsvm-style samples in one pass of the product's FTRL kernel."""
    with _bar("fit") as (bar, task):
        bar.update(task, total=samples.stat().st_size if samples.is_file() else None)
        rates = Rates(alpha, alpha, beta, l1, l1, l2)
        result = fit_file(samples, rates, lambda done: bar.advance(task, done))
        if out is not None:
            result.write(out)
    sys.stdout.write(_fit_json(result, out) if as_json else _fit_text(result, out))


def _fit_json(result: FitResult, out: Path | None) -> str:
    document = {
        "samples": result.samples,
        "impressions": result.impressions,
        "clicks": result.clicks,
        "indexes": len(result.indexes),
        "log_loss": result.log_loss,
        "out": None if out is None else str(out),
    }
    return json.dumps(document) + "\n"


def _fit_text(result: FitResult, out: Path | None) -> str:
    lines = [
        f"samples               {result.samples:,}",
        f"impressions, clicks   {result.impressions:,}, {result.clicks:,}",
        f"indexes               {len(result.indexes):,}" + ("" if out is None else f", written to {out}"),
        f"progressive log loss  {_figure(result.log_loss)}",
    ]
    return "\n".join(lines) + "\n"


def replay_command(
    log: Annotated[Path, typer.Argument(metavar="LOG", help="CSV, TSV, Parquet or JSONL; gzip.")],
    schema: Annotated[Path, typer.Option(help="Which fields light which rows and columns (TOML).")],
    model: Annotated[
        str,
        typer.Option(
            help="ftrl; main: main cells alone; ffm, ffm8: all cells and vectors of 4 or 8 factors; "
            "hctr: historical rates."
        ),
    ] = "ftrl",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    alpha: Annotated[float, typer.Option(help="Learning rate of main cells.")] = 0.1,
    cross_alpha: Annotated[float, typer.Option(help="Learning rate of crosses.")] = 0.02,
    beta: Annotated[float, typer.Option(help="Smooths the first steps.")] = 1.0,
    l1: Annotated[float, typer.Option(help="L1 of main cells.")] = 0.0,
    cross_l1: Annotated[float, typer.Option(help="L1 of crosses.")] = 0.0,
    l2: Annotated[float, typer.Option(help="L2 of all cells.")] = 1.0,
    keep: Annotated[
        float, typer.Option(help="Learn this share of the non-clicks; predictions stay right.", max=1.0)
    ] = 1.0,
) -> None:
    """Predict, then learn, each row of a click log, and say how good the predictions were."""
    rates = Rates(alpha, cross_alpha, beta, l1, cross_l1, l2)
    if keep <= 0.0:
        raise typer.BadParameter("--keep is above 0")
    with _bar("replay") as (bar, task):
        result = replay_file(
            log, schema, model, rates, lambda done, total: bar.update(task, completed=done, total=total), keep
        )
    sys.stdout.write(json.dumps(result.as_json()) + "\n" if as_json else _replay_text(result))


def compare_command(
    log: Annotated[Path, typer.Argument(metavar="LOG", help="CSV, TSV, Parquet or JSONL; gzip.")],
    schema: Annotated[Path, typer.Option(help="Which fields light which rows and columns (TOML).")],
    models: Annotated[
        str,
        typer.Option(
            help=f"Comma-separated, the first is what others are held to: {', '.join(MODELS)}; all: those "
            "installed. Settings follow a name: ftrl:cross_alpha=0.05:l1=1:keep=0.1 (of the non-clicks). "
            f"Where the schema tells a delay, ways of learning from late labels: {', '.join(WAYS)}."
        ),
    ] = "",
    most: Annotated[int | None, typer.Option(help="Only so many rows.", min=1)] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report with charts here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run several models over a click log and print their figures side by side; see also --report.

    By default main, ftrl and hctr; where the schema tells a delay, all ways of learning from late labels.
    """
    is_late = read_schema(schema).delay is not None
    chosen = [one for one in models.split(",") if one] or ([*WAYS] if is_late else ["main", "ftrl", "hctr"])
    if models == "all":
        chosen = [*WAYS] if is_late else installed_models()
    with _bar("compare") as (bar, task):
        bar.update(task, total=len(chosen) + 1)
        result = compare_file(
            log, schema, chosen, most, lambda name: bar.update(task, advance=1, description=name)
        )
    if report is not None:
        _write_report(report, result)
    sys.stdout.write(json.dumps(result.as_json()) + "\n" if as_json else _compare_text(result, report))


def _write_report(report: Path, result: Comparison) -> None:
    try:
        report.write_text(report_html(result), encoding="utf-8")
    except OSError as broken:
        raise Refused("not_writable", f"{report}: {broken.strerror}", "report") from broken


def _compare_text(result: Comparison, report: Path | None) -> str:
    clicks = int(result.samples.clicks.sum())
    head = f"{result.log}: {len(result.samples):,} samples, {clicks:,} {result.counted}; second half"
    written = [] if report is None else [f"report: {report}"]
    return "\n".join([head, table(result), *written]) + "\n"


def off_policy_command(
    log: Annotated[
        Path,
        typer.Argument(metavar="LOG", help="CSV, TSV, Parquet or JSONL; gzip. Or a node's data directory."),
    ],
    schema: Annotated[
        Path | None, typer.Option(help="Of a file: as for replay, with action and propensity (TOML).")
    ] = None,
    policies: Annotated[
        str | None,
        typer.Option(
            help="Of a file: uniform, or the best by ftrl, main or hctr (uniform,main,ftrl). "
            "Of a data directory: uniform, node, and files of adjudge train (uniform,node)."
        ),
    ] = None,
    train_share: Annotated[
        float, typer.Option(help="Share of the log that models learn; the rest judges.", min=0, max=0.9)
    ] = 0.5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Estimate what other ways of choosing would have earned: IPS, SNIPS, doubly robust, with intervals."""
    if log.is_dir():
        own = own_log(log, _listed(policies or "uniform,node"))
        sys.stdout.write((json.dumps(own.as_json()) if as_json else own_log_table(own)) + "\n")
        return
    if schema is None:
        raise typer.BadParameter("a file needs --schema")
    result = off_policy_file(log, schema, _listed(policies or "uniform,main,ftrl"), train_share)
    sys.stdout.write((json.dumps(result.as_json()) if as_json else off_policy_table(result)) + "\n")


def _listed(names: str) -> list[str]:
    return [one for one in names.split(",") if one]


def train_command(
    archive: Annotated[Path, typer.Argument(metavar="ARCHIVE", help="A node's archive: DATA/archive.")],
    out: Annotated[
        Path, typer.Option(help="The model file to write; `adjudge load-model` brings it to a node.")
    ],
    start: Annotated[
        str | None, typer.Option("--from", help="Whole hour, RFC 3339 or a date (UTC); default: the first.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="Whole hour, exclusive; default: behind the last archived.")
    ] = None,
    keep: Annotated[
        float, typer.Option(help="Learn this share of the non-clicks; predictions stay right.", max=1.0)
    ] = 1.0,
    partitions: Annotated[
        int, typer.Option(help="Learn so many hours at a time apart, and merge them.", min=1)
    ] = 1,
    prior: Annotated[float, typer.Option(help="The CTR of a model without data.", max=0.9)] = 0.01,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    alpha: Annotated[float, typer.Option(help="Learning rate of main cells.", min=1e-6)] = 0.1,
    cross_alpha: Annotated[float, typer.Option(help="Learning rate of crosses.", min=1e-6)] = 0.02,
    beta: Annotated[float, typer.Option(help="Smooths the first steps.", min=0)] = 1.0,
    l1: Annotated[float, typer.Option(help="L1 of main cells.", min=0)] = 0.0,
    cross_l1: Annotated[float, typer.Option(help="L1 of crosses.", min=0)] = 0.0,
    l2: Annotated[float, typer.Option(help="L2 of all cells.", min=0)] = 1.0,
) -> None:
    """Learn a model from a node's archive and write it as a file, with what it was learned from."""
    for name, share in (("keep", keep), ("prior", prior)):
        if share <= 0.0:
            raise typer.BadParameter(f"--{name} is above 0")
    plan = TrainPlan(
        from_ms=None if start is None else read_time_ms(start, "from"),
        to_ms=None if end is None else read_time_ms(end, "to"),
        keep=keep,
        partitions=partitions,
        prior=prior,
        rates=Rates(alpha, cross_alpha, beta, l1, cross_l1, l2),
    )
    with _bar("train") as (bar, task):
        result = train_archive(
            archive, plan, lambda done, total: bar.update(task, completed=done, total=total)
        )
    write_whole(out, result.content)
    document = {**result.facts, "out": str(out), "sha256": result.name}
    sys.stdout.write(json.dumps(document) + "\n" if as_json else train_table(result, out))


def attribution_command(
    data: Annotated[Path, typer.Option(help="A node's data directory, running or not.")] = Path("data"),
    start: Annotated[
        str | None, typer.Option("--from", help="RFC 3339 or a date (UTC); default: the first.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Exclusive; default: the last archived.")] = None,
    by: Annotated[Literal["campaign", "creative"], typer.Option(help="What earns.")] = "campaign",
    touches: Annotated[
        Literal["all", "clicks"], typer.Option(help="clicks: views count where nothing was clicked.")
    ] = "all",
    half_life_h: Annotated[float, typer.Option(help="Of time_decay, in hours.", min=0.1)] = HALF_LIFE_H,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Share the archived conversions out among the touches before them, by several rules."""
    if not (data / "journal.db").exists():
        raise Refused("no_data", f"{data} holds no journal")
    asked = AttributionAsked(
        from_ms=0 if start is None else read_time_ms(start, "from"),
        to_ms=2**53 if end is None else read_time_ms(end, "to"),
        by=by, touches=touches, half_life_h=half_life_h,
    )  # fmt: skip
    told = run_attribution(data, None, msgspec.json.encode(asked))
    sys.stdout.write((told.decode() if as_json else attribution_table(told, by)) + "\n")


def simulate_command(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A .parquet, .csv or .jsonl file to write.")],
    samples: Annotated[int, typer.Option(help="Rows, one impression each.", min=1)] = 300_000,
    days: Annotated[int, typer.Option(help="Days that they are spread over.", min=1)] = 7,
    ctr: Annotated[float, typer.Option(help="About the mean click rate.", min=0.0001, max=0.5)] = 0.04,
    cvr: Annotated[
        float, typer.Option(help="About the mean conversions of a click.", min=0.001, max=0.5)
    ] = 0.1,
    bots: Annotated[float, typer.Option(help="Share of the rows that are bots'.", min=0, max=1)] = 0.005,
    low_rank: Annotated[
        float,
        typer.Option(help="How strong crosses are that factors can find, times the market's.", min=0, max=5),
    ] = 1.0,
    creatives: Annotated[int, typer.Option(help="Ads of the catalogue.", min=20, max=10_000)] = 2_000,
    seed: Annotated[int, typer.Option(help="Seed of catalogue, people and truth.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a click log whose truth is known: column truth_ctr, and a schema for replay and compare."""
    result = simulate_file(out, LogPlan(samples, days, ctr, cvr, bots, seed, low_rank), creatives)
    sys.stdout.write(json.dumps(result.as_json()) + "\n" if as_json else _simulated_text(result))


def _simulated_text(result: Simulated) -> str:
    lines = [
        f"{result.log}, its schema {result.schema}: {result.samples:,} samples, {result.clicks:,} clicks, "
        f"{result.conversions:,} conversions, {result.bots:,} rows of bots",
        f"{'':14}{'log loss':>10}{'NE':>10}{'AUC':>10}{'calibration':>13}",
        _metrics_line("the truth", result.truth),
    ]
    return "\n".join(lines) + "\n"


def _replay_text(result: ReplayResult) -> str:
    header = f"{'':14}{'log loss':>10}{'NE':>10}{'AUC':>10}{'calibration':>13}"
    lines = [
        f"model {result.model}: {result.samples:,} samples, {result.clicks:,} clicks, "
        f"{result.seconds:.2f} s, {result.samples_per_s:,.0f} samples/s",
        header,
        _metrics_line("all", result.all),
        _metrics_line("second half", result.second_half),
    ]
    return "\n".join(lines) + "\n"


def _metrics_line(name: str, one: Metrics) -> str:
    figures = [_figure(one.log_loss), _figure(one.ne), _figure(one.auc)]
    return f"{name:14}" + "".join(f"{figure:>10}" for figure in figures) + f"{_figure(one.calibration):>13}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.6f}"
