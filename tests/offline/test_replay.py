"""`replay`: reading logs of several formats, encoding fields, and what the learner makes of them."""

import gzip
import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from app.domain.refusals import Refused
from app.offline.commands import fit_command, replay_command
from app.offline.encode import encode, hash_place
from app.offline.replay import ReplayResult, replay_file
from app.offline.schema import Field
from app.offline.world.planted import PRIOR, Planted, plant
from app.rules.evaluation import normalised_entropy
from app.rules.ftrl_plain import PlainCell, plain_learn

OPEN_BANDIT = Path(__file__).parents[3] / "shared" / "data" / "open_bandit"
SCHEMAS = Path(__file__).parent / "schemas"

SCHEMA = """
label = "click"
time = "at"
prior = 0.1
rows = [
    {field = "user", kind = "hash", size = 16},
    {field = "slot", kind = "value"},
    {field = "age", kind = "bucket", edges = [20, 30.5]},
]
columns = [{field = "item", kind = "value"}, {field = "color", kind = "hash", size = 4}]
join = [{file = "items.csv", on = "item"}]
"""
ITEMS = "item,color,price\n1,red,3\n2,blue,4\n"


def rows_of_a_log(count: int = 200) -> pl.DataFrame:
    random = np.random.default_rng(8)
    return pl.DataFrame(
        {
            "user": [f"u-{k}" for k in random.integers(0, 50, count)],
            "item": random.integers(1, 4, count),  # item 3 stands in no other file
            "at": random.permutation(count) * 1_000_000_007,
            "slot": random.integers(0, 3, count),
            "age": [None if k % 9 == 0 else k / 2 for k in random.integers(20, 90, count).tolist()],
            "click": (random.random(count) < 0.2).astype(np.int64),
        }
    )


def written(folder: Path, name: str, rows: pl.DataFrame) -> Path:
    """Write a log in the format that its name says."""
    path, plain = folder / name, folder / name.removesuffix(".gz")
    if ".parquet" in name:
        rows.write_parquet(plain)
    elif ".jsonl" in name:
        rows.write_ndjson(plain)
    else:
        rows.write_csv(plain, separator="\t" if ".tsv" in name else ",")
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(plain.read_bytes()))
    return path


def replayed(folder: Path, log: Path, schema: str = SCHEMA, model: str = "ftrl") -> ReplayResult:
    (folder / "schema.toml").write_text(schema, encoding="utf-8")
    (folder / "items.csv").write_text(ITEMS, encoding="utf-8")
    return replay_file(log, folder / "schema.toml", model)


def plain_replay(rows: pl.DataFrame, *, crosses: bool) -> list[float]:
    """What `replay` promises, one dict look-up at a time."""
    colors = {1: "red", 2: "blue"}
    cells: dict[tuple[object, object], PlainCell] = {}
    predictions = []
    for row in rows.sort("at").iter_rows(named=True):
        age = row["age"]
        lit_rows = [
            None,
            ("user", hash_place("user", row["user"], 16)),
            ("slot", row["slot"]),
            ("age", "missing" if age is None else sum(edge <= age for edge in (20, 30.5))),
        ]
        color = ("color", hash_place("color", colors.get(row["item"]), 4))
        lit_columns = [None, ("item", row["item"]), color]
        pairs = [(r, c) for r in lit_rows for c in lit_columns if crosses or r is None or c is None]
        lit = [
            cells.setdefault(pair, PlainCell(0.1 if None in pair else 0.02, 1.0, 0.0, 1.0)) for pair in pairs
        ]
        predictions.append(plain_learn(lit, math.log(0.1 / 0.9), 1.0, float(row["click"])))
    return predictions


@pytest.mark.parametrize(("model", "crosses"), [("ftrl", True), ("main", False)])
def test_a_replay_is_what_a_plain_learner_does_row_by_row(tmp_path: Path, model: str, crosses: bool) -> None:
    rows = rows_of_a_log()
    result = replayed(tmp_path, written(tmp_path, "log.csv", rows), model=model)
    assert result.p == pytest.approx(plain_replay(rows, crosses=crosses), rel=1e-6)
    assert (result.model, result.samples, result.clicks) == (model, 200, int(rows["click"].sum()))


