"""FTRL-Proximal in plain Python: slow, plainly right, and what tests hold the compiled kernels to.

One cell is one object; nothing here is flat, compiled or clever. Not used by a running node.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(slots=True)
class PlainCell:
    """One weight of a model, with the settings of its sort (main or cross).

    >>> cell = PlainCell(alpha=1.0, beta=1.0, l1=0.0, l2=0.0)
    >>> cell.step(gradient=-1.0, advance=1.0)
    >>> cell.z, cell.n, cell.w
    (-1.0, 1.0, 0.5)
    """

    alpha: float
    beta: float
    l1: float
    l2: float
    z: float = 0.0
    n: float = 0.0
    w: float = 0.0

    def step(self, gradient: float, advance: float) -> None:
        """McMahan et al. 2013, algorithm 1, one coordinate; n never falls below 0."""
        n = max(self.n + advance, 0.0)
        sigma = (math.sqrt(n) - math.sqrt(self.n)) / self.alpha
        self.z = self.z + gradient - sigma * self.w
        self.n = n
        self.w = self.weight(self.z, self.n)

    def unlearn(self, gradient: float, advance: float) -> None:
        """Solve `step` for what was before it.

        z = z0 + g - s * w0 and w0 = -(z0 - sign(z0) * l1) / D0 give z0 = (t + sign(t) * s * l1 / D0)
        / (1 + s / D0) with t = z - g, or z0 = t where w0 was 0.
        """
        n0 = max(self.n - advance, 0.0)
        s = (math.sqrt(self.n) - math.sqrt(n0)) / self.alpha
        slope = (self.beta + math.sqrt(n0)) / self.alpha + self.l2
        t = self.z - gradient
        if abs(t) > self.l1:
            sign = 1.0 if t > 0.0 else -1.0
            z0 = (t + sign * s * self.l1 / slope) / (1.0 + s / slope)
        else:
            z0 = t
        self.z, self.n, self.w = z0, n0, self.weight(z0, n0)

    def weight(self, z: float, n: float) -> float:
        """The closed form, rounded to float32 as the matrix keeps it."""
        if abs(z) <= self.l1:
            return 0.0
        sign = 1.0 if z > 0.0 else -1.0
        return float(np.float32(-(z - sign * self.l1) / ((self.beta + math.sqrt(n)) / self.alpha + self.l2)))


def plain_p(cells: Iterable[PlainCell], prior_logit: float) -> float:
    """The sigmoid of prior logit + weights."""
    return 1.0 / (1.0 + math.exp(-(prior_logit + sum(cell.w for cell in cells))))


def plain_learn(cells: list[PlainCell], prior_logit: float, impressions: float, clicks: float) -> float:
    """Learn a sample in one step, event by event in the sums; give the p used."""
    p = plain_p(cells, prior_logit)
    gradient = impressions * p - clicks
    advance = clicks * (1.0 - p) ** 2 + (impressions - clicks) * p**2
    for cell in cells:
        cell.step(gradient, advance)
    return p
