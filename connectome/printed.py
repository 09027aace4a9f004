"""How objects print: in one line, and in a notebook as a small table; of arrays the type and the shape, never all."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

__all__ = ["Printed", "html_table"]

_ROOM, _WIDE = 60, 200  # letters of one value: in a line, in a table
_NAMED: Final = 3  # of many members
_MOST_ROWS: Final = 20


class Printed:
    """Base of dataclasses. Fields that have their default, or hold nothing, are left out of the line."""

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        if cls.__repr__ is Printed.__repr__:  # it is no class of its own ways: the decorator must not make one
            cls.__repr__ = Printed.__repr__  # type: ignore[method-assign]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={_short(value, _ROOM)}' for name, value in _told(self))})"

    def _repr_html_(self) -> str:
        rows = [(name, _short(value, _WIDE)) for name, value in _told(self, with_defaults=True)]
        return html_table(type(self).__name__, ("field", "value"), rows)


def html_table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table for a notebook: the first rows of many, and how many more there are."""
    cells = [f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows[:_MOST_ROWS]]
    if len(rows) > _MOST_ROWS:
        cells.append(f'<tr><td colspan="{len(head)}">and {len(rows) - _MOST_ROWS:,} more</td></tr>')
    heads = "".join(f"<th>{escape(name)}</th>" for name in head)
    caption = f'<caption style="text-align: left">{escape(title)}</caption>'
    return f"<table>{caption}<thead><tr>{heads}</tr></thead><tbody>{''.join(cells)}</tbody></table>"


def _told(thing: object, with_defaults: bool = False) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(thing):  # type: ignore[arg-type]
        value = getattr(thing, field.name)
        if value is None or (isinstance(value, (str, bytes, Mapping, tuple, list)) and not value):
            continue
        is_default = isinstance(value, (bool, int, float, str)) and value == field.default
        if not field.repr or (is_default and not with_defaults):
            continue
        yield field.name, value


def _short(value: Any, room: int) -> str:
    """A value in at most about so many letters."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}[{' x '.join(map(str, value.shape))}]"
    if isinstance(value, Mapping):
        members = [f"{_name(key)}: {_short(of, room)}" for key, of in value.items()]
        return _all_or_some(members, [_name(key) for key in value], "{}", room)
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        members = [_short(of, room) for of in value]
        return _all_or_some(members, members, "()" if isinstance(value, tuple) else "[]", room)
    text = " ".join(repr(value).split())
    return text if len(text) <= room else f"{text[: room - 3]}..."


def _name(key: object) -> str:
    return str(key) if isinstance(key, tuple) else repr(key)


def _all_or_some(members: Sequence[str], names: Sequence[str], ends: str, room: int) -> str:
    text = ", ".join(members)
    if len(text) > room and len(members) > 1:
        text = ", ".join(names[:_NAMED]) + (f", ... {len(names):,} in all" if len(names) > _NAMED else "")
    return f"{ends[0]}{text}{',' * (ends == '()' and len(members) == 1)}{ends[1]}"
