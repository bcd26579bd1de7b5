"""What exploration costs at present: the node, each arm of an experiment, and each campaign."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from app.state.exploration import LEAST_MEASURED, MEMORY_S, Exploration

if TYPE_CHECKING:
    from app.flows.node import Node


class Explored(Struct, frozen=True, kw_only=True):
    """Whose exploring, and what it cost lately as a share of what greedy choices were expected to bring.

    `factor` is 1, and less while it costs more than its ceiling. Units: greedy_micros and chosen_micros are
    sums of expected eCPM of the decisions that were measured, fading by half in `half_life_s`.
    """

    name: str
    scale: float
    factor: float
    cost: float
    ceiling: float
    greedy_micros: float | None = None
    chosen_micros: float | None = None


class Exploring(Struct, frozen=True, kw_only=True):
    """All of it; `campaigns` are those that cost most. `measured` says whether anything was yet."""

    mode: str
    measured: bool
    half_life_s: float
    node: Explored
    arms: list[Explored]
    campaigns: list[Explored]


def exploring_of(node: Node, count: int = 10) -> Exploring:
    """Look at what exploration costs.

    Cost    some 20 us, and as much for each thousand campaigns.
    """
    state = node.state
    settings, whole = state.settings, state.exploration
    arms = [
        _told(arm.name, arm.variant.exploration_scale, arm.exploration, node)
        for arm in state.experiments.arms
        if arm.variant is not None and arm.variant.exploration_scale is not None
    ]
    return Exploring(
        mode=settings.exploration, measured=whole.greedy_micros >= LEAST_MEASURED, half_life_s=MEMORY_S,
        node=_told("node", settings.exploration_scale, whole, node), arms=arms,
        campaigns=_costliest(node, count) if settings.exploration != "off" else [],
    )  # fmt: skip


def _told(name: str, scale: float, explored: Exploration, node: Node) -> Explored:
    return Explored(
        name=name, scale=scale, factor=explored.factor, cost=explored.cost,
        ceiling=node.state.settings.exploration_ceiling, greedy_micros=explored.greedy_micros,
        chosen_micros=explored.chosen_micros,
    )  # fmt: skip


def _costliest(node: Node, count: int) -> list[Explored]:
    state = node.state
    costs = state.campaign_exploration.cost_micros
    ids = dict(zip(state.catalogue.campaign_index.values(), state.catalogue.campaign_index, strict=True))
    found = []
    for at in np.argsort(-costs, kind="stable")[:count].tolist():
        cost, factor = state.explored(ids[at])
        if cost > 0.0:
            ceiling = state.settings.exploration_campaign_ceiling
            scale = state.settings.exploration_scale
            found.append(Explored(name=ids[at], scale=scale, factor=factor, cost=cost, ceiling=ceiling))
    return found
