"""The table of reasons and its codes of the trade."""

from __future__ import annotations

import pytest

from app.domain.decisions import LOSS_CODES, OWN_LOSS_CODE, REASON_CODES

#   reason             code
TRADE = [
    ("below_floor",        100),
    ("below_deal_floor",   101),
    ("outbid",             102),
    ("seat",               104),
    ("size",               203),
    ("format",             204),
    ("advertiser_blocked", 205),
    ("same_advertiser",    205),
    ("secure",             207),
    ("category_blocked",   209),
    ("deal",               213),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "code"), TRADE)
def test_a_reason_reads_as_the_trade_s_loss_code(reason: str, code: int) -> None:
    assert LOSS_CODES[reason] == code


def test_every_reason_has_a_code_of_the_trade_s_list_or_one_of_ours() -> None:
    listed = {*range(1, 11), *range(100, 105), *range(200, 216)}
    assert set(LOSS_CODES) == set(REASON_CODES) - {""}
    assert all(code in listed or code >= OWN_LOSS_CODE for code in LOSS_CODES.values())
