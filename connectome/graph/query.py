"""The language that neurons and edges are looked up in: ``class == 'KC' and side == 'left'``.

    columns       an attribute, region, label, index, role, sign, x, y, z, birth_stage, state_NAME; of edges an
                  attribute, kind, weight, delay, birth_stage, state_NAME, source.COLUMN, target.COLUMN
    values        'text', "text", 12, -1.5e3, true, false
    comparisons   ==  !=  <  <=  >  >=, also chained: 0 < x <= 50
                  in ('KC', 'PN'), not in [1, 2]; like 'KC*', with * for any characters and ? for one
                  is missing, is not missing; a column of flags alone: traced
    together      and, or, not, ( )

What is not known is neither equal to a value nor different from it: ``class != 'KC'`` leaves out neurons without a
class, and so does ``not class == 'KC'`` (Kleene's logic, as SQL's). Nothing is evaluated that is not in this list.
"""

from __future__ import annotations

import difflib
import fnmatch
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.attributes import Attribute

__all__ = ["Column", "evaluate"]

Mask = NDArray[np.bool_]
_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
    r"""|(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?)|(?P<sign>==|!=|<=|>=|<|>|=|[()\[\],+-])|(?P<end>$))"""
)
_MOST_LETTERS: Final = 100_000
_DEEPEST: Final = 100
_COMPARE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "==": np.equal, "!=": np.not_equal, "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
}  # fmt: skip
_WORDS: Final = ("and", "or", "not", "in", "is", "like", "missing")


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


class _Truth(NamedTuple):
    """Where it holds, and where it does not; where neither, it is not known."""

    yes: Mask
    no: Mask


#: What gives a column by its name; None for a name that is none.
Column = Callable[[str], "Attribute | None"]


def evaluate(query: str, n: int, column: Column, names: Sequence[str]) -> Mask:
    """(n,) where a query holds. ``column`` gives columns of n values by name, ``names`` are those that there are.
    Raises :class:`ConnectomeError` with the place in the query."""
    if not isinstance(query, str) or len(query) > _MOST_LETTERS:
        raise ConnectomeError("query", f"must be a text of at most {_MOST_LETTERS:,} characters", f"{query!r:.80}")
    return np.broadcast_to(_Parser(query, column, names).whole(), n)


