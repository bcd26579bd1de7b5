"""`POST /v1/ads`: our own JSON in and out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from app.domain import ids
from app.domain.catalogue import Creative
from app.domain.decisions import Choice, Placed, ServedAd, Win
from app.domain.keys import Caller
from app.domain.money import MICROS
from app.domain.refusals import Refused
from app.domain.requests import AdRequest
from app.flows.enriching import enriched
from app.flows.node import Node
from app.flows.serve import preview, serve, served_ads
from app.rules.pricing import action_price_micros
from app.web.ads_in import read_ads
from app.web.asgi import JSON, Answer, Asked
from app.web.links import AdLinks, Links
from app.web.markup import render
from app.web.privacy.signals import personal_of
from app.web.tokens import Tokens

_encode = msgspec.json.Encoder().encode


def money(micros: int) -> int | float:
    """Write micros as a JSON number of at most six decimals; exact for every amount that we allow.

    >>> money(2_000_000_000), money(1_764_705_883)
    (2000, 1764.705883)
    """
    return micros // MICROS if micros % MICROS == 0 else micros / MICROS


class AdsDoor:
    """Answers POST /v1/ads on either port. `explain` is the admin port's way to show its reasons."""

    def __init__(
        self,
        node: Node,
        links: Links,
        tokens: Tokens,
        *,
        admin: bool = False,
        explain: Callable[[Node, AdRequest, Choice], dict[str, Any]] | None = None,
    ) -> None:
        self.node = node
        self.links = links
        self.tokens = tokens
        self.admin = admin
        self.explain = explain

    def __call__(self, asked: Asked) -> Answer:
        node = self.node
        now_ms = node.now_ms()
        wanted = read_ads(
            asked.body,
            lambda identity: node.user_keys.of(identity, now_ms),
            admin=self.admin,
            rate_of=self._rate_of,
        )
        caller = asked.caller
        if wanted.explain and not (caller.may("reports") and caller.advertiser_ids is None):
            message = "`explain` tells of all rivals: it needs scope reports, bound to no advertiser"
            raise Refused("out_of_scope", message, "explain")
        if asked.late(wanted.tmax_ms):
            node.counters.shed.labels("timeout").inc()
            return _too_late(wanted.request)
        request = enriched(node, wanted.request, wanted.ip, wanted.user_agent)
        choice = serve(node, request) if wanted.at_ms is None else preview(node, request, wanted.at_ms)
        answer = self._answer(request, choice, caller, shown=wanted.at_ms is None)
        if wanted.explain and self.explain is not None:
            answer["explain"] = self.explain(node, request, choice)
        return Answer(200, _encode(answer), [JSON], "filled" if answer["decisions"] else "no_ad")

    def _rate_of(self, currency: str) -> int | None:
        own = currency == self.node.settings.currency
        return MICROS if own else self.node.state.rates_micros.get(currency)

    def _answer(self, request: AdRequest, choice: Choice, caller: Caller, *, shown: bool) -> dict[str, Any]:
        decisions: dict[str, Any] = {}
        no_ad: dict[str, Any] = {}
        for placed in choice.placed:
            if not placed.wins:
                no_ad[placed.name] = {"code": placed.code, "reasons": placed.reasons}
                continue
            ads: list[ServedAd | None] = [None] * len(placed.wins)
            if shown:
                ads = list(served_ads(choice, placed, request.person, request.flaw))
            decisions[placed.name] = [
                self._decision(placed, win, ad, caller) for win, ad in zip(placed.wins, ads, strict=True)
            ]
        return {
            "request_id": request.request_id, "decisions": decisions, "no_ad": no_ad,
            "personal": personal_of(request),
        }  # fmt: skip

    def _decision(self, placed: Placed, win: Win, ad: ServedAd | None, caller: Caller) -> dict[str, Any]:
        creative = self.node.state.catalogue.ads.creatives[win.creative_index]
        assert creative is not None
        decision: dict[str, Any] = {
            "decision_id": ids.to_text(placed.decision_id),
            "ad_index": win.ad_index,
            "advertiser_id": win.advertiser_id,
            "campaign_id": win.campaign_id,
            "ad_group_id": win.ad_group_id,
            "creative_id": win.creative_id,
            "pricing": self._pricing(win, caller),
            "pctr": win.pctr,
        }
        if win.pcvr:
            decision["pcvr"] = win.pcvr
        if win.deal_id:
            decision["deal_id"] = win.deal_id
        if ad is None:
            return {**decision, "ad": _ad(creative, None)}
        links = self.links.of(self.tokens.seal(ad))
        decision["ad"] = _ad(creative, links)
        decision["impression_url"] = links.impression_url
        decision["click_url"] = links.click_url
        decision["dismiss_url"] = links.dismiss_url
        kinds = ("impression", "click", "conversion", "dismissal")
        decision["tokens"] = {kind: links.token(kind) for kind in kinds}
        return decision

    def _pricing(self, win: Win, caller: Caller) -> dict[str, Any]:
        price = action_price_micros(win.kind, win.price_micros, win.pctr, win.pcvr)
        if not (caller.may("pricing") and caller.sees(win.advertiser_id)):
            return {"price": money(price), "currency": self.node.settings.currency}
        return {
            "kind": win.kind,
            "bid": money(win.bid_micros),
            "price": money(price),
            "ecpm": money(win.ecpm_micros),
            "currency": self.node.settings.currency,
        }


def _too_late(request: AdRequest) -> Answer:
    """Answer that it is too late for any ad: whoever asked has gone on."""
    no_ad = {ask.name: {"code": "timeout", "reasons": {}} for ask in request.asks}
    answer = {
        "request_id": request.request_id, "decisions": {}, "no_ad": no_ad, "personal": personal_of(request),
    }  # fmt: skip
    return Answer(200, _encode(answer), [JSON], "timeout")


def _ad(creative: Creative, links: AdLinks | None) -> dict[str, Any]:
    ad: dict[str, Any] = {"format": creative.format}
    if creative.width is not None:
        ad["width"] = creative.width
    if creative.height is not None:
        ad["height"] = creative.height
    if creative.duration_s is not None:
        ad["duration_s"] = creative.duration_s
    if creative.native is not None:
        parts: dict[str, Any] = msgspec.structs.asdict(creative.native)
        ad["native"] = {key: value for key, value in parts.items() if value is not None}
    markup = render(creative, links) if links is not None else ""
    if markup:
        ad["markup"] = markup
    return ad
