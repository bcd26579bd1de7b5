"""Large arrays of zeros that take memory only where they are touched."""

from __future__ import annotations

import contextlib
import mmap
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def zeros(shape: tuple[int, int], dtype: DTypeLike, *, huge_pages: bool) -> NDArray[Any]:
    """Take a zeroed 2-D array by anonymous mmap.

    With huge pages the first touch of each 2 MB makes all of it resident: right for weights that are
    scanned, wrong for sums of which a few cells are touched (np.zeros asks for huge pages by itself).
    """
    size = max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    advice = getattr(mmap, "MADV_HUGEPAGE" if huge_pages else "MADV_NOHUGEPAGE", None)
    if advice is not None:
        with contextlib.suppress(OSError):  # a system built without transparent huge pages
            memory.madvise(advice)
    return np.frombuffer(memory, dtype=dtype)[: int(np.prod(shape))].reshape(shape)
