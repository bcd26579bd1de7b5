"""Which ads may enter: clauses over sets of ads, one bit per ad, a reason for each that may not.

A clause says: an ad that is `restricted` must be in one of the `any_of` sets, and in none of the `none_of`
sets; else it leaves with the clause's reason. Every targeting dimension, block list and format rule is
one clause, and one more costs a few passes over 1.25 KB for 10,000 ads.

Shape of a set, everywhere here: (words,) uint64, ad a is bit a % 64 of word a // 64.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

EVERYONE = -1  # as `restricted`: the clause binds every ad
PLANES = 8  # a count of losers has so many bits: 255 auctions between two calls of `drain`


@dataclass(frozen=True, slots=True)
class Clause:
    """One condition. `restricted` is the set of ads that it binds, or EVERYONE."""

    reason: int
    restricted: int
    any_of: tuple[int, ...] = ()
    none_of: tuple[int, ...] = ()

    def flat(self) -> tuple[int, ...]:
        """Write the clause as the numbers that the kernel reads.

        >>> Clause(7, EVERYONE, (3, 4), (5,)).flat()
        (7, 1, -1, 2, 3, 4, 1, 5)
        """
        bound = bool(self.any_of) or self.restricted != EVERYONE
        head = (self.reason, int(bound), self.restricted, len(self.any_of))
        return (*head, *self.any_of, len(self.none_of), *self.none_of)


def written(flat: Sequence[int]) -> bytes:
    """Write flat clauses as the bytes of int32; a program is such parts joined."""
    return np.array(flat, dtype=np.int32).tobytes()


def program(clauses: Iterable[Clause]) -> NDArray[np.int32]:
    """Write clauses, in their order, for the kernel."""
    return np.frombuffer(b"".join(written(clause.flat()) for clause in clauses), dtype=np.int32)


def bits_of(members: NDArray[np.bool_], words: int) -> NDArray[np.uint64]:
    """Write a set given ad by ad as words of bits.

    >>> bits_of(np.array([True, False, True]), 1).tolist()
    [5]
    """
    padded = np.zeros(words * 8, dtype=np.uint8)
    packed = np.packbits(members, bitorder="little")
    padded[: packed.size] = packed
    return padded.view("<u8").astype(np.uint64, copy=False)


@intrinsic
def lowest_bit(typing_context, word):  # type: ignore[no-untyped-def]
    """Find the place of the lowest bit set in a word that is not 0: one instruction.

    Testing bit by bit mispredicts half of the time on real requests: 31 us instead of 8 for 10,000 ads.
    """
    signature = types.int64(types.uint64)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], context.get_constant(types.boolean, True))

    return signature, generate


@intrinsic
def count_bits(typing_context, word):  # type: ignore[no-untyped-def]
    """Count the bits set in a word: one instruction."""
    signature = types.int64(types.uint64)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctpop(arguments[0])

    return signature, generate


@njit(nogil=True, cache=True)
def lose(lost, at, planes):  # type: ignore[no-untyped-def]
    """Count the ads of a word's bits as lost; returns how many.

    The counts of a word's 64 ads stand upright: plane k holds bit k of each, so that all are raised by one
    in about two steps (a carry reaches plane k once in 2^k times). One increment for each ad instead cost
    12 us a request over 10,000 ads, and their counters pushed the matrix out of the cache.

    Shape   planes (PLANES, words): of one reason.
    """
    count: int = count_bits(lost)  # type: ignore[call-arg]
    plane = 0
    while lost:
        held = planes[plane, at]
        planes[plane, at] = held ^ lost
        lost &= held
        plane += 1
    return count


@njit(nogil=True, cache=True)
def drain(planes, campaign, funnel):  # type: ignore[no-untyped-def]
    """Add the counts of all planes up by campaign, and begin anew.

    Shape   planes (reasons, PLANES, words); campaign (ads,) int32; funnel (reasons, campaigns) int64.
    Cost    some 0.3 ms for 10,000 ads of which each was lost for a few reasons.
    """
    for code in range(planes.shape[0]):
        for at in range(planes.shape[2]):
            for plane in range(planes.shape[1]):
                word = planes[code, plane, at]
                planes[code, plane, at] = np.uint64(0)
                while word:
                    ad = at * 64 + lowest_bit(word)  # type: ignore[call-arg]
                    funnel[code, campaign[ad]] += 1 << plane
                    word &= word - np.uint64(1)


@njit(nogil=True, cache=True)
def leave(alive, passing, planes, totals, code):  # type: ignore[no-untyped-def]
    """Take those out that do not pass, counted under a reason (planes are that reason's)."""
    count = 0
    for i in range(alive.size):
        lost = alive[i] & ~passing[i]
        if lost:
            count += lose(lost, i, planes)
            alive[i] &= passing[i]
    totals[code] += count


@njit(nogil=True, cache=True)
def judge(program, sets, alive, passing, planes, totals):  # type: ignore[no-untyped-def]
    """Take the ads out that fail a clause, each counted under the first that it fails.

    Shape   program as of `program()`; sets (s, >= words); alive (words,) is read and written; passing is
            scratch; planes (reasons, PLANES, words) as in `lose` and totals (reasons,) int64 are added to.
    """
    words = alive.size
    at = 0
    while at < program.size:
        code, bound, restricted, any_count = program[at], program[at + 1], program[at + 2], program[at + 3]
        at += 4
        if bound == 0:
            passing[:] = ~np.uint64(0)
        elif restricted < 0:
            passing[:] = np.uint64(0)
        else:
            row = sets[restricted]
            for i in range(words):
                passing[i] = ~row[i]
        for k in range(any_count):
            row = sets[program[at + k]]
            for i in range(words):
                passing[i] |= row[i]
        at += any_count
        none_count = program[at]
        at += 1
        for k in range(none_count):
            row = sets[program[at + k]]
            for i in range(words):
                passing[i] &= ~row[i]
        at += none_count
        leave(alive, passing, planes[code], totals, code)


@njit(nogil=True, cache=True)
def take_out(places, code, alive, planes, totals):  # type: ignore[no-untyped-def]
    """Take named ads out, those that are still in counted under a reason."""
    for place in places:
        word, bit = place // 64, np.uint64(1) << np.uint64(place % 64)
        if alive[word] & bit:
            alive[word] &= ~bit
            totals[code] += lose(bit, word, planes[code])


@njit(nogil=True, cache=True)
def name_all(alive, index):  # type: ignore[no-untyped-def]
    """Write the places of the ads that are still in, ascending; returns how many."""
    count = 0
    for i in range(alive.size):
        word = alive[i]
        while word:
            index[count] = i * 64 + lowest_bit(word)  # type: ignore[call-arg]
            count += 1
            word &= word - np.uint64(1)
    return count


def judge_plain(
    clauses: Sequence[Clause], sets: NDArray[np.uint8], reason: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """The kernel's twin, ad by ad in plain Python over bytes: slow and plainly right.

    Shape   sets (s, ads) of 0 and 1; reason (ads,), 0 for an ad that is still in; returns the reasons after.
    """
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
