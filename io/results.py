"""A run's other files, each written whole or not at all: results (netCDF), figures (PNG), texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from connectome.errors import ConnectomeError
from connectome.io.hdf5 import atomic, reading

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

__all__ = ["load_results", "save_figure", "save_results", "save_text"]


def save_results(results: xr.Dataset, path: Path) -> None:
    """Write a dataset as netCDF 4. Raises :class:`ConnectomeError` if it cannot be written."""
    _write(bytes(results.to_netcdf(engine="h5netcdf")), path)


def load_results(path: Path) -> xr.Dataset:
    """Read a dataset into memory. Raises :class:`ConnectomeError` for what is not one."""
    from io import BytesIO

    import xarray as xr

    with reading(path):  # says what is wrong with a file that is damaged or not HDF5
        results = xr.load_dataset(BytesIO(path.read_bytes()), engine="h5netcdf", phony_dims="sort")
    nameless = [str(name) for name in results.dims if str(name).startswith("phony_dim")]
    if nameless:
        raise ConnectomeError(str(path), "must be a results file, netCDF 4", "HDF5 whose dimensions have no names")
    return results


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG. Raises :class:`ConnectomeError` if it cannot be written."""
    from io import BytesIO

    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=130)
    _write(picture.getvalue(), path)


def save_text(text: str, path: Path) -> None:
    """Write a text as UTF-8. Raises :class:`ConnectomeError` if it cannot be written."""
    _write(text.encode(), path)


def _write(data: bytes, path: Path) -> None:
    try:
        with atomic(path) as sink:
            sink.write(data)
    except OSError as error:
        raise ConnectomeError(str(path), "must be writable", error.strerror or error) from error
