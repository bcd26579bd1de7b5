"""The lists as an operator names them: read at start, and a wrong one is refused by the setting's name."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.domain.refusals import Refused
from app.settings import read_settings


def test_lists_are_read_at_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clouds").write_text("203.0.113.0/24 # a cloud\n")
    (tmp_path / "bots").write_text("^Evil\n")
    monkeypatch.setenv("ADJUDGE_DATA_CENTRES", str(tmp_path / "clouds"))
    monkeypatch.setenv("ADJUDGE_BOTS", str(tmp_path / "bots"))
    monkeypatch.setenv("ADJUDGE_TRUSTED_PROXIES", "10.0.0.0/8, 2001:db8::/32")
    clients = read_settings().clients()
    assert clients.flaw("203.0.113.9", None) == "data_centre"
    assert clients.flaw(None, "Evil/1") == "bot"
    assert clients.address_of("10.1.1.1", "8.8.8.8") == "8.8.8.8"


#   setting              value                            said
WRONG = [
    ("DATA_CENTRES", "no/such/file", "No such file"),
    ("BOTS", "no/such/file", "No such file"),
    ("TRUSTED_PROXIES", "10.0.0.0/8,everybody", "everybody"),
    ("TRAFFIC_LIMITS", "user_clicks=6", "user_clicks=6/60"),
    ("TRAFFIC_LIMITS", "user_clicks=0/60", "at least 1"),
    ("TRAFFIC_LIMITS", ",".join(f"ip_clicks=9/{n}" for n in range(1, 26)), "at most 24"),
    ("TRAFFIC_COUNTERS", "1025", "multiple of 8"),
    ("INVALID_TRAFFIC", "maybe", "'off', 'mark' or 'on'"),
]


@pytest.mark.parametrize(("setting", "value", "said"), WRONG)
def test_what_is_wrong_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"ADJUDGE_{setting}", value)
    with pytest.raises(Refused) as refusal:
        read_settings()
    assert f"ADJUDGE_{setting}" in str(refusal.value) and said in str(refusal.value)


def test_no_limits_and_no_lists_are_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADJUDGE_INVALID_TRAFFIC", "on")
    settings = read_settings()
    assert settings.fold().invalid_traffic == "on"
    assert settings.clients().flaw("8.8.8.8", "curl/8") == "bot"
