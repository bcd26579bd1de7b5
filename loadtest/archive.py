"""`python -m loadtest archive`: what an archived line costs, and does the archive keep up with a busy node?

Makes a journal as a busy node leaves it: hours of impressions with some clicks and conversions, a tick a
second, losses by the minute, verdicts written back; once with every decision still kept, once with none. The
archive's own worker then writes them to Parquet. Last, it does so at idle priority on the core of a node that
serves ads, each with its impression: as many lines as that brings, or more, have to get done beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from random import Random
from time import perf_counter, process_time
from typing import Any

import msgspec

from app.domain import ids
from app.domain.decisions import Choice, Record
from app.domain.ids import HOUR_MS
from app.domain.lines import (
    Catalogued,
    Clicked,
    Configured,
    Converted,
    Entry,
    FoldSettings,
    Line,
    Lost,
    Shown,
    Ticked,
    Verdict,
)
from app.domain.requests import AdRequest, Ask, Person, Surroundings
from app.flows.archiving import _above, run_archive
from app.flows.serve import served_ads
from app.flows.snapshotting import yield_to_the_node
from app.journal.archive import path_of
from app.journal.decisions import DecisionStore
from app.journal.sqlite import SqliteJournal
from app.offline.sample import PLACEMENTS, sample_catalogue
from app.offline.sample_words import INTERESTS
from app.state.apply import apply
from app.state.choose import Chooser
from app.state.state import State
from app.web.catalogue.importing import parse_lines, unpack
from loadtest.client import Pool, open_loop, percentile, run_loop
from loadtest.machine import LOAD_CORE, PROJECT, SERVER_CORE, facts, on_core, pinned, say, target
from loadtest.servers import SEED, Server, running_node
from loadtest.traffic import Mix, probe, report_events, served, warm_up

START_MS = 1_800_000_000_000
LINES_A_SECOND = 1_600
CLICK_SHARE, CONVERSION_SHARE = 0.02, 0.002
DECISIONS = 2_000  # real ones, whose ads and records are told again and again under other ids
LOST_CAMPAIGNS = 400  # in a line, as a node writes them
CHUNK = 2_000
CONNECTIONS = 512


def run(argv: Sequence[str]) -> int:
    """Print the report; 0 when the archive keeps up."""
    options = _options(argv)
    if options.work:
        if options.idle:
            yield_to_the_node()
        print(json.dumps(work(options.work, options.seconds)))
        return 0
    say(facts("archive", argv))
    with tempfile.TemporaryDirectory(prefix="adjudge-archive-") as folder:
        data = Path(folder) / "data"
        lines = make(data, options)
        journal = (data / "journal.db").stat().st_size
        say(f"{lines:,} lines in {options.hours} hours over {options.creatives:,} ads; "
            f"{journal / lines:,.0f} bytes a line in the journal, ids and verdicts among them\n")  # fmt: skip
        say(f"  {'written alone, at leave':28}{'lines':>10}{'lines/s':>10}{'CPU s a million':>17}"
            f"{'bytes a line':>14}")  # fmt: skip
        (data / "decisions.db").rename(data / "kept.db")
        DecisionStore(data / "decisions.db").close()
        say(_row("no decision is kept", _worked(data)))
        (data / "kept.db").replace(data / "decisions.db")
        kept = _worked(data)
        say(_row("every decision is kept", kept))
        say(f"  an hour at {LINES_A_SECOND:,} lines/s takes "
            f"{kept['cpu_s'] / kept['lines'] * LINES_A_SECOND:.1%} of a core")  # fmt: skip
        return _beside(data, options) if options.seconds else 0


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="loadtest archive", description=__doc__)
    parser.add_argument("--creatives", type=int, default=10_000)
    parser.add_argument("--hours", type=int, default=6)
    parser.add_argument("--lines", type=int, default=30_000, help="an hour")
    parser.add_argument("--rate", type=float, default=800.0, help="ad requests a second beside it")
    parser.add_argument("--seconds", type=float, default=20.0, help="beside the node; 0: leave that out")
    parser.add_argument("--work", type=Path, help="be the worker of this directory")
    parser.add_argument("--idle", action="store_true", help="work when nobody else wants the processor")
    return parser.parse_args(argv)


# The journal.


def make(data: Path, options: argparse.Namespace) -> int:
    """Write a journal of some hours, its decisions, and who stands above whom; returns how many lines."""
    data.mkdir()
    chance, state = Random(SEED), State()
    journal = SqliteJournal(data / "journal.db", max_waiting=1 << 40, threaded=False)
    decisions = DecisionStore(data / "decisions.db")
    document = b"\n".join(msgspec.json.encode(line) for line in sample_catalogue(SEED, options.creatives))
    first: list[Line] = [Configured(at_ms=START_MS, settings=FoldSettings()), Ticked(at_ms=START_MS)]
    for packed in parse_lines(document, FoldSettings().time_zone, 1):
        first += [Catalogued(at_ms=START_MS, thing=parsed.thing) for parsed in unpack(packed) if parsed.thing]
    for position, line in enumerate(first, 1):
        apply(state, Entry(position, line))
    creatives: list[Any] = list(state.catalogue.things["creative"].values())
    above = {creative.id: _above(*state.catalogue.chain(creative)) for creative in creatives}
    (data / "above").write_bytes(msgspec.msgpack.encode(above))
    records = _records(state, chance)
    campaigns = tuple(state.catalogue.ids("campaign")[:LOST_CAMPAIGNS])
    waiting: list[Line] = []
    for hour in range(options.hours):
        story = _hour(records, campaigns, chance, START_MS + hour * HOUR_MS, options.lines)
        for number, (line, record) in enumerate(story):
            waiting.append(line)
            if record is not None:
                decisions.put(record)
            if number % CHUNK == 0:
                _put(journal, waiting)
                decisions.flush()
    _put(journal, waiting)
    journal.commit()
    lines = journal.last_position
    journal.close()
    decisions.close()
    return lines


def _put(journal: SqliteJournal, waiting: list[Line]) -> None:
    """Commit lines, and write verdicts back as the fold would."""
    for line in waiting:
        journal.append(line)
    journal.commit()
    told = Verdict("learned", 1_234_567)
    events = [line for line in waiting if isinstance(line, Shown | Clicked | Converted)]
    journal.write_verdicts(journal.last_position, [(line.event_id, told) for line in events])
    waiting.clear()


def _records(state: State, chance: Random) -> list[Record]:
    """Have real decisions made for all sorts of people."""
    chooser, records = Chooser(state), list[Record]()
    for number in count():
        person = Person(
            gender=chance.choice("FM"), age=chance.randrange(15, 70), key=chance.randbytes(12),
            region=chance.choice(("KR-11", "KR-26")), interests=tuple(chance.sample(INTERESTS, 2)),
        )  # fmt: skip
        place = Surroundings(
            device=chance.choice(("mobile", "desktop")), os=chance.choice(("ios", "android"))
        )
        ask = Ask(name="top", placement_id=f"plc-{chance.randrange(PLACEMENTS)}")
        request = AdRequest(request_id=f"r-{number}", asks=(ask,), person=person, surroundings=place)
        key = ids.request_key(START_MS, number.to_bytes(ids.RANDOM_BYTES, "big"))
        choice = chooser.choose(request, key, START_MS)
        if choice.placed[0].wins:
            records.append(Record(request_key=key, request=request, choice=choice))
        if len(records) == DECISIONS:
            break
    return records


def _hour(
    records: list[Record], campaigns: tuple[str, ...], chance: Random, start_ms: int, lines: int
) -> Iterator[tuple[Line, Record | None]]:
    """Tell an hour's lines, each impression with the record of its decision."""
    requests = tuple((f"plc-{number}", 30, 9_000) for number in range(PLACEMENTS))
    counts = (7).to_bytes(4, "little") * 3 * len(campaigns)
    waiting: list[Shown | Clicked] = []
    for number in range(lines):
        at_ms = start_ms + number * HOUR_MS // lines
        if number % LINES_A_SECOND == 0:
            yield Ticked(at_ms=at_ms, requests=requests), None
        elif number % (60 * LINES_A_SECOND) == 1:
            reasons = ("size", "floor", "outbid")
            yield Lost(at_ms=at_ms, reasons=reasons, campaigns=campaigns, counts=counts), None
        elif waiting and chance.random() < CLICK_SHARE:
            ad = waiting.pop(chance.randrange(len(waiting))).ad
            clicks = chance.random() < 1 - CONVERSION_SHARE / CLICK_SHARE
            yield (Clicked(at_ms=at_ms, ad=ad) if clicks else Converted(at_ms=at_ms, ad=ad)), None
        else:
            record = _again(chance.choice(records), at_ms, chance)
            (placed,), person = record.choice.placed, record.request.person
            line = Shown(at_ms=at_ms, ad=served_ads(record.choice, placed, person)[0])
            if chance.random() < 2 * CLICK_SHARE:
                waiting.append(line)
            yield line, record


