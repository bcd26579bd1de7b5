"""The driver and its client against a fake node: what it sends, what it counts, and what it survives."""

import asyncio
import json
from collections import Counter
from typing import Any

import msgspec
import pytest

from app.domain.refusals import Refused
from app.offline.audience import Audience, Visit
from app.offline.client import Client
from app.offline.demo import import_catalogue, wait_until_ready
from app.offline.drive import Driver
from app.offline.sample import sample_catalogue
from app.offline.tally import Ledger, summary
from tests.offline.fake_node import HANG_UP, Answer, fake_node, one_ad

CATALOGUE = list(sample_catalogue(seed=3, creatives=20))


class Eager(Audience):
    """Clicks everything, at once."""

    def clicks(self, p: float) -> bool:
        assert 0 < p < 1
        return True

    def click_delay_s(self) -> float:
        return 0.0


class Idle(Audience):
    """Never clicks."""

    def clicks(self, p: float) -> bool:
        return False


class Robotic(Audience):
    """Sends nobody but robots, which click."""

    def draw(self) -> Visit:
        return msgspec.structs.replace(super().draw(), user_agent="okhttp/4.12.0", robot=True)

    def robot_clicks(self) -> bool:
        return True


async def driven(answer: Any, audience: Audience, keep_alive: bool = True) -> tuple[Any, Ledger]:
    async with fake_node(answer, keep_alive) as node:
        driver = Driver(audience, node.url, rate=100, connections=4)
        await driver.run(duration_s=0.3)
    return node, driver.ledger


@pytest.mark.parametrize("keep_alive", [True, False])
def test_every_ad_is_shown_and_every_click_sent_once(keep_alive: bool) -> None:
    node, ledger = asyncio.run(driven(one_ad("crt-1"), Eager(1, CATALOGUE), keep_alive))
    whole = ledger.whole()
    assert whole.requests > 0
    assert whole.failed == 0
    assert whole.requests == whole.impressions == whole.clicks == node.count("/v1/ads")
    paths = Counter(path for _, path in node.asked if path != "/v1/ads")
    numbers = range(1, whole.requests + 1)
    assert paths == Counter([f"/i/{n}" for n in numbers] + [f"/c/{n}" for n in numbers])
    assert (node.connections <= 4) if keep_alive else (node.connections == len(node.asked))


def test_robots_are_sent_as_what_they_are_and_not_entered_in_the_ledger() -> None:
    node, ledger = asyncio.run(driven(one_ad("crt-1"), Robotic(1, CATALOGUE)))
    whole = ledger.whole()
    assert whole.requests > 0 == whole.impressions == whole.clicks
    reports = [head for head in node.heads if "User-Agent: okhttp/4.12.0" in head]
    assert len(reports) == len(node.asked) - node.count("/v1/ads") == 2 * whole.requests
    assert all("X-Forwarded-For: 10." in head for head in reports)


def test_the_path_alone_is_taken_from_the_answers_urls() -> None:
    """The node may be reached by another name than the one it calls itself; a redirect is not followed."""
    node, _ = asyncio.run(driven(one_ad("crt-1"), Eager(1, CATALOGUE)))
    assert all(f"Host: {node.url.removeprefix('http://')}" in head for head in node.heads)
    assert {method for method, path in node.asked if path.startswith(("/i/", "/c/"))} == {"GET"}


#   kind    who clicks  charged per impression  why
CHARGES = [
    ("cpc", Eager, 800.0, "each click is charged its price"),
    ("cpc", Idle, 0.0, "no click, no charge"),
    ("cpm", Idle, 800.0, "each impression is charged its price"),
    ("cpm", Eager, 800.0, "a click costs nothing more"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "who", "charged", "why"), CHARGES)
def test_what_is_charged(kind: str, who: type[Audience], charged: float, why: str) -> None:
    _, ledger = asyncio.run(driven(one_ad("crt-1", kind), who(1, CATALOGUE)))
    whole = ledger.whole()
    assert whole.charged == pytest.approx(charged * whole.impressions), why
    assert whole.predicted == pytest.approx(0.02 * whole.impressions)


def test_worth_is_what_the_truth_says() -> None:
    audience = Idle(1, CATALOGUE)
    _, ledger = asyncio.run(driven(one_ad("crt-1"), audience))
    again = Audience(1, CATALOGUE)
    visits = [again.draw() for _ in range(ledger.whole().requests)]
    truths = [
        again.truth(visit.person, visit.placement_id, "crt-1", again.seen(visit.person, "crt-1"))
        for visit in visits
    ]
    assert ledger.whole().worth == pytest.approx(sum(1000 * 1000 * truth for truth in truths))


