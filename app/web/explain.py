"""`explain: true` on the admin port: the decision's workings in words, money as decimals."""

from __future__ import annotations

from typing import Any

import msgspec

from app.domain.decisions import Choice
from app.domain.money import to_decimal
from app.domain.requests import AdRequest
from app.flows.node import Node
from app.journal.decisions import KEY_BYTES
from app.rules.standing import moment_at
from app.state.choose import Preview
from app.state.explain import Candidate, Cell, Explained, Explainer, Slot


def explain(node: Node, request: AdRequest, choice: Choice) -> dict[str, Any]:
    """Tell why a decision that was just taken came out as it did, by placement name.

    The auction is held again on the same state; nothing may have been applied since. A preview is known by
    this: that only the clocks and standings of its own time lead to the same answer.
    Cost    a choose or two, and about 0.1 ms for each candidate told: it holds the loop, for people only.
    """
    assert choice.position == node.state.position
    choice = msgspec.structs.replace(choice, shadows=())  # who looks on weighs for itself
    key = choice.placed[0].decision_id[:KEY_BYTES]
    again, explained = Explainer(node.state).explain(request, key, choice.clock_ms)
    if again != choice:
        then = _preview(node, choice.clock_ms)
        again, explained = Explainer(node.state).explain(request, key, choice.clock_ms, then)
    assert again == choice, "the same question on the same state has the same answer"
    return {each.placement: placement_words(each) for each in explained}


def _preview(node: Node, at_ms: int) -> Preview:
    moments = [moment_at(zone, at_ms) for zone in node.state.catalogue.zones]
    return Preview(moments, node.state.standing_at(at_ms, moments))


def placement_words(explained: Explained) -> dict[str, Any]:
    """Tell one placement's auction."""
    return {
        "rows": explained.rows,
        "reasons": explained.reasons,
        "candidates": explained.candidates,
        "best": [_candidate(each) for each in explained.best],
        "slots": [_slot(each) for each in explained.slots],
    }


def _candidate(each: Candidate) -> dict[str, Any]:
    return {
        "advertiser_id": each.advertiser_id,
        "campaign_id": each.campaign_id,
        "ad_group_id": each.ad_group_id,
        "creative_id": each.creative_id,
        "pricing": _pricing(each),
        "ecpm": number(each.ecpm_micros),
        "quality": each.quality,
        "score": each.score,
        "pctr": each.pctr,
        "pcvr": each.pcvr or None,
        "logit": each.logit,
        "prior_logit": each.prior_logit,
        "calibrated_logit": each.calibrated_logit,
        "columns": each.columns,
        "weights": {
            "main": [_cell(cell) for cell in each.main],
            "crosses": [_cell(cell) for cell in each.crosses],
            "others": {"count": each.crosses_left_out, "sum": each.crosses_left_out_sum},
            "factors": each.factors,
        },
        "uncertainty": each.uncertainty,
        "variance": each.variance,
    }


def _pricing(each: Candidate) -> dict[str, Any]:
    pricing = {"kind": each.kind, "bid": number(each.bid_micros)}
    if each.target_cpa_micros is None:
        return pricing
    multiplier = each.bid_micros / each.target_cpa_micros
    return {**pricing, "target_cpa": number(each.target_cpa_micros), "multiplier": round(multiplier, 2)}


def _cell(cell: Cell) -> dict[str, Any]:
    return msgspec.structs.asdict(cell)


def _slot(slot: Slot) -> dict[str, Any]:
    def term(micros: float | None) -> float | None:
        return None if micros is None else micros / 1e6

    return {
        "ad_index": slot.ad_index,
        "creative_id": slot.creative_id,
        "bid": number(slot.bid_micros),
        "ecpm_per_bid": slot.v,
        "quality": slot.quality,
        "floor": number(slot.floor_micros),
        "floor_term": term(slot.floor_term_micros),
        "rival_creative_id": slot.rival_creative_id,
        "rival_score": slot.rival_score,
        "rival_term": term(slot.rival_term_micros),
        "price": number(slot.price_micros),
        "deal_id": slot.deal_id or None,
    }


def number(micros: int) -> int | float:
    """Write micros as a JSON number of at most six decimals.

    >>> number(2_000_000_000), number(1_764_705_883)
    (2000, 1764.705883)
    """
    amount = to_decimal(micros)
    return int(amount) if amount == amount.to_integral_value() else float(amount)
