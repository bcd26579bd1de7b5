"""Clicks of the simulated market whose conversions come late, as late as their campaign's are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from app.offline.late import Late
from app.offline.world.log import LogPlan, draw_shown
from app.offline.world.market import CLICKS, CONVERSIONS, Market
from app.offline.world.truth import logit_of, space_of
from app.rules.learner import F64, filled_behind


def draw_late(market: Market, plan: LogPlan) -> Late:
    """Draw the clicks of people, and what becomes of them: conversions as late as their campaign's are."""
    random = np.random.default_rng([market.seed, 7, plan.seed])
    shown = draw_shown(market, replace(plan, bots_share=0.0), random)
    columns = market.ads[shown.ads]
    ctr = market.clicks.p(shown.rows, columns, logit_of(plan.ctr) - logit_of(CLICKS.rate))
    clicked = random.random(plan.samples) < ctr
    rows, columns = shown.rows[clicked], columns[clicked]
    truth = market.conversions.p(rows, columns, logit_of(plan.cvr) - logit_of(CONVERSIONS.rate))
    campaign = columns[:, 2].astype(np.int64) - market.columns.first["campaign"]
    late_s = random.exponential(market.delay_s[campaign])
    return Late(
        space_of(market.rows, market.columns, prior=plan.cvr), filled_behind(rows), columns,
        shown.at_s[clicked], campaign, market.delay_s.size, truth, random.random(truth.size) < truth, late_s,
    )  # fmt: skip


def entropy(predicted: F64, truth: F64) -> float:
    """The expected log loss of predictions, over that of the mean rate: normalised entropy without chance.

    >>> entropy(np.array([0.1, 0.1]), np.array([0.05, 0.15]))
    1.0
    """
    rate = truth.mean()
    loss = -(truth * np.log(predicted) + (1 - truth) * np.log(1 - predicted)).mean()
    return float(loss / -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate)))