def test_historical_rates_are_a_model_too(tmp_path: Path) -> None:
    """200 rows of 3 items that are clicked alike: predictions stay near the rate of all."""
    rows = rows_of_a_log()
    result = replayed(tmp_path, written(tmp_path, "log.csv", rows), model="hctr")
    assert result.p[0] == pytest.approx(0.1)
    assert result.all.calibration == pytest.approx(1.0, abs=0.4)
    assert result.all.ne is not None
    assert result.all.ne < 1.1


def test_crosses_false_is_the_model_main(tmp_path: Path) -> None:
    log = written(tmp_path, "log.csv", rows_of_a_log())
    no_crosses = replayed(tmp_path, log, schema="crosses = false\n" + SCHEMA)
    main = replayed(tmp_path, log, model="main")
    with_crosses = replayed(tmp_path, log)
    assert no_crosses.p.tolist() == main.p.tolist()
    assert no_crosses.p.tolist() != with_crosses.p.tolist()


@pytest.mark.parametrize(
    "name",
    ["log.tsv", "log.csv.gz", "log.tsv.gz", "log.parquet", "log.pq.parquet", "log.jsonl", "log.jsonl.gz"],
)
def test_every_format_reads_the_same(tmp_path: Path, name: str) -> None:
    rows = rows_of_a_log()
    plain = replayed(tmp_path, written(tmp_path, "log.csv", rows))
    assert replayed(tmp_path, written(tmp_path, name, rows)).p.tolist() == plain.p.tolist()