#   answers to /v1/ads                       why
FAILURES = [
    ((503, b"{}"), "the node is busy"),
    ((200, b"not json"), "an answer that cannot be read"),
    (HANG_UP, "the node went away"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "why"), FAILURES)
def test_failures_are_counted_and_survived(answer: Answer, why: str) -> None:
    """The first three requests fail; what comes after is served."""
    good, left = one_ad("crt-1"), [answer] * 3

    def sometimes(method: str, path: str, body: bytes) -> Answer:
        return left.pop() if left and path == "/v1/ads" else good(method, path, body)

    node, ledger = asyncio.run(driven(sometimes, Idle(1, CATALOGUE)))
    whole, sent = ledger.whole(), node.count("/v1/ads")
    assert whole.failed == min(3, sent) > 0, why
    assert whole.requests == whole.impressions == sent - whole.failed


def test_nobody_listening_is_a_failure_not_an_end() -> None:
    async def steps() -> Ledger:
        async with fake_node(one_ad("crt-1")) as node:
            pass
        driver = Driver(Idle(1, CATALOGUE), node.url, rate=100, connections=2)
        await driver.run(duration_s=0.1)
        return driver.ledger

    ledger = asyncio.run(steps())
    assert ledger.whole().requests == 0
    assert ledger.whole().failed > 0
    assert summary(ledger, 0.1)["p50_ms"] is None


def test_a_rate_must_be_positive_and_a_url_plain_http() -> None:
    with pytest.raises(ValueError, match="rate"):
        Driver(Idle(1, CATALOGUE), "http://127.0.0.1:1", rate=0)
    with pytest.raises(ValueError, match="plain http"):
        Client("https://node.example", 1)


def test_a_late_reply_is_never_taken_for_the_next_one() -> None:
    """A request that ran out of time takes its connection with it."""

    async def steps() -> list[bytes]:
        release = asyncio.Event()

        async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while head := await reader.readline():
                while await reader.readline() not in (b"\r\n", b""):
                    pass
                name = head.split(b" ")[1]
                if name == b"/slow":
                    await release.wait()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(name), name))
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(slowly, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with Client(url, 1) as client:
            with pytest.raises(TimeoutError):
                await client.post("/slow", "text/plain", b"", timeout_s=0.05)
            release.set()
            replies = [(await client.get(f"/{n}")).body for n in range(3)]
        server.close()
        return replies

    assert asyncio.run(steps()) == [b"/0", b"/1", b"/2"]


def importing(counts: dict[str, int], lines: list[dict[str, Any]], status: int = 200) -> Any:
    def answer(method: str, path: str, body: bytes) -> Answer:
        if path == "/readyz":
            return 200, b"{}"
        assert (method, path) == ("POST", "/v1/import?quiet=true")
        assert [json.loads(line) for line in body.splitlines()] == CATALOGUE
        return status, json.dumps({"counts": counts, "lines": lines}).encode()

    return answer


async def imported(answer: Any) -> list[str]:
    async with fake_node(answer) as node, Client(node.url, 1, {"Authorization": "Bearer secret"}) as admin:
        await wait_until_ready(admin, within_s=5)
        await import_catalogue(admin, CATALOGUE)
    return node.heads


def test_the_catalogue_goes_in_whole_with_the_key() -> None:
    heads = asyncio.run(imported(importing({"created": 100, "refused": 0}, [])))
    assert "Authorization: Bearer secret\r\n" in heads[-1]
    assert "Content-Type: application/x-ndjson\r\n" in heads[-1]


def test_a_refused_line_ends_the_demo_and_is_named() -> None:
    refused = importing({"created": 99, "refused": 1}, [{"line": 3, "code": "unknown_parent"}])
    with pytest.raises(Refused, match="unknown_parent"):
        asyncio.run(imported(refused))
    with pytest.raises(Refused, match="answered 401"):
        asyncio.run(imported(importing({}, [], status=401)))


def test_a_node_that_never_gets_ready_is_refused() -> None:
    async def steps() -> None:
        async with fake_node(lambda *_: (503, b"{}")) as node, Client(node.url, 1) as admin:
            await wait_until_ready(admin, within_s=0.05)

    with pytest.raises(Refused, match="not ready"):
        asyncio.run(steps())
