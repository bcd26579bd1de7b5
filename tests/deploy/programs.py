"""Programs of the operator's that tests run. Without them a person's run skips, and CI's fails."""

from __future__ import annotations

import os
import shutil

import pytest


def program(name: str) -> str:
    """Find a program."""
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is missing, and CI has to have it")
        pytest.skip(f"{name} is not installed (Debian's package prometheus has it)")
    return found
