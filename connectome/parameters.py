"""Parameters that check themselves, and read from tables: one way for Python and for TOML."""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, get_type_hints

from connectome.errors import ConnectomeError

__all__ = ["Parameters", "bounded", "from_table", "parse_toml", "read_toml", "set_value", "to_table"]

#: Bytes of a TOML file; a device may have no end.
_LARGEST: Final = 1 << 20
#: No number is larger than that: products of some stay far from overflow.
_MOST: Final = 1e12

T = TypeVar("T")


def bounded(default: Any, low: float, high: float = math.inf) -> Any:
    """A dataclass field with a default and the range, ends included, that it must lie in."""
    return dataclasses.field(default=default, metadata={"low": low, "high": high})


class Parameters:
    """Base of frozen dataclasses whose fields are numbers, texts or truth values. Raises :class:`ConnectomeError`."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value, kind = getattr(self, field.name), hints[field.name]
            name = f"{type(self).__name__}.{field.name}"
            if type(value) is int and abs(value) >= 2**63:  # TOML has no bound, and Python does not even print some
                raise ConnectomeError(name, "must fit in 64 bits", f"an integer of {value.bit_length()} bits")
            if kind is float and type(value) is not bool and isinstance(value, (int, float)):
                value = float(value)
                object.__setattr__(self, field.name, value)
            elif kind in (int, float, bool, str) and type(value) is not kind:
                raise ConnectomeError(name, f"must be of type {kind.__name__}", f"{value!r}, a {type(value).__name__}")
            if kind is float and not math.isfinite(value):
                raise ConnectomeError(name, "must be finite", value)
            if kind is float and abs(value) > _MOST:
                raise ConnectomeError(name, f"must be within -{_MOST:g} .. {_MOST:g}", value)
            low, high = field.metadata.get("low", -math.inf), field.metadata.get("high", math.inf)
            if kind in (int, float) and not low <= value <= high:
                span = f"in {low:g} .. {high:g}" if high < math.inf else f"at least {low:g}"
                raise ConnectomeError(name, f"must be {span}", value)


def from_table(cls: Callable[..., T], table: object, where: str) -> T:
    """A dataclass from a table of its fields; absent fields keep their defaults, nested dataclasses are nested tables.

    ``where`` leads to the table: errors name ``where.field``. Raises :class:`ConnectomeError` for what is not a table,
    for unknown keys, and for what the dataclass refuses.
    """
    if not isinstance(table, Mapping):
        raise ConnectomeError(where, "must be a table", f"{table!r}, a {type(table).__name__}")
    known = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]  # callers pass dataclasses
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f"Did you mean {near[0]!r}?" if near else ""
            raise ConnectomeError(where, f"must have no keys but {', '.join(known)}", repr(key), hint)
        nested = hints[key]
        inside = f"{where}.{key}" if where else str(key)
        is_table = isinstance(nested, type) and dataclasses.is_dataclass(nested)
        values[key] = from_table(nested, value, inside) if is_table else value
    try:
        return cls(**values)
    except ConnectomeError as error:
        field = error.field.rpartition(".")[2]
        raise ConnectomeError(f"{where}.{field}" if where else field, error.rule, error.found, error.hint) from None


def to_table(parameters: Any) -> dict[str, Any]:
    """The inverse of :func:`from_table`, every field written out."""
    return dataclasses.asdict(parameters)


def read_toml(path: Path, name: str = "") -> dict[str, Any]:
    """The tables of a TOML file. Raises :class:`ConnectomeError` with the name, or the path, for one that cannot be
    read."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise ValueError(f"more than {_LARGEST:,} bytes")
        text = data.decode()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConnectomeError(name or str(path), "must be a readable TOML file", reason) from None
    return parse_toml(text, name or str(path))


def parse_toml(text: str, name: str) -> dict[str, Any]:
    """The tables of a text. Raises :class:`ConnectomeError` with the name for what is no TOML, or too much of it."""
    try:
        if len(text) > _LARGEST:
            raise ValueError(f"more than {_LARGEST:,} characters")
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # Python reads no number of 5,000 digits: a ValueError
        reason = str(error).partition("\n")[0]
        raise ConnectomeError(name, "must be a readable TOML file", reason) from None


def set_value(table: dict[str, Any], change: str, form: str, hint: str = "") -> None:
    """Set ``key=value`` or ``table.key=value`` in nested tables, as an option has it; a value that is no TOML is a
    text. ``form`` is what a change looks like, with as many dots as it needs at least. Raises
    :class:`ConnectomeError`."""
    path, equals, text = change.partition("=")
    *tables, key = path.strip().split(".")
    if not equals or len(tables) < form.count(".") or not key or not all(tables):
        raise ConnectomeError("--set", f"must be {form}", repr(change), hint)
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, ValueError, RecursionError):
        value = text.strip()
    for name in tables:
        inner = table.setdefault(name, {})
        if not isinstance(inner, dict):
            raise ConnectomeError("--set", f"must lead through tables; {name} is none", repr(change))
        table = inner
    table[key] = value
