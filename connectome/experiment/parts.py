"""What is done in a condition: which cells are stimulated, silenced, held or lesioned, which edges are cut or
scaled."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from connectome.errors import ConnectomeError
from connectome.parameters import from_table

__all__ = [
    "Condition", "Held", "Scaling", "Silencing", "Stimulation", "number", "part", "plain_table", "query", "several",
    "text",
]  # fmt: skip


def several(given: Any) -> list[Any]:
    """A list as it is, or a single thing as a list of one."""
    return list(given) if isinstance(given, (list, tuple)) else [given]


def plain_table(part: Any) -> Any:
    """A part of a condition in TOML's types."""
    if hasattr(part, "__dataclass_fields__"):
        shown = {f.name: plain_table(getattr(part, f.name)) for f in fields(part)}
        return {k: v for k, v in shown.items() if v is not None}
    if isinstance(part, Mapping):
        return {k: plain_table(v) for k, v in part.items()}
    return [plain_table(p) for p in part] if isinstance(part, (list, tuple)) else part


def text(where: str, given: object) -> str:
    """A text. Raises :class:`ConnectomeError`."""
    if not isinstance(given, str):
        raise ConnectomeError(where, "must be a text", repr(given))
    return given


def query(where: str, given: object) -> str:
    """A query that is not empty; it is resolved only against a connectome. Raises :class:`ConnectomeError`."""
    if not isinstance(given, str) or not given.strip():
        raise ConnectomeError(where, "must be a query, such as \"class == 'KC'\"", repr(given))
    return given


def number(where: str, given: object, low: float, *, above: bool = False) -> float:
    """A finite number, at least ``low``, or above it. Raises :class:`ConnectomeError`."""
    if (
        isinstance(given, (int, float)) and not isinstance(given, bool) and abs(given) <= sys.float_info.max
        and (given > low or (given == low and not above))
    ):  # fmt: skip
        return float(given)
    least = "" if low == -math.inf else f" {'>' if above else '>='} {low:g}"
    raise ConnectomeError(where, f"must be a finite number{least}", repr(given))


@dataclass(frozen=True)
class _Timed:
    """Something that is done to cells from one time to another; ``to_ms`` None is the end."""

    cells: str
    from_ms: float = 0.0
    to_ms: float | None = None

    def __post_init__(self) -> None:
        name = type(self).__name__
        query(f"{name}.cells", self.cells)
        start = number(f"{name}.from_ms", self.from_ms, 0.0)
        object.__setattr__(self, "from_ms", start)
        if self.to_ms is not None:
            end = number(f"{name}.to_ms", self.to_ms, 0.0)
            if end <= start:
                raise ConnectomeError(f"{name}.to_ms", f"must be later than from_ms, {start:g}", f"{end:g}")
            object.__setattr__(self, "to_ms", end)


@dataclass(frozen=True)
class Stimulation(_Timed):
    """Cells that are driven.

    Parameters
    ----------
    cells : a query, see :mod:`connectome.graph.query`
    rate_hz : rate of Poisson events, each of ``weight``; a sensor emits spikes at this rate
    current_pa : a constant current; give this or ``rate_hz``
    from_ms, to_ms : the window of time; by default the whole trial
    weight : weight of an event, in the unit of the neuron model; None: the physiology's
    """

    rate_hz: float | None = None
    current_pa: float | None = None
    weight: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.rate_hz is None) == (self.current_pa is None):
            found = "both" if self.rate_hz is not None else "neither"
            raise ConnectomeError("Stimulation.rate_hz", "must be given, or else current_pa", found)
        for name, low in (("rate_hz", 0.0), ("current_pa", -math.inf), ("weight", -math.inf)):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, number(f"Stimulation.{name}", getattr(self, name), low))
        if self.weight is not None and self.rate_hz is None:
            raise ConnectomeError("Stimulation.weight", "must go with rate_hz", self.weight)


