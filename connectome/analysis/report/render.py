"""What makes every page: a template in the frame of ``page.html``, with its data, styles and scripts in one file."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np

__all__ = ["packed", "rendered", "to_json"]


def rendered(
    name: str, parts: Mapping[str, Any], payload: Mapping[str, Any], sections: Sequence[tuple[str, str, object]],
    scripts: Sequence[str] = (),
) -> str:  # fmt: skip
    """The page ``templates/NAME.html``, with the script ``NAME.js``. The same input gives the same text.

    Parameters
    ----------
    parts : what the template shows
    payload : what the scripts draw
    sections : id, title, and whether it is there, of each section that the page may have
    scripts : names of those that ``NAME.js`` builds on, besides ``charts.js``
    """
    # Imported here, so that importing the library does not need them.
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    import connectome

    templates = Environment(
        loader=PackageLoader("connectome.analysis.report"), autoescape=True, trim_blocks=True, undefined=StrictUndefined
    )
    folder = resources.files("connectome.analysis.report") / "templates"
    plotly = get_plotlyjs().replace("</script", "<\\/script")
    used = ("charts.js", *scripts, f"{name}.js")
    html = templates.get_template(f"{name}.html").render(
        parts, version=connectome.__version__, size="@size@", payload=Markup(to_json(payload)), plotly=Markup(plotly),
        sections=[(id_, title) for id_, title, there in sections if there],
        css=Markup((folder / "report.css").read_text("utf-8")),
        script=Markup("".join((folder / script).read_text("utf-8") for script in used)),
    )  # fmt: skip
    mb, of_plotly = len(html.encode()) / 1e6, len(plotly.encode()) / 1e6
    return html.replace("@size@", f"It has {mb:.1f} MB, {of_plotly:.1f} of them the script that draws.", 1)


def to_json(payload: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(payload, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def packed(values: Any, dtype: type | None = None) -> dict[str, str]:
    """Numbers for the page's script: little-endian, in base64; whole numbers, unless a type is given, in as few bytes
    as hold them."""
    array = np.asarray(values)
    if dtype is None:
        low, high = int(array.min(initial=0)), int(array.max(initial=0))
        dtype = np.int32 if low < 0 or high > 65_535 else np.uint16 if high > 255 else np.uint8
    array = np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("<"))
    return {"type": np.dtype(dtype).name, "data": base64.b64encode(array.tobytes()).decode("ascii")}
