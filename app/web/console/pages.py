"""What pages there are, in the order of the navigation, and which route of the API each stands for.

A page needs what its route needs, and a path below it what the same path below the route needs: the console
has no rights of its own. A path in no row is closed to all but keys with scope `admin` bound to nobody.
"""

from __future__ import annotations

from typing import NamedTuple

from app.domain.keys import Caller
from app.domain.refusals import Refused
from app.flows.node import Node
from app.web.admin.rights import demand_right

ROOT = "/console"


class Page(NamedTuple):
    """A page of the navigation: its path, its name, and the API's path that it stands for."""

    path: str
    name: str
    api: str


PAGES: tuple[Page, ...] = (
    Page(f"{ROOT}/overview", "Overview", "/metrics"),
    Page(f"{ROOT}/campaigns", "Campaigns", "/v1/campaigns"),
    Page(f"{ROOT}/placements", "Placements", "/v1/placements"),
    Page(f"{ROOT}/model", "Model", "/v1/reliability"),
    Page(f"{ROOT}/why", "Why this ad", "/v1/decisions"),
    Page(f"{ROOT}/experiments", "Experiments", "/v1/experiments"),
    Page(f"{ROOT}/invalid-traffic", "Invalid traffic", "/v1/reports"),
    Page(f"{ROOT}/system", "System", "/v1/memory"),
)


def page_of(path: str) -> Page | None:
    """Find the page that a path belongs to.

    >>> page_of("/console/overview").name, page_of("/console/nowhere")
    ('Overview', None)
    """
    for page in PAGES:
        if path.startswith(page.path) and path[len(page.path) : len(page.path) + 1] in {"", "/"}:
            return page
    return None


def api_path(path: str) -> str:
    """Say which route of the API a path of the console stands for.

    >>> api_path("/console/overview/trend")
    '/metrics/trend'
    """
    page = page_of(path)
    return path if page is None else page.api + path[len(page.path) :]


def may(node: Node, caller: Caller, method: str, path: str) -> bool:
    """Say whether a caller may do something at a path of the API."""
    try:
        demand_right(node, caller, method, path)
    except Refused:
        return False
    return True


def pages_for(node: Node, caller: Caller) -> list[Page]:
    """List the pages that a caller may read."""
    return [page for page in PAGES if may(node, caller, "GET", page.api)]
