"""Which columns of the matrix an ad lights: column 0, those that it shares with others, and its own."""

from __future__ import annotations

from app.domain.catalogue import AdGroup, Advertiser, Campaign, Creative

SHARED_COLUMN_KINDS = ("shape", "category", "advertiser", "campaign")
OWN_COLUMN_FIELD = len(SHARED_COLUMN_KINDS) + 1  # that of each ad's own column


def column_keys(
    creative: Creative, group: AdGroup, campaign: Campaign, advertiser: Advertiser
) -> list[tuple[str, str]]:
    """Name the columns that an ad shares with others, in their order in the ad's arrays.

    Column 0 stands before them, the ad's own behind.
    """
    category = creative.categories[0] if creative.categories else advertiser.category or ""
    shape = f"{creative.format}:{creative.width or 0}x{creative.height or 0}"
    return [
        ("shape", shape),
        ("category", category.split("-")[0]),
        ("advertiser", advertiser.id),
        ("campaign", campaign.id),
    ]
