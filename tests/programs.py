"""Programs that tests run beside the node. Without them a person's run skips, and CI's fails."""

from __future__ import annotations

import os
import shutil

import pytest

# Program → the Debian package that has it.
PACKAGES = {"chromium": "chromium", "prometheus": "prometheus", "promtool": "prometheus"}


def program(name: str) -> str:
    """Find a program."""
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is missing, and CI has to have it")
        pytest.skip(f"{name} is not installed (Debian's package {PACKAGES[name]} has it)")
    return found
