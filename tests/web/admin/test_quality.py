"""What the admin port tells of a creative's quality."""

from __future__ import annotations

import pytest

from app.domain.keys import Caller
from app.domain.refusals import Refused
from app.flows.feedback import line_of, take_event
from app.flows.ticking import tick_line
from app.web.admin.rights import demand_right
from tests.node import Server, ask_for, decide, send


async def _complain(server: Server, times: int) -> str:
    node = server.node
    for _ in range(times):
        ad = decide(node, ask_for("plc-1")).ads[0]
        await send(node, "impression", ad)
        await take_event(node, line_of("dismissal", ad, node.now_ms(), reason="misleading"))
    await node.submit(tick_line(node))
    return ad.creative_id


def test_it_tells_complaints_rates_and_the_index(server: Server) -> None:
    creative = server.run(_complain(server, 6))
    answer = server.ask("GET", f"/v1/creatives/{creative}/quality")
    assert answer.status == 200
    told = answer.json()
    assert told["creative_id"] == creative
    assert told["dismissals"] == {"misleading": told["own"]["complaints"] // 3}
    own = told["own"]
    assert own["complaint_rate"] == own["complaints"] / own["impressions"]
    assert told["all"]["complaints"] == 18
    assert 0.5 <= told["quality"] <= 2
    assert (own["accidental_rate"], own["accidental_low"]) == (None, None), "a rate of nothing is null"


def test_an_unknown_creative_is_not_found(server: Server) -> None:
    answer = server.ask("GET", "/v1/creatives/nobody/quality")
    assert (answer.status, answer.json()["code"]) == (404, "not_found")


def test_it_needs_the_scope_reports() -> None:
    caller = Caller(frozenset({"catalogue:read"}))
    with pytest.raises(Refused, match="scope reports"):
        demand_right(None, caller, "GET", "/v1/creatives/cr-1/quality")  # type: ignore[arg-type]
