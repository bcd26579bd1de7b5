"""One placement's auction for people: the price as a sentence, the losers as a funnel, candidates and parts.

Works on the words of the API (`app.web.explain`, `app.web.admin.decisions`), so that page and API agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from app.domain.decisions import LOSS_CODES, OWN_LOSS_CODE, REASON_NUMBER, REASONS
from app.domain.money import MICROS
from app.flows.workings import Standing
from app.web.console.figures import Column, Table

Words = Mapping[str, Any]
_ACTIONS = {
    "cpm": "per 1,000 impressions", "cpc": "a click", "cpa": "a conversion",
    "ocpm": "a conversion, charged by the impression",
}  # fmt: skip


class Step(Struct, frozen=True, kw_only=True):
    """A reason: how many ads it took, and how many were left behind it. `of` is the number at the start."""

    code: str
    why: str
    loss_code: int
    took: int
    left: int
    of: int


class Auction(Struct, frozen=True, kw_only=True):
    """What the page shows of one placement. `table`, `parts` and `weighed` once it was weighed anew."""

    at: int
    name: str
    placement_id: str
    decision_id: str
    ads: list[dict[str, Any]]
    sentences: list[str]  # how each ad's price came about, by what the record keeps
    no_ad: str | None
    why_no_ad: str
    candidates: int
    funnel: list[Step]
    funnel_table: Table
    rows: list[str]
    exploration: dict[str, Any] | None = None
    table: Table | None = None
    parts: list[Parts] = []
    weighed: list[str] = []  # the same by the workings, where it reads otherwise


class Parts(Struct, frozen=True, kw_only=True):
    """What a candidate's pCTR was put together from. `doubt` is how far one sample could move its logit."""

    creative_id: str
    pctr: float
    doubt: float
    variance: float
    table: Table


def price_sentence(
    kind: str, ecpm: float, price: float, pctr: float, pcvr: float | None, currency: str, *,
    quality: float = 1.0, rival_score: float | None = None, floor: float = 0.0, bid: float | None = None,
    deal: str | None = None,
) -> str:  # fmt: skip
    """Tell the second-price arithmetic in words. Units: decimals of the account currency, as in the API.

    `rival_score` is that of the rival that sets the price, None where the floor does.

    >>> price_sentence("cpc", 34_000, 1764.705883, 0.017, None, "KRW", rival_score=30_000.0)
    "won with eCPM 34,000; the rival's 30,000 sets the price: 30,000 / (0.017 × 1,000) = 1,764.71 KRW a click"
    >>> price_sentence("cpm", 900, 500, 0.01, None, "KRW", floor=500)
    'won with eCPM 900; no rival comes near, the floor of 500 sets the price: 500 KRW per 1,000 impressions'
    """
    by = [] if kind == "cpm" else [_plain(pctr), *([_plain(pcvr)] if kind != "cpc" and pcvr else []), "1,000"]
    if rival_score is not None:
        term, said = rival_score, f"the rival's {_money(rival_score)} sets the price"
        if quality != 1.0:
            by.append(_plain(quality))
            score = _money(rival_score)
            said = f"the rival's score of {score} over this ad's quality of {by[-1]} sets the price"
    elif floor > 0:
        term, said = floor, f"no rival comes near, the floor of {_money(floor)} sets the price"
    else:
        term, said = 0.0, "there is neither a rival nor a floor, so it pays the least there is"
    divided = f"{_money(term)} / ({' × '.join(by)}) = " if by and term else ""
    as_bid = ", all that it bid" if bid is not None and price >= bid else ""
    sold = f" by deal {deal}" if deal else ""
    told = f"{divided}{_money(price)} {currency} {_ACTIONS[kind]}{as_bid}"
    return f"won{sold} with eCPM {_money(ecpm)}; {said}: {told}"


def sentence_of_slot(ad: Words, slot: Words, currency: str) -> str:
    """Tell an explained slot's arithmetic."""
    rival, floor = slot["rival_term"], slot["floor_term"]
    by_rival = rival is not None and (floor is None or rival >= floor)
    return price_sentence(
        ad["pricing"]["kind"], ad["pricing"]["ecpm"], slot["price"], ad["pctr"], ad.get("pcvr"), currency,
        quality=slot["quality"], rival_score=slot["rival_score"] / MICROS if by_rival else None,
        floor=slot["floor"], bid=slot["bid"], deal=slot["deal_id"],
    )  # fmt: skip


def sentence_of_record(ad: Words, currency: str) -> str:
    """Tell a recorded win's arithmetic: what 1,000 impressions pay is what its rival or the floor came to."""
    pricing = ad["pricing"]
    rival, cleared = pricing["rival_creative_id"], pricing["cleared_ecpm"]
    return price_sentence(
        pricing["kind"], pricing["ecpm"], pricing["price"], ad["pctr"], ad["pcvr"], currency,
        rival_score=cleared if rival is not None else None, floor=cleared, bid=pricing["bid"],
        deal=ad["deal_id"],
    )  # fmt: skip


def funnel_of(reasons: Mapping[str, int], winners: int) -> list[Step]:
    """Order the losers by what they failed first, as the checks are ordered.

    >>> [(step.code, step.took, step.left) for step in funnel_of({"outbid": 2, "size": 7}, 1)]
    [('size', 7, 3), ('outbid', 2, 1)]
    """
    of = left = sum(reasons.values()) + winners
    steps = []
    for code in sorted(reasons, key=lambda code: REASON_NUMBER.get(code, 0)):
        left -= reasons[code]
        steps.append(
            Step(
                code=code, why=_why(code), loss_code=LOSS_CODES.get(code, OWN_LOSS_CODE),
                took=reasons[code], left=left, of=of,
            )
        )  # fmt: skip
    return steps


