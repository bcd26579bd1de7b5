"""All that a node knows beside what a request says: the last step before it is decided on, at every door."""

from __future__ import annotations

from app.domain.requests import AdRequest
from app.flows.node import Node
from app.flows.people import enrich
from app.flows.traffic import judged


def enriched(node: Node, request: AdRequest, ip: str | None, user_agent: str | None) -> AdRequest:
    """Add where the device is, what the lists say against it, and what is known of the person.

    Address and agent are the device's, as claimed; they go no further.
    """
    located = node.geo.locate(request, ip)
    return enrich(node, judged(node, located, ip, user_agent))
