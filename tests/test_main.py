"""A data directory: whose it is, and that it is held by one node."""

from __future__ import annotations

import errno
from pathlib import Path

import apsw
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


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "no room"), apsw.FullError("no room")], ids=["a file", "the journal"]
)
def test_a_disk_that_fills_is_told_with_its_directory(tmp_path: Path, failure: Exception) -> None:
    with pytest.raises(Refused) as refused, locked(tmp_path):
        raise failure
    assert (refused.value.code, refused.value.message) == ("data_unusable", f"{tmp_path}: no room")


def test_what_the_disk_does_not_say_is_not_blamed_on_it(tmp_path: Path) -> None:
    with pytest.raises(ConnectionResetError), locked(tmp_path):
        raise ConnectionResetError(errno.ECONNRESET, "gone")
