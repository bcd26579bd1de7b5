"""Large arrays of zeros that take memory only where they are touched."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_MADV_DONTNEED = 4


def give_back(array: NDArray[Any]) -> None:
    """Return the memory of an array of `zeros` to the system; nobody may read it any more.

    Cost    some 0.2 us for each of its pages, without the interpreter: to let the array go costs the same
            with it.
    """
    with contextlib.suppress(OSError, AttributeError):
        system = ctypes.CDLL(None)
        system.madvise(ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes), _MADV_DONTNEED)


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


def drop_row(array: NDArray[Any], row: int) -> None:
    """Zero a row of such an array, and give its memory back as far as it fills pages of its own."""
    array[row] = 0
    memory: Any = array
    while isinstance(memory, np.ndarray):
        memory = memory.base
    if isinstance(memory, memoryview):
        memory = memory.obj
    advice = getattr(mmap, "MADV_DONTNEED", None)
    if advice is None or not isinstance(memory, mmap.mmap):
        return
    start, step = row * array.strides[0], mmap.PAGESIZE
    first, last = -(-start // step) * step, (start + array.strides[0]) // step * step
    if last > first:
        with contextlib.suppress(OSError):
            memory.madvise(advice, first, last - first)
