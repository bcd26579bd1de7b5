"""Where a request comes from, by its address and a file in MaxMind's format. The address is not kept."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import maxminddb
import msgspec

from app.domain.requests import AdRequest, Person

REMEMBERED = 65_536


class Geo:
    """Regions of addresses: ISO 3166-2 where the file tells a subdivision, else the country."""

    def __init__(self, file: Path | None = None) -> None:
        self._reader = maxminddb.open_database(str(file)) if file is not None else None
        self.region = lru_cache(REMEMBERED)(self._region)

    def _region(self, ip: str) -> str | None:
        if self._reader is None:
            return None
        try:
            record: Any = self._reader.get(ip)
        except ValueError:  # no address, or of a version that the file does not know
            return None
        return region_in(record)

    def locate(self, request: AdRequest, ip: str | None) -> AdRequest:
        """Add the region to a request that tells none; where personal data is withheld, the country alone.

        Cost    about a microsecond for an address seen before, some 10 us else.
        """
        person = request.person
        if ip is None or self._reader is None or (person is not None and person.region):
            return request
        region = self.region(ip)
        if region is None:
            return request
        if request.withheld is not None:
            region = region.split("-")[0]
        located = msgspec.structs.replace(person or Person(), region=region)
        return msgspec.structs.replace(request, person=located)


def region_in(record: Any) -> str | None:
    """Read a record of a country or city file.

    >>> region_in({"country": {"iso_code": "KR"}, "subdivisions": [{"iso_code": "11"}]})
    'KR-11'
    >>> region_in({"registered_country": {"iso_code": "US"}}), region_in(None)
    ('US', None)
    """
    if not isinstance(record, dict):
        return None
    country = _code(record.get("country")) or _code(record.get("registered_country"))
    parts = record.get("subdivisions")
    part = _code(parts[0]) if isinstance(parts, list) and parts else None
    return f"{country}-{part}" if country and part else country


def _code(named: Any) -> str | None:
    code = named.get("iso_code") if isinstance(named, dict) else None
    return code.upper() if isinstance(code, str) and 1 <= len(code) <= 3 and code.isalnum() else None
