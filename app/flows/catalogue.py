"""Changing the catalogue: look, check, append, and only then answer. Every change is one journal line.

Nothing here knows of documents or HTTP; what a thing must look like was settled at the door, and what
it may refer to is the state's to say (`check`). Refusals, in the order in which they are checked:
`not_found`, `taken`, `precondition_required`, `stale`, `out_of_scope`, `has_children`, then the state's own.
To a caller bound to advertisers, what is another's is not there: `not_found`, `unknown_parent`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from app.domain.catalogue import (
    Advertiser,
    Creative,
    Experiment,
    Kind,
    Placement,
    Thing,
    audiences_in,
    kind_of,
    parent_of,
)
from app.domain.keys import EVERYONE, Caller
from app.domain.lines import Catalogued, Line
from app.domain.refusals import Refused

if TYPE_CHECKING:  # the workers that read imports need the words of this file, not a node's kernels
    from app.flows.node import Node

# Lines of an import that are judged together against one state, at most: events that come meanwhile wait
# for them to be applied, which takes some 4 ms.
IMPORT_SLICE = 32

Key = tuple[Kind, str]
Outcome = Literal["created", "updated", "unchanged"]
ANY_REVISION: Literal["*"] = "*"
# What the caller believes to be changing: revisions, any at all, or (None) nothing said.
IfMatch = frozenset[int] | Literal["*"] | None
_OWNED_KINDS = frozenset({"advertiser", "campaign", "ad_group", "creative"})


class Stored(Struct, frozen=True):
    """A thing as it now stands, its revision, and what the call did."""

    thing: Thing
    revision: int
    outcome: Outcome = "unchanged"


class ParsedLine(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of an import: a sound thing, or what is wrong with it."""

    line: int
    type: str | None = None
    id: str | None = None
    thing: Thing | None = None
    code: str | None = None
    field: str | None = None
    message: str | None = None
    not_enforced: tuple[str, ...] = ()


class ImportedLine(Struct, frozen=True, kw_only=True):
    """What became of one line of an import."""

    line: int
    type: str | None
    id: str | None
    status: Literal["created", "updated", "unchanged", "refused"]
    code: str | None = None
    field: str | None = None
    message: str | None = None
    not_enforced: tuple[str, ...] | UnsetType = UNSET


def owner_of(node: Node, thing: Thing) -> str | None:
    """Name the advertiser that a thing belongs to; None for what belongs to none (or hangs in the air)."""
    above: Thing | None = thing
    while above is not None and not isinstance(above, Advertiser):
        link = parent_of(above)
        above = node.state.catalogue.get(*link) if link else None
    return above.id if above is not None else None


def seen(node: Node, caller: Caller, things: Iterable[Thing]) -> list[Thing]:
    """Keep what is there for a caller."""
    if caller.advertiser_ids is None:
        return list(things)
    return [thing for thing in things if caller.sees(owner_of(node, thing))]


def find(node: Node, kind: Kind, identity: str, caller: Caller = EVERYONE) -> Stored:
    """Look a thing up.

    Errors  Refused `not_found`.
    """
    thing = node.state.catalogue.get(kind, identity)
    if thing is None or not seen(node, caller, [thing]):
        raise _not_found(kind, identity)
    return Stored(thing, node.state.catalogue.revision(kind, identity))


def _not_found(kind: Kind, identity: str) -> Refused:
    return Refused("not_found", f"there is no {kind} {identity}", field="id")


async def create(node: Node, thing: Thing, caller: Caller = EVERYONE) -> Stored:
    """Add a thing that must not be there yet.

    Errors  Refused `taken`, and the state's own.
    """
    async with node.catalogue_lock:
        if node.state.catalogue.get(kind_of(thing), thing.id) is not None:
            raise Refused("taken", f"there already is a {kind_of(thing)} {thing.id}", field="id")
        return await _store(node, None, thing, caller)


async def put(node: Node, thing: Thing, if_match: IfMatch, caller: Caller = EVERYONE) -> Stored:
    """Create a thing, or replace it whole. The same thing again changes nothing and appends no line.

    Errors  Refused `not_found` (another's), `precondition_required`, `stale`, `has_children`, and the
            state's own.
    """
    kind = kind_of(thing)
    async with node.catalogue_lock:
        old = node.state.catalogue.get(kind, thing.id)
        if old is not None and not seen(node, caller, [old]):
            raise _not_found(kind, thing.id)
        if old is not None or if_match is not None:
            _demand_match(node, kind, thing.id, if_match)
        return await _store(node, old, thing, caller)


