"""Equations as docstrings write them (``c_m dv/dt = -i / tau_syn``), and TeX, made MathML: browsers draw it without a
script, or a font of their own."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

__all__ = ["is_equation", "mathml", "tex", "with_equations", "with_tex"]

_GREEK: Final = frozenset(
    (
        "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu",
        "xi", "pi", "rho", "sigma", "tau", "phi", "chi", "psi", "omega",
    )
)  # fmt: skip
_TOKEN: Final = re.compile(r"\s*(d\w*/d\w+|[A-Za-z]\w*'?|\d+(?:\.\d+)?|<-|<=|>=|[-+*/^=<>()\[\]|,.])")
_SIGNS: Final = {"<-": r"\leftarrow ", "<=": r"\le ", ">=": r"\ge ", "*": r"\cdot ", "[": "(", "]": ")"}
_FUNCTIONS: Final = frozenset({"exp", "log", "max", "min"})
_SPACED: Final = re.compile(r"\s(=|<-|<|>|<=|>=|\+|-|/)\s|\^")
_CODE: Final = re.compile(r"``([^`]+)``")


def is_equation(text: str) -> bool:
    """Whether what a docstring has in double backticks is mathematics, not code."""
    words = re.search(r"\[|\*\*|[\"':{}]|\.\.|==| (over|of) ", re.sub(r"\b\w'", "", text))
    whole = re.search(r"[\w)\]|']$", text.strip())
    return bool(_SPACED.search(text) and whole and _reads(text)) and not words


def _reads(text: str) -> bool:
    return "".join(_TOKEN.findall(text)) == "".join(text.split())


def tex(plain: str) -> str:
    """TeX of a plain equation: Greek names, subscripts, powers, fractions. Raises ``ValueError`` for what is none."""
    if not _reads(plain):
        raise ValueError(plain)
    return _Reader(_TOKEN.findall(plain)).all()


class _Reader:
    """By recursive descent. A product stands over a slash, the next factor below it."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.at = tokens, 0

    @property
    def next(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.next
        self.at += 1
        return token

    def all(self, until: str = "") -> str:
        found: list[str] = []
        product: list[str] = []

        def done() -> str:
            return re.sub(r"\\, (?=[(|])", "", r" \, ".join(product))

        while self.next and self.next != until:
            if self.next == "/":
                self.take()
                over = _bare(product[0]) if len(product) == 1 else done()
                product = [rf"\frac{{{over}}}{{{_bare(self.factor())}}}"]
            elif self.next in "+-=<>,." or self.next in ("<-", "<=", ">="):
                found += [done(), _SIGNS.get(self.next, self.next)]
                product = []
                self.take()
            else:
                product.append(self.factor())
        return " ".join([*found, done()])

    def factor(self) -> str:
        token = self.take()
        if token in "([":
            inside = self.all(")" if token == "(" else "]")
            self.close()
            made = f"({inside})"
        elif token == "|":
            made = rf"|{self.all('|')}|"
            self.close()
        elif token == "sqrt" and self.next == "(":
            self.take()
            made = rf"\sqrt{{{self.all(')')}}}"
            self.close()
        elif re.fullmatch(r"d\w*/d\w+", token):
            above, below = token.split("/")
            made = rf"\frac{{d {_name(above[1:])}}}{{d {_name(below[1:])}}}" if above != "d" else _name(token)
        else:
            made = _SIGNS.get(token) or _name(token)
        while self.next == "^":
            self.take()
            made = rf"{{{made}}}^{{{_bare(self.factor())}}}"
        return made

    def close(self) -> None:
        if self.next:
            self.take()


def _bare(text: str) -> str:
    """A factor without its parentheses: a fraction's line does without."""
    if text.startswith("(") and text.endswith(")"):
        depth = [text[: k + 1].count("(") - text[: k + 1].count(")") for k in range(len(text))]
        if 0 not in depth[:-1]:
            return text[1:-1]
    return text


def _name(token: str) -> str:
    """A number, or a name with its subscript."""
    if not token[:1].isalpha():
        return token
    prime, token = ("'" if token.endswith("'") else ""), token.rstrip("'")
    head, _, below = token.partition("_")
    if below in _GREEK and head not in _GREEK:  # adapt_tau
        head, below = below, head
    if head == "sum":
        base = r"\sum "
    elif head in _GREEK or head in _FUNCTIONS:
        base = rf"\{head} "
    else:
        base = head if len(head) == 1 else rf"\mathrm{{{head}}}"
        if len(head) == 2 and head[0] == "d" and not below:
            base = f"d {head[1]}"
    under = rf"_{{\mathrm{{{below.replace('_', ',')}}}}}" if below else ""
    return base + prime + under if not prime else f"{{{base}{under}}}{prime}"


def mathml(text: str, *, block: bool = False) -> str:
    """MathML of TeX. It needs the package ``latex2mathml``."""
    from latex2mathml.converter import convert

    made: str = convert(" ".join(text.split()), display="block" if block else "inline")
    # Python-Markdown looks into inline HTML, where nothing may mean something to it, and begins a paragraph at <math>.
    made = made.replace("*", "&#x2217;").replace("_", "&#x5f;").replace("`", "&#x60;")
    return f"<div>{made}</div>" if block else f"<span>{made}</span>"


def with_equations(docstring: str) -> str:
    """A docstring whose equations are MathML."""

    def drawn(match: re.Match[str]) -> str:
        inside = match.group(1)
        return mathml(tex(inside)) if is_equation(inside) else match.group(0)

    return _CODE.sub(drawn, docstring)


def with_tex(markdown: str) -> str:
    """Markdown whose ``$...$`` and ``$$...$$`` are MathML."""

    def drawn(block: bool) -> Callable[[re.Match[str]], str]:
        return lambda match: mathml(match.group(1), block=block)

    markdown = re.sub(r"\$\$(.+?)\$\$", drawn(True), markdown, flags=re.DOTALL)
    return re.sub(r"(?<![\w\\`])\$([^$`]+?)\$(?!\w)", drawn(False), markdown)
