"""A data directory: whose it is, and that it is held by one node."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.domain.refusals import Refused
from app.main import locked


def test_a_new_data_directory_is_its_owners_alone(tmp_path: Path) -> None:
    data = tmp_path / "kept" / "data"
    with locked(data):
        assert data.stat().st_mode & 0o777 == 0o700


def test_one_that_is_there_keeps_its_rights(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    with locked(tmp_path):
        assert tmp_path.stat().st_mode & 0o777 == 0o750


def test_a_data_directory_is_held_by_one_node(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(Refused) as refused, locked(tmp_path):
        pass
    assert refused.value.code == "data_locked"
