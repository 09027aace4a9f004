"""The one error type for bad input, always with field, rule, value found and what to do next."""

from __future__ import annotations

__all__ = ["ConnectomeError"]


class ConnectomeError(ValueError):
    """Input that breaks a rule of the data model, a file format or a program's options.

    Parameters
    ----------
    field : what was being read, e.g. ``"edges[a -local-> a].target"``
    rule : what must hold, e.g. ``"must be < 100, the size of region 'a'"``
    found : the offending value, with its position where there is one
    hint : what to do next
    """

    def __init__(self, field: str, rule: str, found: object, hint: str = "") -> None:
        self.field, self.rule, self.found, self.hint = field, rule, found, hint
        message = f"{field} {rule}; found {found}."
        super().__init__(f"{message} {hint}" if hint else message)

    def __reduce__(self) -> tuple[type[ConnectomeError], tuple[str, str, object, str]]:
        """So that it can come back from another process."""
        return type(self), (self.field, self.rule, str(self.found), self.hint)