def _again(record: Record, at_ms: int, chance: Random) -> Record:
    """Tell a decision under another id, at another time."""
    key = ids.request_key(at_ms, chance.randbytes(ids.RANDOM_BYTES))
    placed = msgspec.structs.replace(record.choice.placed[0], decision_id=ids.decision_id(key, 0))
    choice: Choice = msgspec.structs.replace(record.choice, clock_ms=at_ms, placed=(placed,))
    return msgspec.structs.replace(record, request_key=key, choice=choice)


# The worker.


def work(data: Path, seconds: float) -> dict[str, float]:
    """Archive hour after hour, for so long at most; tells what was done."""
    above, folder = [(data / "above").read_bytes()], data / "archive"
    lines = bytes_written = 0
    started, cpu_s = perf_counter(), process_time()
    for hour in count(START_MS // HOUR_MS):
        facts_of = run_archive(data, hour, 1 << 60, above)
        done = facts_of.through_position - facts_of.after_position
        if not done:
            break
        lines += done
        bytes_written += sum(file.stat().st_size for file in path_of(folder, hour).rglob("*.parquet"))
        if perf_counter() - started > seconds:
            break
    took, cpu_s = perf_counter() - started, process_time() - cpu_s
    return {"lines": lines, "seconds": took, "cpu_s": cpu_s, "bytes": bytes_written}


def _started(data: Path, seconds: float, *idle: str) -> subprocess.Popen[bytes]:
    """Start the worker on the servers' core; `--idle`: as a node does."""
    shutil.rmtree(data / "archive", ignore_errors=True)
    command = [
        sys.executable,
        "-m",
        "loadtest",
        "archive",
        "--work",
        str(data),
        "--seconds",
        str(seconds),
        *idle,
    ]
    return subprocess.Popen(pinned(command, SERVER_CORE), cwd=PROJECT, stdout=subprocess.PIPE, env=os.environ)


def _worked(data: Path) -> dict[str, float]:
    with _started(data, 1e9) as process:
        assert process.stdout is not None
        done: dict[str, float] = json.loads(process.stdout.read())
    return done


def _row(name: str, done: dict[str, float]) -> str:
    million = done["cpu_s"] / done["lines"] * 1e6
    return (
        f"  {name:28}{done['lines']:>10,.0f}{done['lines'] / done['seconds']:>10,.0f}{million:>17,.1f}"
        f"{done['bytes'] / done['lines']:>14,.0f}"
    )


# Beside a node.


def _beside(data: Path, options: argparse.Namespace) -> int:
    """Serve ads with and without the worker on the same core; 0 when it did as many lines as events came."""
    with on_core(LOAD_CORE) as core, running_node(options.creatives) as node:
        say(f"\nbeside a node on the same core, load on {core}, open loop:")
        alone_ms, beside_ms, done, events = run_loop(_served_beside(node, data, options))
    say(_row("every decision is kept", done))
    for name, times_ms in (("ads without it", alone_ms), ("ads beside it", beside_ms)):
        cells = "".join(f"{percentile(times_ms, share):>9.2f}" for share in (0.5, 0.99, 0.999))
        say(f"  {name:28}{len(times_ms):>10,}  p50, p99, p99.9, ms:{cells}")
    rate = done["lines"] / done["seconds"]
    say()
    met = [
        target(f"at least the {events:,.0f} events/s that came: {rate:,.0f} lines/s", rate >= events),
        target(f"at least {LINES_A_SECOND:,} lines/s: {rate:,.0f}", rate >= LINES_A_SECOND),
    ]
    return 0 if all(met) else 1


async def _served_beside(
    node: Server, data: Path, options: argparse.Namespace
) -> tuple[list[float], list[float], dict[str, float], float]:
    with closing(Pool(node.host, node.port, CONNECTIONS)) as pool:
        mix = await probe(pool, options.creatives)
        await warm_up(pool, mix)
        alone_ms, _ = await _traffic(pool, mix, options.rate, options.seconds / 2, 1)
        process = _started(data, options.seconds, "--idle")
        assert process.stdout is not None
        told = asyncio.create_task(asyncio.to_thread(process.stdout.read))
        beside_ms, events = await _traffic(pool, mix, options.rate, options.seconds, 2, told)
        if not told.done():
            process.kill()
            raise RuntimeError("the worker got no processor: this machine is busy with other things")
        done: dict[str, float] = json.loads(await told)
        process.wait()
    return alone_ms, beside_ms, done, events


async def _traffic(
    pool: Pool, mix: Mix, rate: float, seconds: float, seed: int, until: asyncio.Task[bytes] | None = None
) -> tuple[list[float], float]:
    """Ask for ads and report their impressions, in turns of some seconds until a task is done, too.

    Returns how long each answer took, and the events a second.
    """
    random, times_ms, reported = Random(seed), list[float](), 0

    async def visit(number: int, due: float) -> None:
        nonlocal reported
        body = mix.bodies[number % len(mix.bodies)]
        reply = await pool.exchange(body.request)
        times_ms.append((perf_counter() - due) * 1e3)
        ads = served(body.door, reply)
        reported += len(ads)
        await report_events(pool, ads, random)

    started = perf_counter()
    while perf_counter() - started < seconds or (until is not None and not until.done()):
        await open_loop(visit, rate, min(seconds, 2.0), seed)
        if perf_counter() - started > 4 * seconds:
            break
    return times_ms, reported / (perf_counter() - started)
