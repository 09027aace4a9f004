"""A memory of surprising samples, written at once: a hippocampal region of which each neuron is one sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.development.birth import NEURON, weight_to_threshold_pa
from connectome.graph.connectome import Connectome, Edit, RuleRecord
from connectome.graph.parts import EdgeKey, EdgeSet, Region
from connectome.graph.tables import kind_between
from connectome.parameters import Parameters, bounded

__all__ = ["WRITTEN", "OneShot"]

#: The state of a neuron of the memory: which writing it holds, from 1; 0 if it is free.
WRITTEN = "written"


@dataclass(frozen=True)
class OneShot(Parameters):
    """A cue -> neuron -> content memory that learns in one shot, as hippocampal CA3 does (Casanueva-Morato et al. 2023,
    arXiv 2310.05868), of samples alone that surprise (as TRC2's, Khadangi 2026, arXiv 2602.22479, writes). Each sample
    gets a neuron, the free or the oldest one. With spike counts c of the cue its afferent weights are
    ``match W c_i / |c|^2``, so that the same cue delivers ``match W`` in all and one without a common spike nothing; W
    is the weight that takes a neuron to its threshold. It leads to each unit of its content with ``recall W``.

    Ours: edges are written where the circuit of CA3 has all-to-all STDP, and cues are real samples.

    Parameters
    ----------
    cells : neurons
    surprise : standard deviations above its running mean from which a loss surprises
    match, recall : see above
    """

    cells: int = bounded(100, 1, 2**20)
    surprise: float = bounded(1.0, -100, 100)
    match: float = bounded(8.0, 0)
    recall: float = bounded(1.0, 0)

    paper: ClassVar = "Casanueva-Morato et al. 2023, arXiv 2310.05868"

    def surprising(self, loss: ArrayLike, mean: float, std: float) -> NDArray[np.bool_]:
        """(B,) which samples, of their losses and what is known of earlier ones."""
        return np.asarray(np.asarray(loss) > mean + self.surprise * std)

    def region(self, name: str, stage: int = 0) -> Region:
        """The region of the memory, with nothing in it."""
        sign = np.ones(self.cells, np.int8)
        return Region(
            name,
            self.cells,
            "neuron",
            NEURON,
            sign=sign,
            birth_stage=stage,
            state={WRITTEN: np.zeros(self.cells, np.float32)},
        )

    def write(
        self, connectome: Connectome, name: str, source: str, target: str, cue: ArrayLike, content: ArrayLike
    ) -> Edit:
        """The edit that writes (B, n) spike counts of a source and (B, m) bool units of a target into the region of
        this name; of more samples than it has neurons, the last."""
        memory, heard, told = (connectome.regions[region] for region in (name, source, target))
        cues, contents = np.asarray(cue, np.float64)[-self.cells :], np.asarray(content, bool)[-self.cells :]
        written = memory.state[WRITTEN].copy()
        cells = np.argsort(written, kind="stable")[: len(cues)]
        written[cells] = written.max(initial=0) + 1 + np.arange(len(cells))
        keys = [EdgeKey(a.name, kind_between(a, b), b.name) for a, b in ((heard, memory), (memory, told))]
        here = {key: connectome.edges[key] for key in keys if key in connectome.edges}
        remove = {k: np.isin(e.target if k.target == name else e.source, cells) for k, e in here.items()}
        sample, unit = np.nonzero(cues)
        w_pa = self.match * weight_to_threshold_pa(NEURON) * cues / np.maximum(np.square(cues).sum(1), 1)[:, None]
        of, bit = np.nonzero(contents)
        delay_ms, stage = connectome.dt_ms, connectome.provenance.stage
        add = tuple(
            EdgeSet.from_arrays(
                key, s, t, w, n_source=a.size, n_target=b.size, dt_ms=delay_ms, delay_ms=delay_ms, birth_stage=stage
            )
            for key, a, b, s, t, w in (
                (keys[0], heard, memory, unit, cells[sample], w_pa[sample, unit]),
                (keys[1], memory, told, cells[of], bit, self.recall * weight_to_threshold_pa(NEURON)),
            )
        )
        removed = {key: int(mask.sum()) for key, mask in remove.items()}
        records = tuple(
            RuleRecord(stage, 0, "one_shot", *e.key, added=len(e), removed=removed.get(e.key, 0)) for e in add
        )
        return Edit(region_state={name: {WRITTEN: written}}, remove=remove, add=add, records=records)
