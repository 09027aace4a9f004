"""How every page is made: a template in the frame of ``page.html``, with its data, styles and scripts in one file."""

from __future__ import annotations

import base64
import functools
import json
import zlib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np

__all__ = ["deflated", "packed", "rendered"]


def rendered(
    name: str, parts: Mapping[str, Any], payload: Mapping[str, Any], sections: Sequence[tuple[str, str, object]],
    scripts: Sequence[str] = (),
) -> str:  # fmt: skip
    """The page ``templates/NAME.html``, with the script ``NAME.js``. The same input gives the same text.

    Parameters
    ----------
    parts : what the template shows
    payload : what the scripts draw
    sections : id, title and whether it is present, for each section that the page may have
    scripts : names of the scripts that ``NAME.js`` builds on, besides ``charts.js``
    """
    # Imported here, so that importing the library does not need them.
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    import connectome

    templates = Environment(
        loader=PackageLoader("connectome.analysis.report"), autoescape=True, trim_blocks=True, undefined=StrictUndefined
    )
    folder = resources.files("connectome.analysis.report") / "templates"
    used = "".join((folder / script).read_text("utf-8") for script in ("charts.js", *scripts, f"{name}.js"))
    data = json.dumps(payload, separators=(",", ":"), allow_nan=False)
    html = templates.get_template(f"{name}.html").render(
        parts, version=connectome.__version__, size="@size@", plotly=Markup(_plotly()),
        program=Markup(deflated(f'"use strict";\nconst page = {data};\n{used}')),
        sections=[(id_, title) for id_, title, there in sections if there],
        css=Markup((folder / "report.css").read_text("utf-8")),
        unpack=Markup((folder / "unpack.js").read_text("utf-8")),
    )  # fmt: skip
    return html.replace("@size@", f"It has {len(html.encode()) / 1e6:.1f} MB.", 1)


@functools.cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return deflated(get_plotlyjs())


def deflated(script: str) -> str:
    """A script as ``unpack.js`` reads it: deflated, seven bits a character. Characters that HTML interprets or changes
    (NUL, a carriage return, ``<``) are shifted up by 256."""
    bits = np.unpackbits(np.frombuffer(zlib.compress(script.encode(), 9), np.uint8))
    letters = np.packbits(np.pad(bits, (0, -bits.size % 7)).reshape(-1, 7), axis=1) >> 1
    return letters.tobytes().decode("ascii").translate({at: at + 256 for at in (0, 13, 60)})


def packed(values: Any, dtype: type | None = None) -> dict[str, str]:
    """Numbers for the page's script: little-endian, in base64; integers in the fewest bytes that hold them, unless a
    type is given."""
    array = np.asarray(values)
    if dtype is None:
        low, high = int(array.min(initial=0)), int(array.max(initial=0))
        dtype = np.int32 if low < 0 or high > 65_535 else np.uint16 if high > 255 else np.uint8
    array = np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("<"))
    return {"type": np.dtype(dtype).name, "data": base64.b64encode(array.tobytes()).decode("ascii")}
