"""A trained model on a running node: it predicts as trained; folds, traces and starts come to the same."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from app.domain.decisions import ServedAd
from app.domain.ids import HOUR_MS
from app.domain.lines import Clicked, Configured, Loaded, Shown, key_of
from app.domain.refusals import Refused
from app.flows import follow
from app.flows.feedback import refund
from app.flows.loading import header_of, load_model, trained_under
from app.flows.node import Node
from app.flows.reporting import verdicts_until
from app.flows.snapshotting import follow_and_save
from app.flows.tracing import retrace_sample
from app.journal.models import FOLDER, decode_model, encode_model
from app.journal.reader import SqliteReader
from app.offline.train import TrainPlan, train_archive
from app.rules import ftrl
from app.rules.ftrl import Rates
from app.rules.trained import Trained
from app.state import saving
from app.state.apply import Receipt
from app.state.loading import terms_of
from app.state.prepared import prepare
from app.state.state import State
from tests.flows.test_reporting import START_MS, Clock
from tests.node import COLUMNS, FOLD, Served, ask_for, decide, running_node, send, small_catalogue, tick
from tests.offline.archives import archive_past, live


def known(state: State) -> dict[str, bytes]:
    """Everything a state knows, as bytes."""
    return {name: bytes(np.ascontiguousarray(part).data) if not isinstance(part, bytes) else part
            for name, part in saving.parts(state).items()}  # fmt: skip


async def settled(node: Node) -> None:
    """Wait until all is durable that a follower reads."""
    await verdicts_until(node, node.state.position)
    await asyncio.to_thread(node.decisions.flush)


def learned(data: Path, plan: TrainPlan | None = None) -> bytes:
    """Train on what is archived."""
    return train_archive(data / "archive", plan or TrainPlan()).content


async def lived(node: Node, clock: Clock, hours: int = 2) -> bytes:
    """Serve, archive, and train."""
    await live(node, clock, hours=hours, requests=25)
    await archive_past(node, clock)
    return await asyncio.to_thread(learned, node.settings.data)


def predicted(trained: Trained, served: Served, names: dict[str, list[str]]) -> list[float]:
    """What a trained model says of the ads of a decision, cell by cell, by names."""
    weights: dict[tuple[object, tuple[str, str]], float] = {}
    hyper = trained.rates.array()
    for row, column, z, n in zip(trained.row, trained.column, trained.z, trained.n, strict=True):
        main = row == 0 or column == 0
        weight = ftrl.weight_of(z, n, hyper[0 if main else 1], hyper[2], hyper[3 if main else 4], hyper[5])
        at = trained.placements.get(int(row)) or int(trained.row_numbers[row])
        weights[at, trained.columns[column]] = float(np.float32(weight))
    places, answers = {1: "plc-1", 2: "plc-2"}, []
    for ad in served.ads:
        rows = [places.get(number, number) for number in struct.unpack(f"<{len(ad.rows) // 2}H", ad.rows)]
        rows = [row for row in rows if not isinstance(row, int) or row < 4064]  # scored as on top
        columns = [tuple((name + ":").split(":", 1)) for name in names[ad.creative_id]]
        cells = [(row, (kind, key.removesuffix(":"))) for row in rows for kind, key in columns]
        score = trained.prior_logit + sum(weights.get(cell, 0.0) for cell in cells)
        answers.append(1.0 / (1.0 + np.exp(-score)))
    return answers


def test_the_whole_round(tmp_path: Path) -> None:
    """Serve, archive, train, load: predictions are the trained ones; traces, followers and starts agree."""

    async def work() -> None:
        clock, fold = Clock(), msgspec.structs.replace(FOLD, calibration_clicks=50, alpha=0.05)
        async with running_node(tmp_path, clock_ms=clock, fold=fold, things=small_catalogue()) as node:
            content = await lived(node, clock)
            files = sorted((tmp_path / "archive").glob("*/*/kind=impressions/*.parquet"))
            shown = pl.read_parquet(files, hive_partitioning=False).select("creative", "column_names")
            names: dict[str, list[str]] = dict(shown.unique().iter_rows())
            assert node.state.calibration.fitted.any()
            other = np.array([0.1, 0.02, 1.0, 0.0, 0.0, 1.0])
            assert not np.array_equal(node.state.model.hyper, other), "trained by other rates than the node's"
            before = decide(node, ask_for("plc-1", "plc-2", count=3))
            loading = await load_model(node, content)
            assert loading.name == loading.of, "nothing was learned since"
            assert (loading.position, loading.homeless) == (node.state.position, 0)
            assert not node.state.calibration.fitted.any()
            trained = decode_model(content)[1]
            after = decide(node, ask_for("plc-1", "plc-2", count=3))
            expected = predicted(trained, after, names)
            assert [ad.pctr for ad in after.ads] == pytest.approx(expected, rel=1e-5)
            pctr = {ad.creative_id: ad.pctr for ad in before.ads}
            assert any(abs(pctr[ad.creative_id] / ad.pctr - 1) > 1e-3 for ad in after.ads)
            node.state.check()
            await live(node, clock, hours=1, requests=10)  # and goes on learning from there
            assert decide(node, ask_for("plc-1")).ads[0].pctr != after.ads[0].pctr
            await settled(node)
            now, position, digest = known(node.state), node.state.position, node.state.hash.hex()
            traced = await asyncio.to_thread(retrace_sample, tmp_path, COLUMNS, 50)
            assert len(traced) == 50
            assert all(one.agrees for one in traced)
            done = await asyncio.to_thread(follow_and_save, tmp_path, COLUMNS, position, digest, 1)
            assert done["lines"] == position, "folded from the very first line on"
        async with running_node(tmp_path, clock_ms=clock, fold=fold) as node:  # from the snapshot
            assert node.state.loadings[-1] == loading
            assert header_of(tmp_path, loading.name).facts["impressions"] == shown.height
        again = State(COLUMNS)
        again.trained = trained_under(tmp_path)
        follow.fold(again, SqliteReader(tmp_path / "journal.db"), position)
        assert known(again) == now

    asyncio.run(work())


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda content: content[:-9], "model_damaged"),
        (lambda content: b"", "model_damaged"),
        (lambda content: encode_model(_elsewhere(content), {}), "model_empty"),
    ],
)
def test_a_model_that_is_refused_changes_nothing(tmp_path: Path, make: Any, code: str) -> None:
    async def work() -> None:
        clock = Clock()
        async with running_node(tmp_path, clock_ms=clock, things=small_catalogue()) as node:
            content = await lived(node, clock, hours=1)
            before, position = known(node.state), node.state.position
            with pytest.raises(Refused) as refused:
                await load_model(node, make(content))
            assert refused.value.code == code
            assert (known(node.state), node.state.position) == (before, position)
            assert not (tmp_path / FOLDER).exists()

    asyncio.run(work())


def _elsewhere(content: bytes) -> Trained:
    """The same model of a catalogue of which this node knows nothing."""
    model = decode_model(content)[1]
    placed = (model.column > 0) & (model.row > 0)
    columns = (("any", ""), *((kind, f"other-{key}") for kind, key in model.columns[1:]))
    return Trained(
        model.prior_logit, model.rates, model.row_numbers, model.placements, columns, model.row[placed],
        model.column[placed], model.z[placed], model.n[placed],
    )  # fmt: skip


def test_what_happened_since_the_archive_is_learned_before_the_model_is_live(tmp_path: Path) -> None:
    """Event by event as a plain loop does; later clicks complete it; nothing is un-learned by another's p."""

    async def work() -> None:
        clock = Clock()
        async with running_node(tmp_path, clock_ms=clock, things=small_catalogue()) as node:
            content = await lived(node, clock, hours=1)
            since = node.state.position
            await live(node, clock, hours=1, requests=10, seed=5)
            early, bad, other = (decide(node, ask_for(name)).ads[0] for name in ("plc-1", "plc-1", "plc-2"))
            shown = [await send(node, "impression", ad) for ad in (early, bad, other)]
            taken_back = await send(node, "click", bad)
            await refund(node, [taken_back.event_id], "test")
            loading = await load_model(node, content)
            expected = plainly_learned(node, content, since, without=[bad])
            assert (loading.impressions, loading.clicks) == (expected.impressions, expected.clicks)
            assert expected.clicks > 0
            assert loading.through == loading.position - 1
            model = node.state.model
            assert [model.z.tolist(), model.n.tolist()] == [expected.z.tolist(), expected.n.tolist()]
            clicked = await send(node, "click", early)
            assert (clicked.status, clicked.learned) == ("counted", True)
            before = known(node.state)["model_n"]
            given = await refund(node, [shown[2].event_id, clicked.event_id], "test")
            assert [getattr(one, "learned", None) for one in given] == [False, False]
            assert known(node.state)["model_n"] == before
            late = decide(node, ask_for("plc-1")).ads[0]
            receipts = [await send(node, kind, late) for kind in ("impression", "click")]
            assert all(one.learned for one in receipts)
            given = await refund(node, [receipts[1].event_id], "test")
            assert isinstance(given[0], Receipt)
            assert given[0].learned, "what the loaded model learned it can take back"
            node.state.check()
            await settled(node)
            now = known(node.state)
        again = State(COLUMNS)
        again.trained = trained_under(tmp_path)
        follow.fold(again, SqliteReader(tmp_path / "journal.db"))
        assert known(again) == now

    asyncio.run(work())


