"""The fold: one line in, the state one position on, and a receipt for whoever sent the line.

Deterministic: what it does depends on the state and the entry alone. The order of steps is fixed, since
every effect is mixed into the state's running hash.
"""

from __future__ import annotations

import math
import struct
from typing import Any, assert_never

from app.domain import ids
from app.domain.catalogue import Creative, Experiment, Placement, kind_of
from app.domain.decisions import ServedAd
from app.domain.lines import (
    ACCIDENTAL,
    Catalogued,
    Clicked,
    Clustered,
    Configured,
    Converted,
    Dismissed,
    Entry,
    Erased,
    Feedback,
    Keyed,
    Likened,
    Listed,
    Loaded,
    Lost,
    Noticed,
    Profiled,
    Referred,
    Refunded,
    Returned,
    Shown,
    Ticked,
    Verdict,
    key_of,
)
from app.rules.ftrl import UNLEARN_HORIZON_EVENTS
from app.rules.pricing import CHARGED_ACTION
from app.state import experimenting
from app.state.billing import charge, give_back, let_go, quote
from app.state.converting import (
    refund_conversion,
    settle_conversions,
    take_conversion,
    try_click,
    unlearn_click,
    untry_click,
)
from app.state.early import Held
from app.state.loading import take_model
from app.state.model import Model
from app.state.opinions import slips, take_back, take_dismissal
from app.state.receipts import Outcome, Receipt, receipt_of
from app.state.recent import CLICK_REFUNDED, FATES, INVALID, LEARNED, REFUNDED, SKIPPED
from app.state.settling import settle
from app.state.state import State
from app.state.ticking import take_tick
from app.state.told import note_act, tell_of_people
from app.state.traffic import acted_ms
from app.state.views import count_view, uncount_view
from app.state.waiting import COUNTED, drop_conversion, hold_complaint, settle_complaint

__all__ = ["Outcome", "Receipt", "apply"]


def apply(state: State, entry: Entry) -> Outcome:  # noqa: C901, PLR0912 - an arm for each kind of line
    """Fold one entry into the state.

    Cost    an impression or click: ~25 us; a catalogue line: ~50 us for each creative under it.
    Errors  AssertionError when the entry is not the next one.
    """
    assert entry.position == state.position + 1, (entry.position, state.position)
    line = entry.line
    state.position = entry.position
    if isinstance(line, Feedback) and line.ad.former_user:
        state.rekey_user(line.ad.former_user, line.ad.user)
    match line:
        case Shown():
            return _shown(state, entry, line)
        case Clicked():
            return _clicked(state, entry, line)
        case Converted():
            return take_conversion(state, entry, line)
        case Dismissed():
            return _dismissed(state, entry, line)
        case Noticed() | Returned():
            return _noted(state, entry.position, line)
        case Refunded():
            return _refunded(state, entry, line)
        case Ticked():
            return take_tick(state, line)
        case Catalogued():
            return _catalogued(state, line)
        case Keyed() | Lost():
            return _kept(state, entry.position, line)
        case Profiled() | Erased() | Listed() | Clustered() | Likened():
            tell_of_people(state, line)
            return Outcome()
        case Loaded():
            return take_model(state, line)
        case Configured():
            if entry.position > 1:  # the first says what there is, not what is another now
                state.changes.configured(line.at_ms, line.settings, state.experiments.given)
            state.configure(line.settings)
            state.tell_time(line.at_ms)
            state.mix(struct.pack("<qd", entry.position, state.prior_logit))
            return Outcome()
        case _:
            assert_never(line)


def _kept(state: State, position: int, line: Keyed | Lost) -> Outcome:
    """Take over a key; losses are kept by the journal alone."""
    if isinstance(line, Keyed):
        state.keys.take(line.key)
        state.mix(struct.pack("<q", position), line.key.id.encode(), line.key.digest)
    else:
        state.mix(struct.pack("<q", position), line.counts)
    return Outcome()


