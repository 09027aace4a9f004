"""The one error type for bad input, always with field, rule, value found and what to do next."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["ConnectomeError"]


#: Letters of each part of a message. What a file holds has no bound.
_LONGEST: Final = 1000
_BREAK: Final = re.compile(r"\s*\n\s*")


class ConnectomeError(ValueError):
    """Input that breaks a rule of the data model, a file format or a program's options. Its message is one line, and
    can be printed whatever it quotes.

    Parameters
    ----------
    field : what was being read, e.g. ``"edges[a -local-> a].target"``
    rule : what must hold, e.g. ``"must be < 100, the size of region 'a'"``
    found : the offending value, with its position where there is one
    hint : what to do next
    """

    def __init__(self, field: str, rule: str, found: object, hint: str = "") -> None:
        self.field, self.rule, self.found, self.hint = field, rule, found, hint
        message = f"{_line(field)} {_line(rule)}; found {_line(str(found)) or 'nothing'}."
        super().__init__(f"{message} {_line(hint)}" if hint else message)

    def within(self, where: str) -> ConnectomeError:
        """The same, with what it was part of before the field: a file, a table."""
        return ConnectomeError(f"{where}: {self.field}", self.rule, self.found, self.hint)

    def __reduce__(self) -> tuple[type[ConnectomeError], tuple[str, str, object, str]]:
        """So that it can come back from another process."""
        return type(self), (self.field, self.rule, str(self.found), self.hint)


def _line(text: str) -> str:
    """Of what can be printed, and not too long."""
    line = _BREAK.sub(" ", text[: 2 * _LONGEST].strip("\n"))
    if not line.isprintable():
        line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
