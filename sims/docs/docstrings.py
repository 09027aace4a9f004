"""Docstrings as the site shows them, for mkdocstrings: roles as code, equations as MathML."""

from __future__ import annotations

import re
from typing import Any

import griffe

from sims.docs.equations import with_equations

__all__ = ["Plain", "plain"]

_ROLE = re.compile(r":\w+:`~?([\w.]*?)(\w+)`")
_EXAMPLE = re.compile(r"^>>> ", re.MULTILINE)
_SECTION = re.compile(r"^(Parameters|Raises|Returns)\n-{3,}\n((?:.+\n?)*)", re.MULTILINE)
_ITEM = re.compile(r"^(\S.*?) : ", re.MULTILINE)


def plain(docstring: str) -> str:
    """A docstring in Markdown."""
    text = with_equations(_ROLE.sub(r"`\2`", _SECTION.sub(_listed, docstring)))
    blocks = re.split(r"\n{2,}", text)
    return "\n\n".join(f"```pycon\n{b}\n```" if _EXAMPLE.match(b) else b for b in blocks)


def _listed(section: re.Match[str]) -> str:
    """A section as a list. Its lines say ``names : what they are``; types are in the signature."""
    items = _ITEM.sub(lambda m: f"- {', '.join(f'`{name}`' for name in m.group(1).split(', '))}: ", section.group(2))
    return f"**{section.group(1)}**\n\n{items}"


class Plain(griffe.Extension):  # type: ignore[misc] # griffe is not there where types are checked
    """Rewrites every docstring that is read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """See griffe."""
        if obj.docstring:
            obj.docstring.value = plain(obj.docstring.value)