def _shown(state: State, entry: Entry, line: Shown) -> Outcome:
    ad = line.ad
    now_ms = max(line.at_ms, state.clock_ms)
    prior_logit = state.placement_prior.get(ad.placement_id)
    code = state.traffic.shown(line, state.user_of(ad), now_ms, prior_logit) or None
    if code is not None and state.traffic.blocks:
        return _shown_invalid(state, entry, line, code)
    billed, unbilled = charge(state, ad, "impression", line.at_ms)
    fate, p = SKIPPED, 0.0
    streams = state.silence.streams_of(state.row_of(ad.placement_id), ad.publisher_id)
    if not state.silence.holds(streams):
        fate = LEARNED
        model, calibration = state.learner_of(ad)
        p = model.learn(ad.rows, ad.columns, state.prior_of(ad.placement_id), 1.0, 0.0)
        calibration.shown(state.row_of(ad.placement_id), p)
    state.recent.add(entry.position, line.at_ms, ad.pctr, p, fate, billed, acted_ms(line))
    varied = experimenting.shown(state, ad, p, billed, learned=fate == LEARNED)
    state.progress.shown(ad.pctr)
    state.silence.shown(streams, ad.pctr)
    state.quality.shown(ad.creative_id)
    event = line.event_id
    outcome = Outcome(
        receipt_of(event, entry.position, billed, unbilled, fate == LEARNED, code),
        [(event, Verdict(FATES[fate], billed, unbilled, code))],
    )
    viewed = count_view(state, ad, line.at_ms)
    state.usage.lit(ad.rows, now_ms)
    effects = struct.pack("<qdqqB", entry.position, p, billed, unbilled, fate)
    state.mix(effects, event, ad.rows, ad.columns, viewed, varied)
    _settle_waiting(state, entry, outcome, FATES[fate])
    return outcome


def _shown_invalid(state: State, entry: Entry, line: Shown, code: str) -> Outcome:
    """Take note of an impression that nobody saw: it bills and teaches nothing, and its click is invalid."""
    ad, event = line.ad, line.event_id
    seeming = quote(state, ad, "impression", line.at_ms)
    streams = state.silence.streams_of(state.row_of(ad.placement_id), ad.publisher_id)
    state.recent.add(entry.position, line.at_ms, ad.pctr, 0.0, INVALID, 0)
    let_go(state, ad)
    outcome = Outcome(
        Receipt(
            event, entry.position, "counted", 0, 0, False, code, seeming, not state.silence.holds(streams)
        ),
        [(event, Verdict("invalid", code=code))],
    )
    state.mix(struct.pack("<q", entry.position), event, code.encode())
    _settle_waiting(state, entry, outcome, "invalid")
    return outcome


def _settle_waiting(state: State, entry: Entry, outcome: Outcome, fate: str) -> None:
    """Settle the click and the complaint that came before this impression."""
    settle_complaint(state, outcome.verdicts[0][0], fate)
    waiting = state.held.pop(outcome.verdicts[0][0], None)
    if waiting is not None:
        late = _settle_click(state, waiting.position, waiting.line, entry.position, fate)
        outcome.verdicts += late.verdicts
        outcome.first_count += late.first_count


def _clicked(state: State, entry: Entry, line: Clicked) -> Outcome:
    referred = entry.referred
    if referred is None:
        event = line.event_id
        impression = ids.event_id(key_of(line.ad), "impression")
        state.held[impression] = Held(entry.position, line, line.at_ms + state.settings.held_s * 1000)
        state.mix(struct.pack("<q", entry.position), event)
        return Outcome(Receipt(event, entry.position, "held"), [(event, Verdict("held"))])
    return _settle_click(state, entry.position, line, referred.position, _fate_of(state, referred))


def _fate_of(state: State, impression: Referred) -> str:
    """Tell what became of an impression that a line refers to."""
    record = state.recent.find(impression.position)
    if record is not None:  # the fold's own memory is at least as fresh as what was written back
        return FATES[record["fate"]]
    return impression.verdict.fate if impression.verdict is not None else "skipped"


