"""Zip archives, read in memory and within a bound: nothing is ever unpacked to disk."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import PurePosixPath

from connectome.errors import ConnectomeError
from connectome.io.files import MAX_BYTES, read_bytes

__all__ = ["unzip"]


def unzip(path: str | os.PathLike[str], wanted: Callable[[str], bool], max_bytes: int = MAX_BYTES) -> dict[str, bytes]:
    """File name -> content of the members whose name, without folders, is ``wanted``.

    Raises :class:`ConnectomeError` for a file that is not a zip, a member whose path leads out of the archive, two
    wanted members of the same name, and more than ``max_bytes`` of content in all, whatever the archive claims.
    """
    where = os.fspath(path)
    found: dict[str, bytes] = {}
    left = max_bytes
    try:
        with zipfile.ZipFile(io.BytesIO(read_bytes(path))) as archive:
            for member in archive.infolist():
                place = PurePosixPath(member.filename)
                if place.is_absolute() or ".." in place.parts or "\\" in member.filename:
                    raise ConnectomeError(where, "must have members inside it", repr(member.filename))
                name = place.name
                if member.is_dir() or name.startswith(".") or "__MACOSX" in place.parts or not wanted(name):
                    continue
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise ConnectomeError(f"{where}: {name}", "must be stored or deflated", member.compress_type)
                if name in found:
                    raise ConnectomeError(where, "must have each member once", f"{name!r} twice")
                with archive.open(member) as file:
                    found[name] = file.read(left + 1)
                left -= len(found[name])
                if left < 0:
                    raise ConnectomeError(f"{where}: {name}", f"must have at most {max_bytes:,} bytes in all", "more")
    except (
        OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, struct.error, ValueError,
        LookupError,  # of a member without a name
    ) as error:  # fmt: skip
        if isinstance(error, ConnectomeError):
            raise
        raise ConnectomeError(where, "must be a readable zip archive", str(error)[:200]) from None
    return found
