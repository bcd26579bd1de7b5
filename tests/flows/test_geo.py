"""Regions of addresses: looked up only where none is told, coarse without consent, and never kept."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from app.domain.refusals import Refused
from app.domain.requests import AdRequest, Ask, Person
from app.flows.geo import Geo
from app.settings import read_settings
from tests.mmdb import write_mmdb

RECORDS = {
    "203.0.113.0/24": {"country": {"iso_code": "KR"}, "subdivisions": [{"iso_code": "11"}]},
    "198.51.100.0/25": {
        "country": {"iso_code": "US"},
        "subdivisions": [{"iso_code": "CA"}, {"iso_code": "9"}],
    },
    "192.0.2.0/24": {"registered_country": {"iso_code": "jp"}, "city": {"names": {"en": "Tokyo"}}},
    "10.0.0.0/8": {"continent": {"code": "AS"}},
}
ASKS = (Ask(name="top", placement_id="plc-1"),)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mmdb(tmp_path_factory.mktemp("geo") / "test.mmdb", RECORDS)


#   address            region    why
ADDRESSES = [
    ("203.0.113.9",     "KR-11",  "country and subdivision"),
    ("198.51.100.127",  "US-CA",  "the first subdivision is the largest"),
    ("198.51.100.128",  None,     "the network ends there"),
    ("192.0.2.1",       "JP",     "no subdivision; upper case"),
    ("10.1.2.3",        None,     "a record without a country"),
    ("2001:db8::1",     None,     "the file knows no such addresses"),
    ("not an address",  None,     "nonsense"),
]  # fmt: skip


@pytest.mark.parametrize(("ip", "region", "why"), ADDRESSES)
def test_an_address_is_a_region(file: Path, ip: str, region: str | None, why: str) -> None:
    assert Geo(file).region(ip) == region, why


def test_it_fills_only_what_is_not_told_and_keeps_no_address(file: Path) -> None:
    geo = Geo(file)
    request = AdRequest(request_id="r", asks=ASKS, person=Person(gender="F"))
    located = geo.locate(request, "203.0.113.9")
    assert located.person == Person(gender="F", region="KR-11")
    assert b"203.0" not in msgspec.msgpack.encode(located)
    told = msgspec.structs.replace(request, person=Person(region="KR-26"))
    assert geo.locate(told, "203.0.113.9") is told
    assert geo.locate(request, None) is request
    assert Geo().locate(request, "203.0.113.9") is request, "without a file"


def test_without_consent_the_country_is_all(file: Path) -> None:
    withheld = AdRequest(request_id="r", asks=ASKS, person=None, withheld="gdpr")
    assert Geo(file).locate(withheld, "203.0.113.9").person == Person(region="KR")


def test_a_file_that_is_none_is_refused_at_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mmdb"
    broken.write_bytes(b"nothing of the kind")
    for path in (broken, tmp_path / "absent"):
        monkeypatch.setenv("ADJUDGE_GEO_FILE", str(path))
        with pytest.raises(Refused, match="ADJUDGE_GEO_FILE"):
            read_settings()