def test_rows_are_learned_in_the_order_of_time_however_it_is_written(tmp_path: Path) -> None:
    rows = rows_of_a_log()
    plain = replayed(tmp_path, written(tmp_path, "log.csv", rows))
    moments = pl.from_epoch(rows["at"] // 1_000, time_unit="ms").dt.replace_time_zone("UTC")
    abroad = moments.dt.convert_time_zone("Asia/Seoul")
    for spelled in (
        moments.dt.strftime("%Y-%m-%d %H:%M:%S%.6f+00:00"),
        moments.dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"),
        abroad.dt.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z"),
        moments.dt.strftime("%Y-%m-%d %H:%M:%S%.3f"),
    ):
        log = written(tmp_path, "times.csv", rows.with_columns(spelled.alias("at")))
        assert replayed(tmp_path, log).p.tolist() == plain.p.tolist(), spelled[0]
    typed = written(tmp_path, "times.parquet", rows.with_columns(abroad.alias("at")))
    assert replayed(tmp_path, typed).p.tolist() == plain.p.tolist()
    unsorted = replayed(
        tmp_path, written(tmp_path, "log.csv", rows), schema=SCHEMA.replace('time = "at"', "")
    )
    assert unsorted.p.tolist() != plain.p.tolist()


def test_counts_may_be_aggregated(tmp_path: Path) -> None:
    rows = pl.DataFrame({"shown": [100_000, 0], "clicks": [1_500, 0], "ad": ["a", "a"]})
    schema = 'label = "clicks"\nimps = "shown"\nprior = 0.01\nrows = []\n'
    schema += 'columns = [{field = "ad", kind = "value"}]'
    result = replayed(tmp_path, written(tmp_path, "log.csv", rows), schema=schema)
    assert result.p == pytest.approx([0.01, 0.015], abs=2e-5)
    assert (result.samples, result.clicks) == (2, 1_500)
    assert result.all.calibration == pytest.approx(0.01 / 0.015)


def test_without_a_prior_the_first_thousand_rows_give_one(tmp_path: Path) -> None:
    clicks = [1] * 32 + [0] * 968 + [1] * 500
    log = written(tmp_path, "log.csv", pl.DataFrame({"click": clicks}))
    result = replayed(tmp_path, log, schema='label = "click"\nrows = []\ncolumns = []')
    assert result.p[0] == pytest.approx(33 / 1_100)


def test_halves_are_measured_apart(tmp_path: Path) -> None:
    log = written(tmp_path, "log.csv", pl.DataFrame({"click": [1, 0] * 10 + [0] * 20}))
    result = replayed(tmp_path, log, schema='label = "click"\nrows = []\ncolumns = []')
    assert result.all.ne is not None
    assert (result.second_half.ne, result.second_half.auc, result.second_half.calibration) == (
        None,
        None,
        None,
    )
    assert result.second_half.log_loss == pytest.approx(-np.log1p(-result.p[20:]).mean())


# ------------------------------------------------------------------------------------ encoding
def test_the_hash_is_fixed_for_ever() -> None:
    """BLAKE2b, 8 bytes, little-endian, of `field NUL value`: never Python's salted hash."""
    assert [hash_place("item_id", value, 1_000) for value in ("14", "", None, "가")] == [
        379, 32, 297, 63
    ]  # fmt: skip


def test_fields_get_blocks_of_their_own() -> None:
    log = pl.DataFrame({"a": ["x", None, "y", "x"], "b": ["5", "-1", "", "nan"]})
    lit, field_of = encode((Field("a", "value"), Field("b", "bucket", edges=(0.0, 5.0))), log, "rows")
    assert lit.tolist() == [[0, 1, 6], [0, 2, 4], [0, 3, 7], [0, 1, 7]]
    assert field_of.tolist() == [0, 1, 1, 1, 2, 2, 2, 2]


# ------------------------------------------------------------------------------------ refusals
CSV = "click,at,user,item,slot,age\n1,1,a,1,0,20\n0,2,a,2,0,30\n"

#   log                           schema change                     code               field
REFUSED = [
    (CSV,                          ('"click"', '"clicked"'),         "unknown_field",   "label"),
    (CSV,                          ('"slot"', '"slit"'),             "unknown_field",   "rows[1].field"),
    (CSV,                          ('"color"', '"colour"'),          "unknown_field",   "columns[1].field"),
    (CSV,                          ('"at"', '"when"'),               "unknown_field",   "time"),
    (CSV,                          ('"items.csv"', '"none.csv"'),    "not_found",       "join[0].file"),
    (CSV,                          ('on = "item"', 'on = "price"'),  "unknown_field",   "join[0].on"),
    (CSV,                          ('on = "item"', 'on = "age"'),    "unknown_field",   "join[0].on"),
    (CSV,                          ("size = 16", "size = 4000000"),  "too_large",       "schema"),
    (CSV.replace("0,2", "yes,2"),  ("", ""),                         "bad_label",       "label"),
    (CSV.replace("0,2", ",2"),     ("", ""),                         "bad_label",       "label"),
    (CSV.replace("0,2", "2,2"),    ("", ""),                         "bad_label",       "label"),
    (CSV.replace("0,2", "-1,2"),   ("", ""),                         "bad_label",       "label"),
    (CSV.replace("0,2", "0,soon"), ("", ""),                         "bad_time",        "time"),
    (CSV.replace("30", "old"),     ("", ""),                         "bad_value",       "rows[2].field"),
    (CSV.splitlines()[0] + "\n",   ("", ""),                         "empty_log",       "LOG"),
]  # fmt: skip


@pytest.mark.parametrize(("log", "change", "code", "field"), REFUSED)
def test_refused(tmp_path: Path, log: str, change: tuple[str, str], code: str, field: str) -> None:
    (tmp_path / "log.csv").write_text(log, encoding="utf-8")
    schema = SCHEMA.replace(*change) if change[0] else SCHEMA
    if code == "too_large":
        schema = schema.replace(
            '{field = "item", kind = "value"}', '{field = "item", kind = "hash", size = 4000000}'
        )
    with pytest.raises(Refused) as refused:
        replayed(tmp_path, tmp_path / "log.csv", schema=schema)
    assert (refused.value.code, refused.value.field) == (code, field)


def test_a_join_must_know_one_row_for_each_value(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(CSV, encoding="utf-8")
    (tmp_path / "twice.csv").write_text(ITEMS + "2,green,5\n", encoding="utf-8")
    with pytest.raises(Refused) as refused:
        replayed(tmp_path, tmp_path / "log.csv", schema=SCHEMA.replace("items.csv", "twice.csv"))
    assert (refused.value.code, refused.value.field) == ("join_not_unique", "join[0].on")


@pytest.mark.parametrize(
    ("name", "bytes_", "code"),
    [
        ("none.csv", None, "not_found"),
        ("none.parquet", None, "not_found"),
        ("log.xlsx", b"1", "unknown_format"),
        ("log.parquet", b"PAR1 not really", "not_readable"),
        ("log.jsonl", b'{"click": 1}\n{"click"', "not_readable"),
        ("log.jsonl.gz", b"\x1f\x8b broken", "not_readable"),
    ],
)
def test_files_that_are_no_log(tmp_path: Path, name: str, bytes_: bytes | None, code: str) -> None:
    if bytes_ is not None:
        (tmp_path / name).write_bytes(bytes_)
    with pytest.raises(Refused) as refused:
        replayed(tmp_path, tmp_path / name)
    assert refused.value.code == code


def test_an_unknown_model_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        replayed(tmp_path, tmp_path / "none.csv", model="oracle")
    assert (refused.value.code, refused.value.field) == ("unknown_model", "model")


# ------------------------------------------------------------------------------------ commands
COMMANDS = typer.Typer()
COMMANDS.command("fit")(fit_command)
COMMANDS.command("replay")(replay_command)


def test_replay_prints_json_and_text(tmp_path: Path) -> None:
    log = written(tmp_path, "log.csv", rows_of_a_log())
    result = replayed(tmp_path, log)
    arguments = ["replay", str(log), "--schema", str(tmp_path / "schema.toml")]
    printed = json.loads(CliRunner().invoke(COMMANDS, [*arguments, "--json"]).stdout)
    assert list(printed) == ["model", "samples", "clicks", "seconds", "samples_per_s", "all", "second_half"]
    metrics = {"log_loss": result.all.log_loss, "ne": result.all.ne, "auc": result.all.auc}
    assert printed["all"] == metrics | {"calibration": result.all.calibration}
    text = CliRunner().invoke(COMMANDS, arguments).stdout
    assert f"{result.second_half.log_loss:.6f}" in text


def test_fit_prints_json_and_text_and_writes(tmp_path: Path) -> None:
    (tmp_path / "s.svm").write_text("1 3:1\n-1 3:1\n", encoding="utf-8")
    settings = ["--alpha", "0.1", "--beta", "1", "--l1", "0", "--l2", "1"]
    arguments = ["fit", str(tmp_path / "s.svm"), *settings, "--out", str(tmp_path / "w.tsv")]
    printed = json.loads(CliRunner().invoke(COMMANDS, [*arguments, "--json"]).stdout)
    assert (printed["samples"], printed["clicks"], printed["indexes"]) == (2, 1, 1)
    assert (tmp_path / "w.tsv").read_text(encoding="utf-8").startswith("3\t")
    assert f"{printed['log_loss']:.6f}" in CliRunner().invoke(COMMANDS, arguments).stdout


# ------------------------------------------------------------------------------------ real and planted logs
@pytest.mark.skipif(not OPEN_BANDIT.is_dir(), reason="the Open Bandit logs are not here")
@pytest.mark.parametrize("name", ["random_men", "random_women", "bts_men", "bts_women"])
def test_open_bandit_logs_replay(name: str) -> None:
    """So few clicks carry little signal: the figures must be sound, not good."""
    result = replay_file(OPEN_BANDIT / f"{name}.csv.gz", SCHEMAS / f"open_bandit_{name}.toml")
    assert result.samples == 10_000
    assert result.clicks == {"random_men": 46, "random_women": 46, "bts_men": 69, "bts_women": 46}[name]
    assert result.all.ne is not None
    assert result.all.ne < 1.05
    assert result.all.calibration == pytest.approx(1.0, abs=0.3)


def test_crosses_close_a_fifth_of_the_gap_to_the_truth(tmp_path: Path) -> None:
    """Through all of replay, on 200,000 planted samples; three seeds of 300,000: `loadtest learning`."""
    planted = plant(200_000, seed=1)
    log, schema = planted_files(tmp_path, planted)
    ne = {model: replay_file(log, schema, model).second_half.ne for model in ("ftrl", "main")}
    half = slice(100_000, None)
    truth = normalised_entropy(planted.truth[half], np.ones(100_000), planted.clicks[half])
    assert ne["ftrl"] is not None
    assert ne["main"] is not None
    assert truth is not None
    assert ne["main"] - ne["ftrl"] >= 0.2 * (ne["main"] - truth)


def planted_files(folder: Path, planted: Planted) -> tuple[Path, Path]:
    """A planted log as a Parquet file, and its schema."""
    parts = (("r", "rows", planted.rows), ("c", "columns", planted.columns))
    fields = {f"{name}{k}": lit[:, k] for name, _, lit in parts for k in range(1, lit.shape[1])}
    pl.DataFrame(fields | {"click": planted.clicks}).write_parquet(folder / "planted.parquet")
    lines = ['label = "click"', f"prior = {PRIOR}"]
    for name, part, lit in parts:
        values = ", ".join(f'{{field = "{name}{k}", kind = "value"}}' for k in range(1, lit.shape[1]))
        lines.append(f"{part} = [{values}]")
    (folder / "planted.toml").write_text("\n".join(lines), encoding="utf-8")
    return folder / "planted.parquet", folder / "planted.toml"