class _Parser:
    """Recursive descent; each rule gives the truth of what it has read."""

    def __init__(self, query: str, column: Column, names: Sequence[str]) -> None:
        self.query, self.column, self.names = query, column, names
        self.tokens = self._split()
        self.at = self.depth = 0

    def whole(self) -> Mask:
        found = self._either()
        if self._token.kind != "end":
            raise self._refuse("must go on with and, or, a comparison, or end")
        return found.yes

    def _split(self) -> list[_Token]:
        tokens, at = [], 0
        while True:
            found = _TOKEN.match(self.query, at)
            if found is None:
                at += len(self.query[at:]) - len(self.query[at:].lstrip())
                raise self._refuse("must be made of names, values, comparisons and brackets", at)
            kind = str(found.lastgroup)
            text = found[kind]
            lower = text.lower()
            if kind == "name" and lower in (*_WORDS, "true", "false"):
                kind, text = ("word", lower) if lower in _WORDS else ("flag", lower)
            tokens.append(_Token(kind, text, found.start(found.lastgroup or 0)))
            if kind == "end":
                return tokens
            at = found.end()

    @property
    def _token(self) -> _Token:
        return self.tokens[self.at]

    def _take(self, *texts: str) -> str:
        """The next token if it is one of these words or signs, else nothing."""
        if self._token.kind in ("word", "sign") and self._token.text in texts:
            self.at += 1
            return self.tokens[self.at - 1].text
        return ""

    def _refuse(self, rule: str, at: int | None = None, hint: str = "") -> ConnectomeError:
        at = self._token.at if at is None else at
        found = self.query[at : at + 30] or "the end"
        return ConnectomeError(f"query {self.query!r:.200}, character {at + 1}", rule, found, hint)

    def _either(self) -> _Truth:
        found = self._both()
        while self._take("or"):
            other = self._both()
            found = _Truth(found.yes | other.yes, found.no & other.no)
        return found

    def _both(self) -> _Truth:
        found = self._negated()
        while self._take("and"):
            other = self._negated()
            found = _Truth(found.yes & other.yes, found.no | other.no)
        return found

    def _negated(self) -> _Truth:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self._refuse(f"must be nested at most {_DEEPEST} deep")
        if self._take("not"):
            found = self._negated()
            found = _Truth(found.no, found.yes)
        elif self._take("("):
            found = self._either()
            if not self._take(")"):
                raise self._refuse("must close the bracket: )")
        else:
            found = self._compared()
        self.depth -= 1
        return found

    def _compared(self) -> _Truth:
        start = self._token.at
        left = self._operand()
        if self._take("is"):
            truth = not self._take("not")
            if not self._take("missing"):
                raise self._refuse("must be 'is missing' or 'is not missing'")
            lost = self._needs_column(left, start).is_missing
            return _Truth(lost, ~lost) if truth else _Truth(~lost, lost)
        negated = bool(self._take("not"))
        if self._take("in"):
            found = self._among(self._needs_column(left, start))
            return _Truth(found.no, found.yes) if negated else found
        if self._take("like"):
            found = self._like(self._needs_column(left, start), start)
            return _Truth(found.no, found.yes) if negated else found
        if negated:
            raise self._refuse("must be 'not in' or 'not like'")
        return self._chain(left, start)

    def _chain(self, left: Any, start: int) -> _Truth:
        found: _Truth | None = None
        while (operator := self._token.text) in _COMPARE and self._token.kind == "sign":
            self.at += 1
            place = self._token.at
            right = self._operand()
            new = self._comparison(operator, left, right, start)
            found = new if found is None else _Truth(found.yes & new.yes, found.no | new.no)
            left, start = right, place
        if self._token.text == "=" and self._token.kind == "sign":
            raise self._refuse("must be == to compare")
        if found is None:
            column = self._needs_column(left, start)
            if column.kind != "flag":
                raise self._refuse("must be compared with something, as it is no flag", start)
            return self._truth(column, column.values == 1)
        return found

    def _needs_column(self, operand: Any, at: int) -> Attribute:
        if not isinstance(operand, Attribute):
            raise self._refuse("must begin with a column's name", at, f"There are {', '.join(self.names)}.")
        return operand

    def _operand(self) -> Any:
        """A column, or a value."""
        kind, text, at = self._token
        if kind == "name":
            self.at += 1
            column = self.column(text)
            if column is None:
                near = difflib.get_close_matches(text, self.names, 2)
                some = f"Did you mean {' or '.join(near)}?" if near else f"There are {', '.join(self.names)}."
                raise self._refuse("must name a column", at, some)
            return column
        return self._value()

    def _value(self) -> Any:
        negative = self._take("-", "+") == "-"
        kind, text, _ = self._token
        if kind == "number":
            value = float(text) if set(text) & set(".eE") else int(text[:400])
            if not math.isfinite(value):
                raise self._refuse("must be a finite number")
            self.at += 1
            return -value if negative else value
        if negative or kind not in ("text", "flag"):
            raise self._refuse("must be a column's name or a value; texts are in quotes")
        self.at += 1
        return text == "true" if kind == "flag" else re.sub(r"\\(.)", r"\1", text[1:-1])

    def _among(self, column: Attribute) -> _Truth:
        close = {"(": ")", "[": "]"}.get(self._take("(", "["))
        if close is None:
            raise self._refuse("must be a list of values: ('a', 'b')")
        values: list[Any] = []
        start = self._token.at
        while not self._take(close):
            values.append(self._value())
            if not self._take(",") and self._token.text != close:
                raise self._refuse(f"must go on with a comma or {close}")
        for value in values:
            self._check(column, value, start)
        if column.names is not None:
            wanted = set(values)
            return self._truth(column, _of_texts(column, lambda name: name in wanted))
        if column.kind != "number":
            whole = [int(v) for v in values if v == int(v) and abs(v) < 2**63]
            return self._truth(column, np.isin(column.values, np.array(whole, np.int64)))
        return self._truth(column, np.isin(column.values, np.array(values, column.values.dtype)))

    def _like(self, column: Attribute, start: int) -> _Truth:
        pattern = self._value()
        if column.names is None or not isinstance(pattern, str):
            raise self._refuse("must be a column of texts like a text", start)
        regular = re.compile(fnmatch.translate(pattern.replace("[", "[[]")))
        return self._truth(column, _of_texts(column, lambda name: regular.fullmatch(name) is not None))

    def _comparison(self, operator: str, left: Any, right: Any, at: int) -> _Truth:
        if not isinstance(left, Attribute):
            if not isinstance(right, Attribute):
                raise self._refuse("must compare a column", at, f"There are {', '.join(self.names)}.")
            turned = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(operator, operator)
            return self._comparison(turned, right, left, at)
        if isinstance(right, Attribute):
            return self._of_columns(operator, left, right, at)
        self._check(left, right, at)
        compare = _COMPARE[operator]
        if left.names is not None:
            return self._truth(left, _of_texts(left, lambda name: bool(compare(name, right))))
        if isinstance(right, float) and right == int(right):
            right = int(right)  # so that no integer is rounded
        with np.errstate(over="ignore"):
            return self._truth(left, compare(left.values, right))

    def _of_columns(self, operator: str, left: Attribute, right: Attribute, at: int) -> _Truth:
        if (left.names is None) != (right.names is None):
            raise self._refuse("must compare texts with texts and numbers with numbers", at)
        lost = left.is_missing | right.is_missing
        if left.names is not None and right.names is not None:
            place = {name: i for i, name in enumerate(sorted({*left.names, *right.names}))}
            a, b = (np.array([place[name] for name in c.names or ()], np.int64)[c.values] for c in (left, right))
        else:
            a, b = left.values, right.values
        found = _COMPARE[operator](a, b)
        return _Truth(found & ~lost, ~found & ~lost)

    def _check(self, column: Attribute, value: Any, at: int) -> None:
        """Refuse to compare a column with a value of another kind."""
        if column.names is not None and not isinstance(value, str):
            some = ", ".join(map(repr, column.categories[:5]))
            raise self._refuse("must compare texts with a text in quotes", at, f"There are {some}..." if some else "")
        if column.names is None and isinstance(value, str):
            raise self._refuse("must compare numbers with a number, not a text", at)
        if (column.kind == "flag") != isinstance(value, bool):
            raise self._refuse("must compare flags, and nothing else, with true or false", at)

    @staticmethod
    def _truth(column: Attribute, found: Any) -> _Truth:
        known = ~column.is_missing
        return _Truth(found & known, ~found & known)


def _of_texts(column: Attribute, holds: Callable[[str], bool]) -> Mask:
    """Where the text of a column is one for which something holds: asked once for each text."""
    true = np.array([holds(name) for name in column.names or ()], bool)
    return true[column.values] if len(column) else np.zeros(0, bool)