def _why(code: str) -> str:
    told = REASONS.get(code, "")
    return f"the ad group's targeting by {code.replace('_', ' ')}" if told == "targeting" else told


def funnel_table(at: int, steps: Sequence[Step]) -> Table:
    """Tell a funnel as a table, for CSV."""
    columns = [
        Column("reason"), Column("why"), Column("loss code", "number"), Column("took", "number"),
        Column("left", "number"),
    ]  # fmt: skip
    rows: list[list[Any]] = [[step.code, step.why, step.loss_code, step.took, step.left] for step in steps]
    return Table(id=f"funnel-{at}", title="What kept ads from winning", columns=columns, rows=rows)


def candidates_table(at: int, explained: Words, currency: str) -> Table:
    """List the worthiest candidates as the auction saw them."""
    won = {slot["creative_id"]: slot["ad_index"] for slot in explained["slots"]}
    groups = {each["ad_group_id"] for each in explained["best"] if each["creative_id"] in won}
    rivals = {slot["rival_creative_id"] for slot in explained["slots"]}
    columns = [
        Column("creative"), Column("ad group"), Column("campaign"), Column("result"), Column("by"),
        Column("bid", "money", currency, 2), Column("pCTR", "percent", "", 3),
        Column("pCVR", "percent", "", 3), Column("eCPM", "money", currency, 2),
        Column("quality", "number", "", 3),
        Column("score", "money", currency, 2),
    ]  # fmt: skip
    rows: list[list[Any]] = []
    for each in explained["best"]:
        creative = each["creative_id"]
        result = "outbid"
        if creative in won:
            result = f"won place {won[creative] + 1}"
        elif creative in rivals:
            result = "sets the price"
        elif each["ad_group_id"] in groups:
            result = "the winner's own ad group"  # which sets itself no price
        pricing = each["pricing"]
        rows.append(
            [
                creative, each["ad_group_id"], each["campaign_id"], result, pricing["kind"],
                pricing["bid"] * MICROS, each["pctr"], each["pcvr"], each["ecpm"] * MICROS, each["quality"],
                each["score"],
            ]
        )  # fmt: skip
    return Table(id=f"candidates-{at}", title="The best candidates", columns=columns, rows=rows)


def parts_of(at: int, explained: Words) -> list[Parts]:
    """Tell what each candidate's pCTR was put together from, cell by cell, with names."""
    found = []
    columns = [
        Column("of the request"), Column("of the ad"), Column("adds to the logit", "number", "", 4),
        Column("learned from", "number"),
    ]  # fmt: skip
    for rank, each in enumerate(explained["best"]):
        weights = each["weights"]
        rows: list[list[Any]] = [["prior of the placement", "", each["prior_logit"], None]]
        rows += [_cell(cell) for cell in weights["main"] if cell["weight"] or cell["n"]]
        rows += [_cell(cell) for cell in weights["crosses"] if cell["weight"] or cell["n"]]
        others = weights["others"]
        if others["count"]:
            rows.append([f"{others['count']} other crosses", "", others["sum"], None])
        if weights["factors"]:
            rows.append(["vectors of rows and columns", "", weights["factors"], None])
        rows.append(["sum", "", each["logit"], None])
        if each["calibrated_logit"] != each["logit"]:
            rows.append(["sum, calibrated", "", each["calibrated_logit"], None])
        table = Table(
            id=f"parts-{at}-{rank}", title=f"pCTR of {each['creative_id']}", columns=columns, rows=rows
        )
        found.append(
            Parts(
                creative_id=each["creative_id"], pctr=each["pctr"], doubt=each["uncertainty"],
                variance=each["variance"], table=table,
            )
        )  # fmt: skip
    return found


def _cell(cell: Words) -> list[Any]:
    return [cell["row"], cell["column"], cell["weight"], cell["n"]]


def standing_table(standings: Iterable[Standing], currency: str) -> Table:
    """Tell the budgets and plans of the campaigns concerned, at the moment of the decision."""
    columns = [
        Column("campaign"), Column("daily budget", "money", currency),
        Column("spent that day", "money", currency),
        Column("planned by then", "money", currency), Column("in flight", "money", currency),
        Column("total budget", "money", currency), Column("spent in all", "money", currency),
        Column("takes part in", "percent"), Column("stood aside"),
    ]  # fmt: skip
    rows: list[list[Any]] = [
        [
            f"{each.campaign_id} {each.name}".strip(), each.budget_daily_micros, each.plan.spent_today,
            each.plan.planned, each.plan.in_flight, each.budget_total_micros, each.spent_micros,
            each.plan.throttle, ", ".join(f"{group}: {code}" for group, code in each.aside.items()),
        ]
        for each in standings
    ]  # fmt: skip
    return Table(id="budgets", title="Budget and pacing at that moment", columns=columns, rows=rows)


def _money(amount: float) -> str:
    if 0 < amount < 0.1:
        return f"{amount:.6f}".rstrip("0")
    return f"{amount:,.2f}".removesuffix(".00")


def _plain(rate: float) -> str:
    return f"{rate:.6g}"