async def patch(
    node: Node,
    kind: Kind,
    identity: str,
    if_match: IfMatch,
    edit: Callable[[Thing], Thing],
    caller: Caller = EVERYONE,
) -> Stored:
    """Change a thing by a pure function of what it is; the door's function merges and validates.

    Errors  Refused `not_found`, `precondition_required`, `stale`, those of `edit`, `has_children`, and
            the state's own.
    """
    async with node.catalogue_lock:
        old = find(node, kind, identity, caller).thing
        _demand_match(node, kind, identity, if_match)
        return await _store(node, old, edit(old), caller)


async def archive(
    node: Node, kind: Kind, identity: str, if_match: IfMatch, caller: Caller = EVERYONE
) -> Stored:
    """Take a thing out of use; it stays readable, and PUT with another status revives it.

    Errors  Refused `not_found`, `precondition_required`, `stale`, `has_children`.
    """
    return await patch(
        node,
        kind,
        identity,
        if_match,
        lambda thing: msgspec.structs.replace(thing, status="archived"),
        caller,
    )


async def import_things(
    node: Node, parsed: AsyncIterable[Sequence[ParsedLine]], caller: Caller = EVERYONE
) -> list[ImportedLine]:
    """Create or replace the things of many lines, in order; a refused line leaves the others in force.

    Slices are taken as they come, `IMPORT_SLICE` lines at most each. While others ask for something, the
    loop is theirs after each slice for as long as that took.
    Safe to send again when it broke off: what is already as asked is `unchanged` and appends no line.
    """
    results: list[ImportedLine] = []
    async for lines in parsed:
        assert len(lines) <= IMPORT_SLICE
        began_s = perf_counter()
        async with node.catalogue_lock:
            results += await _import_slice(node, lines, caller)
        await asyncio.sleep(0 if node.limiter.quiet() else perf_counter() - began_s)
    return results


def _demand_match(node: Node, kind: Kind, identity: str, if_match: IfMatch) -> None:
    catalogue = node.state.catalogue
    if if_match is None:
        raise Refused("precondition_required", f"{kind} {identity} exists: say which revision in If-Match")
    if catalogue.get(kind, identity) is None:
        raise Refused("stale", f"there is no {kind} {identity} to match")
    if if_match != ANY_REVISION and catalogue.revision(kind, identity) not in if_match:
        raise Refused("stale", f"{kind} {identity} has been changed: read it again")


def _demand_own(node: Node, caller: Caller, old: Thing | None, new: Thing) -> None:
    """Refuse a bound caller what is not its own, as if it were not there."""
    if caller.advertiser_ids is None:
        return
    kind, link = kind_of(new), parent_of(new)
    if kind not in _OWNED_KINDS:
        raise Refused("out_of_scope", f"a {kind} belongs to no advertiser", field="type")
    if (old is not None and not seen(node, caller, [old])) or (link is None and not caller.sees(new.id)):
        raise _not_found(kind, new.id)
    if link is not None and not seen(node, caller, [new]):
        raise Refused("unknown_parent", f"there is no {link[0]} {link[1]}", f"{link[0]}_id")


def _check(node: Node, old: Thing | None, new: Thing, caller: Caller) -> Outcome:
    """Tell what storing `new` would do, or refuse it."""
    _demand_own(node, caller, old, new)
    if old == new:
        return "unchanged"
    kind = kind_of(new)
    archives = new.status == "archived" and old is not None and old.status != "archived"
    if archives and node.state.catalogue.live_children(kind, new.id):
        raise Refused("has_children", f"{kind} {new.id} still has children in use", field="status")
    node.state.catalogue.check(new)
    return "created" if old is None else "updated"


async def _store(node: Node, old: Thing | None, new: Thing, caller: Caller) -> Stored:
    outcome = _check(node, old, new, caller)
    if outcome != "unchanged":
        await node.submit(Catalogued(at_ms=node.now_ms(), thing=new))
    return Stored(new, node.state.catalogue.revision(kind_of(new), new.id), outcome)


