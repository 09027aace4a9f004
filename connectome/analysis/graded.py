"""Cells that do not fire: how far a potential spreads over graded chemical synapses and gap junctions.

The potentials v of N cells, linearised about rest, with every conductance in units of a leak of 1:

    tau dv_i/dt = -leak_i v_i + chemical_gain * sum_j w_ji v_j + electrical_gain * sum_j g_ij (v_j - v_i) + current_i

``w_ji`` is the signed weight of the chemical edge from j to i: what i gets is proportional to the potential of j, not
to spikes. ``g_ij`` is the weight of the gap junctions between i and j: current flows both ways, by the difference. A
steady current leads to ``v = (leak + electrical_gain L - chemical_gain W)^-1 current`` with L the Laplacian of gap
junctions, if the cells settle at all; where excitation outweighs the leak they do not, and there is no such v.

What :func:`connectome.analysis.influence.effective_connectivity` counts edge by edge is here summed over walks of any
length, with conductances in place of shares of input.

>>> from connectome.analysis.simple_graph import SimpleGraph
>>> chemical = SimpleGraph.from_arrays(3, [0], [1], [1.0])                          # cell 0 excites cell 1
>>> junctions = SimpleGraph.from_arrays(3, [1, 2], [2, 1], [1.0, 1.0])              # which is joined to cell 2
>>> spread(chemical, junctions, [0], chemical_gain=0.5).round(3).tolist()
[[1.0, 0.333, 0.167]]
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.analysis.simple_graph import SimpleGraph, symmetric_share
from connectome.arrays import freeze
from connectome.errors import ConnectomeError

__all__ = ["comes_to_rest", "dense", "spread", "steady_state"]

Floats = NDArray[np.float64]
#: Matrices are N x N.
MAX_CELLS: Final = 4096


def steady_state(
    chemical: SimpleGraph, electrical: SimpleGraph, current: ArrayLike, *, chemical_gain: float = 1.0,
    electrical_gain: float = 1.0, leak: ArrayLike = 1.0,
) -> Floats:  # fmt: skip
    """(S, N) the steady potentials under each of (S, N) steady currents.

    ``chemical`` and ``electrical`` have the same nodes; ``leak`` is a number > 0 or one for each cell. Raises
    :class:`ConnectomeError` for gap junctions that do not conduct both ways alike or have weights below 0, and for
    cells that do not settle: the message gives the largest eigenvalue.
    """
    matrix = _slope(chemical, electrical, chemical_gain, electrical_gain, leak)
    if not _rests(matrix):
        largest = _largest(matrix)
        raise ConnectomeError(
            "chemical_gain", "must let the cells settle: the largest eigenvalue must be below 0",
            f"{largest:.3g} at a gain of {chemical_gain:g}", "Take a smaller gain, or a larger leak.",
        )  # fmt: skip
    given = freeze("current", np.atleast_2d(np.asarray(current, float)), np.float64, (None, chemical.n))
    found: Floats = np.linalg.solve(-matrix, given.T).T
    return found


def spread(
    chemical: SimpleGraph, electrical: SimpleGraph, cells: ArrayLike, *, chemical_gain: float = 1.0,
    electrical_gain: float = 1.0, leak: ArrayLike = 1.0,
) -> Floats:  # fmt: skip
    """(S, N) the steady potential of each of N cells when a current flows into one, as a fraction of that cell's, for
    each of S cells in turn. As :func:`steady_state`; raises :class:`ConnectomeError`."""
    at = np.asarray(cells)
    if at.ndim != 1 or at.dtype.kind not in "iu" or (at.size and not 0 <= at.min() <= at.max() < chemical.n):
        raise ConnectomeError("cells", f"must be nodes in 0 .. {chemical.n - 1}", f"{cells!r:.80}")
    current = np.zeros((at.size, chemical.n))
    current[np.arange(at.size), at] = 1.0
    found = steady_state(
        chemical, electrical, current, chemical_gain=chemical_gain, electrical_gain=electrical_gain, leak=leak
    )
    share: Floats = found / found[np.arange(at.size), at][:, None]
    return share


def comes_to_rest(
    chemical: SimpleGraph, electrical: SimpleGraph, *, chemical_gain: float = 1.0, electrical_gain: float = 1.0,
    leak: ArrayLike = 1.0,
) -> bool:  # fmt: skip
    """Whether a disturbance of the cells dies out: the real part of every eigenvalue of their dynamics is below 0.
    Raises :class:`ConnectomeError` as :func:`steady_state` does, except for cells that do not settle."""
    return _rests(_slope(chemical, electrical, chemical_gain, electrical_gain, leak))


def dense(graph: SimpleGraph) -> Floats:
    """(N, N) weights, row = source. Raises :class:`ConnectomeError` for a graph too large."""
    if graph.n > MAX_CELLS:
        raise ConnectomeError("graph", f"must have at most {MAX_CELLS:,} nodes", f"{graph.n:,}")
    found = np.zeros((graph.n, graph.n))
    found[graph.source, graph.target] = graph.weight
    return found


def _slope(
    chemical: SimpleGraph, electrical: SimpleGraph, chemical_gain: float, electrical_gain: float, leak: ArrayLike
) -> Floats:
    """(N, N) the matrix that multiplies v in tau dv/dt."""
    if chemical.n != electrical.n:
        raise ConnectomeError("electrical", f"must have the {chemical.n} nodes of chemical", electrical.n)
    if (electrical.weight < 0).any() or symmetric_share(electrical) < 1:
        raise ConnectomeError(
            "electrical", "must have weights of 0 or more, the same both ways", "others",
            "A gap junction conducts both ways: an edge there and one back.",
        )  # fmt: skip
    for name, gain in (("chemical_gain", chemical_gain), ("electrical_gain", electrical_gain)):
        if not 0 <= gain < np.inf:
            raise ConnectomeError(name, "must be finite and >= 0", gain)
    leaks: NDArray[Any] = np.asarray(leak, float)
    if leaks.shape not in ((), (chemical.n,)) or not ((leaks > 0) & np.isfinite(leaks)).all():
        raise ConnectomeError("leak", "must be a finite number > 0, or one for each cell", f"{leak!r:.80}")
    junctions = electrical_gain * dense(electrical)
    found: Floats = chemical_gain * dense(chemical).T + junctions - np.diag(leaks + junctions.sum(1))
    return found


def _rests(matrix: Floats) -> bool:
    # No eigenvalue is further to the right than those of the symmetric part, which are found in a tenth of the time.
    bound = np.linalg.eigvalsh((matrix + matrix.T) / 2).max(initial=-np.inf)
    return bool(bound < 0 or _largest(matrix) < 0)


def _largest(matrix: Floats) -> float:
    from scipy.linalg import eigvals  # several times as fast as NumPy's

    return float(eigvals(matrix).real.max(initial=-np.inf)) if matrix.size else -np.inf
