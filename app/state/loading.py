"""A trained model takes the place of the one learned so far, at one line of the journal.

What a line's file says never stands in the line: whoever folds gives the state a way to read it by name
(`State.trained`). Made ready beforehand (`prepare`, which touches nothing of the state and may run on another
thread), the taking over is one assignment; where nothing was made ready, it is made then. The outcome is the
same, since both follow from the file and from what the state knows at the line.

From the line on the model goes on learning, from the file's sums. What was learned before the line by another
p is not taken back from it; a click whose impression came before teaches where the file knows the impression.
Calibration, which was of the predictions of the model before, begins anew. What exploration doubts follows
from the new sums.
"""

from __future__ import annotations

import struct

import numpy as np

from app.domain.lines import Loaded
from app.rules.trained import Trained
from app.state.changes import Change
from app.state.prepared import Homes, Loading, Terms, prepare
from app.state.receipts import Outcome
from app.state.state import State


def homes_of(state: State) -> Homes:
    """Copy where a state keeps what is known of each placement and ad. Cost: a millisecond for 10,000 ads."""
    catalogue = state.catalogue
    first = catalogue.first_ad_column
    columns = {("any", ""): 0, **catalogue.columns.by_key}
    columns |= {("creative", key): first + at for key, at in catalogue.ads.places.by_key.items()}
    return Homes(dict(catalogue.rows.by_key), columns)  # type: ignore[arg-type] # keys of any kind, there


def terms_of(state: State, trained: Trained, homes: Homes | None = None) -> Terms:
    """Look up where a trained model's cells belong. Cost: some 0.2 us for each of its columns."""
    homes = homes_of(state) if homes is None else homes
    shift = np.zeros(trained.row_numbers.size)
    shift[0] = trained.prior_logit - state.prior_logit
    for at, placement in trained.placements.items():
        shift[at] = state.prior_logit - state.prior_of(placement)
    settings, fields = state.settings, state.catalogue.column_fields
    rows, columns = homes.rows_of(trained), homes.columns_of(trained)
    return Terms(rows, columns, shift, state.model.hyper, settings.learner, settings.factor_alpha, fields)


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
    state.changes.note(Change(line.at_ms, "model", "loaded", line.name[:12]))
    state.calibration.forget()
    homeless = line.homeless + prepared.homeless
    state.loadings.append(
        Loading(
            line.name, state.position, line.at_ms, homeless, line.of, line.after, line.through,
            line.impressions, line.clicks,
        )
    )  # fmt: skip
    state.mix(struct.pack("<qq", state.position, homeless), line.name.encode())
    return Outcome()
