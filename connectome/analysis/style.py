"""One style for all pictures: colours that everyone can tell apart, and settings for matplotlib."""

from __future__ import annotations

from typing import Any, Final

import matplotlib
from cycler import cycler

__all__ = ["BLACK", "BLUE", "GREEN", "GREY", "ORANGE", "PURPLE", "SKY", "YELLOW", "styled"]

#: Of Okabe & Ito (2008), who are told apart with any kind of colour vision. Blue is for what is local or excitatory,
#: orange for what is long-range or inhibitory.
BLUE: Final = "#0072B2"
ORANGE: Final = "#D55E00"
GREEN: Final = "#009E73"
PURPLE: Final = "#CC79A7"
SKY: Final = "#56B4E9"
YELLOW: Final = "#E69F00"
BLACK: Final = "#000000"
GREY: Final = "0.3"  # of what is said beside

_STYLE: Final[dict[Any, Any]] = {
    "axes.prop_cycle": cycler(color=[BLUE, ORANGE, GREEN, PURPLE, SKY, YELLOW, BLACK]),
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": GREY, "axes.labelcolor": "0.2",
    "axes.titlelocation": "left", "axes.titlesize": 11, "axes.titleweight": "bold",
    "figure.titlesize": 13, "figure.titleweight": "bold", "font.size": 10, "image.cmap": "viridis",
    "legend.fontsize": 9, "legend.frameon": False, "lines.linewidth": 2, "text.color": "0.1",
    "xtick.color": GREY, "xtick.labelcolor": "0.2", "ytick.color": GREY, "ytick.labelcolor": "0.2",
}  # fmt: skip

#: A decorator of what draws a figure. Not for a ``with`` statement, which would do once.
styled: Final = matplotlib.rc_context(_STYLE)
