"""Tutorials: scripts in cells (``# %%``), each from nothing to a picture in under two minutes on two cores.

Run one with ``python -m sims.tutorials.develop_and_look``, step through it in an editor that knows cells, or build the
notebooks, outputs included, with ``python -m sims.docs --notebooks FOLDER``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from connectome.errors import ConnectomeError

if TYPE_CHECKING:
    from types import TracebackType

    from matplotlib.figure import Figure

__all__ = ["ORDER", "SMALL", "picture", "size"]

#: In the order in which they are best read.
ORDER: Final = (
    "develop_and_look", "your_own_connectome", "train_in_your_own_loop", "write_your_own", "reproduce_a_paper",
    "compare_with_biology", "development_as_data", "scale_out",
)  # fmt: skip
#: The environment variable that makes every tutorial small, for tests and for a quick build of the site.
SMALL: Final = "CONNECTOME_TUTORIALS_SMALL"

T = TypeVar("T")


def size(full: T, small: T) -> T:
    """A number of the tutorial's: ``full`` as a reader runs it, ``small`` where :data:`SMALL` is set."""
    return small if os.environ.get(SMALL) else full


def picture(figure: Figure, name: str) -> Figure:
    """Save a figure as ``runs/tutorials/NAME.png`` and give it back, so that a notebook shows it."""
    path = Path("runs", "tutorials", f"{name}.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print(f"Picture: {path}")
    return figure


def _in_a_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, ConnectomeError):
        print(f"python -m sims.tutorials: {error}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if sys.argv[0] == "-m":  # which it is while `python -m` imports the package of the script that it will run
    sys.excepthook = _in_a_line
