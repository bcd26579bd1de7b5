"""A trained model takes the place of the one learned so far, at one line of the journal.

What a line's file says never stands in the line: whoever folds gives the state a way to read it by name
(`State.trained`). Made ready beforehand (`prepare`, which touches nothing of the state and may run on another
thread), the taking over is one assignment; where nothing was made ready, it is made then. The outcome is the
same, since both follow from the file and from what the state knows at the line.

From the line on the model goes on learning, from the file's sums. What was learned before is not in it: it is
not taken back from it, and a click whose impression came before teaches nothing. Calibration, which was of
the predictions of the model before, begins anew. What exploration doubts follows from the new sums.
"""

from __future__ import annotations

import struct

import numpy as np

from app.domain.lines import Loaded
from app.rules.learner import NOTHING
from app.rules.trained import Trained
from app.state.catalogue import Catalogue
from app.state.prepared import Loading, Terms, prepare
from app.state.receipts import Outcome
from app.state.state import State


def terms_of(state: State, trained: Trained) -> Terms:
    """Look up where a trained model's cells belong. Cost: some 0.2 us for each of its columns."""
    rows = trained.row_numbers.copy()
    shift = np.zeros(rows.size)
    shift[0] = trained.prior_logit - state.prior_logit
    for at, placement in trained.placements.items():
        rows[at] = state.catalogue.rows.by_key.get(placement, NOTHING)
        shift[at] = state.prior_logit - state.prior_of(placement)
    columns = np.array([_place_of(state.catalogue, name) for name in trained.columns], dtype=np.int32)
    settings, fields = state.settings, state.catalogue.column_fields
    hyper = state.model.hyper
    return Terms(rows, columns, shift, hyper, settings.learner, settings.factor_alpha, fields)


def _place_of(catalogue: Catalogue, name: tuple[str, str]) -> int:
    kind, key = name
    if kind == "any":
        return 0
    if kind == "creative":
        ad = catalogue.ads.places.by_key.get(key)
        return NOTHING if ad is None else catalogue.first_ad_column + ad
    return catalogue.columns.by_key.get(name, NOTHING)


def take_model(state: State, line: Loaded) -> Outcome:
    """Put a trained model into the place of the one learned so far.

    Cost    as `terms_of`, where the model was made ready for what the state says now.
    Errors  Refused of `State.trained`, where the file is gone or damaged.
    """
    ready, state.arriving = state.arriving, None
    if ready is None or ready[0].name != line.name or not ready[0].terms.same_as(terms_of(state, ready[1])):
        trained = state.trained(line.name)
        prepared = prepare(line.name, trained, terms_of(state, trained), state.model.columns)
    else:
        prepared = ready[0]
    state.adopt(prepared.model)
    state.calibration.forget()
    state.loadings.append(Loading(line.name, state.position, line.at_ms, prepared.homeless))
    state.mix(struct.pack("<qq", state.position, prepared.homeless), line.name.encode())
    return Outcome()
