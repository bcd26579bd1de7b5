"""What the documents tell to type works. Goal: who types every shell block, in order, never stumbles.

Method: the fenced `sh` blocks run one after the other, as in a terminal, in a new directory. Two programs
stand in for what a test cannot do as a reader does: `adjudge` starts a node as a second terminal would (in
the background, on free ports, the one before ended), and `curl` fails where the answer is a refusal. In a
block, a comment `# → text` is a promise: the block's output holds the text. A block that is not run has its
reason in a comment above it: `<!-- not run: why -->`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("README.md", "deploy/README.md", "loadtest/README.md")
FENCE = re.compile(r"(?:^<!-- ([^\n]*) -->\n+)?^```(\w*)\n(.*?)^```$", re.M | re.S)
PROMISE = re.compile(r"# → (.+)$", re.M)
MOST_LINES, LONGEST_PARAGRAPH = 580, 400
BLOCK_WITHIN_S = 120.0
WRITTEN_S = 0.4  # a decision can be read a fifth of a second after its answer


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, the comment above it, its language and what is in it."""

    where: str
    mark: str
    language: str
    text: str

    @property
    def not_run(self) -> str:
        """Why it is not run; nothing where it is.

        Of the start command the last part is run: continuous integration has run the rest to come here.
        """
        if self.mark == "test-command":
            return "it is what runs this"
        return self.mark.removeprefix("not run: ") if self.mark.startswith("not run: ") else ""


def blocks(name: str) -> list[Block]:
    """Take every fenced block of a document, in order."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return [
        Block(f"{name}:{text.count(chr(10), 0, one.start(3))}", one[1] or "", one[2], one[3])
        for one in FENCE.finditer(text)
    ]


def paragraphs(text: str) -> list[str]:
    """Take the paragraphs and list items of a document: no headings, tables, blocks or comments.

    >>> paragraphs("# A\\n\\none\\ntwo\\n- three\\n  four\\n\\n| a |\\n|---|\\n")
    ['one two', '- three four']
    """
    text = FENCE.sub("", text)
    text = re.sub(r"^(?:<|#|\||!\[).*$", "", text, flags=re.M)
    parts = re.split(r"\n\s*\n|\n(?=\s*(?:-|\d+\.) )", text)
    return [" ".join(part.split()) for part in parts if part.strip()]


class Terminal:
    """A directory where a reader types, with a node behind `adjudge demo` and `adjudge serve`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.admin_port = free_ports()
        self.node = folder / "node"
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("ADJUDGE_")}
        programs = folder / ".venv" / "bin"
        programs.mkdir(parents=True)
        curl = shutil.which("curl")
        scripts = {
            "python": f'exec {sys.executable} "$@"\n',
            "curl": f'exec {curl} --fail-with-body --show-error --max-time 60 "$@"\n',
            "adjudge": _ADJUDGE.format(
                python=sys.executable, node=self.node, port=self.port, admin_port=self.admin_port, curl=curl
            ),
        }
        for name, text in scripts.items():
            (programs / name).write_text(f"#!/bin/bash\n{text}")
            (programs / name).chmod(0o755)
        for name in ("deploy", "loadtest"):
            (folder / name).symlink_to(ROOT / name)
        paths = f"{programs}{os.pathsep}{self.environment['PATH']}"
        self.environment |= {"PATH": paths, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}

    def type(self, text: str) -> tuple[int, str]:
        """Run a block where the one before ended: same folder, same variables."""
        text = text.replace("127.0.0.1:8000", f"127.0.0.1:{self.port}")
        text = text.replace("127.0.0.1:8001", f"127.0.0.1:{self.admin_port}")
        if "adj_…" in text:  # what a reader pastes from the node's first lines
            text = text.replace("adj_…", re.findall(r"adj_\S+", self.node.read_text())[0])
        script = (
            f"[ ! -f .known ] || . ./.known\nset -a\n{text}\nset +a\n{{ export -p; declare -f; }} > .known\n"
        )
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=self.folder, env=self.environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BLOCK_WITHIN_S, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def close(self) -> None:
        """End the node that still runs, if any."""
        pid = Path(f"{self.node}.pid")
        if pid.exists():
            with suppress(ProcessLookupError):
                os.killpg(int(pid.read_text()), signal.SIGKILL)


_ADJUDGE = """\
if [ "$1" != demo ] && [ "$1" != serve ]; then exec {python} -m app "$@"; fi
if [ -f {node}.pid ]; then  # the reader stops it with Ctrl-C
    old=$(cat {node}.pid)
    kill -INT "$old" 2>/dev/null || true
    while kill -0 "$old" 2>/dev/null; do sleep 0.05; done
fi
[ "$1" != demo ] || set -- "$@" --rate 50
setsid {python} -m app "$@" --port {port} --admin-port {admin_port} </dev/null >{node} 2>&1 &
echo $! >{node}.pid
until {curl} -sf http://127.0.0.1:{admin_port}/readyz >/dev/null && grep -q "$1: \\|^1 s:\\|^docs" {node}; do
    kill -0 $! 2>/dev/null || {{ cat {node}; exit 1; }}
    sleep 0.05
done
cat {node}
"""


def free_ports() -> tuple[int, int]:
    """Find two ports that nobody listens on."""
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    at = Terminal(tmp_path)
    yield at
    at.close()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_of_a_document_works(name: str, terminal: Terminal) -> None:
    for block in blocks(name):
        if block.language != "sh" or block.not_run:
            continue
        text = block.text.split("&& ")[-1] if block.mark == "start-command" else block.text
        code, output = terminal.type(text)
        assert code == 0, f"{block.where}\n{block.text}\n→ {code}\n{output}"
        for promise in PROMISE.findall(text):
            assert promise.strip() in output, f"{block.where} promises {promise!r}\n{output}"
        time.sleep(WRITTEN_S)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_is_not_run_says_why(name: str) -> None:
    for block in blocks(name):
        if block.language == "sh" and not block.not_run:
            assert "docker" not in block.text, block.where
        assert block.language in {"sh", "text", "json"} or block.not_run, f"{block.where}: what is it?"
        if block.not_run:
            assert len(block.not_run.split()) >= 3, f"{block.where}: a reason, in words"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_paragraphs_are_short(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert [one for one in paragraphs(text) if len(one) > LONGEST_PARAGRAPH] == []


def test_the_readme_is_a_front_door() -> None:
    assert (ROOT / "README.md").read_text(encoding="utf-8").count("\n") <= MOST_LINES


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_a_document_points_to_is_there(name: str) -> None:
    """Files, folders, links and the modules that `python -m` runs."""
    text = (ROOT / name).read_text(encoding="utf-8")
    inline = re.findall(r"`((?:app|tests|deploy|loadtest)/[\w./-]+)`", text)
    links = [one for one in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in one]
    run = re.findall(r"pytest (tests/[\w/.]+)", text)
    missing = [one for one in (*inline, *run) if not (ROOT / one).exists()]
    missing += [one for one in links if not ((ROOT / name).parent / one).exists()]
    modules = set(re.findall(r"python -m loadtest ([a-z]+)", text))
    missing += [f"loadtest {one}" for one in modules - {"all"} if not (ROOT / f"loadtest/{one}.py").exists()]
    assert missing == []
