"""The System page: what an operator reads, and what only the owner of the node may.

Method: a served node; pages over HTTP, with the admin key and with lesser ones. Settings as values.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from app.flows.health import Kept, health_of, is_late
from app.flows.snapshotting import save
from app.settings import Settings
from tests.node import Server
from tests.web.console.browser import Browser, key_for, log_in, plain, rows_of


def test_it_tells_how_the_node_is(server: Server, admin: Browser) -> None:
    save(server.node.settings.data / "snapshots", server.node.state, server.node.now_ms())
    page = admin.text("/console/system")
    text = plain(page)
    assert "Ready." in text
    assert f"Journal position {server.node.state.position:,}" in text
    assert rows_of(page, "snapshots")[1][3] == "sound"
    assert admin.csv("/console/system?csv=snapshots")[1][1] == str(server.node.state.position)
    assert [row[0] for row in rows_of(page, "memory")][1:3] == ["all cells", "counters of frequency caps"]
    part = admin.text("/console/system?live=1")
    assert "Commit, p99" in part
    assert "<html" not in part


def test_what_is_wrong_is_said_first(server: Server, admin: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.node.decisions, "lost", 12)
    text = plain(admin.text("/console/system"))
    assert "12 decision records were lost" in text
    assert "Ready." not in text
    monkeypatch.setattr(server.node, "stopping", True)
    assert len(health_of(server.node).wrong) == 2


def test_keys_and_settings_are_the_owners(server: Server, admin: Browser) -> None:
    key = key_for(server, "reports", "ads")
    for path in ("/console/system", "/console/system?table=keys"):
        page = admin.text(path)
        assert key.split("_")[1] in page, "its beginning"
        assert key.split("_", 2)[2] not in page, "and never its secret"
    assert rows_of(admin.text("/console/system"), "keys")[1][2] == "ads, reports"
    reader = log_in(server, key)
    page = reader.text("/console/system")
    assert "Snapshots" in page
    assert "Settings" not in page
    for name in ("keys", "settings"):
        assert reader.get(f"/console/system?csv={name}").status == 404
    assert (
        log_in(server, key_for(server, "reports", advertisers=["adv-1"])).get("/console/system").status == 403
    )


def test_hostile_names_are_text(server: Server, admin: Browser) -> None:
    body = {"name": "<script>alert(1)</script>", "scopes": ["ads"]}
    assert server.ask("POST", "/v1/keys", body).status == 201
    page = admin.text("/console/system")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_settings_tell_no_secret(tmp_path: Path) -> None:
    settings = Settings(admin_key="adj_very_secret", otel_url="http://me:password@host:4318/v1", alpha=0.2)
    told = {each.name: each for each in settings.node(tmp_path, "http://x", loopback=True).told}
    assert set(told) == {f"ADJUDGE_{name.upper()}" for name in Settings.model_fields}
    assert told["ADJUDGE_ADMIN_KEY"].value == "(set)"
    assert "password" not in told["ADJUDGE_OTEL_URL"].value
    assert (told["ADJUDGE_ALPHA"].value, told["ADJUDGE_ALPHA"].changed) == ("0.2", True)
    assert "secret" not in repr(list(told.values())).replace("new secret", "")


#   age in intervals   lines behind   late   why
SNAPSHOTS = [
    (1,                5,             False, "it is young"),
    (4,                5,             True,  "older than it should ever be"),
    (4,                0,             False, "nothing came since"),
]  # fmt: skip


@pytest.mark.parametrize(("age", "behind", "late", "why"), SNAPSHOTS)
def test_an_old_snapshot_is_told(
    server: Server, monkeypatch: pytest.MonkeyPatch, age: int, behind: int, late: bool, why: str
) -> None:
    node = server.node
    made_ms = node.now_ms() - age * node.settings.snapshot_every_s * 1000
    monkeypatch.setattr(node.telemetry, "since_ms", 0)
    kept = [Kept(9, made_ms, 1, "damaged"), Kept(node.state.position - behind, made_ms, 1)]
    assert is_late(node, kept) is late, why
    assert not is_late(node, [])
    monkeypatch.setattr(node.telemetry, "since_ms", node.now_ms() - 1000)
    assert not is_late(node, kept), "a node that began just now makes its own yet"