class Plain(NamedTuple):
    """What a model comes to that learns lines one by one."""

    z: NDArray[np.float64]
    n: NDArray[np.float64]
    impressions: int
    clicks: int


def plainly_learned(node: Node, content: bytes, since: int, without: list[ServedAd]) -> Plain:
    """Lay a model out, and have it learn the journal's impressions and clicks behind a position."""
    trained = decode_model(content)[1]
    model = prepare("", trained, terms_of(node.state, trained), COLUMNS).model
    assert trained.rates == Rates(), "a node's own too: so that nothing is made up for"
    left, told = {key_of(ad) for ad in without}, [0, 0]
    for entry in SqliteReader(node.settings.data / "journal.db").read(since, 100_000):
        line = entry.line
        if isinstance(line, Shown | Clicked) and key_of(line.ad) not in left:
            is_click = isinstance(line, Clicked)
            model.learn(
                line.ad.rows, line.ad.columns, node.state.prior_logit, 1.0 - is_click, float(is_click)
            )
            told[is_click] += 1
    return Plain(model.z, model.n, *told)


def test_a_click_after_the_span_that_was_learned_counts_once(tmp_path: Path) -> None:
    """Training to an earlier hour knows later clicks of its impressions: they are not learned again."""

    async def work() -> None:
        clock = Clock()
        async with running_node(tmp_path, clock_ms=clock, things=small_catalogue()) as node:
            early = [decide(node, ask_for("plc-1")).ads[0] for _ in range(3)]
            for ad in early:
                await send(node, "impression", ad)
            clock.at_ms += HOUR_MS
            await tick(node)
            await send(node, "click", early[0])  # archived before the model is trained
            await archive_past(node, clock)
            await send(node, "click", early[1])  # not archived yet
            content = await asyncio.to_thread(learned, tmp_path, TrainPlan(to_ms=START_MS + HOUR_MS))
            assert decode_model(content)[0].facts["clicks"] == 1
            loading = await load_model(node, content)
            assert (loading.impressions, loading.clicks) == (0, 1)
            third = await send(node, "click", early[2])
            assert third.learned
            again = await load_model(node, (tmp_path / FOLDER / loading.name).read_bytes())
            assert (again.impressions, again.clicks) == (0, 1), "what is in use tells how far it is"

    asyncio.run(work())


