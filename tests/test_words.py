"""The words of the repository. Goal: they speak of the product, not of the machine that they were written on.

Method: search every tracked text for absolute paths of a workplace or a home and for package indexes' hosts.
"""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SKIPPED = {".git", ".venv", "venv", "data", "dist", "build", "__pycache__", "artifacts"}

# Written in two halves, so that this file is not its own first finding.
FOLDERS = "|".join(["wo" + "rk", "ro" + "ot"])
HOSTS = "|".join(
    ["pypi" + r"\.org", "pythonhosted" + r"\.org", "npmjs" + r"\.(org|com)", "deb.debian" + r"\.org"]
)
FORBIDDEN = re.compile(rf"(?:^|[\s\"'`=(\[,:])/(?:{FOLDERS})\b|\b(?:{HOSTS})\b", re.M)


def tracked() -> list[Path]:
    """List the files that are, or are about to be, in the repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]
    # Not a clone (an unpacked archive, say): every file but what tools leave behind.
    paths = (path for path in ROOT.rglob("*") if path.is_file())
    return [path for path in paths if not SKIPPED.intersection(path.relative_to(ROOT).parts)]


def findings(text: str) -> list[str]:
    return [match.group().strip() for match in FORBIDDEN.finditer(text)]


def test_no_file_names_a_place_on_someones_machine() -> None:
    found: dict[str, list[str]] = {}
    for path in tracked():
        try:
            bad = findings(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            continue  # not a text
        if bad:
            found[str(path.relative_to(ROOT))] = bad
    assert found == {}


#    text                                    found  why
CASES = [
    ("see /" + "root/venv/bin",              True,  "a person's folder"),
    ('open("/' + 'work/x")',                 True,  "a workplace"),
    ("--index https://" + "pypi" + ".org/s", True,  "an index"),
    ("GET /v1/ads and /workers",             False, "a route is no path"),
    ("https://shop.example/" + "work/x",     False, "nor is a page of a site"),
    ("/data and /tmp in the container",      False, "nor the container's own"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "found", "why"), CASES)
def test_the_search_can_find(text: str, found: bool, why: str) -> None:
    assert bool(findings(text)) == found, why
