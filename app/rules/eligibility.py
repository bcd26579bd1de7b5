"""Which ads may enter: clauses over sets of ads, one byte per ad, a reason for each that may not.

A clause says: an ad that is `restricted` must be in one of the `any_of` sets, and in none of the `none_of`
sets; else it leaves with the clause's reason. Every targeting dimension, block list and format rule is
one clause, so one dimension more costs a few passes over one byte per ad. The kernel works set by set
(not ad by ad), which the compiler turns into wide byte operations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

EVERYONE = -1  # as `restricted`: the clause binds every ad


@dataclass(frozen=True, slots=True)
class Clause:
    """One condition. `restricted` is the set of ads that it binds, or EVERYONE."""

    reason: int
    restricted: int
    any_of: tuple[int, ...] = ()
    none_of: tuple[int, ...] = ()
    flat: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        bound = bool(self.any_of) or self.restricted != EVERYONE
        head = (self.reason, int(bound), self.restricted, len(self.any_of))
        object.__setattr__(self, "flat", (*head, *self.any_of, len(self.none_of), *self.none_of))


def program(clauses: Iterable[Clause]) -> NDArray[np.int32]:
    """Write clauses as the flat numbers that the kernel reads.

    >>> program([Clause(7, EVERYONE, (3, 4), (5,))]).tolist()
    [7, 1, -1, 2, 3, 4, 1, 5]
    """
    return np.array([number for clause in clauses for number in clause.flat], dtype=np.int32)


@njit(nogil=True, cache=True)
def judge(program, sets, reason, passing):  # type: ignore[no-untyped-def]
    """Give every ad still in (reason 0) the reason of the first clause that it fails.

    Shape   program as of `program()`; sets is (s, >= a) uint8 of 0 and 1; reason and passing are (a,)
            uint8, reason is read and written, passing is scratch.
    Cost    about (3 + sets in the clause) passes of a bytes per clause: 10,000 ads, 12 clauses: ~10 us.
    """
    count = reason.size
    at = 0
    while at < program.size:
        code = np.uint8(program[at])
        bound = program[at + 1]
        restricted = program[at + 2]
        any_count = program[at + 3]
        at += 4
        if bound == 0:
            passing[:] = 1
        elif restricted < 0:
            passing[:] = 0
        else:
            row = sets[restricted]
            for i in range(count):
                passing[i] = row[i] ^ 1
        for k in range(any_count):
            row = sets[program[at + k]]
            for i in range(count):
                passing[i] |= row[i]
        at += any_count
        none_count = program[at]
        at += 1
        for k in range(none_count):
            row = sets[program[at + k]]
            for i in range(count):
                passing[i] &= row[i] ^ 1
        at += none_count
        for i in range(count):
            if reason[i] == 0 and passing[i] == 0:
                reason[i] = code


def judge_plain(
    clauses: Sequence[Clause], sets: NDArray[np.uint8], reason: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """The kernel's twin, ad by ad in plain Python: slow and plainly right."""
    answer = reason.copy()
    for ad in range(reason.size):
        for clause in clauses:
            if answer[ad]:
                break
            bound = clause.restricted == EVERYONE or bool(sets[clause.restricted, ad])
            wants = bool(clause.any_of) or clause.restricted != EVERYONE
            inside = any(sets[row, ad] for row in clause.any_of)
            outside = any(sets[row, ad] for row in clause.none_of)
            if (wants and bound and not inside) or outside:
                answer[ad] = clause.reason
    return answer


@njit(nogil=True, cache=True)
def tally(reason, campaign, outbid, funnel, totals):  # type: ignore[no-untyped-def]
    """Count the losers by reason, for the placement (totals) and for each campaign (funnel).

    Who is still in (reason 0) and did not win was outbid. Ads with reason 1 (archived, free places, and
    the winners, marked so by the caller) are nobody's loss and not counted.
    Shape   reason (a,) uint8; campaign (a,) int32; outbid its reason's number; funnel (campaigns, reasons)
            int64; totals (reasons,) int64.
    """
    for i in range(reason.size):
        code = reason[i]
        if code == 0:
            code = np.uint8(outbid)
        if code != 1:
            funnel[campaign[i], code] += 1
            totals[code] += 1
