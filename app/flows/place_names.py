"""Names of places that nobody registered: anybody may send any, so only some are told apart.

Every name in a tick's line is a row of reports and of the archive for good. Who serves unregistered
placements has some dozens; who makes names up finds them all under one.
"""

from __future__ import annotations

from app.domain.ids import DAY_MS

MOST_NAMES = 256  # a day
OTHERS = "~others"  # no id of a registered placement has that letter


class PlaceNames:
    """The names that are told apart today (UTC): the first so many that came.

    >>> names = PlaceNames(most=1)
    >>> [names.told(name, at_ms=0) for name in ("top", "x1", "x2", "top")]
    ['top', '~others', '~others', 'top']
    """

    def __init__(self, most: int = MOST_NAMES) -> None:
        self._most = most
        self._day = -1
        self._names: set[str] = set()

    def told(self, name: str, at_ms: int) -> str:
        """Say under which name a place is counted."""
        if at_ms // DAY_MS != self._day:
            self._day, self._names = at_ms // DAY_MS, set()
        if name in self._names:
            return name
        if len(self._names) >= self._most:
            return OTHERS
        self._names.add(name)
        return name
