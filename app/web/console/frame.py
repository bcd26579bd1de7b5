"""The frame of every page: templates, navigation, status line, forms, and a page's charts as tables and CSV.

A page's route is a coroutine that takes the request and ends in `page(request, "name.html", ...)`. Charts
and tables among the values have their CSV at `?csv=ID` and their table alone at `?table=ID` for free.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.datastructures import ImmutableMultiDict
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from app import __version__
from app.domain.keys import Caller
from app.domain.refusals import Busy, Refused
from app.flows.node import Node
from app.web.access import caller_in
from app.web.admin.rights import demand_right
from app.web.console import pages, words
from app.web.console.figures import Chart, Table
from app.web.console.sessions import VISITOR, Visitor
from app.web.problems import headers_of, status_of

HERE = Path(__file__).parent
SENT = "adjudge.form"  # in a request's scope: a form that the guard has checked
Problems = dict[str, str]
Form = ImmutableMultiDict[str, str]


class Frame:
    """A node's templates. Made once; a page finds it at its application."""

    def __init__(self, node: Node) -> None:
        self.node = node
        zone = node.settings.fold.time_zone
        self.templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self.templates.filters |= {
            "number": words.number,
            "money": words.money,
            "percent": words.percent,
            "size": words.size,
            "seconds": words.seconds,
            "time": lambda at_ms, its_zone=None: words.time(at_ms, its_zone or zone, its_zone is not None),
        }
        self.templates.globals |= {
            "static": _static,
            "cell": lambda value, column: words.cell(value, column, zone),
            "version": __version__,
            "zone": zone,
            "currency": node.settings.currency,
        }
        self.templates.globals["ui"] = self.templates.get_template("macros.html").module


def page(
    request: Request, template: str, *, status: int = 200, live: str | None = None, **values: Any
) -> Response:
    """Render a page, or the part of it that is asked for: a fragment, a table, or CSV.

    `live` names the template's block that `?live` asks for, which the page's macro `live` fetches again and
    again. Charts and tables are found among the values, and in lists among them.
    """
    frame: Frame = request.app.state.frame
    query = request.query_params
    if status == 200 and ("csv" in query or "table" in query):
        wanted = query.get("csv") or query.get("table")
        for figure in _figures(values):
            if figure.id == wanted:
                return csv(figure) if "csv" in query else _table(request, figure)
        raise Refused("not_found", "there is no such table here")
    context = _context(request) | values
    found = frame.templates.get_template(template)
    if live is not None and "live" in query:
        text = "".join(found.blocks[live](found.new_context(context)))
    else:
        text = found.render(context)
    return HTMLResponse(text, status)


def csv(figure: Chart | Table) -> Response:
    """Answer with a figure's numbers, as a file of its name."""
    table = figure.table() if isinstance(figure, Chart) else figure
    headers = {"Content-Disposition": f'attachment; filename="{table.id}.csv"'}
    return Response(table.csv(), 200, headers, "text/csv; charset=utf-8; header=present")


def refused_page(request: Request, error: Refused | Busy) -> Response:
    """Say no to a person: the API's code, its words, and where to go from here."""
    status = status_of(error.code) if isinstance(error, Refused) else 503
    told = error.message if isinstance(error, Refused) else "The node is busy; try again in a moment."
    headers = {name: value for name, value in headers_of(error).items() if name != "WWW-Authenticate"}
    answer = page(
        request, "refused.html", status=status, title=HTTPStatus(status).phrase, code=error.code, told=told
    )
    answer.headers.update(headers)
    return answer


def node_of(request: Request) -> Node:
    """Tell the node that a page is of."""
    frame: Frame = request.app.state.frame
    return frame.node


def caller_of(request: Request) -> Caller:
    """Tell who asks, as the API knows them."""
    return caller_in(request.scope)


def form_of(request: Request) -> Form:
    """Give the fields of a form that was sent; the guard has read it and checked its token."""
    form: Form = request.scope[SENT]
    return form


def may(request: Request, method: str, api_path: str) -> bool:
    """Say whether whoever asks may do something at the API: what they may not is not shown."""
    return pages.may(node_of(request), caller_of(request), method, api_path)


def demand(request: Request, method: str, api_path: str) -> None:
    """Let a request through that does more than its page's own path stands for.

    Errors  Refused `out_of_scope`, `not_found`.
    """
    demand_right(node_of(request), caller_of(request), method, api_path)


def problems_of(error: Refused) -> Problems:
    """Tell what was wrong by field, for the form's macros; what belongs to no field stands under ""."""
    if error.errors:
        return {each.field: f"{each.message} ({each.code})" for each in error.errors}
    return {error.field or "": f"{error.message} ({error.code})"}


def _context(request: Request) -> dict[str, Any]:
    visitor: Visitor | None = request.scope.get(VISITOR)
    node = node_of(request)
    own = pages.page_of(request.url.path)

    def query(**changes: Any) -> str:
        """Write this page's address with some parts of its query changed."""
        kept = {name: value for name, value in request.query_params.items() if name != "live"} | changes
        told = urlencode({name: value for name, value in kept.items() if value is not None})
        return f"{request.url.path}?{told}" if told else request.url.path

    return {
        "visitor": visitor,
        "csrf": visitor.csrf if visitor is not None else "",
        "nav": pages.pages_for(node, visitor.caller) if visitor is not None else [],
        "here": own.path if own is not None else "",
        "position": node.state.position,
        "clock_ms": node.state.clock_ms,
        "query": query,
    }


def _table(request: Request, figure: Chart | Table) -> Response:
    """Show a table alone: to the script a fragment, without it a page."""
    table = figure.table() if isinstance(figure, Chart) else figure
    name: Literal["table.html", "_table.html"] = (
        "_table.html" if "hx-request" in request.headers else "table.html"
    )
    frame: Frame = request.app.state.frame
    text = frame.templates.get_template(name).render(_context(request), table=table, title=table.title)
    return HTMLResponse(text)


def _figures(values: dict[str, Any]) -> Iterator[Chart | Table]:
    for value in values.values():
        for each in value if isinstance(value, list | tuple) else (value,):
            if isinstance(each, Chart | Table):
                yield each


def _static(name: str) -> str:
    """Name a file of ours by its content, so that it may be kept for ever."""
    return f"{pages.ROOT}/static/{name}?v={_TAGS[name]}"


_TAGS = {
    str(path.relative_to(HERE / "static")): sha256(path.read_bytes()).hexdigest()[:12]
    for path in sorted((HERE / "static").rglob("*"))
    if path.is_file()
}
