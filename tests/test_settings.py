"""Settings: what the environment says becomes what the fold reads, or is refused by name."""

from __future__ import annotations

import pytest

from app.domain.refusals import Refused
from app.settings import read_settings


def test_money_s_settings_reach_the_fold_in_micros(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADJUDGE_RATES", "USD=1350,EUR=1480.5")
    monkeypatch.setenv("ADJUDGE_MAX_ECPM", "12.5")
    monkeypatch.setenv("ADJUDGE_PRIOR_CVR", "0.1")
    fold = read_settings().fold()
    assert fold.rates_micros == (("EUR", 1_480_500_000), ("USD", 1_350_000_000))
    assert (fold.max_ecpm_micros, fold.prior_cvr) == (12_500_000, 0.1)


#   setting               value     why
WRONG = [
    ("ADJUDGE_MAX_ECPM",  "-1",     "no negative worth"),
    ("ADJUDGE_MAX_ECPM",  "much",   "no number"),
    ("ADJUDGE_RATES",     "USD",    "no rate"),
    ("ADJUDGE_PRIOR_CVR", "1",      "log odds need less"),
    ("ADJUDGE_CPA_STOP_CONVERSIONS", "-1", "0 is never"),
]  # fmt: skip


@pytest.mark.parametrize(("setting", "value", "why"), WRONG)
def test_a_wrong_value_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: str, why: str
) -> None:
    monkeypatch.setenv(setting, value)
    with pytest.raises(Refused) as refused:
        read_settings()
    assert refused.value.field == setting, why
