"""What happened since a trained model's archive ended, learned by the model before it becomes live.

A process apart reads the journal behind the archive's last hour, with the fold's verdicts, and learns it as
the model's training did, by the model's own settings. That makes another file, which the journal then names.
While it works the node goes on; a second round learns what came meanwhile, and so on until little is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from app.domain.decisions import ServedAd
from app.domain.lines import Clicked, Shown, Verdict, decode, key_of
from app.domain.refusals import Refused
from app.flows.reporting import in_worker, verdicts_until
from app.journal.lists import read_list, write_list
from app.journal.models import FOLDER, decode_model, encode_model
from app.journal.reader import SqliteReader
from app.rules.features import BLOCKS, SCHEMA_VERSION
from app.rules.trained import Trained
from app.state.loading import homes_of
from app.state.model import Model
from app.state.prepared import Homes, Terms, prepare, taken_out

if TYPE_CHECKING:
    from app.flows.node import Node

ROUNDS = 5
FEW_LINES = 200  # not worth another round: it would be as many again until that is done
TAKEN_BACK = {"invalid", "refunded"}
_BLOCK = BLOCKS["placement"]


class Caught(Struct, frozen=True):
    """How far a model file is: it knows the impressions in (after, through], and clicks up to the latter.

    `clicks_after`: behind it no click of theirs is learned yet. What was learned on top is counted.
    """

    name: str
    after: int
    through: int
    clicks_after: int
    impressions: int = 0
    clicks: int = 0
    homeless: int = 0


async def catch_up(node: Node, name: str, facts: dict[str, Any]) -> Caught | None:
    """Have a kept model learn what this node's journal says since its archive ended.

    None where nothing can be told: the model is of another node's archive, or says nothing of it.
    Cost    some 30 us an event, in a process apart; a millisecond of the loop a round.
    Errors  Busy when verdicts are not written back in time, or no worker is left.
    """
    data, pool = node.settings.data, node.archivers
    known = await in_worker(node, begin, data, name, facts, pool=pool)
    for _ in range(ROUNDS if known is not None else 0):
        assert known is not None
        upto, homes = node.state.position, homes_of(node.state)
        if upto - known.through <= (FEW_LINES if known.name != name else 0):
            break
        await verdicts_until(node, upto)
        known = await in_worker(node, learn_round, data, known, upto, homes, node.settings.columns, pool=pool)
    return known


# In the worker.


def begin(data: Path, name: str, facts: dict[str, Any]) -> Caught | None:
    """Find where in the journal a model's archive ended: by an event that no other journal has."""
    last = facts.get("last_event")
    if last is None:
        return None
    reader = SqliteReader(data / "journal.db")
    try:
        found = reader.find(bytes.fromhex(last["event_id"]))
        trimmed = reader.trimmed_through
    finally:
        reader.close()
    if found is None or found[0] != last["position"]:
        return None
    through = max(facts["through_position"], trimmed)
    return Caught(name, facts["after_position"], through, max(facts["clicks_through_position"], trimmed))


def learn_round(data: Path, known: Caught, upto: int, homes: Homes, columns: int) -> Caught:
    """Learn the journal up to a position, and keep the outcome as another file."""
    folder = data / FOLDER
    header, trained = decode_model(read_list(folder, known.name))
    prepared = prepare(known.name, trained, _own_terms(trained, homes), columns)
    model, reader = prepared.model, SqliteReader(data / "journal.db")
    try:
        counts = {Shown: 0, Clicked: 0}
        for line in _lessons(reader, known, upto, homes):
            shown, clicked = (1.0, 0.0) if isinstance(line, Shown) else (0.0, 1.0)
            model.learn(line.ad.rows, line.ad.columns, trained.prior_logit, shown, clicked)
            counts[type(line)] += 1
    finally:
        reader.close()
    if not any(counts.values()):
        return replace(known, through=upto)
    caught = replace(
        known, through=upto, clicks_after=max(known.clicks_after, upto),
        impressions=known.impressions + counts[Shown], clicks=known.clicks + counts[Clicked],
        homeless=known.homeless + prepared.homeless,
    )  # fmt: skip
    content = _encoded(model, homes, trained, header.facts, caught)
    name = sha256(content).hexdigest()
    write_list(folder, name, content)
    return replace(caught, name=name)


def _own_terms(trained: Trained, homes: Homes) -> Terms:
    """Lay the model out at the node's places, by the model's own settings and prior."""
    rows = homes.rows_of(trained)
    nothing = np.zeros(0, dtype=np.int32)
    own = trained.rates.array()
    return Terms(rows, homes.columns_of(trained), np.zeros(rows.size), own, "linear", 1.0, nothing)


def _encoded(model: Model, homes: Homes, trained: Trained, facts: dict[str, Any], caught: Caught) -> bytes:
    taken = taken_out(model, homes, trained.prior_logit, trained.rates)
    told = {
        "through_position": caught.through, "clicks_through_position": caught.clicks_after,
        "impressions_since": caught.impressions, "clicks_since": caught.clicks,
        "cells": int(taken.row.size),
    }  # fmt: skip
    return encode_model(taken, {**facts, **told})


def _lessons(reader: SqliteReader, known: Caught, upto: int, homes: Homes) -> Iterator[Shown | Clicked]:
    """Go through what the fold learned in (known.through, upto], as far as it still stands.

    An impression whose click was invalid or taken back goes with it, as in the fold.
    """
    lost = {
        key_of(line.ad)
        for _, line, verdict in _events(reader, known.through, upto, ("clicked",))
        if verdict.fate in TAKEN_BACK
    }
    for position, line, verdict in _events(reader, known.through, upto, ("shown", "clicked")):
        if verdict.fate != "learned" or key_of(line.ad) in lost or not _at_home(line.ad, homes):
            continue
        if isinstance(line, Clicked):
            assert line.refers_to is not None
            shown = reader.find(line.refers_to)
            if position <= known.clicks_after or shown is None or shown[0] <= known.after:
                continue
        yield line


def _events(
    reader: SqliteReader, after: int, upto: int, kinds: tuple[str, ...]
) -> Iterator[tuple[int, Shown | Clicked, Verdict]]:
    for rows in reader.scan(after, upto, kinds):
        events = []
        for position, _, body in rows:
            line = decode(body)
            assert isinstance(line, Shown | Clicked)
            events.append((position, line, line.event_id))
        verdicts = reader.verdicts([event_id for *_, event_id in events])
        for position, line, event_id in events:
            if event_id in verdicts:
                yield position, line, verdicts[event_id]


def _at_home(ad: ServedAd, homes: Homes) -> bool:
    """Say whether the rows and columns that an ad lit still mean what they did."""
    column = homes.columns.get(("creative", ad.creative_id))
    if ad.schema_version != SCHEMA_VERSION or column is None:
        return False
    rows, columns = (np.frombuffer(lit, dtype="<u2").tolist() for lit in (ad.rows, ad.columns))
    own = [row for row in rows if _BLOCK.start <= row < _BLOCK.end]
    return column in columns and own in ([], [homes.placements.get(ad.placement_id)])


def check_room(model: Trained, homes: Homes) -> None:
    """Refuse a model that tells of nothing that a node knows. Errors: Refused `model_empty`."""
    rows, columns = homes.rows_of(model), homes.columns_of(model)
    if not ((rows[model.row] >= 0) & (columns[model.column] >= 0)).any():
        raise Refused("model_empty", "nothing that the model tells of is known to this node", "body")
