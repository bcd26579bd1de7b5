"""What is known of people: looked up for a request, told, and erased. An id becomes its keys here."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from app.domain.lines import Erased, Profiled
from app.domain.people import Profile
from app.domain.requests import AdRequest, Person
from app.flows.audiences import audiences_of, strike
from app.flows.lookalikes import lookalikes_of
from app.flows.node import Node

ATTRIBUTES = ("gender", "age", "region", "interests", "segments")


def enrich(node: Node, request: AdRequest) -> AdRequest:
    """Add what is known of the person to a request; what the request says wins, attribute by attribute.

    And the ads that the person was just given, which this node alone remembers.
    Cost    about a microsecond for somebody unknown, some 3 us with a profile.
    """
    person = request.person
    if person is None:
        return request
    if person.key is None:
        alike = lookalikes_of(node, person)
        if not alike:
            return request
        return msgspec.structs.replace(request, person=msgspec.structs.replace(person, audiences=alike))
    people = node.state.people
    keys = (person.key,) if person.former_key is None else (person.key, person.former_key)
    just_served = node.just_served.of(keys, node.now_ms())
    profile = people.profile(person.key) or people.profile(person.former_key)
    audiences: set[str] = set()
    for key in keys:
        audiences.update(audiences_of(node, key), people.acted(key))
    if profile is not None:
        person = completed(person, profile)
    audiences.update(lookalikes_of(node, person))
    if audiences:
        person = msgspec.structs.replace(person, audiences=tuple(sorted(audiences)))
    if profile is not None or audiences or just_served:
        return msgspec.structs.replace(request, person=person, just_served=just_served)
    return request


def completed(person: Person, profile: Profile) -> Person:
    """Fill what a request leaves open from a profile.

    >>> completed(Person(age=20), Profile(age=40, gender="F")).age
    20
    """
    missing = {name: getattr(profile, name) for name in ATTRIBUTES if not _told(getattr(person, name))}
    return msgspec.structs.replace(person, **missing)


def _told(value: object) -> bool:
    return value is not None and value != ()


def profile_of(node: Node, identity: str) -> Profile | None:
    """Find what is stored of a person, under any of their keys."""
    profiles = (node.state.people.profile(key) for key in node.user_keys.all_of(identity))
    return next((profile for profile in profiles if profile is not None), None)


async def store_profiles(node: Node, told: Sequence[tuple[str, Profile]]) -> None:
    """Store profiles, each in place of what was there; done when they are durable and in force.

    Errors  Busy when the journal cannot take them now.
    """
    now_ms = node.now_ms()
    lines = []
    for identity, profile in told:
        user, former_user = node.user_keys.of(identity, now_ms)
        assert user is not None, "an id is not empty"
        lines.append(Profiled(at_ms=now_ms, user=user, profile=profile, former_user=former_user or b""))
    await node.submit_many(lines)


async def erase(node: Node, identity: str) -> None:
    """Forget a person: profile, counters and acts go from the fold, they from every list; ads served before
    are nobody's.

    Safe to send twice. Lines already written keep their keyed hashes until the retention is over.
    """
    users = node.user_keys.all_of(identity)
    await node.submit(Erased(at_ms=node.now_ms(), users=users))
    await strike(node, users)
