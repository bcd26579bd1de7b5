"""Journals that released versions wrote. Goal: every build reads them, starts on them and goes on.

`released/VERSION.z` holds a journal file as that version wrote it, and is never written anew; beside it in
`facts.json`, what a reader of that version found. A version that CHANGELOG.md tells of has one: write it with

    python -m tests.journal.test_released
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tempfile
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from app import __version__
from app.domain.lines import Entry, Ticked
from app.domain.refusals import Refused
from app.flows.examining import examine
from app.flows.follow import fold
from app.journal.reader import SqliteReader
from app.journal.sqlite import SCHEMA, SqliteJournal
from app.state.state import State
from tests.node import running_node
from tests.state.test_golden import stories
from tests.state.world import COLUMNS

HERE = Path(__file__).parent / "released"
FACTS = HERE / "facts.json"
CHANGELOG = Path(__file__).parents[2] / "CHANGELOG.md"
VERSIONS = sorted(path.stem for path in HERE.glob("*.z"))


def unpacked(version: str, folder: Path) -> Path:
    path = folder / "journal.db"
    path.write_bytes(zlib.decompress((HERE / f"{version}.z").read_bytes()))
    return path


def facts_of(path: Path) -> dict[str, Any]:
    """Tell what a journal says that no later version may read otherwise."""
    state = State(columns=COLUMNS)
    with closing(SqliteReader(path)) as reader:
        fold(state, reader)
        kinds = [type(entry.line).__name__ for entry in reader.read(0, 100_000)]
    state.check()
    return {
        "lines": state.position,
        "kinds": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
        "impressions": state.progress.impressions,
        "clicks": state.progress.clicks,
        "spent_micros": int(state.catalogue.campaign_accounts.spent.sum()),
    }


def test_every_version_told_of_has_its_journal() -> None:
    told = re.findall(r"^## (\d+\.\d+\.\d+)", CHANGELOG.read_text(), flags=re.MULTILINE)
    assert told
    assert sorted(told) == VERSIONS, "python -m tests.journal.test_released writes this version's"


@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_journal_reads_as_it_was_written(version: str, tmp_path: Path) -> None:
    facts = json.loads(FACTS.read_text())[version]
    assert facts_of(unpacked(version, tmp_path)) == facts
    assert len(facts["kinds"]) > 10, "a journal that proves something"
    assert facts["spent_micros"] > 0


@pytest.mark.parametrize("version", VERSIONS)
def test_a_node_starts_on_an_old_journal_and_goes_on(version: str, tmp_path: Path) -> None:
    unpacked(version, tmp_path)

    async def live() -> int:
        async with running_node(tmp_path, columns=COLUMNS) as node:
            return node.state.position

    assert asyncio.run(live()) > json.loads(FACTS.read_text())[version]["lines"]
    with closing(apsw.Connection(str(tmp_path / "journal.db"))) as connection:
        found = connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
    assert found == (SCHEMA,)


def test_a_later_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = unpacked(VERSIONS[-1], tmp_path)
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (SCHEMA + 1,))
    with pytest.raises(Refused) as refused:
        SqliteJournal(path, threaded=False)
    assert refused.value.code == "journal_version"
    with closing(apsw.Connection(str(path))) as connection:
        found = connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
    assert found == (SCHEMA + 1,)


def test_a_line_of_a_later_build_is_refused_by_its_position(tmp_path: Path) -> None:
    """Who goes back to an earlier build meets kinds of lines that it does not know, under the same schema."""
    path = unpacked(VERSIONS[-1], tmp_path)
    with closing(apsw.Connection(str(path))) as connection:
        later = msgspec.msgpack.encode(["of_a_later_build", 0])
        connection.execute("UPDATE lines SET body = ? WHERE position = 90", (later,))

    async def live() -> None:
        async with running_node(tmp_path):
            raise AssertionError("it started")

    with pytest.raises(Refused, match=r"^line 90 .*run the build that wrote it") as refused:
        asyncio.run(live())
    assert refused.value.code == "journal_unreadable"
    [finding] = [each for each in examine(tmp_path, COLUMNS) if each["what"] == "journal"]
    assert not finding["ok"]
    assert f"{finding['found']}: {finding['advice']}" == refused.value.message


# How a version's is written.


def record() -> None:
    """Write this version's journal, where there is none: the golden story that has most kinds of lines."""
    story = max(stories(), key=lambda entries: len({type(entry.line) for entry in entries}))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.db"
        _write(path, story)
        HERE.mkdir(exist_ok=True)
        (HERE / f"{__version__}.z").write_bytes(zlib.compress(path.read_bytes(), 9))
        known = json.loads(FACTS.read_text()) if FACTS.exists() else {}
        FACTS.write_text(json.dumps({**known, __version__: facts_of(path)}, indent=1) + "\n")


def _write(path: Path, story: list[Entry]) -> None:
    """Have the journal itself write the lines, each in a commit of its own, with the fold's verdicts."""
    from app.state.apply import apply

    journal, state = SqliteJournal(path, threaded=False), State(columns=COLUMNS)
    for entry in story:
        journal.append(entry.line)
        journal.commit()
        written = journal.entry_at(state.position + 1)
        assert written is not None
        journal.write_verdicts(written.position, apply(state, written).verdicts)
    journal.append(Ticked(at_ms=state.clock_ms))
    journal.commit()
    journal.close()


if __name__ == "__main__":
    if (HERE / f"{__version__}.z").exists():
        sys.exit(f"{__version__} has one already, and is never written anew")
    record()
