"""One served admin port for each file of tests, over a node with a small catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.web.admin.app import admin_app
from app.web.admin.auth import key_hash
from tests.node import Server, serving, small_catalogue

KEY = "the-admin-key"
HEADERS = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("node")
    with serving(
        folder, lambda node: admin_app(node, admin_key_hash=key_hash(KEY)), HEADERS, things=small_catalogue()
    ) as server:
        yield server
