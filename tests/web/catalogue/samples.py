"""Sound documents, one per kind: the smallest that pass, and the ones API.md shows."""

from __future__ import annotations

from typing import Any

from app.domain.catalogue import Kind

SMALLEST: dict[Kind, dict[str, Any]] = {
    "advertiser": {"type": "advertiser", "id": "adv-1"},
    "audience": {"type": "audience", "id": "aud-1", "advertiser_id": "adv-1"},
    "campaign": {"type": "campaign", "id": "c-1", "advertiser_id": "adv-1"},
    "ad_group": {
        "type": "ad_group",
        "id": "g-1",
        "campaign_id": "c-1",
        "pricing": {"kind": "cpc", "bid": 2000},
    },
    "creative": {
        "type": "creative",
        "id": "cr-1",
        "ad_group_id": "g-1",
        "format": "banner",
        "width": 320,
        "height": 50,
        "landing_url": "https://example.com/",
    },
    "publisher": {"type": "publisher", "id": "pub-1"},
    "placement": {"type": "placement", "id": "plc-1", "publisher_id": "pub-1"},
    "experiment": {
        "type": "experiment",
        "id": "e-1",
        "variants": {
            "b": {
                "share": 0.1,
                "shadow": False,
                "learner": None,
                "calibration": "shared",
                "exploration_scale": None,
                "floor_factor": None,
                "floor_cpm": 500,
                "quality_strength": None,
            }
        },
    },
}

# Word for word from API.md, "Catalogue".
DOCUMENTED = """
{"type": "advertiser", "id": "adv-1", "name": "…", "domain": "example.com", "category": "IAB20", "seat": null, "status": "active"}
{"type": "campaign", "id": "c-1", "advertiser_id": "adv-1", "name": "…", "objective": "traffic", "budget_daily": 100000, "budget_total": null, "starts_at": null, "ends_at": null, "time_zone": "Asia/Seoul", "pacing": "even", "prior_cvr": null, "frequency_cap": [], "status": "active"}
{"type": "ad_group", "id": "g-1", "campaign_id": "c-1", "name": "…", "pricing": {"kind": "cpc", "bid": 2000}, "budget_daily": null, "budget_total": null, "frequency_cap": [{"count": 3, "per": "day"}], "targeting": {"gender": ["F"], "age": [[20, 29]], "region": ["KR-11"], "interest": ["travel"], "segment": {"include": [], "exclude": ["s-1"]}, "device": [], "os": [], "placement": [], "publisher": [], "site_category": [], "hour": [[9, 18]], "weekday": [], "deal": [], "keys": {}}, "status": "active"}
{"type": "creative", "id": "cr-1", "ad_group_id": "g-1", "format": "banner", "width": 320, "height": 50, "landing_url": "https://example.com/…", "markup": "…", "categories": ["IAB20"], "attributes": [], "secure": true, "language": null, "mimes": [], "protocols": [], "api": [], "duration_s": null, "native": null, "frequency_cap": [], "status": "active"}
{"type": "publisher", "id": "pub-1", "name": "…", "domain": "news.example"}
{"type": "placement", "id": "plc-1", "publisher_id": "pub-1", "name": "…", "sizes": ["320x50"], "formats": ["banner"], "categories": ["IAB12"], "floor_cpm": 500, "prior_ctr": 0.01, "separation": ["creative"], "blocked": {"categories": [], "advertisers": []}}
"""  # noqa: E501
