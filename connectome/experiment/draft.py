"""A draft specification for a connectome, using the columns that it has."""

from __future__ import annotations

from typing import Final

import numpy as np

from connectome.errors import ConnectomeError
from connectome.experiment.physiology import TRANSMITTER_COLUMNS
from connectome.graph.connectome import Connectome
from connectome.graph.parts import Region

__all__ = ["draft"]

_MOST_VALUES: Final = 60
_SHOWN: Final = 6
#: What tables call the column that a draft goes by.
_CLASSES: Final[tuple[str, ...]] = ("class", "cell_class", "super_class", "type", "cell_type")


def draft(connectome: Connectome, name: str) -> str:
    """TOML that runs as it is: the rarest class is stimulated, then in a second condition the most common one is also
    silenced. Raises :class:`ConnectomeError` if there is nothing to stimulate."""
    columns = _columns(connectome)
    usable = {column: values for column, values in columns.items() if 2 <= len(values) <= _MOST_VALUES}
    by = next((c for c in _CLASSES if c in usable), None)
    by = by or next((c for c in usable if c not in TRANSMITTER_COLUMNS), None)
    if by:
        other, *_, first = (f"{by} == {value!r}" for value in usable[by])  # few are stimulated
    else:
        region = next((r for r in connectome.regions.values() if r.role == "neuron" and r.size), None)
        if region is None:
            raise ConnectomeError("regions", "must hold neurons, to be stimulated", "only sensors or effectors")
        few = max(1, region.size // 50)
        first = f"region == {region.name!r} and index < {few}"
        other = f"region == {region.name!r} and {few} <= index < {2 * few}"
    has_transmitter = any(column in columns for column in TRANSMITTER_COLUMNS)
    signed = any((e.weight < 0).any() for e in connectome.edges.values())
    about = [
        f"#   {c}: {', '.join(values[:_SHOWN])}{', ...' if len(values) > _SHOWN else ''}"
        for c, values in columns.items()
    ]
    return "\n".join([
        "# An experiment: change what follows, then",
        "#   python -m sims.experiment THIS-FILE --dry-run",
        "#",
        "# Cells are found by queries: \"class == 'KC' and side == 'left'\". Text columns here:",
        *(about or ["#   none but region and label"]),
        "",
        f"connectome = {_text(name)}",
        "duration_ms = 1000",
        "seeds = 10",
        "",
        "[physiology]  # how synapse counts become a live network; leave it out for a live one",
        'preset = "shiu2024"',
        *([] if has_transmitter or signed else ['sign_by = ""  # no column says what cells release: all excite']),
        "",
        "[readouts]",
        f"by = [{', '.join(_text(c) for c in dict.fromkeys(['region', *([by] if by else [])]))}]",
        "",
        "[condition.stimulated]",
        f"stimulate = [{{cells = {_text(first)}, rate_hz = 150, from_ms = 100, to_ms = 900}}]",
        "",
        "[condition.silenced]  # also: lesion, hold, cut, scale",
        'from = "stimulated"',
        f"silence = {_text(other)}",
        "",
        "# [sweep]",
        f"# silence_each = {_text(other)}",
        "",
        "# [paths]",
        f"# to = {_text(other)}",
        "",
    ])  # fmt: skip


def _columns(connectome: Connectome) -> dict[str, list[str]]:
    """Attribute of texts -> its values, the most common first."""
    names = sorted({n for r in connectome.regions.values() for n, a in r.attributes.items() if a.names is not None})
    found = {}
    for name in names:
        count: dict[str, int] = {}
        for r in connectome.regions.values():
            for value, n in _counted(r, name).items():
                count[value] = count.get(value, 0) + n
        found[name] = sorted(count, key=lambda value: (-count[value], value))
    return found


def _counted(r: Region, name: str) -> dict[str, int]:
    attribute = r.attributes.get(name)
    if attribute is None or attribute.names is None:
        return {}
    n = np.bincount(attribute.values, minlength=len(attribute.names))
    return {value: int(k) for value, k in zip(attribute.names, n, strict=True) if value and k}


def _text(text: str) -> str:
    """The text as a TOML string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
