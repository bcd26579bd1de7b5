"""Learning from a node's archive: what is learned, what is left out, and that figures mean what they say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from copy import copy
from hashlib import sha256
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from app.cli import app as commands
from app.domain.ids import HOUR_MS
from app.domain.refusals import Refused
from app.flows.feedback import refund
from app.journal.models import decode_model
from app.offline.train import TrainPlan, train_archive
from app.rules.evaluation import logit
from app.rules.features import MAIN_ONLY_FROM
from app.rules.ftrl_plain import PlainCell, plain_learn
from tests.flows.test_reporting import START_MS, Clock
from tests.node import ask_for, decide, running_node, send, small_catalogue
from tests.offline.archives import archive_past, archived_node, live


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("node")
    archived_node(folder)
    return folder


def frame(data: Path, kind: str) -> pl.DataFrame:
    files = sorted((data / "archive").glob(f"date=*/hour=*/kind={kind}/*.parquet"))
    return pl.concat([pl.read_parquet(file, hive_partitioning=False) for file in files])


def test_every_counted_impression_is_learned_with_its_click(data: Path) -> None:
    facts = train_archive(data / "archive", TrainPlan()).facts
    shown, clicked = frame(data, "impressions"), frame(data, "clicks")
    assert facts["impressions"] == facts["learned"] == shown.height > 300
    assert facts["clicks"] == clicked.height > 30
    assert facts["left_out"] == {}
    assert 0.5 < facts["second_half"]["ne"] < 1.0
    assert 0.8 < facts["second_half"]["calibration"] < 1.25


def test_the_cells_are_what_the_plain_learner_comes_to(data: Path) -> None:
    """Row by row from the Parquet files, by names: nothing is numbered here."""
    result = train_archive(data / "archive", TrainPlan(prior=0.05))
    _, model = decode_model(result.content)
    clicked = set(frame(data, "clicks").select("decision_id", "ad_index").iter_rows())
    main, cross = PlainCell(0.1, 1.0, 0.0, 1.0), PlainCell(0.02, 1.0, 0.0, 1.0)
    plain: dict[tuple[int, str], PlainCell] = {}
    for one in frame(data, "impressions").sort("position").iter_rows(named=True):
        cells = []
        for row in one["rows"]:
            for name in one["column_names"]:
                if row == 0 or name == "any":
                    cells.append(plain.setdefault((row, name), copy(main)))
                elif row < MAIN_ONLY_FROM:
                    cells.append(plain.setdefault((row, name), copy(cross)))
        plain_learn(cells, logit(0.05), 1.0, (one["decision_id"], one["ad_index"]) in clicked)
    own = {"plc-1": 1, "plc-2": 2}  # their rows on the node
    found = {}
    for row, column, z, n in zip(model.row, model.column, model.z, model.n, strict=True):
        number = int(model.row_numbers[row])
        name = ":".join(part for part in model.columns[column] if part or column)
        found[own.get(model.placements.get(int(row), ""), number), name] = (z, n)
    assert found.keys() == plain.keys()
    assert len(plain) > 80
    for key, cell in plain.items():
        assert found[key] == pytest.approx((cell.z, cell.n), rel=1e-3, abs=1e-4)


def test_the_same_archive_gives_the_same_file_and_a_part_of_it_another(data: Path) -> None:
    archive = data / "archive"
    whole = train_archive(archive, TrainPlan())
    assert whole.content == train_archive(archive, TrainPlan()).content
    hour_ms = START_MS + HOUR_MS
    late = train_archive(archive, TrainPlan(from_ms=hour_ms))
    early = train_archive(archive, TrainPlan(to_ms=hour_ms))
    assert early.facts["impressions"] + late.facts["impressions"] == whole.facts["impressions"]
    assert early.facts["to"] == late.facts["from"] == "2026-01-01T11:00:00Z"
    with pytest.raises(Refused) as refused:
        train_archive(archive, TrainPlan(from_ms=START_MS - 99 * HOUR_MS, to_ms=START_MS - HOUR_MS))
    assert refused.value.code == "no_archive"
    with pytest.raises(Refused) as refused:
        train_archive(archive, TrainPlan(from_ms=START_MS + 1))
    assert refused.value.code == "not_whole_hours"


def test_thinned_or_in_parts_the_model_predicts_about_the_same(data: Path) -> None:
    whole, plan = train_archive(data / "archive", TrainPlan()), TrainPlan(keep=0.3)
    thin, parted = (train_archive(data / "archive", each) for each in (plan, TrainPlan(partitions=2)))
    assert thin.facts["clicks"] == whole.facts["clicks"]
    assert thin.facts["learned"] < 0.5 * whole.facts["learned"]
    assert thin.facts["second_half"]["calibration"] == pytest.approx(1.0, abs=0.3)
    for other, slack in ((thin, 0.15), (parted, 0.3)):
        assert abs(other.facts["second_half"]["ne"] - whole.facts["second_half"]["ne"]) < slack


def test_what_was_taken_back_or_not_learned_is_left_out_and_told(tmp_path: Path) -> None:
    async def work() -> None:
        clock = Clock()
        async with running_node(tmp_path, clock_ms=clock, things=small_catalogue()) as node:
            await live(node, clock, hours=1, requests=20)
            refunded = []
            for kind in ("impression", "click"):
                ad = decide(node, ask_for("plc-1")).ads[0]
                receipt = await send(node, "impression", ad)
                if kind == "click":
                    receipt = await send(node, "click", ad)
                refunded.append(receipt.event_id)
            clock.at_ms += 3 * HOUR_MS
            await archive_past(node, clock)
            await refund(node, refunded, "test")  # known to the archive by a later hour alone
            await archive_past(node, clock)

    asyncio.run(work())
    facts = train_archive(tmp_path / "archive", TrainPlan()).facts
    assert facts["left_out"] == {"refunded": 1, "click_invalid": 1}
    assert facts["impressions"] == frame(tmp_path, "impressions").height - 2


def test_the_command_writes_the_file_whole_and_says_what_it_learned(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.adjudge"
    arguments = ["train", str(data / "archive"), "--from", "2026-01-01", "--out", str(out)]
    answer = CliRunner().invoke(commands, [*arguments, "--json"])
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    assert told["sha256"] == sha256(out.read_bytes()).hexdigest()
    assert list(tmp_path.iterdir()) == [out]
    text = CliRunner().invoke(commands, arguments).stdout
    assert f"{told['impressions']:,} impressions" in text
    assert CliRunner().invoke(commands, [*arguments, "--keep", "0"]).exit_code == 2


@pytest.mark.parametrize(
    ("damage", "code", "why"),
    [
        (lambda content: content[:-1], "model_damaged", "cut short"),
        (lambda content: content[:500] + bytes([content[500] ^ 1]) + content[501:], "model_damaged", "a bit"),
        (lambda content: b"", "model_damaged", "nothing"),
        (lambda content: b"\nsha256 " + sha256(b"").hexdigest().encode(), "model_damaged", "only a seal"),
        (lambda content: sealed(content, b'"format":1', b'"format":9'), "model_unfit", "of a later format"),
        (lambda content: sealed(content, b'"learner":"ftrl"', b'"learner":"ffmx"'), "model_unfit", "learner"),
        (
            lambda content: sealed(content, b'"schema_version":1', b'"schema_version":7'),
            "model_unfit", "of another feature schema",
        ),
        (lambda content: sealed(content, b'"rows":[0', b'"rows":[5'), "model_damaged", "row 0 is another"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_sound_or_of_another_kind_is_refused(
    data: Path, damage: Callable[[bytes], bytes], code: str, why: str
) -> None:
    content = train_archive(data / "archive", TrainPlan(to_ms=START_MS + HOUR_MS)).content
    with pytest.raises(Refused) as refused:
        decode_model(damage(content))
    assert refused.value.code == code, why


def sealed(content: bytes, old: bytes, new: bytes) -> bytes:
    """Change a file's first line, and its checksum with it."""
    body = content[: content.rindex(b"\nsha256 ")].replace(old, new, 1)
    assert body[: len(content)] != content[: len(body)]
    return body + b"\nsha256 " + sha256(body).hexdigest().encode()
