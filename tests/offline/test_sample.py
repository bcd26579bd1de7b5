"""The sample catalogue: what the import door says of it, how it grows, and that the seed decides it all."""

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.offline.sample import SIZES, sample_catalogue
from app.web.catalogue.importing import parse_line

PARENTS = {
    "campaign": "advertiser_id",
    "ad_group": "campaign_id",
    "creative": "ad_group_id",
    "placement": "publisher_id",
}


@pytest.fixture(scope="module")
def catalogue() -> list[dict[str, Any]]:
    return list(sample_catalogue(seed=1))


def of_type(catalogue: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [line for line in catalogue if line["type"] == kind]


def test_the_import_door_takes_every_line_and_enforces_every_field(catalogue: list[dict[str, Any]]) -> None:
    for number, line in enumerate(catalogue, start=1):
        parsed = parse_line(json.dumps(line).encode(), number, "Asia/Seoul")
        assert parsed.thing is not None, (line, parsed)
        assert not parsed.not_enforced, line


def test_parents_come_first_and_ids_are_unique(catalogue: list[dict[str, Any]]) -> None:
    seen: set[str] = set()
    for line in catalogue:
        parent = PARENTS.get(line["type"])
        assert parent is None or line[parent] in seen, line
        assert line["id"] not in seen
        seen.add(line["id"])


def test_the_seed_decides_everything(catalogue: list[dict[str, Any]]) -> None:
    assert list(sample_catalogue(seed=1)) == catalogue
    assert list(sample_catalogue(seed=2)) != catalogue


def test_advertisers_campaigns_and_groups_grow_along() -> None:
    counts = []
    for creatives in (1, 2_000, 10_000):
        kinds = [line["type"] for line in sample_catalogue(1, creatives=creatives)]
        counts.append([kinds.count(kind) for kind in ("advertiser", "campaign", "ad_group", "creative")])
    assert counts == [[1, 1, 1, 1], [150, 300, 700, 2_000], [750, 1_500, 3_500, 10_000]]


def test_every_ad_group_has_a_creative_and_every_size_a_placement(catalogue: list[dict[str, Any]]) -> None:
    creatives, placements = of_type(catalogue, "creative"), of_type(catalogue, "placement")
    assert {line["ad_group_id"] for line in creatives} == {
        line["id"] for line in of_type(catalogue, "ad_group")
    }
    assert {f"{line['width']}x{line['height']}" for line in creatives} == set(SIZES)
    assert {size for line in placements for size in line["sizes"]} == set(SIZES)


def test_a_creative_has_its_advertisers_category(catalogue: list[dict[str, Any]]) -> None:
    by_id = {line["id"]: line for line in catalogue}
    for line in of_type(catalogue, "creative"):
        campaign = by_id[by_id[line["ad_group_id"]]["campaign_id"]]
        assert line["categories"] == [by_id[campaign["advertiser_id"]]["category"]]


def test_the_mix_is_plausible(catalogue: list[dict[str, Any]]) -> None:
    groups, campaigns = of_type(catalogue, "ad_group"), of_type(catalogue, "campaign")
    targeted = [group["targeting"] for group in groups if "targeting" in group]
    assert 0.4 < len(targeted) / len(groups) < 0.6
    assert {name for targeting in targeted for name in targeting} >= {"gender", "age", "region", "interest"}
    assert not any("hour" in targeting for targeting in targeted)  # a demo at night shows the same
    per_click = [group["pricing"]["bid"] for group in groups if group["pricing"]["kind"] == "cpc"]
    assert 0.6 < len(per_click) / len(groups) < 0.9
    assert min(per_click) > 300
    assert max(per_click) < 3_000
    modest = [campaign for campaign in campaigns if campaign["budget_daily"] < 2_000_000]
    assert 0.1 < len(modest) / len(campaigns) < 0.3
    floors = [placement["floor_cpm"] for placement in of_type(catalogue, "placement")]
    assert 0 in floors
    assert max(floors) >= 2_000


def test_only_domains_that_cannot_exist_are_named(catalogue: list[dict[str, Any]]) -> None:
    domains = [line["domain"] for line in catalogue if "domain" in line]
    hosts = [urlsplit(line["landing_url"]).hostname or "" for line in of_type(catalogue, "creative")]
    assert len(domains) == 150 + 12
    assert all(host.endswith(".example") for host in domains + hosts)
