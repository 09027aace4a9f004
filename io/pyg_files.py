"""A connectome as a file of PyTorch tensors, for PyTorch Geometric.

``HeteroData.from_dict(torch.load(path, weights_only=True))`` makes of it what :func:`connectome.views.to_pyg` gives,
with the provenance as JSON text. It holds tensors, numbers and texts only.

Reading one from elsewhere uses the same restricted loader, which runs no code, after a look at the archive: stored, not
compressed, no larger inside than out. Every tensor must be dense and backed by bytes of its own.
"""

from __future__ import annotations

import json
import os
import warnings
import zipfile
from io import BytesIO
from typing import Any, Final

from connectome.errors import ConnectomeError
from connectome.graph import Connectome
from connectome.io.files import naming, read_bytes, writing
from connectome.tables import header_of, read_header
from connectome.views import from_pyg, to_pyg

__all__ = ["read_pyg", "write_pyg"]

MAX_BYTES: Final = 1 << 33
_WHOLE: Final = "_global_store"  # PyG's key of what belongs to the whole graph


def write_pyg(connectome: Connectome, path: str | os.PathLike[str]) -> None:
    """Write a HeteroData as a dict of dicts of tensors. Raises :class:`ConnectomeError` if it cannot be written; a file
    that was there is then as it was."""
    import torch

    data = to_pyg(connectome)
    data.provenance = json.dumps(header_of(connectome)["provenance"], sort_keys=True)
    with writing(path) as sink:
        torch.save(data.to_dict(), sink)


def read_pyg(path: str | os.PathLike[str]) -> Connectome:
    """Read what :func:`write_pyg` wrote, or any ``torch.save(data.to_dict(), path)`` of a HeteroData that
    :func:`connectome.views.from_pyg` takes. Raises :class:`ConnectomeError` naming the file."""
    import torch
    from torch_geometric.data import HeteroData

    content = read_bytes(path, MAX_BYTES)
    with naming(path, "a dict of tensors that torch.save wrote"):
        _check_archive(content)
        try:
            given = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
        except (
            Exception
        ) as error:  # what a damaged archive raises in torch is of many types, EOFError to UnpicklingError
            reason = (str(error).splitlines() or [""])[0][:200]
            raise ConnectomeError("archive", "must hold only tensors, numbers and texts", reason) from None
        if not isinstance(given, dict):
            raise ConnectomeError("archive", "must hold a dict of a HeteroData", type(given).__name__)
        whole = given.pop(_WHOLE, {})
        stores = {}
        for key, store in given.items():
            names = key if isinstance(key, tuple) else (key,)
            if len(names) not in (1, 3) or not all(isinstance(k, str) for k in names) or not isinstance(store, dict):
                raise ConnectomeError("archive", "must have a dict for each node type and edge type", repr(key)[:200])
            stores[key] = {k: _plain(f"{key}.{k}", v, len(content)) for k, v in store.items()}
        header = read_header({}, "archive")
        if isinstance(whole, dict):
            about = {"provenance": whole.get("provenance") or {}}
            header = read_header(about | ({"dt_ms": whole["dt_ms"]} if "dt_ms" in whole else {}), "archive")
        data = HeteroData.from_dict(stores)
        data.dt_ms, data.provenance = header.dt_ms, header.provenance
        with warnings.catch_warnings():  # PyG's, of a size that it guesses: one that it cannot is an error here
            warnings.simplefilter("ignore", UserWarning)
            return from_pyg(data)


def _check_archive(content: bytes) -> None:
    """Refuse an archive that is not torch's, or claims more than it has."""
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise ConnectomeError(
            "archive", "must be a zip as torch.save writes since version 1.6", error, "Older ones can run code."
        ) from None
    if any(m.compress_type != zipfile.ZIP_STORED for m in members):
        raise ConnectomeError("archive", "must not be compressed", "a compressed member")
    if sum(m.file_size for m in members) > len(content):
        raise ConnectomeError("archive", f"must be no larger inside than its {len(content)} bytes", "more")


def _plain(where: str, value: Any, size: int) -> Any:
    """A tensor that is what it seems, or a value that is none."""
    import torch

    if not isinstance(value, torch.Tensor):
        return value
    dense = value.layout is torch.strided and not value.is_quantized and value.device.type == "cpu"
    if not dense or not value.is_contiguous() or value.numel() * value.element_size() > size:
        raise ConnectomeError(
            where, "must be a dense tensor of its own", f"{value.dtype} of shape {tuple(value.shape)}"
        )
    return value.detach()
