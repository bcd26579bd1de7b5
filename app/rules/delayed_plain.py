"""The delayed-feedback model in plain Python: what tests hold `delayed_learner` to. Not used by a node."""

from __future__ import annotations

import math

from app.rules.ftrl_plain import PlainCell, plain_p


def plain_loss(logit: float, log_rate: float, came: bool, time: float) -> float:
    """The negative log-likelihood of one click, as the paper writes it.

    >>> round(plain_loss(0.0, 0.0, came=False, time=math.inf), 6) == round(math.log(2), 6)
    True
    """
    p, rate = 1.0 / (1.0 + math.exp(-logit)), math.exp(log_rate)
    if came:
        return -(math.log(p) + math.log(rate) - rate * time)
    return -math.log(1.0 - p + p * math.exp(-rate * time))


def plain_learn_delayed(
    cells: list[PlainCell], late: list[PlainCell], prior_logit: float, came: bool, time: float
) -> float:
    """Learn one click by the expectation of what it still may be; give the p used.

    An unconverted click converts later with the probability p s / (1 - p + p s): so much of it is a success,
    and as such it has waited in vain for the time; so the gradients are those of complete data, in the mean.
    """
    p, rate = plain_p(cells, prior_logit), math.exp(sum(cell.w for cell in late))
    success = 1.0
    if not came:
        still = math.exp(-rate * time)
        success = p * still / (1.0 - p + p * still)
    gradient = p - success
    late_gradient = success * rate * time - (1.0 if came else 0.0) if success else 0.0
    for cell in cells:
        cell.step(gradient, gradient**2)
    for cell in late:
        cell.step(late_gradient, late_gradient**2)
    return p
