"""Learning on the propagator: a connectome as a torch module, and what a task is."""

from connectome.graph.parts import TIED
from connectome.learning.network import BatchActivity, SpikingNetwork
from connectome.learning.task import Act, Score, Task

__all__ = ["TIED", "Act", "BatchActivity", "Score", "SpikingNetwork", "Task"]
