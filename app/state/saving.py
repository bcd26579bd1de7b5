"""What is known, copied out of a state for a snapshot, and taken back into a new one.

Each room of the state knows its own parts; their names, their order and what older snapshots lack stand here.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.domain.catalogue import Placement, Thing
from app.domain.keys import ApiKey
from app.domain.lines import FoldSettings
from app.rules.evaluation import logit
from app.state import experimenting
from app.state.changes import Change
from app.state.early import Complaint, Early, Held
from app.state.exploration import Exploration
from app.state.people import PARTS as PEOPLE_PARTS
from app.state.prepared import Loading
from app.state.progress import Progress
from app.state.settling import resettle
from app.state.state import State


def parts(state: State) -> dict[str, NDArray[Any] | bytes]:
    """Copy everything known, as raw arrays and one packed part."""
    supply, supply_rest = state.supply.parts()
    clusters, clusters_rest = state.clusters.parts()
    rest = {**_rest(state), "supply": supply_rest, "clusters": clusters_rest}
    if state.loadings:
        rest["loadings"] = state.loadings
    if state.changes.kept:
        rest["changes"] = state.changes.kept
    width = state.catalogue.width
    several = {
        "model": state.model.parts(width),
        "conversion_model": state.conversion_model.parts(width),
        "ledger": state.ledger.parts(),
        "goals": state.goals.parts(),
        "delays": state.delays.parts(),
        "traffic": state.traffic.parts(),
        "calibration": state.calibration.parts(),
        "exploration": state.campaign_exploration.parts(),
        "experiments": state.experiments.parts(width, state.recent.next, state.catalogue.ads.count),
    }
    return {
        **{f"{of}_{name}": part for of, named in several.items() for name, part in named.items()},
        "recent": state.recent.parts(),
        "quality": state.quality.parts(),
        "dismissals": state.dismissals.parts(),
        "conversions": state.conversions.parts(),
        "user_counters": state.user_counters.parts(),
        "campaign_accounts": state.catalogue.campaign_accounts.parts(),
        "group_accounts": state.catalogue.group_accounts.parts(),
        "in_flight": state.in_flight.parts(),
        "awaited": state.awaited.parts(),
        # Not a function of the rest: it is worked out at ticks and edits, not at every charge.
        "group_standing": state.group_standing,
        **{f"people_{name}": part for name, part in state.people.parts().items()},
        "supply": supply,
        "clusters": clusters,
        "admission": state.admission.parts(),
        "usage": state.usage.hours.copy(),
        "pacing": state.pacing.parts(),
        "silence": state.silence.unanswered.copy(),
        "rest": msgspec.msgpack.encode(rest),
    }


def _rest(state: State) -> dict[str, Any]:
    return {
        "settings": state.settings,
        "clock_ms": state.clock_ms,
        "hash": state.hash,
        "progress": state.progress,
        "exploration": state.exploration,
        "experiments": state.experiments.rest(),
        "held": list(state.held.items()),
        "early": list(state.early.items()),
        "complaints": list(state.complaints.items()),
        "user_counters": state.user_counters.facts(),
        "recent": (state.recent.next, state.recent.closed),
        "dismissals": state.dismissals.first,
        "conversions": (state.conversions.next, state.conversions.lessons, list(state.conversions.owed)),
        "delays": state.delays.rest(),
        "catalogue": state.catalogue.parts(),
        "audiences": state.audiences.parts(),
        "keys": state.keys.parts(),
        "traffic": state.traffic.rest(),
        "ticks_ms": state.in_flight.ticks_ms,
        "admission_since_ms": state.admission.since_ms,
        "rows_pruned": state.usage.pruned,
        "likenesses": state.likenesses.parts(),
    }


def restore(state: State, position: int, parts: dict[str, Any]) -> None:
    """Take back what `parts` copied, into a new state of the same size."""
    rest = msgspec.msgpack.decode(bytes(parts["rest"]))
    catalogue = rest["catalogue"]
    state.position = position
    state.clock_ms = rest["clock_ms"]
    state.hash = rest["hash"]
    state.progress = msgspec.convert(rest["progress"], Progress)
    state.silence.restore(parts.get("silence"), rest["progress"].get("unanswered", 0.0))
    state.exploration = msgspec.convert(rest.get("exploration", {}), Exploration)
    held = msgspec.convert(rest["held"], list[tuple[bytes, Held]])
    state.held = dict(held)
    state.early = dict(msgspec.convert(rest.get("early", []), list[tuple[bytes, list[Early]]]))
    complaints = rest.get("complaints", [])
    state.complaints = dict(msgspec.convert(complaints, list[tuple[bytes, Complaint]]))
    state.keys.restore(msgspec.convert(rest.get("keys", []), list[ApiKey]))
    state.catalogue.restore(catalogue, msgspec.convert(catalogue["things"], list[Thing]))
    resettle(state.catalogue)
    state.catalogue.campaign_accounts.restore(parts["campaign_accounts"])
    state.catalogue.group_accounts.restore(parts["group_accounts"])
    state.audiences.restore(rest.get("audiences", []))
    state.people.restore(
        {name: bytes(parts[f"people_{name}"]) for name in PEOPLE_PARTS if f"people_{name}" in parts}
    )
    state.recent.restore(parts["recent"], *rest["recent"])
    state.conversions.restore(parts["conversions"], *rest["conversions"])
    _restore_money(state, parts)
    state.loadings = msgspec.convert(rest.get("loadings", []), list[Loading])
    state.changes.kept = msgspec.convert(rest.get("changes", []), list[Change])
    state.in_flight.ticks_ms = list(rest.get("ticks_ms", []))
    if "user_counters" in parts:
        state.user_counters.restore(parts["user_counters"], rest["user_counters"])
    for thing in state.catalogue.things["placement"].values():
        assert isinstance(thing, Placement)
        if thing.prior_ctr is not None:
            state.placement_prior[thing.id] = logit(thing.prior_ctr)
    if "experiments" in rest:
        state.experiments.restore_rest(rest["experiments"], parts["experiments_results"])
    else:
        state.experiments.given = msgspec.convert(rest["settings"], FoldSettings)
    state.configure(state.experiments.given)
    if "quality" in parts:
        state.quality.restore(parts["quality"])
        state.dismissals.restore(parts["dismissals"], rest["dismissals"])
    if "traffic" in rest:
        state.traffic.restore(parts["traffic_counters"], parts["traffic_clicks"], rest["traffic"])
    state.restand()
    state.group_standing = np.array(parts["group_standing"], dtype=np.uint8)
    state.catalogue.ads.stand(state.group_standing)
    state.supply.restore(parts["supply"], rest["supply"])
    state.pacing.restore(parts["pacing"], missing=0 if "in_flight" in parts else 1)
    if "delays" in rest:
        state.delays.restore(_parts_of("delays", parts), rest["delays"])
    _restore_learned(state, parts, rest)


def _restore_learned(state: State, parts: dict[str, Any], rest: dict[str, Any]) -> None:
    if "exploration_damping" in parts:
        state.campaign_exploration.restore(_parts_of("exploration", parts))
    state.model.restore(_parts_of("model", parts))
    state.conversion_model.restore(_parts_of("conversion_model", parts))
    if "calibration_rows" in parts:
        state.calibration.restore(_parts_of("calibration", parts))
    if "clusters" in parts:
        state.clusters.restore(parts["clusters"], rest["clusters"])
        state.likenesses.restore(rest.get("likenesses", []))
    if "usage" in parts:
        state.usage.hours[:], state.usage.pruned = parts["usage"], rest["rows_pruned"]
        state.admission.restore(parts["admission"], rest["admission_since_ms"])
    if "experiments" in rest:
        experimenting.restore_arms(state, rest["experiments"], _parts_of("experiments", parts))


def _restore_money(state: State, parts: dict[str, Any]) -> None:
    things = state.catalogue.things
    for thing in (*things["campaign"].values(), *things["ad_group"].values()):
        state.pursue(thing)
    state.ledger.restore(_parts_of("ledger", parts))
    state.goals.restore(_parts_of("goals", parts))
    state.in_flight.restore(parts.get("in_flight"))
    state.awaited.restore(parts.get("awaited"))
    state.catalogue.ads.rebid(state.goals.percent)


def _parts_of(name: str, parts: dict[str, Any]) -> dict[str, Any]:
    return {part[len(name) + 1 :]: parts[part] for part in parts if part.startswith(f"{name}_")}
