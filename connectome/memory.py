"""What would not fit in memory is refused before it is taken."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from connectome.errors import ConnectomeError

__all__ = ["fits", "free_bytes", "ran_out", "refuse_edges", "refuse_memory"]

_MANY_EDGES: Final = 1_000_000
_HINT: Final = "Take a part of it. Mapped snapshots run without, and so do queries of tables in parquet: io/README.md."

#: What torch and HDF5 say when memory runs out; their errors are of no type of its own.
_SAYS: Final = re.compile(r"(allocate|out of|not enough) memory|memory allocation failed", re.IGNORECASE)


def ran_out(error: BaseException) -> bool:
    """Whether memory ran out, whichever library says so."""
    return isinstance(error, MemoryError) or (
        isinstance(error, (OSError, RuntimeError)) and bool(_SAYS.search(str(error)))
    )


def refuse_memory(what: str, needed_bytes: float, hint: str) -> None:
    """Refuse to start what would not fit in the memory that is free, swap included. Raises :class:`ConnectomeError`."""
    free = free_bytes()
    if free is not None and needed_bytes > free:
        raise ConnectomeError(
            "memory", f"must have about {needed_bytes / 1e9:,.1f} GB free for {what}", f"{free / 1e9:,.1f} GB", hint
        )


def refuse_edges(what: str, n_edges: int, bytes_each: float) -> None:
    """Refuse to hold what is made of all edges of a large graph where that would not fit. Raises
    :class:`ConnectomeError`."""
    if n_edges >= _MANY_EDGES:
        refuse_memory(f"{what} of {n_edges:,} edges", bytes_each * n_edges, _HINT)


def fits(needed_bytes: float) -> bool:
    """Whether so much memory is free, as far as the system says."""
    free = free_bytes()
    return free is None or needed_bytes <= free


def free_bytes(root: Path = Path("/")) -> int | None:
    """What the system and the control group leave this process; None where Linux's files do not say."""
    free = []
    try:
        lines = (line.split() for line in (root / "proc/meminfo").read_text().splitlines())
        found = {line[0]: int(line[1]) * 1024 for line in lines}
        free.append(found["MemAvailable:"] + found["SwapFree:"])
    except (OSError, LookupError, ValueError):
        return None
    try:
        group = root / "sys/fs/cgroup"
        limit, used = ((group / name).read_text().strip() for name in ("memory.max", "memory.current"))
        inactive = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())["inactive_file"]
        free.append(int(limit) - int(used) + int(inactive))  # cached files give way
    except (OSError, LookupError, ValueError):
        pass  # no such group, or "max"
    return min(free)
