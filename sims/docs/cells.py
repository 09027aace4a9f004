"""Scripts in percent cells: read, run cell by cell with what each printed and drew, written as a page or a notebook."""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

__all__ = ["ROOT", "Cell", "Done", "as_notebook", "as_page", "execute", "read_cells"]

#: The repository.
ROOT: Final = Path(__file__).resolve().parents[2]
_MARK: Final = re.compile(r"^# %%(?P<markdown> \[markdown\])?.*\n", re.MULTILINE)


class Cell(NamedTuple):
    """A cell: text, or code and the line of the file that it begins at."""

    kind: Literal["markdown", "code"]
    text: str
    line: int


class Done(NamedTuple):
    """A cell that was run: what it printed, and its pictures (PNG)."""

    cell: Cell
    printed: str = ""
    pictures: tuple[bytes, ...] = ()


def read_cells(script: str) -> list[Cell]:
    """The cells of a script. Text is a string in triple quotes, or comments."""
    marks = [*_MARK.finditer(script)]
    ends = [*(mark.start() for mark in marks[1:]), len(script)]
    found: list[Cell] = []
    for mark, end in zip(marks, ends, strict=True):
        here = script[mark.end() : end]
        text = here.strip("\n")
        line = script.count("\n", 0, mark.end()) + 1 + len(here) - len(here.lstrip("\n"))
        if not mark["markdown"]:
            found.append(Cell("code", text, line))
        elif text.startswith('"""'):
            found.append(Cell("markdown", ast.literal_eval(f"r{text}").strip(), line))
        else:
            found.append(Cell("markdown", re.sub(r"^# ?", "", text, flags=re.MULTILINE).strip(), line))
    return found


def execute(path: Path) -> Iterator[Done]:
    """Run a script in the current folder, cell by cell, as a notebook would: the value of a cell's last expression is
    shown, a figure as a picture. What a cell raises is raised here, with its line; ``SystemExit`` ends the script with
    its message as output."""
    space: dict[str, Any] = {"__name__": "__main__", "__file__": str(path)}
    for cell in read_cells(path.read_text("utf-8")):
        if cell.kind == "markdown":
            yield Done(cell)
            continue
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                value = _run(cell, path, space)
        except SystemExit as end:
            yield Done(cell, f"{printed.getvalue()}{end}\n")
            return
        if hasattr(value, "savefig"):
            picture = io.BytesIO()
            value.savefig(picture, format="png", dpi=110, metadata={"Software": None})
            yield Done(cell, printed.getvalue(), (picture.getvalue(),))
        else:
            shown = "" if value is None else f"{value!r}\n"
            yield Done(cell, printed.getvalue() + shown)


def _run(cell: Cell, path: Path, space: dict[str, Any]) -> Any:
    """The value of the last expression, if the cell ends in one."""
    body = ast.parse("\n" * (cell.line - 1) + cell.text, str(path)).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), str(path), "exec", dont_inherit=True), space)
    if not isinstance(last, ast.Expr):
        return None
    return eval(compile(ast.Expression(last.value), str(path), "eval", dont_inherit=True), space)


def as_page(done: Sequence[Done], pictures: str) -> tuple[str, dict[str, bytes]]:
    """Markdown, and the pictures that it shows by name; ``pictures`` begins their names."""
    parts: list[str] = []
    shown: dict[str, bytes] = {}
    for cell, printed, drawn in done:
        parts.append(cell.text if cell.kind == "markdown" else _fenced("python", cell.text))
        if printed.strip():
            parts.append(_fenced("text", printed.rstrip()))
        for picture in drawn:
            name = f"{pictures}{len(shown) or ''}.png"
            shown[name] = picture
            parts.append(f"![The picture that this cell draws]({name})")
    return "\n\n".join(parts) + "\n", shown


def as_notebook(done: Sequence[Done]) -> str:
    """A Jupyter notebook, format 4.5, outputs in."""
    cells = []
    for number, (cell, printed, pictures) in enumerate(done):
        text = cell.text if cell.kind == "code" else re.sub(r"\((\w+)\.md\)", r"(\1.ipynb)", cell.text)
        made: dict[str, Any] = {"id": f"cell{number}", "cell_type": cell.kind, "metadata": {}, "source": text}
        if cell.kind == "code":
            outputs: list[dict[str, Any]] = []
            if printed:
                outputs.append({"output_type": "stream", "name": "stdout", "text": printed})
            for picture in pictures:
                data = {"image/png": base64.b64encode(picture).decode()}
                outputs.append({"output_type": "display_data", "data": data, "metadata": {}})
            made |= {"execution_count": None, "outputs": outputs}
        cells.append(made)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return json.dumps(
        {
            "cells": cells, "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}}, "nbformat": 4,
            "nbformat_minor": 5,
        },
        indent=1,
    ) + os.linesep  # fmt: skip


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"
