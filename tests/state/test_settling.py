"""What a change compiles anew comes to the same as compiling everything."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.domain.catalogue import FrequencyCap, Pricing, Rule, Targeting
from app.state.ads import Ads
from tests.state.world import DAY_MS, NOW_MS, WON, World, banner, group, one_of_each

ARRAYS = (
    "columns", "bid", "per_click", "per_conversion", "target", "prior_cvr_logit", "quality", "log_worth",
    "log_score", "group", "campaign", "advertiser", "duration_s", "own", "reason",
)  # fmt: skip
STATUS = st.sampled_from(("active", "paused", "archived"))
CAP = st.sampled_from(((), (FrequencyCap(count=1, per="day"),)))
PRICING = st.builds(
    Pricing, kind=st.sampled_from(("cpm", "cpc", "cpa", "ocpm")), bid_micros=st.integers(1, 9)
)
TARGETING = st.sampled_from(
    (Targeting(), Targeting(device=Rule(include=("tv",))), Targeting(hour=Rule(include=(3,))))
)
CHANGES: dict[tuple[str, str], dict[str, st.SearchStrategy[Any]]] = {
    ("advertiser", "adv-1"): {
        "name": st.text(max_size=2),
        "status": STATUS,
        "seat": st.sampled_from((None, "s1", "s2")),
        "category": st.sampled_from((None, "IAB1", "IAB25-3")),
    },
    ("campaign", "c-1"): {
        "name": st.text(max_size=2),
        "status": STATUS,
        "time_zone": st.sampled_from(("UTC", "Asia/Seoul")),
        "prior_cvr": st.sampled_from((None, 0.02, 0.3)),
        "frequency_cap": CAP,
        "budget_daily_micros": st.sampled_from((None, WON)),
        "ends_at_ms": st.sampled_from((None, NOW_MS + DAY_MS)),
    },
    ("ad_group", "g-1"): {
        "name": st.text(max_size=2),
        "status": STATUS,
        "frequency_cap": CAP,
        "pricing": PRICING,
        "targeting": TARGETING,
    },
    ("creative", "cr-1"): {
        "name": st.text(max_size=2),
        "status": STATUS,
        "categories": st.sampled_from(((), ("IAB2",))),
    },
}
STEPS = st.sampled_from(sorted(CHANGES)).flatmap(
    lambda which: st.tuples(
        st.just(which), st.sampled_from(sorted(CHANGES[which])).flatmap(
            lambda field: st.tuples(st.just(field), CHANGES[which][field])
        )
    )
)  # fmt: skip


def sets_of(ads: Ads) -> dict[Any, frozenset[int]]:
    """Name the members of every set that has one."""
    places = range(ads.count)
    members = {
        key: frozenset(ad for ad in places if int(ads.sets.rows[row, ad // 64]) >> ad % 64 & 1)
        for key, row in ads.sets.by_key.items()
    }
    return {key: mine for key, mine in members.items() if mine}


@given(st.lists(STEPS, min_size=1, max_size=8))
def test_a_change_comes_to_the_same_as_compiling_everything(
    steps: list[tuple[tuple[str, str], tuple[str, Any]]],
) -> None:
    world = World()
    world.add(*one_of_each(), banner("cr-2"), group("g-2"), banner("cr-3", ad_group_id="g-2"))
    for (kind, identity), (field, value) in steps:
        old: Any = world.state.catalogue.get(kind, identity)
        above = {"campaign": "advertiser", "ad_group": "campaign", "creative": "ad_group"}.get(kind)
        parent = world.state.catalogue.get(above, getattr(old, f"{above}_id")) if above else None
        if parent is not None and parent.status == "archived" and field == "status":
            continue  # refused: it would come to life under what is archived
        if parent is not None and parent.status == "archived" and old.status != "archived":
            continue
        world.change(kind, identity, **{field: value})
    there, anew = world.state.catalogue, world.copy().state.catalogue
    n = there.ads.count
    for name in ARRAYS:
        here = getattr(there.ads, name)[..., :n]
        alive = np.ones(n, bool) if name in {"own", "reason"} else there.ads.reason[:n] != 1
        assert np.array_equal(here[..., alive], getattr(anew.ads, name)[..., :n][..., alive]), name
    assert sets_of(there.ads) == sets_of(anew.ads)
    for name in there.groups.__slots__:
        assert np.array_equal(getattr(there.groups, name)[:2], getattr(anew.groups, name)[:2]), name
    for ad in np.flatnonzero(there.ads.reason[:n] != 1).tolist():
        assert there.ads.creatives[ad] == anew.ads.creatives[ad]
        assert there.ads.groups[ad] == anew.ads.groups[ad]
        assert there.ads.campaigns[ad] == anew.ads.campaigns[ad]
