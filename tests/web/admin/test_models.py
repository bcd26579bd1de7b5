"""Trained models and attribution over HTTP, on a node that goes on answering."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app as commands
from app.offline.train import TrainPlan, train_archive
from app.rules.attribution import NAMES
from app.web.admin.app import admin_app
from app.web.admin.auth import key_hash
from tests.flows.test_reporting import Clock
from tests.node import Server, ask_for, decide, send, serving, small_catalogue
from tests.offline.archives import archive_past, live
from tests.web.admin.conftest import HEADERS, KEY


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("node")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """One that has lived and archived for an hour."""
    clock = Clock()
    with serving(
        folder, lambda node: admin_app(node, admin_key_hash=key_hash(KEY)), HEADERS, things=small_catalogue(),
        clock_ms=clock,
    ) as server:  # fmt: skip

        async def lived() -> None:
            node = server.node
            await live(node, clock, hours=1, requests=15)
            for own_id in ("1", "2", "3"):
                ad = decide(node, ask_for("plc-1")).ads[0]
                for kind in ("impression", "click"):
                    await send(node, kind, ad)
                await send(node, "conversion", ad, own_id=own_id)
            await archive_past(node, clock)

        server.run(lived())
        yield server


@pytest.fixture(scope="module")
def model(folder: Path, server: Server) -> bytes:
    return train_archive(server.node.settings.data / "archive", TrainPlan()).content


def test_a_model_is_in_force_when_answered_and_listed(server: Server, model: bytes) -> None:
    assert server.get("/v1/models").json() == {"items": []}
    before = server.node.state.position
    answer = server.ask("POST", "/v1/models", model)
    assert answer.status == 200
    told = answer.json()
    assert told["position"] > before
    assert told["cells_unknown"] == 0
    assert told["sha256"] == sha256(model).hexdigest()
    assert (told["impressions_since"], told["clicks_since"], told["positions_missed"]) == (0, 0, 0)
    assert server.get("/v1/models").json() == {"items": [told]}


def test_the_command_loads_into_the_running_node(server: Server, model: bytes, tmp_path: Path) -> None:
    file = tmp_path / "model.adjudge"
    file.write_bytes(model)
    url = f"http://127.0.0.1:{server.port}"
    answer = CliRunner().invoke(commands, ["load-model", str(file), "--url", url, "--key", KEY])
    assert answer.exit_code == 0, answer.output
    assert " cells_unknown 0 " in answer.stdout.splitlines()[-1]
    loadings = server.node.state.loadings
    assert loadings[-1].of == loadings[-2].of == sha256(model).hexdigest()


@pytest.mark.parametrize(
    ("body", "code"), [(b"", "model_damaged"), (b"some bytes", "model_damaged"), (b"{}\n", "model_damaged")]
)
def test_what_is_no_model_is_refused(server: Server, body: bytes, code: str) -> None:
    before = len(server.node.state.loadings)
    answer = server.ask("POST", "/v1/models", body)
    assert (answer.status, answer.json()["code"]) == (422, code)
    assert len(server.node.state.loadings) == before


def test_attribution_tells_what_the_archive_knows(server: Server) -> None:
    told = server.get("/v1/attribution?from=2026-01-01&to=2026-02-01").json()
    assert told["totals"]["conversions"] == 3
    assert [row["campaign"] for row in told["rows"]] == ["c-1"]
    assert {told["totals"][rule] for rule in NAMES} == {3}
    by_creative = server.get("/v1/attribution?from=2026-01-01&to=2026-02-01&by=creative").json()
    assert sum(row["linear"] for row in by_creative["rows"]) == pytest.approx(3)
    assert server.get("/v1/attribution?from=2026-02-01&to=2026-03-01").json()["rows"] == []


@pytest.mark.parametrize("query", ["by=country", "touches=some", "half_life_h=0", "from=never"])
def test_what_cannot_be_asked_is_refused(server: Server, query: str) -> None:
    assert server.get(f"/v1/attribution?{query}").status == 422


def test_asking_needs_its_scope(server: Server) -> None:
    assert server.get("/v1/attribution", {}).status == 401
    made = server.ask("POST", "/v1/keys", {"name": "reader", "scopes": ["reports"]}).json()
    reader = {"Authorization": f"Bearer {made['key']}"}
    assert server.get("/v1/models", reader).status == 200
    assert server.ask("POST", "/v1/models", b"x", reader).status == 403
