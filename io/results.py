"""A run's other files, each written whole or not at all: results (netCDF), figures (PNG), films (GIF), texts."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args

import numpy as np

from connectome.errors import ConnectomeError
from connectome.graph.flat import Engine
from connectome.io.files import naming
from connectome.io.hdf5 import Reader, atomic, reading
from connectome.io.heaps import check_lengths

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["Film", "load_development", "load_results", "save_figure", "save_film", "save_results", "save_text"]


class Film(NamedTuple):
    """Pictures (T, height, width, 3) uint8, and how long each is shown."""

    frames: NDArray[np.uint8]
    frame_ms: int


#: What the results of a run say of it.
_ATTRIBUTES: Final[Mapping[str, Any]] = {
    "seed": (int, np.integer), "engine": str, "regions": str, "configuration": str, "versions": str, "machine": str,
}  # fmt: skip


def save_results(results: xr.Dataset, path: Path) -> None:
    """Write a dataset as netCDF 4. Raises :class:`ConnectomeError` if it cannot be written."""
    _write(bytes(results.to_netcdf(engine="h5netcdf")), path)


def load_results(path: Path) -> xr.Dataset:
    """Read a dataset into memory. Raises :class:`ConnectomeError` for a file that is not one."""
    from io import BytesIO

    import xarray as xr

    with reading(path) as reader:  # says what is wrong with a file that is damaged or not HDF5
        for member in reader.members():
            _check(reader, member)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an attribute that is no text: not for who reads results
                results = xr.load_dataset(BytesIO(path.read_bytes()), engine="h5netcdf", phony_dims="sort")
            results = results.drop_encoding()  # how a file was stored is not how what is made of it will be
        except Exception as error:  # of many types, and more with every version
            reason = (str(error).splitlines() or [""])[0]
            raise ConnectomeError("/", "must be netCDF 4", f"{type(error).__name__}: {reason}") from None
        size = {d: n for variable in results.variables.values() for d, n in variable.sizes.items()}
        for name, variable in results.variables.items():  # xarray believes a file that contradicts itself
            if any(size[d] != n for d, n in variable.sizes.items()):
                raise ConnectomeError(f"/{name}", f"must be as long as its dimensions, {size}", variable.shape)
    nameless = [str(name) for name in results.dims if str(name).startswith("phony_dim")]
    if nameless:
        raise ConnectomeError(str(path), "must be a results file, netCDF 4", "HDF5 whose dimensions have no names")
    return results


def load_development(path: Path) -> xr.Dataset:
    """The results of a run of ``sims.develop``, with everything that the programs read from them. Raises
    :class:`ConnectomeError` naming the file."""
    with naming(path, "the results of a development"):
        from connectome.development.results import checked_results

        results = checked_results(load_results(path))
        for name, kind in _ATTRIBUTES.items():
            value = results.attrs.get(name)
            if not isinstance(value, kind):
                found = "nothing" if value is None else f"{value!r:.80}"
                raise ConnectomeError(f"@{name}", "must be there, as sims.develop writes it", found)
        if results.attrs["engine"] not in get_args(Engine) or int(results.attrs["seed"]) < 0:
            about = f"{results.attrs['engine']!r:.80}, {results.attrs['seed']}"
            raise ConnectomeError(
                "@engine, @seed", f"must be one of {', '.join(get_args(Engine))}, and 0 or more", about
            )
    return results


def _check(reader: Reader, name: str) -> None:
    """Refuse anything but plain variables with the attributes that netCDF gives them: on others the libraries that read
    the file overrun their memory, or read other files. Raises :class:`ConnectomeError`."""
    import h5py

    variable: Any = reader._open([name], h5py.Dataset)
    where = f"/{name}"
    if variable.is_virtual or variable.external:
        raise ConnectomeError(where, "must be part of the file itself", "data in another file, not read")
    text = h5py.check_string_dtype(variable.dtype)
    if variable.shape is None or not (text or variable.dtype.kind in "biuf"):
        raise ConnectomeError(where, "must be numbers or texts", variable.dtype)
    if variable.id.get_create_plist().get_nfilters():
        raise ConnectomeError(where, "must not be compressed", "filters")
    is_dimension = variable.attrs.get("CLASS") == b"DIMENSION_SCALE"
    claimed, stored = variable.size * variable.dtype.itemsize, variable.id.get_storage_size()
    if claimed > stored and not (is_dimension and not stored):  # a dimension without values has no bytes
        raise ConnectomeError(where, f"must have the {claimed} bytes that it claims", stored)
    if text and text.length is None:
        check_lengths(variable, reader._size)
    shapes = {"DIMENSION_LIST": (variable.ndim,), "_Netcdf4Coordinates": (variable.ndim,), "_Netcdf4Dimid": ()}
    for attribute, shape in shapes.items():
        if attribute in variable.attrs and variable.attrs.get_id(attribute).shape != shape:
            raise ConnectomeError(f"{where}@{attribute}", f"must be of shape {shape}", "another")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG. Raises :class:`ConnectomeError` if it cannot be written."""
    from io import BytesIO

    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=130)
    _write(picture.getvalue(), path)


def save_film(film: Film, path: Path) -> None:
    """Write a film as a GIF that loops. Raises :class:`ConnectomeError` if it cannot be written."""
    from io import BytesIO

    from PIL import Image

    first, *others = (Image.fromarray(frame) for frame in film.frames)
    data = BytesIO()
    first.save(data, "GIF", save_all=True, append_images=others, duration=film.frame_ms, loop=0)
    _write(data.getvalue(), path)


def save_text(text: str, path: Path) -> None:
    """Write a text as UTF-8. Raises :class:`ConnectomeError` if it cannot be written."""
    _write(text.encode(), path)


def _write(data: bytes, path: Path) -> None:
    try:
        with atomic(path) as sink:
            sink.write(data)
    except OSError as error:
        raise ConnectomeError(str(path), "must be writable", error.strerror or error) from error