def test_a_model_of_another_nodes_archive_is_taken_as_it_is(tmp_path: Path) -> None:
    async def work() -> None:
        clock = Clock()
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
        async with running_node(tmp_path / "one", clock_ms=clock, things=small_catalogue()) as node:
            content = await lived(node, clock, hours=1)
        async with running_node(tmp_path / "two", clock_ms=clock, things=small_catalogue()) as node:
            shown = decide(node, ask_for("plc-1")).ads[0]
            await send(node, "impression", shown)
            loading = await load_model(node, content)
            assert (loading.of, loading.impressions, loading.through) == ("", 0, 0)
            clicked = await send(node, "click", shown)
            assert (clicked.status, clicked.learned) == ("counted", False)

    asyncio.run(work())


def test_ready_beforehand_or_made_at_the_line_it_comes_to_the_same(tmp_path: Path) -> None:
    """A catalogue that grows in between, or priors that differ, are looked up at the line itself."""

    async def work() -> None:
        clock = Clock()
        async with running_node(tmp_path, clock_ms=clock, things=small_catalogue()) as node:
            content = await lived(node, clock, hours=1)
            await load_model(node, content)
            ready = known(node.state)
            await node.submit(Loaded(at_ms=node.now_ms(), name=node.state.loadings[-1].name))
            at_the_line = known(node.state)
            assert {name for name in ready if ready[name] != at_the_line[name]} == {"rest"}, "only positions"
            before = decide(node, ask_for("plc-1", "plc-2", count=3)).ads
            fold = msgspec.structs.replace(FOLD, prior_ctr=0.2, cross_alpha=0.07, l1=0.5)
            await node.submit(Configured(at_ms=node.now_ms(), settings=fold))
            await load_model(node, content)
            after = decide(node, ask_for("plc-1", "plc-2", count=3)).ads
            assert {ad.creative_id: pytest.approx(ad.pctr, rel=1e-4) for ad in before} == {
                ad.creative_id: ad.pctr for ad in after
            }

    asyncio.run(work())


def test_a_file_that_is_gone_or_damaged_stops_a_start_that_needs_it_and_says_so(tmp_path: Path) -> None:
    async def work() -> None:
        clock = Clock()
        async with running_node(tmp_path, clock_ms=clock, things=small_catalogue()) as node:
            name = (await load_model(node, await lived(node, clock, hours=1))).name
            await settled(node)
        kept = tmp_path / FOLDER / name
        content = kept.read_bytes()
        for damage, code in ((content[:-1], "model_damaged"), (None, "model_missing")):
            kept.unlink() if damage is None else kept.write_bytes(damage)
            with pytest.raises(Refused) as refused:
                async with running_node(tmp_path, clock_ms=clock):
                    pass
            assert refused.value.code == code
            assert name in refused.value.message
        kept.write_bytes(content)  # brought back, or left behind by a load that was killed before its line
        (tmp_path / FOLDER / "making-x").write_bytes(b"half")
        async with running_node(tmp_path, clock_ms=clock) as node:
            assert node.state.loadings[-1].name == name
            await load_model(node, content)
            assert [path.name for path in (tmp_path / FOLDER).iterdir()] == [name]

    asyncio.run(work())
