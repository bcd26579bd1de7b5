"""Bringing a trained model to a running node: read, checked and laid out beside the one in use, then a line.

The loop goes on answering: a thread does the work, and at the line one matrix takes the other's place. The
file is kept under its sha256 as long as the journal holds the line that names it, for whoever folds that line
again: a start, a snapshot's follower, a trace.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from msgspec.structs import asdict, replace

from app.domain.lines import Loaded
from app.domain.refusals import Refused
from app.flows.catching_up import catch_up, check_room
from app.journal.lists import read_list, remove_lists, write_list
from app.journal.models import FOLDER, Header, decode_model
from app.rules.trained import Trained
from app.state.loading import homes_of, terms_of
from app.state.prepared import Loading, prepare

if TYPE_CHECKING:
    from app.flows.node import Node

LOG = structlog.get_logger()


def trained_under(data: Path) -> Callable[[str], Trained]:
    """Give a state its way to read trained models: the files of a data directory, by name.

    Errors  of the function given: Refused `model_missing`, `model_damaged`, `model_unfit`.
    """

    def trained(name: str) -> Trained:
        return decode_model(_content(data / FOLDER, name))[1]

    return trained


def header_of(data: Path, name: str) -> Header:
    """Read what a kept model says of itself. Errors: as `trained_under`."""
    return decode_model(_content(data / FOLDER, name))[0]


async def load_model(node: Node, content: bytes | bytearray) -> Loading:
    """Put a trained model into the place of the one in use; in force when it returns.

    Before, it learns what the journal says since its archive ended. Safe to send twice.
    Errors  Refused `model_damaged`, `model_unfit`, `model_empty`; Busy when the journal cannot take it now.
    """
    name, header, trained = await asyncio.to_thread(_checked, content)
    await asyncio.to_thread(check_room, trained, homes_of(node.state))
    async with node.models_lock:
        folder = node.settings.data / FOLDER
        await asyncio.to_thread(write_list, folder, name, content)
        caught = await catch_up(node, name, header.facts)
        line = Loaded(at_ms=node.now_ms(), name=name)
        if caught is not None:
            line = replace(
                line, name=caught.name, of=name, after=caught.after, through=caught.through,
                impressions=caught.impressions, clicks=caught.clicks, homeless=caught.homeless,
            )  # fmt: skip
            trained = await asyncio.to_thread(trained_under(node.settings.data), caught.name)
        await _bring(node, line, trained)
        loading = node.state.loadings[-1]
        LOG.info("model_loaded", **asdict(loading))
        await prune_models(node)
    return loading


async def _bring(node: Node, line: Loaded, trained: Trained) -> None:
    """Lay a model out beside the one in use, and let a line of the journal change them over."""
    # Under the catalogue's lock, so that no place is given out between what is made ready and its line.
    async with node.catalogue_lock:
        state = node.state
        terms = terms_of(state, trained)
        prepared = await asyncio.to_thread(prepare, line.name, trained, terms, state.model.columns)
        former = state.model
        state.arriving = prepared, trained
        del prepared
        try:
            await node.submit(replace(line, at_ms=node.now_ms()))
        finally:
            state.arriving = None
        await asyncio.to_thread(former.give_back)  # hundreds of megabytes, and not by the loop
        del former


async def prune_models(node: Node) -> None:
    """Remove the files of which the journal has no line any more."""
    kept = {one.name for one in node.state.loadings if one.position > node.journal.trimmed_through}
    await asyncio.to_thread(remove_lists, node.settings.data / FOLDER, kept)


def _checked(content: bytes | bytearray) -> tuple[str, Header, Trained]:
    return sha256(content).hexdigest(), *decode_model(content)


def _content(folder: Path, name: str) -> bytes:
    try:
        return read_list(folder, name)
    except OSError as error:
        message = f"{folder / name}, which the journal names: {error.strerror}"
        raise Refused("model_missing", message) from error
    except ValueError as error:
        message = f"{folder / name}: its content is not what its name says"
        raise Refused("model_damaged", message) from error
