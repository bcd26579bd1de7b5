"""Naming the lit rows of one request for people: with its own values where a hash alone would be a number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from app.domain.requests import AdRequest
from app.rules import features
from app.rules.features import AGE_EDGES, BLOCKS, GENDERS, hashed_row


class RowNames:
    """Names rows as `field:value`.

    `placements` are the ids of registered placements by row; `publishers` those that the request met.
    Two values of a request that share a hashed row are named together.
    """

    def __init__(
        self, request: AdRequest, placements: Mapping[int, str], publishers: Iterable[str] = ()
    ) -> None:
        self.placements = placements
        self._hashed: dict[int, str] = {}
        self._hash("publisher", publishers)
        self._hash("unregistered", (ask.placement_id for ask in request.asks if ask.unregistered))
        self._hash("site_category", request.surroundings.site_category)
        person = request.person
        if person is not None:
            self._hash("region", [person.region] if person.region else [])
            self._hash("interest", person.interests)
            self._hash("segment", person.segments)

    @classmethod
    def of_values(cls, placements: Mapping[int, str], values: Mapping[str, Iterable[str]]) -> RowNames:
        """Name rows by all the values of hashed fields that are known, no one request's.

        >>> RowNames.of_values({}, {"region": ["KR-11", "KR-26"]}).of(hashed_row("region", "KR-26"))
        'region:KR-26'
        """
        named = cls(AdRequest(request_id="", asks=()), placements)
        for field, some in values.items():
            named._hash(field, some)
        return named

    def of(self, row: int) -> str:
        """Name one row.

        >>> from app.domain.requests import Person
        >>> names = RowNames(AdRequest(request_id="r", asks=(), person=Person(region="KR-11")), {1: "plc-1"})
        >>> [names.of(row) for row in (0, 1, hashed_row("region", "KR-11"), BLOCKS["age_band"].start + 4)]
        ['any', 'placement:plc-1', 'region:KR-11', 'age_band:25-29']
        """
        if row in self._hashed:
            return self._hashed[row]
        if row in self.placements and row < BLOCKS["placement"].end:
            return f"placement:{self.placements[row]}"
        for name in ("age_band", "gender_age"):
            block = BLOCKS[name]
            if block.start <= row < block.end:
                gender, band = divmod(row - block.start, len(AGE_EDGES) + 1)
                who = f"{GENDERS[gender]}," if name == "gender_age" else ""
                return f"{name}:{who}{_band_name(band)}"
        return features.name_row(row)

    def _hash(self, field: str, values: Iterable[str]) -> None:
        for value in values:
            row = hashed_row(field, value)
            known = self._hashed.get(row)
            self._hashed[row] = f"{known}|{value}" if known else f"{field}:{value}"


def _band_name(band: int) -> str:
    low = AGE_EDGES[band - 1] if band else 0
    return f"{low}-{AGE_EDGES[band] - 1}" if band < len(AGE_EDGES) else f"{low}+"
