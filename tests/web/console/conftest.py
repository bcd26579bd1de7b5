"""One served admin port for each file of tests, and browsers that keep their cookies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.web.admin.app import admin_app
from app.web.admin.auth import key_hash
from tests.node import Server, serving, small_catalogue
from tests.web.console.browser import KEY, Browser, log_in


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("node")
    headers = {"Authorization": f"Bearer {KEY}"}
    with serving(
        folder, lambda node: admin_app(node, admin_key_hash=key_hash(KEY)), headers, things=small_catalogue()
    ) as server:
        yield server


@pytest.fixture(scope="module")
def admin(server: Server) -> Browser:
    """Whoever holds the admin key, logged in."""
    return log_in(server, KEY)
