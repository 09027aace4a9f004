"""Development: regions mature one after the other, each with its task, under rules that grow and prune edges."""

from typing import TYPE_CHECKING

from connectome.lazy import names_from

if TYPE_CHECKING:
    from connectome.development.birth import Anatomy
    from connectome.development.configuration import Configuration, plan_stages, read_configuration
    from connectome.development.links import LinkEvolution
    from connectome.development.stage import LearningRates, Progress, Stage, StageOutcome, StageState
    from connectome.development.stages import develop, perform

__all__ = [
    "Anatomy",
    "Configuration",
    "LearningRates",
    "LinkEvolution",
    "Progress",
    "Stage",
    "StageOutcome",
    "StageState",
    "develop",
    "perform",
    "plan_stages",
    "read_configuration",
]  # fmt: skip

__getattr__ = names_from(
    __name__,
    {
        "connectome.development.birth": ["Anatomy"],
        "connectome.development.configuration": ["Configuration", "plan_stages", "read_configuration"],
        "connectome.development.links": ["LinkEvolution"],
        "connectome.development.stage": ["LearningRates", "Progress", "Stage", "StageOutcome", "StageState"],
        "connectome.development.stages": ["develop", "perform"],
    },
)
