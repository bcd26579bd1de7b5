"""Sets of ads, one bit per ad, and the targeting dimensions that name them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.domain.catalogue import Rule
from app.rules.eligibility import EVERYONE, Clause, bits_of, written

Answer = TypeVar("Answer")
_UNASKED: Any = object()
MEMORY = 20_000
# The first rows are scratch, for conditions of one request that no stored set answers; EMPTY stays empty.
(
    EMPTY, BLOCKED_ADVERTISERS, BLOCKED_CREATIVES, LONG_VIDEO, LONG_AUDIO, ENTERING_DEALS,
    SAME_ADVERTISER, SAME_CATEGORY, DISMISSED, SCRATCH,
) = range(10)  # fmt: skip
PARTICIPATION = SCRATCH  # behind them 64 rows are pacing's (app.state.participation)
RESERVED = PARTICIPATION + 64


class Sets:
    """Rows of words of bits: bit a % 64 of `rows[r, a // 64]` says whether ad a is in set r.

    Sets are made when first named. The first RESERVED rows are not such sets: one request's own,
    and who takes part at present.
    """

    def __init__(self, capacity: int) -> None:
        self.words = -(-capacity // 64)
        self.rows: NDArray[np.uint64] = np.zeros((2 * RESERVED, self.words), dtype=np.uint64)
        self.by_key: dict[Hashable, int] = {}
        self._of_ad: dict[int, list[int]] = {}
        self._answers: dict[Hashable, Any] = {}

    def find(self, key: Hashable) -> int | None:
        """Find a set's row; None when no ad was ever in it."""
        return self.by_key.get(key)

    def make(self, key: Hashable) -> int:
        """Find a set's row, making an empty set when it is new."""
        row = self.by_key.get(key)
        if row is None:
            row = self.by_key[key] = len(self.by_key) + RESERVED
            self._answers.clear()
            if row == len(self.rows):
                self.rows = np.concatenate([self.rows, np.zeros_like(self.rows)])
        return row

    def place(self, ad: int, keys: Iterable[Hashable]) -> None:
        """Put an ad into exactly these sets."""
        word, bit = ad // 64, np.uint64(1 << ad % 64)
        self.rows[self._of_ad.pop(ad, []), word] &= ~bit
        mine = list(dict.fromkeys(self.make(key) for key in keys))
        self.rows[mine, word] |= bit
        self._of_ad[ad] = mine

    def write(self, row: int, members: NDArray[np.bool_]) -> None:
        """Write a scratch row, ad by ad."""
        self.rows[row] = bits_of(members, self.words)

    def known(self, family: str, values: Iterable[Any]) -> tuple[int, ...]:
        """Find the rows of those of a family's values that any ad ever named."""
        found = (self.by_key.get((family, value)) for value in values)
        return tuple(row for row in found if row is not None)

    def remembered(self, question: Hashable, answer: Callable[[], Answer]) -> Answer:
        """Answer a question about which sets there are, from memory where it was asked before.

        Good until a new set is made; what the sets hold does not matter to such an answer.
        """
        found: Answer = self._answers.get(question, _UNASKED)
        if found is _UNASKED:
            if len(self._answers) >= MEMORY:
                self._answers.clear()
            found = self._answers[question] = answer()
        return found


class Dimension:
    """One targeting dimension: which ads restrict it, and by what terms.

    A term is a value or an inclusive pair of numbers; the ads that include or exclude it are two sets.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.pairs: set[tuple[float, float]] = set()
        self.used = False  # whether any ad ever named a term of it

    def keys(self, rule: Rule) -> list[Hashable]:
        """List the sets that an ad with this rule belongs to."""
        keys: list[Hashable] = []
        if rule.include:
            keys.append((self.name, "restricted"))
        for side, terms in (("include", rule.include), ("exclude", rule.exclude)):
            for term in terms:
                value: Any = term
                if isinstance(term, tuple | list):
                    value = (float(term[0]), float(term[1]))
                    self.pairs.add(value)
                keys.append((self.name, side, value))
        self.used = self.used or bool(keys)
        return keys

    def part(self, sets: Sets, reason: int, values: tuple[Any, ...]) -> bytes:
        """Say what a request with these values means to the ads, as part of a program; from memory."""
        if not self.used:
            return b""
        return sets.remembered((self.name, values), lambda: written(self.clause(sets, reason, values)))

    def clause(self, sets: Sets, reason: int, values: tuple[Any, ...]) -> tuple[int, ...]:
        """Say what a request with these values means to the ads, as a flat clause; empty when none minds."""
        restricted = sets.find((self.name, "restricted"))
        terms: list[Any] = list(values)
        numbers = [value for value in terms if isinstance(value, int | float)]
        if numbers and self.pairs:
            terms += sorted(
                pair for pair in self.pairs if any(pair[0] <= number <= pair[1] for number in numbers)
            )
        included = [sets.find((self.name, "include", term)) for term in terms]
        excluded = [sets.find((self.name, "exclude", term)) for term in terms]
        any_of = tuple(row for row in included if row is not None)
        none_of = tuple(row for row in excluded if row is not None)
        if restricted is None and not none_of:
            return ()
        if restricted is None:
            return Clause(reason, EVERYONE, (), none_of).flat()
        return Clause(reason, restricted, any_of, none_of).flat()
