"""A sample catalogue, made from a seed: advertisers down to creatives, publishers and placements.

It yields the import lines of `POST /v1/import`, parents first. The same seed gives the same lines.
How well an ad does is not written here: that is the audience's secret (`app.offline.audience`).
"""

from collections.abc import Iterator
from random import Random
from typing import Any

from app.offline.sample_words import BRANDS, INTERESTS, PUSHES, SITES, SPOTS, TRADES

Line = dict[str, Any]

# Per creative: so that 2,000 creatives belong to 150 advertisers, 300 campaigns and 700 ad groups.
ADVERTISERS_SHARE, CAMPAIGNS_SHARE, AD_GROUPS_SHARE = 0.075, 0.15, 0.35
PLACEMENTS = 60
# A page's shapes: the sizes of its slots. A shape takes each of its sizes.
SHAPES = (
    ("320x50",), ("320x50", "320x100"), ("300x250",), ("300x250", "320x100"), ("300x250", "336x280"),
    ("728x90",), ("728x90", "970x90"), ("300x250", "160x600"),
)  # fmt: skip
SIZES = {
    "320x50": 25, "320x100": 15, "300x250": 30, "336x280": 5, "728x90": 15, "970x90": 4, "160x600": 6,
}  # fmt: skip
# Bids are log-normal: a narrow spread, so that what an ad is worth depends more on who clicks than on who
# shouts. At a CTR of 1 % the median click bid is worth 10,000 per 1,000 impressions.
BID_SPREAD = 0.25
CPC_MEDIAN, CPM_MEDIAN, CPM_SHARE = 1_000, 6_000, 0.25
MODEST_BUDGET_SHARE = 0.2
TARGETED_SHARE = 0.5


def sample_catalogue(seed: int, creatives: int = 2_000, placements: int = PLACEMENTS) -> Iterator[Line]:
    """Yield a catalogue of so many banner creatives, as import lines; everything else grows along.

    Units   money in KRW.
    Cost    about 10 us a line.

    >>> kinds = [line["type"] for line in sample_catalogue(seed=1)]
    >>> [kinds.count(kind) for kind in ("advertiser", "campaign", "ad_group", "creative", "placement")]
    [150, 300, 700, 2000, 60]
    """
    random = Random(f"catalogue:{seed}")
    yield from _publishers()
    for number in range(placements):
        yield _placement(random, number)
    advertisers = [_advertiser(number) for number in range(_share(creatives, ADVERTISERS_SHARE))]
    yield from advertisers
    campaigns = [
        _campaign(random, number, advertisers[number % len(advertisers)])
        for number in range(_share(creatives, CAMPAIGNS_SHARE))
    ]
    yield from campaigns
    groups = [
        _ad_group(random, number, campaigns[number % len(campaigns)], len(advertisers))
        for number in range(_share(creatives, AD_GROUPS_SHARE))
    ]
    yield from groups
    for number in range(creatives):
        yield _creative(random, number, groups[number % len(groups)], len(campaigns), len(advertisers))


def trade_of(advertiser: int) -> tuple[str, str, str, str]:
    """Tell an advertiser's trade by its number: category, trade, offer, interest."""
    return TRADES[advertiser % len(TRADES)]


def _share(creatives: int, share: float) -> int:
    return max(1, round(creatives * share))


def _publishers() -> Iterator[Line]:
    for number, (name, site, _) in enumerate(SITES):
        yield {"type": "publisher", "id": f"pub-{number}", "name": name, "domain": f"{site}.example"}


def _placement(random: Random, number: int) -> Line:
    publisher = number % len(SITES)
    name, _, category = SITES[publisher]
    shape = SHAPES[number % len(SHAPES)]
    return {
        "type": "placement",
        "id": f"plc-{number}",
        "publisher_id": f"pub-{publisher}",
        "name": f"{name} {SPOTS[number // len(SITES) % len(SPOTS)]} {number}",
        "sizes": list(shape),
        "formats": ["banner"],
        "categories": [category],
        "floor_cpm": random.choice((500, 1_000, 2_000, 3_000)) if random.random() < 0.4 else 0,
    }


