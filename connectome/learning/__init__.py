"""Learning on the propagator: a connectome as a torch module, and what a task is."""

from connectome.graph.parts import TIED
from connectome.learning.network import BatchActivity, SpikingNetwork
from connectome.learning.state import NetworkState
from connectome.learning.task import Act, Score, Task
from connectome.learning.views import WeightView

__all__ = ["TIED", "Act", "BatchActivity", "NetworkState", "Score", "SpikingNetwork", "Task", "WeightView"]
