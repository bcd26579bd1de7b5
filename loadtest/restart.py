"""`python -m loadtest restart`: how soon a node answers again that has a million lines behind its snapshot.

Makes a journal as a busy node leaves it (the catalogue, a snapshot, then impressions, clicks and ticks over
2,000 ads), starts `adjudge serve` on it and waits for `/readyz`. Beside it: the same start on an empty one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import msgspec

from app.domain import ids
from app.domain.decisions import ServedAd
from app.domain.lines import Catalogued, Clicked, Configured, FoldSettings, Line, Shown, Ticked
from app.domain.requests import AdRequest, Ask, Person, Surroundings
from app.flows.follow import fold
from app.flows.serve import served_ads
from app.flows.snapshotting import save
from app.journal.protocol import Committed
from app.journal.sqlite import SqliteJournal
from app.offline.sample import PLACEMENTS, sample_catalogue
from app.offline.sample_words import INTERESTS
from app.state.choose import Chooser
from app.state.state import State
from app.web.catalogue.importing import parse_lines, unpack

TARGET_S = 30.0
GIVE_UP_S = 300.0
LINES_A_SECOND = 1_000  # of the busy node: a tick after so many
CLICK_SHARE = 0.02
DECISIONS = 4_000  # real ones, whose ads stand in the lines
CHUNK = 20_000
ROOT = Path(__file__).parents[1]


def run(argv: Sequence[str]) -> int:
    """Print the report; 0 when the node was ready within the target."""
    options = _options(argv)
    with tempfile.TemporaryDirectory(prefix="adjudge-restart-") as name:
        empty = time_to_ready(Path(name) / "empty")
        print(f"an empty node was ready after {empty:.2f} s", flush=True)
        data, started = Path(name) / "data", time.perf_counter()
        position = make_journal(data, options.lines, options.seed, unwritten=options.unwritten)
        size = sum(file.stat().st_size for file in data.glob("journal.db*")) / 1e6
        print(
            f"journal made in {time.perf_counter() - started:.0f} s: {options.lines:,} lines behind "
            f"a snapshot at {position:,}, {size:.0f} MB, verdicts {'un' if options.unwritten else ''}written",
            flush=True,
        )
        taken = time_to_ready(data)
    rate = options.lines / max(taken - empty, 1e-9)
    print(f"ready after {taken:.2f} s: {rate:,.0f} lines/s beyond an empty start (target {TARGET_S:.0f} s)")
    return 0 if taken < TARGET_S else 1


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="loadtest restart", description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000, help="lines behind the snapshot")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--unwritten", action="store_true",
        help="the verdicts are not yet written back either, and the restart writes them",
    )  # fmt: skip
    return parser.parse_args(argv)


def make_journal(data: Path, lines: int, seed: int, *, unwritten: bool = False) -> int:
    """Write a journal with a snapshot after its catalogue; returns the snapshot's position."""
    data.mkdir(parents=True)
    chance = random.Random(seed)
    start_ms = int(time.time() * 1000) - lines * 1000 // LINES_A_SECOND
    journal = SqliteJournal(data / "journal.db", on_commit=_must_succeed, max_waiting=1 << 62, threaded=False)
    settings = FoldSettings()
    first: list[Line] = [Configured(at_ms=start_ms, settings=settings)]
    document = b"\n".join(msgspec.json.encode(line) for line in sample_catalogue(seed))
    for packed in parse_lines(document, settings.time_zone, 1):
        first += [Catalogued(at_ms=start_ms, thing=parsed.thing) for parsed in unpack(packed) if parsed.thing]
    _append(journal, [*first, Ticked(at_ms=start_ms)])
    state = State()
    fold(state, journal)
    save(data / "snapshots", state, start_ms)
    ads = _served(state, chance, start_ms)
    story = _story(ads, chance, start_ms, lines)
    while chunk := list(islice(story, CHUNK)):
        _append(journal, chunk)
    if not unwritten:
        journal.write_verdicts(journal.last_position, [])
        journal.commit()
    journal.close()
    return state.position


def _must_succeed(told: list[Committed]) -> None:
    assert not any(each.error or each.repeat for each in told)


def _append(journal: SqliteJournal, lines: Sequence[Line]) -> None:
    for line in lines:
        journal.append(line)
    journal.commit()


def _served(state: State, chance: random.Random, now_ms: int) -> list[ServedAd]:
    """Have real decisions made for all sorts of people; their ads are what gets reported."""
    chooser, served = Chooser(state), []
    for number in range(DECISIONS):
        person = Person(
            gender=chance.choice("FM"), age=chance.randrange(15, 70),
            region=chance.choice(("KR-11", "KR-26")), interests=tuple(chance.sample(INTERESTS, 2)),
        )  # fmt: skip
        place = Surroundings(
            device=chance.choice(("mobile", "desktop")), os=chance.choice(("ios", "android"))
        )
        ask = Ask(
            name="top", placement_id=f"plc-{chance.randrange(PLACEMENTS)}", count=chance.choice((1, 1, 2))
        )
        request = AdRequest(request_id="", asks=(ask,), person=person, surroundings=place)
        choice = chooser.choose(request, ids.request_key(now_ms, number.to_bytes(10, "big")), now_ms)
        served += [ad for placed in choice.placed for ad in served_ads(choice, placed)]
    return served


def _story(ads: list[ServedAd], chance: random.Random, start_ms: int, lines: int) -> Iterator[Line]:
    """Tell what is reported of ads like these; every impression is a decision of its own."""
    waiting: list[ServedAd] = []
    for number in range(lines):
        at_ms = start_ms + number * 1000 // LINES_A_SECOND
        if number % LINES_A_SECOND == 0:
            yield Ticked(at_ms=at_ms)
        elif waiting and chance.random() < CLICK_SHARE:
            yield Clicked(at_ms=at_ms, ad=waiting.pop(chance.randrange(len(waiting))))
        else:
            key = ids.request_key(at_ms, chance.randbytes(ids.RANDOM_BYTES))
            ad = msgspec.structs.replace(chance.choice(ads), decision_id=ids.decision_id(key, 0))
            if chance.random() < 2 * CLICK_SHARE:
                waiting.append(ad)
            yield Shown(at_ms=at_ms, ad=ad)


def time_to_ready(data: Path) -> float:
    """Start the real command on a directory; returns the seconds until /readyz says 200."""
    started = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "app",
        "serve",
        "--data",
        str(data),
        "--port",
        "0",
        "--admin-port",
        "0",
        "--json",
    ]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ}
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = process.stdout.readline()  # printed when it is ready
        if not line:
            raise SystemExit("the node did not start")
        url = json.loads(line)["public_url"]
        while not _ready(url):
            if time.perf_counter() - started > GIVE_UP_S:
                raise SystemExit("the node was never ready")
            time.sleep(0.01)
        return time.perf_counter() - started
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _ready(url: str) -> bool:
    try:
        with urlopen(f"{url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