async def _import_slice(node: Node, lines: Sequence[ParsedLine], caller: Caller) -> list[ImportedLine]:
    """Judge a slice wave by wave; each wave is in force before the next is judged."""
    results = [_refused_at_the_door(parsed) for parsed in lines if parsed.thing is None]
    for wave in waves([parsed for parsed in lines if parsed.thing is not None]):
        judged = [(parsed, parsed.thing) for parsed in wave if parsed.thing]
        results += await _import_wave(node, judged, caller)
    return sorted(results, key=lambda result: result.line)


async def _import_wave(
    node: Node, wave: Sequence[tuple[ParsedLine, Thing]], caller: Caller
) -> list[ImportedLine]:
    """Judge lines that do not depend on each other against one state, and bring them into force.

    They do meet in one thing, the room that is left: once as many newcomers are on their way as
    certainly find a place, those go first, so that `catalogue_full` is judged by what is true then.
    """
    results: list[ImportedLine] = []
    changes: list[Line] = []
    takers, room = 0, max(1, node.state.catalogue.room())
    for parsed, thing in wave:
        # What is judged together may take places together: only as many as surely find one, and a thing
        # that revives others stands alone.
        takes = room if _revives(node, thing) else int(isinstance(thing, Creative | Placement))
        if takes and takers + takes > room:
            await node.submit_many(changes)
            changes, takers, room = [], 0, max(1, node.state.catalogue.room())
        result = _judge(node, parsed, thing, caller)
        results.append(result)
        if result.status in ("created", "updated"):
            changes.append(Catalogued(at_ms=node.now_ms(), thing=thing))
            takers += takes
    if changes:
        await node.submit_many(changes)
    return results


def _revives(node: Node, thing: Thing) -> bool:
    old = node.state.catalogue.get(kind_of(thing), thing.id)
    return old is not None and old.status == "archived" and thing.status != "archived"


def waves(lines: Sequence[ParsedLine]) -> list[list[ParsedLine]]:
    """Group lines so that all that may depend on each other stand in different groups, earlier first.

    Two lines conflict when they are about the same thing, or one about the other's parent or audience.
    Keeping the order of conflicting lines alone has the same outcome as going line by line, with a commit for
    each group instead of each line: a file that lists every campaign with its groups and creatives needs a
    handful of commits per slice.
    """
    groups: list[list[ParsedLine]] = []
    last_about: dict[Key, int] = {}  # the last group with a line about this thing
    last_under: dict[Key, int] = {}  # the last group with a line about a child of this thing
    for parsed in lines:
        assert parsed.thing is not None
        key, parent = _judged_as(parsed.thing), parent_of(parsed.thing)
        number = 1 + max(last_about.get(key, -1), last_under.get(key, -1))
        named: list[Key] = [("audience", identity) for identity in audiences_in(parsed.thing)]
        for above in (*named, *((parent,) if parent is not None else ())):
            number = max(number, 1 + last_about.get(above, -1))
        for above in (*named, *((parent,) if parent is not None else ())):
            last_under[above] = max(number, last_under.get(above, -1))
        last_about[key] = number
        if number == len(groups):
            groups.append([])
        groups[number].append(parsed)
    return groups


def _judged_as(thing: Thing) -> Key:
    """Name what a line is about; of all experiments only one may run, so that they are judged one by one."""
    return kind_of(thing), "" if isinstance(thing, Experiment) else thing.id


def _judge(node: Node, parsed: ParsedLine, thing: Thing, caller: Caller) -> ImportedLine:
    kind = kind_of(thing)
    try:
        outcome = _check(node, node.state.catalogue.get(kind, thing.id), thing, caller)
    except Refused as refusal:
        return ImportedLine(
            line=parsed.line,
            type=kind,
            id=thing.id,
            status="refused",
            code=refusal.code,
            field=refusal.field,
            message=refusal.message,
        )
    not_enforced = parsed.not_enforced or UNSET
    return ImportedLine(line=parsed.line, type=kind, id=thing.id, status=outcome, not_enforced=not_enforced)


def _refused_at_the_door(parsed: ParsedLine) -> ImportedLine:
    return ImportedLine(
        line=parsed.line,
        type=parsed.type,
        id=parsed.id,
        status="refused",
        code=parsed.code,
        field=parsed.field,
        message=parsed.message,
    )
