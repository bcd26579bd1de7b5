"""What campaigns and ad groups may spend, have spent, and have in flight. Integers in micros.

A charge is cut to what the budgets still hold, so billed never exceeds a budget. In flight is the value of
what was answered and may yet happen (price x probability), awaited that of clicks that may yet convert; both
are kept by `app.state.holds`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

NO_LIMIT = 2**62
NO_DAY = -(2**40)  # a day that no account ever had
_FIELDS = (
    "daily", "total", "spent", "spent_today", "spent_before", "day", "in_flight", "carry", "awaited",
    "due_today",
)  # fmt: skip
ALL_TODAY = 1000


class Accounts:
    """One account per campaign, or per ad group.

    `day` is the latest day (in the account's own zone) with a charge, spent_today its spend and spent_before
    that of the day before: lines may cross midnight out of order, and a held click is charged on its own day.
    `carry` holds the thousandths of a micro that charges per impression have not yet made whole. Of what is
    awaited `due_today` thousandths are expected before the account's day ends, as of the last tick.
    """

    def __init__(self) -> None:
        self.count = 0
        self._size = 64
        for field in _FIELDS:
            setattr(self, field, np.zeros(self._size, dtype=np.int64))

    daily: NDArray[np.int64]
    total: NDArray[np.int64]
    spent: NDArray[np.int64]
    spent_today: NDArray[np.int64]
    spent_before: NDArray[np.int64]
    day: NDArray[np.int64]
    in_flight: NDArray[np.int64]
    carry: NDArray[np.int64]
    awaited: NDArray[np.int64]
    due_today: NDArray[np.int64]

    def open(self) -> int:
        """Open an account without limits; returns its index."""
        if self.count == self._size:
            self._size *= 2
            for field in _FIELDS:
                setattr(self, field, np.resize(getattr(self, field), self._size))
                getattr(self, field)[self.count :] = 0
        index = self.count
        self.count += 1
        self.due_today[index] = ALL_TODAY
        self.limit(index, None, None)
        return index

    def limit(self, index: int, daily: int | None, total: int | None) -> None:
        """Set an account's budgets; None is no limit."""
        self.daily[index] = NO_LIMIT if daily is None else daily
        self.total[index] = NO_LIMIT if total is None else total

    def spent_on(self, index: int, day: int) -> int:
        """Say how much an account was billed on a day; an older day than two counts as spent out."""
        latest = int(self.day[index])
        if day > latest:
            return 0
        if day == latest:
            return int(self.spent_today[index])
        return int(self.spent_before[index]) if day == latest - 1 else NO_LIMIT

    def left(self, index: int, day: int) -> int:
        """Say how much an account may still be billed on a day, never below 0."""
        today = int(self.daily[index]) - self.spent_on(index, day)
        return max(0, min(today, int(self.total[index]) - int(self.spent[index])))

    def open_at(self, index: int, day: int) -> bool:
        """Say whether an account may still take part in auctions: billed + in flight under its budgets."""
        held, awaited = int(self.in_flight[index]), int(self.awaited[index])
        today = self.spent_on(index, day) + held + awaited * int(self.due_today[index]) // ALL_TODAY
        return today < int(self.daily[index]) and int(self.spent[index]) + held + awaited < int(
            self.total[index]
        )

    def bill(self, index: int, day: int, micros: int) -> None:
        """Book a charge that fits, on a day."""
        latest = int(self.day[index])
        if day > latest:
            self.spent_before[index] = self.spent_today[index] if day == latest + 1 else 0
            self.spent_today[index] = 0
            self.day[index] = day
        self.spent[index] += micros
        self._book(index, day, micros)

    def refund(self, index: int, day: int, micros: int) -> None:
        """Give a charge of a day back: the total reopens, and that day's budget while it is remembered."""
        self.spent[index] -= micros
        self._book(index, day, -micros)

    def _book(self, index: int, day: int, micros: int) -> None:
        latest = int(self.day[index])
        field = self.spent_today if day == latest else self.spent_before if day == latest - 1 else None
        if field is not None:  # never below 0: a changed time zone may have moved the charge to another day
            field[index] = max(0, int(field[index]) + micros)

    def stopped(self, today: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say which accounts have reached a budget, with what is in flight.

        Shape   today (count,): each account's present day in its own zone.
        """
        n = self.count
        spent_today = self.spent_each(today) + self.in_flight[:n] + self.awaited_today()
        spent = self.spent[:n] + self.in_flight[:n] + self.awaited[:n]
        return np.asarray((spent >= self.total[:n]) | (spent_today >= self.daily[:n]))

    def awaited_today(self) -> NDArray[np.int64]:
        """Say how much of what is awaited counts against the present day's budgets, (count,)."""
        n = self.count
        return np.asarray(self.awaited[:n] * self.due_today[:n] // ALL_TODAY)

    def spent_each(self, today: NDArray[np.int64]) -> NDArray[np.int64]:
        """Say what each account was billed on its present day.

        Shape   today (count,): each account's present day in its own zone.
        """
        n = self.count
        spent = np.where(self.day[:n] == today, self.spent_today[:n], 0)
        return np.where(self.day[:n] == today + 1, self.spent_before[:n], spent)

    def parts(self) -> NDArray[Any]:
        """Copy everything but the limits (those come from the catalogue)."""
        return np.stack([getattr(self, field)[: self.count] for field in _FIELDS[2:]])

    def restore(self, part: NDArray[Any]) -> None:
        """Take back what `parts` copied, after the same accounts were opened."""
        for field, values in zip(_FIELDS[2:], part, strict=False):  # an earlier fold kept fewer
            getattr(self, field)[: self.count] = values

    def check(self) -> None:
        """Nothing billed beyond what was ever allowed can be seen here but for lowered budgets."""
        n = self.count
        assert (self.spent[:n] >= 0).all()
        assert (self.spent_today[:n] >= 0).all()
        assert (self.spent_before[:n] >= 0).all()
        assert ((self.carry[:n] >= 0) & (self.carry[:n] < 1000)).all()
        assert (self.in_flight[:n] >= 0).all()
        assert (self.awaited[:n] >= 0).all()
