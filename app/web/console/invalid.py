"""`/console/invalid-traffic`: gross and net, the reasons, the sources; events found are refunded here."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from app.domain.ids import HOUR_MS, from_text
from app.domain.refusals import Refused
from app.flows.feedback import refund
from app.flows.finding_events import MOST_FOUND, Found, FoundEvent, Wanted, find_events
from app.flows.invalid_traffic import SOURCES, InvalidTraffic, Source, invalid_traffic
from app.rules.invalid_traffic import REASONS
from app.state.apply import Receipt
from app.web.console.campaign import later_of
from app.web.console.figures import Cell, Chart, Column, Interval, Link, Table
from app.web.console.frame import caller_of, demand, form_of, may, node_of, page
from app.web.console.pages import ROOT
from app.web.console.placements import SPANS, hours_axis, hours_of, wait_of

PATH = f"{ROOT}/invalid-traffic"
MODES = {
    "off": "Nothing is judged: ADJUDGE_INVALID_TRAFFIC is off.",
    "mark": "Findings are marked only: marked events are billed and learned as valid ones.",
    "on": "",
}
KINDS = (("", "any"), ("impression", "impressions"), ("click", "clicks"), ("conversion", "conversions"))
FOUND_BY = (
    ("", "anywhere"), ("publisher", "publisher"), ("placement", "placement"), ("campaign", "campaign"),
    ("creative", "creative"),
)  # fmt: skip
AGAINST = (("", "anything or nothing"), ("-", "nothing"), *((code, code) for code in REASONS))
MOST_IDS = 1_000
REFUNDS_PER_SLICE = 32  # as at the API: about 2 ms of the loop


async def invalid(request: Request) -> Response:
    """Show what was found invalid; with a search, the events it finds."""
    return await _show(request, {})


async def give_back(request: Request) -> Response:
    """Refund the events that were ticked or listed, as `POST /v1/refunds` does.

    Errors  Refused `out_of_scope`.
    """
    demand(request, "POST", "/v1/refunds")
    form = form_of(request)
    texts = [*form.getlist("event"), *str(form.get("event_ids", "")).replace(",", " ").split()]
    texts = list(dict.fromkeys(map(str, texts)))
    if not texts or len(texts) > MOST_IDS:
        wrong = "name at least one event" if not texts else f"at most {MOST_IDS:,} events at a time"
        return await _show(request, {"event_ids": wrong}, status=422)
    results: list[list[Cell]] = []
    for start in range(0, len(texts), REFUNDS_PER_SLICE):
        results += await _refund(
            request, texts[start : start + REFUNDS_PER_SLICE], form.get("reason", "")[:1000]
        )
    later_of(request).forget()
    columns = [Column("event"), Column("outcome"), Column("refunded", "money"), Column("un-learned")]
    table = Table(id="results", title="What became of the refunds", columns=columns, rows=results)
    return await _show(request, {}, results=table)


async def _refund(request: Request, texts: list[str], reason: str) -> list[list[Cell]]:
    known: dict[str, bytes] = {}
    for text in texts:
        try:
            known[text] = from_text(text)
        except ValueError:
            continue
    answers = await refund(node_of(request), list(known.values()), reason, caller_of(request))
    told = dict(zip(known, answers, strict=True))
    return [_result(text, told.get(text)) for text in texts]


def _result(text: str, answer: Receipt | Refused | None) -> list[Cell]:
    if answer is None:
        return [text, "refused: this is not an event's id (unknown_event)", 0, "no"]
    if isinstance(answer, Refused):
        return [text, f"refused: {answer.message} ({answer.code})", 0, "no"]
    if answer.status == "repeat":
        return [text, "was refunded before", 0, "no"]
    return [text, "refunded", answer.billed_micros, "yes" if answer.learned else f"no ({answer.code})"]


async def _show(
    request: Request, problems: dict[str, str], results: Table | None = None, status: int = 200
) -> Response:
    node, caller, hours = node_of(request), caller_of(request), hours_of(request)
    told: InvalidTraffic | None = await later_of(request).get(
        ("invalid", caller.advertiser_ids, hours), lambda: invalid_traffic(node, caller, hours),
        wait_of(request, "told"),
    )  # fmt: skip
    query = dict(request.query_params)
    wanted = wanted_of(query, node.now_ms() - hours * HOUR_MS)
    searched = "find" in query
    found = await find_events(node, caller, wanted) if searched and "live" not in query else None
    values: dict[str, Any] = dict.fromkeys(("counts", "reasons", "by_hour"))
    if told is not None:
        values = {"counts": counts_table(told), "reasons": reasons_table(told, hours)}
        values["by_hour"] = hours_chart(told, node.settings.fold.time_zone)
    return page(
        request, "invalid.html", status=status, live="told", told=told, **values, problems=problems,
        sources=[sources_table(name, told.sources[name], hours) for name in SOURCES] if told else [],
        hours=str(hours), spans=SPANS, mode=MODES[node.state.settings.invalid_traffic], results=results,
        found=found, events=events_table(found) if found is not None else None, wanted=wanted,
        most=MOST_FOUND, kinds=KINDS, found_by=FOUND_BY, against=AGAINST, action=_action(query),
        may_refund=may(request, "POST", "/v1/refunds"),
    )  # fmt: skip


def _action(query: dict[str, str]) -> str:
    """Have a refund come back to the search that it was made from."""
    kept = {name: value for name, value in query.items() if name not in {"live", "part", "csv", "table"}}
    return f"{PATH}/refund" + (f"?{urlencode(kept)}" if kept else "")


def wanted_of(query: dict[str, str], since_ms: int) -> Wanted:
    """Read a search; what is none of its words asks for anything."""

    def one_of(name: str, choices: tuple[tuple[str, str], ...]) -> Any:
        return query.get(name, "") if query.get(name, "") in dict(choices) else ""

    by, identity = one_of("by", FOUND_BY), query.get("id", "").strip()[:256]
    reason = query.get("reason", "")[:64]
    return Wanted(
        since_ms=max(0, since_ms), kind=one_of("kind", KINDS), by=by if identity else "", id=identity,
        reason=reason, billed=query.get("billed") == "1",
    )  # fmt: skip


def search_for(hours: int, **wanted: str) -> str:
    """Write the address of a search."""
    return f"{PATH}?{urlencode({'find': '1', 'hours': hours, **wanted})}#events"


# What the page shows.


def counts_table(told: InvalidTraffic) -> Table:
    """Lay out gross and net by kind of event."""
    columns = [
        Column("events"), Column("gross", "number"), Column("invalid", "number"), Column("net", "number"),
        Column("invalid share", "percent"),
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    for each in told.counts:
        part = None
        if each.share is not None:
            part = Interval(each.share, cast(float, each.low), cast(float, each.high))
        rows.append([each.kind, each.gross, each.gross - each.net, each.net, part])
    return Table(id="counts", title="Gross and net", columns=columns, rows=rows)


def reasons_table(told: InvalidTraffic, hours: int) -> Table:
    """Lay out the reasons, the commonest first, each a search away from its events."""
    rows: list[list[Cell]] = [
        [Link(each.code, search_for(hours, reason=each.code)), each.why, each.count] for each in told.reasons
    ]
    columns = [Column("reason"), Column("what it means"), Column("events", "number")]
    return Table(
        id="reasons", title="Reasons", columns=columns, rows=rows, empty="Nothing was found invalid."
    )


def sources_table(name: str, sources: list[Source], hours: int) -> Table:
    """Lay out where most of it comes from."""
    rows: list[list[Cell]] = [
        [
            Link(each.id, search_for(hours, by=name, id=each.id)) if each.id else "(none)", each.invalid,
            each.gross, Interval(each.share, each.low, each.high), each.reason,
        ]
        for each in sources
    ]  # fmt: skip
    columns = [
        Column(name), Column("invalid", "number"), Column("of events", "number"), Column("share", "percent"),
        Column("mostly"),
    ]  # fmt: skip
    return Table(id=f"by_{name}", title=f"By {name}", columns=columns, rows=rows, empty="Nothing invalid.")


def hours_chart(told: InvalidTraffic, zone: str) -> Chart:
    """Draw valid and invalid clicks and impressions' shares by the hour."""

    def part(row: dict[str, Any], kind: str) -> float | None:
        gross = row[f"gross_{kind}"]
        return (gross - row[f"net_{kind}"]) / gross * 100 if gross else None

    return Chart(
        id="by_hour", title="Invalid share by the hour", unit="%", x=hours_axis(told.hours),
        series={kind: [part(row, kind) for row in told.hours] for kind in ("impressions", "clicks")},
        style="steps", zone=zone, decimals=1,
    )  # fmt: skip


def events_table(found: Found) -> Table:
    """Lay out the events found, for CSV; the page has a box to tick beside each."""
    columns = [
        Column("event"), Column("when", "time"), Column("kind"), Column("placement"), Column("publisher"),
        Column("creative"), Column("found"), Column("billed", "money"),
    ]  # fmt: skip
    rows: list[list[Cell]] = [
        [each.event_id, each.at_ms, each.kind, each.placement, each.publisher, each.creative,
         verdict_of(each), each.billed_micros]
        for each in found.events
    ]  # fmt: skip
    return Table(id="events", title="Events", columns=columns, rows=rows)


def verdict_of(event: FoundEvent) -> str:
    """Say what became of an event, in a word or two."""
    if event.fate == "refunded":
        return f"refunded ({event.code})" if event.code else "refunded"
    if event.fate in {"learned", "skipped"}:
        return f"marked {event.code}" if event.code else "valid"
    return event.code or event.fate