def _settle_click(
    state: State, position: int, line: Clicked, impression_position: int, impression_fate: str
) -> Outcome:
    """Count a click by the fate of its impression: learned with it, or not at all."""
    ad, event = line.ad, line.event_id
    if impression_fate in {"invalid", "refunded"}:
        return _clicked_invalid(state, position, line, "invalid_impression")
    record, now_ms = state.recent.find(impression_position), max(line.at_ms, state.clock_ms)
    shown_ms = int(record["acted_ms"]) if record is not None else 0
    code = state.traffic.clicked(line, state.user_of(ad), now_ms, shown_ms) or None
    if code is not None and state.traffic.blocks:
        _take_along(state, record, ad)
        return _clicked_invalid(state, position, line, code, learned=impression_fate == "learned")
    if slips(state, line, impression_position):
        _take_along(state, record, ad)
        return _clicked_invalid(state, position, line, ACCIDENTAL, learned=impression_fate == "learned")
    billed, unbilled = charge(state, ad, "click", line.at_ms)
    learned = impression_fate == "learned"
    model, calibration = state.learner_of(ad)
    ours = not _replaced_since(state, model, impression_position)
    taught = learned and (ours or state.model_knows(impression_position))
    p, p_shown = math.nan, float(record["p_shown"]) if record is not None else math.nan
    if taught:
        p = model.learn(ad.rows, ad.columns, state.prior_of(ad.placement_id), 0.0, 1.0)
        p_shown = p if record is None else p_shown
    if taught and ours:  # else its impression was told to the curves of the model before
        calibration.clicked(state.row_of(ad.placement_id), p_shown)
    others = learned and not math.isnan(p_shown)
    varied = experimenting.clicked(state, ad, impression_position, p_shown, billed, learned=others)
    p_trial = try_click(state, position, line, learned)
    state.recent.add_click(impression_position, position, p, billed, p_trial)
    state.progress.clicked()
    _hear(state, ad)
    note_act(state, "click", ad, line.at_ms)
    effects = struct.pack("<qddqq", position, p, p_trial, billed, unbilled)
    state.mix(effects, event, ad.rows, ad.columns, varied)
    verdict = Verdict("learned" if learned else "skipped", billed, unbilled, code)
    state.traffic.remember(line, position, impression_position, now_ms, verdict)
    told = [(event, verdict), *settle_conversions(state, line, position, verdict.fate)]
    receipt = receipt_of(event, position, billed, unbilled, taught, code)
    return Outcome(receipt, [*told, *state.traffic.take_marked()], len(told))


def _clicked_invalid(
    state: State, position: int, line: Clicked, code: str, *, learned: bool = True
) -> Outcome:
    """Take note of a click that nobody meant. The click stream is alive all the same."""
    ad, event = line.ad, line.event_id
    _hear(state, ad)
    seeming = quote(state, ad, "click", line.at_ms)
    state.mix(struct.pack("<q", position), event, code.encode())
    receipt = Receipt(event, position, "counted", 0, 0, False, code, seeming, learned)
    told = [(event, Verdict("invalid", code=code)), *settle_conversions(state, line, position, "invalid")]
    return Outcome(receipt, told, len(told))


def _hear(state: State, ad: ServedAd) -> None:
    """Note that the click streams of an ad's place are alive."""
    state.silence.heard(state.silence.streams_of(state.row_of(ad.placement_id), ad.publisher_id))


def _take_along(state: State, record: Any, ad: ServedAd) -> None:
    """Un-learn the impression of an invalid click: left in, it would teach that nobody clicks there.

    And hold the answer no longer: what it promised has come, and is not charged.
    """
    if CHARGED_ACTION[ad.price_kind] != "impression":
        let_go(state, ad)
    if record is not None and not record["clicked"]:
        fate = int(record["fate"])
        record["fate"] = INVALID if _unlearn(state, record, ad) else fate


def _dismissed(state: State, entry: Entry, line: Dismissed) -> Outcome:
    """It speaks against the ad where its impression counts, or will: to ask for an ad is no harm."""
    outcome = _noted(state, entry.position, line)
    if outcome.verdicts[0][1].fate in COUNTED:
        shown = entry.referred
        # By its own verdict first: an accidental click un-learns its impression, which was seen all the same.
        fate = "" if shown is None else shown.verdict.fate if shown.verdict else _fate_of(state, shown)
        take_dismissal(state, line, complains=fate in COUNTED)
        if shown is None:
            hold_complaint(state, line)
    return outcome


def _noted(state: State, position: int, line: Dismissed | Noticed | Returned) -> Outcome:
    """Count an event that neither bills nor teaches yet."""
    event = line.event_id
    if isinstance(line, Noticed) and line.kind == "loss":
        let_go(state, line.ad)
    code = None if isinstance(line, Noticed) else state.traffic.noted(line) or None
    state.mix(struct.pack("<q", position), event, (code or "").encode())
    fate = "invalid" if code is not None and state.traffic.blocks else "skipped"
    return Outcome(Receipt(event, position, "counted", code=code), [(event, Verdict(fate, code=code))])


