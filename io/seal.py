"""A finished run under seal: ``manifest.json`` lists its files with their digests, is written last, and so shows that
the run is finished and whether any file in it (data, attributes, sidecars, page, pictures, texts) has changed since.

A digest here is SHA-256 over a file's bytes. The manifest includes a digest of its own content, and only the exact text
with that content is accepted. It reveals damage; it does not protect against someone who means to deceive, who can
write another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from connectome.errors import ConnectomeError
from connectome.io.files import digest_of, naming, read_bytes, write_lines

__all__ = ["MANIFEST", "Manifest", "check_files", "digests", "load_manifest", "renew", "renewing", "seal"]

MANIFEST: Final = "manifest.json"
FORMAT_VERSION: Final = 1
_MOST_BYTES: Final = 1 << 24
_HINT: Final = "Take another copy, or run it again."


@dataclass(frozen=True)
class Manifest:
    """What a finished run is, and its files.

    Parameters
    ----------
    regions, seed, engine : what was developed
    versions : versions of packages that its bytes depend on, with the source of those that are not ours
    machines : the machines it ran on
    files : name, with ``/`` after a folder's -> digest
    """

    regions: tuple[str, ...]
    seed: int
    engine: str
    versions: Mapping[str, str]
    machines: tuple[str, ...]
    files: Mapping[str, str]


def digests(run: Path, names: Iterable[str]) -> dict[str, str]:
    """The digests of files of a run, in order of their names. Raises :class:`ConnectomeError` for one that cannot be
    read."""
    return {name: digest_of(run / name) for name in sorted(names)}


def check_files(run: Path, files: Mapping[str, str]) -> None:
    """Raises :class:`ConnectomeError` for the first of these files that has changed since it was written."""
    for name, digest in files.items():
        if not (run / name).is_file():
            raise ConnectomeError(str(run / name), "must be there, as the run wrote it", "nothing there", _HINT)
        if digest_of(run / name) != digest:
            raise ConnectomeError(str(run / name), "must be as the run wrote it", "another content", _HINT)


def seal(run: Path, manifest: Manifest) -> None:
    """Write the manifest of a run. Raises :class:`ConnectomeError` if it cannot be written."""
    write_lines(run / MANIFEST, [_text(manifest)])


def load_manifest(run: Path) -> Manifest:
    """A finished run's manifest, after a check that no file in it has changed. Raises :class:`ConnectomeError`."""
    path = run / MANIFEST
    if not path.is_file():
        raise ConnectomeError(str(run), f"must be a finished run, with a {MANIFEST}", "none", _HINT)
    manifest = _load(path)
    check_files(run, manifest.files)
    return manifest


def renew(run: Path, name: str) -> None:
    """Update the seal of a finished run for a file that was rewritten, such as its page; do nothing in a folder without
    a manifest. Raises :class:`ConnectomeError`."""
    if (run / MANIFEST).is_file():
        manifest = _load(run / MANIFEST)
        seal(run, replace(manifest, files={**manifest.files, name: digest_of(run / name)}))


@contextmanager
def renewing(run: Path, name: str) -> Iterator[None]:
    """Rewrite a file in the block. Meanwhile it is not under seal, so that the manifest is true at any time. Raises as
    :func:`renew`."""
    if (run / MANIFEST).is_file():
        manifest = _load(run / MANIFEST)
        seal(run, replace(manifest, files={other: manifest.files[other] for other in manifest.files if other != name}))
    yield
    renew(run, name)


def _load(path: Path) -> Manifest:
    with naming(path, "the manifest of a run"):
        text = read_bytes(path, _MOST_BYTES).decode()
        given = json.loads(text)["manifest"]
        manifest = Manifest(**given | {name: tuple(given[name]) for name in ("regions", "machines")})
        texts = [*manifest.regions, *manifest.machines, *manifest.versions.values(), *manifest.files.values()]
        if not all(isinstance(value, str) for value in texts) or text != f"{_text(manifest)}\n":
            raise ConnectomeError("manifest", "must be as the run wrote it", "another content", _HINT)
    for name in manifest.files:
        parts = Path(name).parts
        if not parts or Path(name).is_absolute() or ".." in parts:
            raise ConnectomeError(str(path), "must name files in the run's folder", repr(name))
    return manifest


def _text(manifest: Manifest) -> str:
    content: dict[str, Any] = asdict(manifest) | {"files": dict(sorted(manifest.files.items()))}
    inner = json.dumps(content, sort_keys=True)
    whole = {
        "format_version": FORMAT_VERSION,
        "digest": hashlib.sha256(inner.encode()).hexdigest(),
        "manifest": content,
    }
    return json.dumps(whole, indent=1, sort_keys=True)
