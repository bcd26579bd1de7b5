"""Adjudge: an ad server's brain. The rooms and their floors are described in README.md."""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path

__version__ = "0.1.0"


def _keep_kernels_by_build() -> None:
    """Keep compiled kernels in a directory of this build's own, before numba looks for one.

    numba compiles one kernel into another and notices a change in the caller's file alone: after an upgrade
    machine code of the build before would stay in use.
    """
    root = Path(__file__).parent
    sources = [*sorted(root.glob("rules/*.py")), *sorted(root.glob("state/*.py"))]
    build = blake2b(b"".join(source.read_bytes() for source in sources), digest_size=6).hexdigest()
    kept = Path(os.environ.get("NUMBA_CACHE_DIR") or root / "__pycache__")
    if not kept.name.startswith("kernels-"):  # a worker of ours was told already
        os.environ["NUMBA_CACHE_DIR"] = str(kept / f"kernels-{build}")


_keep_kernels_by_build()