def _refunded(state: State, entry: Entry, line: Refunded) -> Outcome:
    target = line.target
    impression = target.event_id if isinstance(target, Shown) else target.refers_to
    state.held.pop(impression or b"", None)
    record, field = _record_of(state, line)
    if isinstance(target, Converted):
        drop_conversion(state, target, line.target_position)
    if isinstance(target, Clicked):
        state.traffic.taken_back(line.target_position)
    state.conversions.owed.pop(line.target_position, None)
    verdict = entry.referred.verdict if entry.referred is not None else None
    fate = verdict.fate if verdict is not None else ""
    if record is not None:
        fate = FATES[record["fate"]] if isinstance(target, Shown) else "learned"
    if fate in COUNTED:
        take_back(state, line)
    if record is not None:
        billed = int(record[field])
        record[field] = 0
    else:
        billed = verdict.billed_micros if verdict is not None else 0
    give_back(state, target.ad, target.at_ms, billed)
    state.experiments.results.take_back(target, billed, counted=fate in COUNTED)
    unlearned = fate in COUNTED and _take_out(state, line, record)
    viewed = b""
    if isinstance(target, Shown) and fate in COUNTED:
        viewed = uncount_view(state, target.ad, target.at_ms)
    state.mix(struct.pack("<qqB", entry.position, billed, unlearned), viewed)
    event = line.event_id
    return Outcome(
        Receipt(event, entry.position, "counted", billed, 0, unlearned, line.code),
        [(line.target_id, Verdict("refunded", code=line.code_told)), (event, Verdict("refunded", -billed))],
    )


def _record_of(state: State, line: Refunded) -> tuple[Any, str]:
    """Find what is remembered of the event taken back, and the field of what it was billed."""
    match line.target:
        case Shown():
            return state.recent.find(line.target_position), "billed_micros"
        case Clicked():
            return state.recent.find_click(line.target_position), "click_billed_micros"
        case Converted():
            return state.conversions.find(line.target_position), "billed_micros"
        case _:
            assert_never(line.target)


def _take_out(state: State, line: Refunded, record: Any) -> bool:
    """Take an event out of what was counted and learned; says whether the models forgot it."""
    target = line.target
    if isinstance(target, Converted):
        return refund_conversion(state, target, record)
    if isinstance(target, Clicked):
        untry_click(state, line.target_position, target)
        if record is not None:
            record["clicked"] = CLICK_REFUNDED
    return record is not None and _unlearn(state, record, target.ad)


def _unlearn(state: State, record: Any, ad: ServedAd) -> bool:
    """Take an impression and its click out of the model, newest first, while they are fresh."""
    fate, record["fate"] = int(record["fate"]), REFUNDED
    age = state.recent.next - state.recent.place_of(int(record["position"]))
    if fate != LEARNED or age > UNLEARN_HORIZON_EVENTS:
        return False
    unlearn_click(state, record, ad, ids.event_id(key_of(ad), "click"))
    clicked = not math.isnan(record["p_clicked"])  # and learned
    model, calibration = state.learner_of(ad)
    p_shown, place = float(record["p_shown"]), state.recent.place_of(int(record["position"]))
    unlearned = not _replaced_since(state, model, int(record["position"]))
    if unlearned:
        calibration.taken_back(state.row_of(ad.placement_id), p_shown, clicked=clicked)
        if clicked:
            model.unlearn(ad.rows, ad.columns, float(record["p_clicked"]), 0.0, 1.0)
        model.unlearn(ad.rows, ad.columns, p_shown, 1.0, 0.0)
    experimenting.unlearned(state, ad, place, p_shown, clicked=clicked)
    return unlearned


def _replaced_since(state: State, model: Model, position: int) -> bool:
    """Say whether a trained model came in since an impression: then its p was another model's."""
    return model is state.model and position <= state.model_since


def _catalogued(state: State, line: Catalogued) -> Outcome:
    thing = line.thing
    before = state.catalogue.get(kind_of(thing), thing.id)
    state.changes.catalogued(line.at_ms, thing, before)
    state.catalogue.take(thing, line.at_ms)
    settle(state.catalogue, thing, line.at_ms, before)
    state.pursue(thing, before)
    if isinstance(thing, Placement):
        state.take_placement(thing)
    elif isinstance(thing, Experiment):
        assert before is None or isinstance(before, Experiment)
        experimenting.take(state, thing, before, line.at_ms)
    elif isinstance(thing, Creative):
        state.catalogue.ads.stand_one(thing.id, state.group_standing)
    else:
        state.restand()
    state.mix(struct.pack("<qq", state.position, state.catalogue.columns.used), thing.id.encode())
    return Outcome()