def _advertiser(number: int) -> Line:
    brand, latin = BRANDS[(number // len(TRADES) + number * 7) % len(BRANDS)]
    category, trade, _, interest = trade_of(number)
    return {
        "type": "advertiser",
        "id": f"adv-{number}",
        "name": f"{brand} {trade}",
        "domain": f"{latin}-{interest}-{number}.example",
        "category": category,
    }


def _campaign(random: Random, number: int, advertiser: Line) -> Line:
    """A campaign; one in five has a budget that a busy day uses up."""
    modest = random.random() < MODEST_BUDGET_SHARE
    budget = random.randrange(3, 13) * 100_000 if modest else random.randrange(3, 13) * 10_000_000
    return {
        "type": "campaign",
        "id": f"cmp-{number}",
        "advertiser_id": advertiser["id"],
        "name": f"{advertiser['name']} {random.choice(('봄', '여름', '가을', '겨울', '상시'))} {number}",
        "budget_daily": budget,
    }


def _ad_group(random: Random, number: int, campaign: Line, advertisers: int) -> Line:
    kind, median = ("cpm", CPM_MEDIAN) if random.random() < CPM_SHARE else ("cpc", CPC_MEDIAN)
    advertiser = int(campaign["advertiser_id"].removeprefix("adv-"))
    line: Line = {
        "type": "ad_group",
        "id": f"grp-{number}",
        "campaign_id": campaign["id"],
        "name": f"{campaign['name']} #{number}",
        "pricing": {"kind": kind, "bid": round(median * random.lognormvariate(0.0, BID_SPREAD), -1)},
    }
    if random.random() < TARGETED_SHARE:
        line["targeting"] = _targeting(random, trade_of(advertiser)[3])
    return line


def _targeting(random: Random, interest: str) -> Line:
    """Choose one or two dimensions, with sets wide enough for a campaign to be worth running."""
    choices: dict[str, Any] = {
        "gender": [random.choice("FM")],
        "age": [random.choice(([18, 34], [20, 39], [25, 44], [30, 54], [40, 69]))],
        "region": random.choice((["KR-11", "KR-41", "KR-28"], ["KR-26", "KR-48", "KR-31"], ["KR-11"])),
        "interest": sorted({interest, *random.sample(INTERESTS, 4)}),
        "device": {"exclude": [random.choice(("desktop", "mobile", "tablet"))]},
        "os": {"exclude": [random.choice(("ios", "android"))]},
        "site_category": {"exclude": [random.choice(SITES)[2]]},
    }
    return {name: choices[name] for name in random.sample(list(choices), random.choice((1, 1, 2)))}


def _creative(random: Random, number: int, group: Line, campaigns: int, advertisers: int) -> Line:
    advertiser = int(group["campaign_id"].removeprefix("cmp-")) % campaigns % advertisers
    category, trade, offer, interest = trade_of(advertiser)
    width, height = _size(random).split("x")
    headline = f"{offer}, {random.choice(PUSHES)}"
    return {
        "type": "creative",
        "id": f"crt-{number}",
        "ad_group_id": group["id"],
        "name": f"{headline} {number}",
        "format": "banner",
        "width": int(width),
        "height": int(height),
        "landing_url": f"https://{interest}-{advertiser}.example/offers/{number}?cv={{conversion_token}}",
        "markup": (
            f'<a href="{{click_url}}" target="_blank"><div style="width:{width}px;height:{height}px">'
            f"<b>{trade}</b> {headline}</div></a>"
        ),
        "categories": [category],
    }


def _size(random: Random) -> str:
    return random.choices(list(SIZES), weights=list(SIZES.values()))[0]