@dataclass(frozen=True)
class Silencing(_Timed):
    """Cells that do not fire."""


@dataclass(frozen=True)
class Held(_Timed):
    """Cells whose potential is held at ``v_mv``: they do not fire."""

    v_mv: float = math.nan

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "v_mv", number("Held.v_mv", self.v_mv, -math.inf))


@dataclass(frozen=True)
class Scaling:
    """Edges whose weights are multiplied ``by`` a number >= 0: those of a transmitter, or any that a query finds."""

    edges: str
    by: float

    def __post_init__(self) -> None:
        query("Scaling.edges", self.edges)
        object.__setattr__(self, "by", number("Scaling.by", self.by, 0.0))


@dataclass(frozen=True)
class Condition:
    """What is done to the network in one condition, in addition to the condition it builds on.

    Parameters
    ----------
    base : the condition that this one builds on and is compared with; ``from`` in TOML. "" for none: then it is
        compared with the experiment's reference
    about : a description in words
    stimulate, silence, hold : cells that are driven, kept from firing, held at a potential, in windows of time
    lesion : queries for cells that are removed: they have no edges and are not read out
    cut : queries for edges that are removed: ``source.class == 'KC' and target.class == 'MBON'``
    scale : edges whose weights are multiplied
    """

    base: str = ""
    about: str = ""
    stimulate: tuple[Stimulation, ...] = ()
    silence: tuple[Silencing, ...] = ()
    lesion: tuple[str, ...] = ()
    hold: tuple[Held, ...] = ()
    cut: tuple[str, ...] = ()
    scale: tuple[Scaling, ...] = ()

    @classmethod
    def of(cls, table: object, where: str) -> Condition:
        """A condition from a table, in which a single thing stands for a list of one, and a query for a table with only
        that query."""
        if not isinstance(table, Mapping):
            raise ConnectomeError(where, "must be a table", repr(table))
        given = dict(table)
        if "from" in given:
            given["base"] = given.pop("from")
        known = [f.name for f in fields(cls)]
        for key in given:
            if key not in known:
                rule = f"must have no keys but {', '.join(['from', *known[1:]])}"
                raise ConnectomeError(where, rule, repr(key))
        parts: dict[str, Any] = {}
        for key, value in given.items():
            here = f"{where}.{key}"
            if key in ("base", "about"):
                parts[key] = text(f"{where}.from" if key == "base" else here, value)
            elif key in ("lesion", "cut"):
                parts[key] = tuple(query(here, query_) for query_ in several(value))
            else:
                kind, first = _PARTS[key]
                tables = [{first: item} if isinstance(item, str) else item for item in several(value)]
                parts[key] = tuple(part(kind, item, here) for item in tables)
        return cls(**parts)

    def after(self, base: Condition) -> Condition:
        """The condition that combines this one with ``base``."""
        joined = {
            f.name: getattr(base, f.name) + getattr(self, f.name)
            for f in fields(self)
            if f.name not in ("base", "about")
        }
        return Condition(self.base, self.about, **joined)

    @property
    def is_random(self) -> bool:
        """Whether anything in it is drawn at random."""
        return any(s.rate_hz for s in self.stimulate)


_PARTS: Final[Mapping[str, tuple[Any, str]]] = {
    "stimulate": (Stimulation, "cells"), "silence": (Silencing, "cells"), "hold": (Held, "cells"),
    "scale": (Scaling, "edges"),
}  # fmt: skip


def part(kind: Any, table: object, where: str) -> Any:
    """A dataclass from a table; an error names the keys that are missing."""
    if isinstance(table, kind):
        return table
    try:
        return from_table(kind, table, where)
    except TypeError:  # a field without a default is not there
        needed = [f.name for f in fields(kind) if repr(f.default) == repr(field().default) and f.init]
        missing = [name for name in needed if not isinstance(table, Mapping) or name not in table]
        raise ConnectomeError(where, f"must have {', '.join(missing)}", repr(table)) from None
