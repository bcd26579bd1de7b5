"""Making and editing campaigns, ad groups and creatives: forms over the very calls that the API makes.

A form carries the revision that it was made from, which is its If-Match. Where somebody else was quicker,
nothing is stored: their values are shown in the form, beside the visitor's own where both changed a field.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.domain.catalogue import AdGroup, Advertiser, Kind, Thing
from app.domain.refusals import FieldError, Refused
from app.flows import catalogue
from app.flows.catalogue import Stored
from app.web.catalogue.parsing import parse
from app.web.catalogue.render import Document, to_document
from app.web.console import shapes
from app.web.console.campaign import campaign_of, later_of, revision_in
from app.web.console.campaigns import PATH
from app.web.console.fields import beside, changed, marks_of, merged, typed
from app.web.console.frame import caller_of, demand, form_of, node_of, page, problems_of
from app.web.console.shapes import Field, Shape
from app.web.problems import status_of

MOST_CHOICES = 500
FOLDERS: dict[str, Kind] = {"ad-groups": "ad_group", "creatives": "creative"}
NAMES = {"campaign": "campaign", "ad_group": "ad group", "creative": "creative"}
STALE = (
    "Somebody changed this while you had it open, so nothing was saved. Their changes are in the form now;"
    " where you both changed a field, yours stands and theirs is told below it. Look through and save again."
)


async def edit(request: Request) -> Response:
    """Show the form of a thing that is there, or take it."""
    node, caller = node_of(request), caller_of(request)
    kind, identity = _asked(request)
    stored = catalogue.find(node, kind, identity, caller)
    shape = _with_archived(shapes.SHAPES[kind], stored.thing)
    if request.method != "POST":
        return _form(request, shape, stored, typed(shape, to_document(stored.thing)))
    form, zone = form_of(request), node.settings.fold.time_zone
    sent = {name: str(value) for name, value in form.items()}

    def change(old: Thing) -> Thing:
        return parse(kind, changed(shape, to_document(old), sent), zone, identity).thing

    match = revision_in(sent.get("revision", ""))
    try:
        await catalogue.patch(node, kind, identity, match, change, caller)
    except Refused as error:
        newer = catalogue.find(node, kind, identity, caller)
        if error.code == "stale":
            return _stale(request, shape, newer, sent)
        fields = {name: sent.get(name, "") for name in shape.names}
        return _form(request, shape, newer, fields, error, sent.get("marks"), sent.get("revision"))
    later_of(request).forget()
    return RedirectResponse(f"{PATH}/{request.path_params['id']}", 303)


async def make(request: Request) -> Response:
    """Show the form of a thing to be made, or make it."""
    node = node_of(request)
    kind, _ = _asked(request)
    shape = _with_parent(request, kind)
    demand(
        request, "POST", {"campaign": "/v1/campaigns", "ad_group": "/v1/ad-groups"}.get(kind, "/v1/creatives")
    )
    base = _base(request, kind)
    if request.method != "POST":
        return _form(request, shape, None, typed(shape, base) | _asked_for(request, shape))
    sent = {name: str(value) for name, value in form_of(request).items()}
    try:
        document = changed(shape, base, sent)
        thing = parse(kind, document, node.settings.fold.time_zone, node.fresh_id()).thing
        stored = await catalogue.create(node, thing, caller_of(request))
    except Refused as error:
        return _form(request, shape, None, {name: sent.get(name, "") for name in shape.names}, error)
    later_of(request).forget()
    at = campaign_of(request, kind, stored.thing.id)
    return RedirectResponse(f"{PATH}/{at}", 303)


def _asked(request: Request) -> tuple[Kind, str]:
    """Read off the path what it is about, and see that it stands under the campaign that the path names.

    Errors  Refused `not_found`.
    """
    inside = request.path_params
    if "folder" not in inside:
        return "campaign", inside.get("id", "")
    kind = FOLDERS.get(inside["folder"])
    if kind is None:
        raise Refused("not_found", "There is nothing here.")
    if "which" in inside and campaign_of(request, kind, inside["which"]) != inside["id"]:
        raise Refused("not_found", f"there is no {NAMES[kind]} {inside['which']} here", "id")
    return kind, inside.get("which", "")


def _base(request: Request, kind: Kind) -> Document:
    if kind == "ad_group":
        return {"type": kind, "campaign_id": request.path_params["id"]}
    return {"type": kind}


def _asked_for(request: Request, shape: Shape) -> dict[str, str]:
    """Fill in what the link to an empty form already knows."""
    return {name: value for name, value in request.query_params.items() if name in shape.names}


def _with_parent(request: Request, kind: Kind) -> Shape:
    """Add what only a new thing is asked for: its parent and, if one likes, its id."""
    shape, node, caller = shapes.SHAPES[kind], node_of(request), caller_of(request)
    own: list[Field] = []
    if kind == "campaign":
        things = [
            (thing.id, thing.name or thing.id)
            for thing in catalogue.seen(node, caller, node.state.catalogue.things["advertiser"].values())
            if isinstance(thing, Advertiser) and thing.status != "archived"
        ]
        few = len(things) <= MOST_CHOICES
        own.append(Field(
            "advertiser_id", "Advertiser", "choice" if few else "text", "" if few else "its id",
            tuple(sorted(things, key=lambda each: each[1])) if few else (), required=True,
        ))  # fmt: skip
    if kind == "creative":
        campaign = catalogue.find(node, "campaign", request.path_params["id"], caller).thing
        groups = node.state.catalogue.children_of("campaign", campaign.id)
        own.append(Field("ad_group_id", "Ad group", "choice", choices=tuple(
            (group.id, group.name or group.id)
            for group in groups if isinstance(group, AdGroup) and group.status != "archived"
        )))  # fmt: skip
    own.append(Field("id", "Id", "text", "letters, digits and . _ : -; empty: one is made"))
    first, *others = shape.groups
    return shape._replace(groups=(first._replace(fields=(*own, *first.fields)), *others))


def _with_archived(shape: Shape, thing: Thing) -> Shape:
    """Let the status of an archived thing stay what it is: an edit alone does not revive it."""
    if thing.status != "archived":
        return shape
    groups = [
        group._replace(fields=tuple(
            field._replace(choices=(*field.choices, ("archived", "Archived")))
            if field.name == "status" else field
            for field in group.fields
        ))
        for group in shape.groups
    ]  # fmt: skip
    return shape._replace(groups=tuple(groups))


def _stale(request: Request, shape: Shape, newer: Stored, sent: Mapping[str, str]) -> Response:
    """Show newer values under what the visitor typed; the next attempt is made from these."""
    now = typed(shape, to_document(newer.thing))
    shown, theirs = merged(sent, sent.get("marks", ""), now)
    return _form(
        request, shape, newer, shown, refused_with(theirs), marks_of(now), str(newer.revision), STALE
    )


def refused_with(theirs: Mapping[str, str]) -> Refused:
    """Say which newer values stand against what was typed."""
    error = Refused("stale", STALE)
    if theirs:
        told = {name: f"is “{value}” now" if value else "is empty now" for name, value in theirs.items()}
        error.errors = tuple(FieldError(name, "stale", message) for name, message in told.items())
    return error


def _form(
    request: Request,
    shape: Shape,
    stored: Stored | None,
    values: Mapping[str, str],
    error: Refused | None = None,
    marks: str | None = None,
    revision: str | None = None,
    note: str = "",
) -> Response:
    told = error is not None and (error.errors or not note)
    problems = beside(problems_of(error), shape.names) if error is not None and told else {}
    plain = {field.name for field in shape.fields if field.kind in {"yes", "choice"}} | {"objective"}
    identity = request.path_params.get("id")
    return page(
        request, "form.html", status=200 if error is None else status_of(error.code), shape=shape,
        what=NAMES[shape.kind], thing=stored.thing if stored is not None else None, values=values,
        problems=problems, note=note, marks=marks_of(values) if marks is None else marks,
        revision=revision if revision is not None else str(stored.revision) if stored is not None else "",
        back=f"{PATH}/{identity}" if identity else PATH, campaign_id=identity or "",
        filled=[name for name, value in values.items() if value and name not in plain],
        stored_revision=stored.revision if stored is not None else 0,
    )  # fmt: skip
