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

from app.domain.lines import Loaded
from app.domain.refusals import Refused
from app.journal.lists import read_list, remove_lists, write_list
from app.journal.models import FOLDER, Header, decode_model
from app.rules.trained import Trained
from app.state.loading import terms_of
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

    Safe to send twice: the same model is then taken over anew, without what was learned since.
    Errors  Refused `model_damaged`, `model_unfit`, `model_empty`; Busy when the journal cannot take it now.
    """
    name, trained = await asyncio.to_thread(_checked, content)
    # Under the catalogue's lock, so that no place is given out between what is made ready and its line.
    async with node.models_lock, node.catalogue_lock:
        state, folder = node.state, node.settings.data / FOLDER
        terms = terms_of(state, trained)
        prepared = await asyncio.to_thread(prepare, name, trained, terms, state.model.columns)
        if prepared.homeless == trained.row.size:
            raise Refused("model_empty", "nothing that the model tells of is known to this node", "body")
        await asyncio.to_thread(write_list, folder, name, content)
        former = state.model
        state.arriving = prepared, trained
        del prepared
        try:
            await node.submit(Loaded(at_ms=node.now_ms(), name=name))
        finally:
            state.arriving = None
        await asyncio.to_thread(former.give_back)  # hundreds of megabytes, and not by the loop
        del former
        loading = state.loadings[-1]
        LOG.info("model_loaded", name=name, position=loading.position, homeless=loading.homeless)
        await prune_models(node)
    return loading


async def prune_models(node: Node) -> None:
    """Remove the files of which the journal has no line any more."""
    kept = {one.name for one in node.state.loadings if one.position > node.journal.trimmed_through}
    await asyncio.to_thread(remove_lists, node.settings.data / FOLDER, kept)


def _checked(content: bytes | bytearray) -> tuple[str, Trained]:
    return sha256(content).hexdigest(), decode_model(content)[1]


def _content(folder: Path, name: str) -> bytes:
    try:
        return read_list(folder, name)
    except OSError as error:
        message = f"{folder / name}, which the journal names: {error.strerror}"
        raise Refused("model_missing", message) from error
    except ValueError as error:
        message = f"{folder / name}: its content is not what its name says"
        raise Refused("model_damaged", message) from error
