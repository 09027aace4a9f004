"""How every kernel is compiled: in one place, so that the options cannot drift apart."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core.ccallback import CFunc

__all__ = ["Index", "Records", "callback", "inlined", "inner", "kernel"]

# For a type checker alone.
Index = Any  # np.uint64: what range() makes of it would be int
Records = Any  # an array of records: it would have no fields

F = TypeVar("F", bound=Callable[..., object])
_INNER: dict[str, Any] = {
    "nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True,
}  # fmt: skip


def kernel(function: F) -> F:
    """Compile with Numba: cached on disk, releasing the GIL, exact floating point (no fastmath: results must not
    depend on the machine), and NumPy's rules for division."""
    dispatcher = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    _make_cache_safe(dispatcher)
    return cast(F, dispatcher)


def inner(function: F) -> F:
    """Compile what only kernels call: as :func:`kernel`, without what Python would need to call it, which takes most
    of the time to compile where arguments are tuples of arrays."""
    return cast(F, numba.njit(**_INNER)(function))


def inlined(function: F) -> F:
    """The same, and always pasted into its caller, with whatever it calls of this kind: for what is done so often that
    a call would take longer, and vectors would have to be stored before it."""
    return cast(F, numba.njit(**_INNER, forceinline=True)(function))


def callback(function: Callable[..., Any], *signature: Any) -> Any:
    """Compile to a function of the C language, for an engine to call by its ``address``: cached, as :func:`kernel`.
    ``signature``: types of Numba, that of the result first. Keep what it gives as long as the address is in use."""
    compiled = CFunc(function, (signature[1:], signature[0]), locals={}, options={"error_model": "numpy"})
    compiled.enable_caching()
    _make_cache_safe(compiled)
    compiled.compile()
    return compiled


def _make_cache_safe(dispatcher: Any) -> None:
    """Mend three faults of Numba's cache (0.68).

    Two processes that compile different types of one function at once give both the same file name, and a later one
    runs float64 code on float32 arrays: here each process has names of its own. And a kernel is not compiled anew when
    a kernel that it calls changes in another file: here it depends on all files of kernels. And what an earlier version
    of this package has cached may name types that are gone: here that counts as nothing cached.
    """
    file = dispatcher._cache._cache_file
    file._data_name_pattern = file._data_name_pattern.replace("{number:d}", "{number:d}-" + _PROCESS)
    file._source_stamp = (file._source_stamp, _stamp())
    load_index = file._load_index

    def load_what_is_ours() -> Any:
        try:
            return load_index()
        except (AttributeError, ImportError):
            return {}

    file._load_index = load_what_is_ours


_PROCESS = secrets.token_hex(4)


@cache
def _stamp() -> tuple[tuple[str, int, int], ...]:
    files = [Path(__file__), *sorted(Path(__file__).parent.rglob("*_kernels.py"))]
    return tuple((f.name, status.st_mtime_ns, status.st_size) for f in files for status in [os.stat(f)])
