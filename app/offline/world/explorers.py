"""Policies that explore by the model's own doubt about the ads: Thompson sampling, and LinUCB as its rival.

Both add to the learner's logit what the main cells of an ad's columns may be off by: one a draw for each
column, as a node's auction makes it, the other so many standard deviations for all.
"""

from collections.abc import Callable

import numpy as np

from app.offline.world.contest import Choice, Policy, offered
from app.rules.exploration import deviate, doubt
from app.rules.ftrl import Rates
from app.rules.learner import F64, I32, Learner, State


def thompson(
    learner: Learner, scale: float, rates: Rates | None = None, state: State | None = None
) -> Policy:
    """Rank by logits drawn around the learner's, as `app.rules.exploration` draws them."""
    state, seed = state if state is not None else learner.fresh(), iter(range(2**31))

    def choose(choice: Choice) -> int:
        draw = next(seed)
        doubts = doubts_of(learner, state, rates)
        columns = np.unique(choice.ads)
        shift = np.zeros(learner.space.column_count)
        shift[columns] = [float(deviate(draw, column)) for column in columns]
        shift *= scale * doubts
        shift[0] = 0.0
        return int(np.argmax(logits(learner, state, choice) + shift[choice.ads].sum(axis=1)))

    return Policy(f"thompson {scale:g}", choose, _learning(learner, state))


def linucb(learner: Learner, width: float, rates: Rates | None = None) -> Policy:
    """Rank by upper bounds. Source: Chapelle and Li 2011; Li et al. 2010."""
    state = learner.fresh()

    def choose(choice: Choice) -> int:
        spread = spread_of(doubts_of(learner, state, rates), choice.ads)
        return int(np.argmax(logits(learner, state, choice) + width * spread))

    return Policy(f"linucb {width:g}", choose, _learning(learner, state))


def doubts_of(learner: Learner, state: State, rates: Rates | None = None) -> F64:
    """How unsure the main cell of each column is. Shape (columns,)."""
    hyper, count = (rates or Rates()).array(), learner.space.column_count
    doubts = np.zeros(count, dtype=np.float32)
    doubt(state["n"][:count], np.arange(count), hyper[2] / hyper[0] + hyper[5], np.ones(count), doubts)
    return doubts.astype(np.float64)


def spread_of(doubts: F64, ads: I32) -> F64:
    """The standard deviation of each ad's logit by its columns, but for the one of all ads."""
    return np.asarray(np.sqrt((doubts[ads[:, 1:]] ** 2).sum(axis=1)))


def logits(learner: Learner, state: State, choice: Choice) -> F64:
    """The learner's logit of each ad."""
    p = learner.predict(state, offered(choice.rows, choice.ads))
    return np.asarray(np.log(p / (1.0 - p)))


def _learning(learner: Learner, state: State) -> Callable[[I32, I32, bool], None]:
    def learn(rows: I32, columns: I32, clicked: bool) -> None:
        learner.learn(state, offered(rows, columns[None, :], float(clicked)))

    return learn
