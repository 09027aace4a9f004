"""Images that are corrupted, for networks that adapt to them without labels.

Kinds after Hendrycks & Dietterich (2019, arXiv 1903.12261), in units of the image, so that a severity means the same
for images of any size; the strengths are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from connectome.datasets.tasks import Perception
from connectome.errors import ConnectomeError
from connectome.learning.network import BatchActivity

__all__ = ["CORRUPTIONS", "Adaptation", "Corrupted", "corrupt", "entropy"]

Array = NDArray[np.float32]


def _noise(image: Array, severity: float, rng: np.random.Generator) -> Any:
    return image + rng.normal(0, 0.5 * severity, image.shape)


def _blur(image: Array, severity: float, rng: np.random.Generator) -> Any:
    width = 0.15 * severity * np.array(image.shape[1:3])
    return ndimage.gaussian_filter(image, (0, *width, *(0,) * (image.ndim - 3)))


def _impulse(image: Array, severity: float, rng: np.random.Generator) -> Any:
    drawn = rng.random(image.shape)
    return np.where(drawn < 0.3 * severity, np.where(drawn < 0.15 * severity, 0, 1), image)


def _brightness(image: Array, severity: float, rng: np.random.Generator) -> Any:
    return image + 0.5 * severity


def _contrast(image: Array, severity: float, rng: np.random.Generator) -> Any:
    mean = image.mean(tuple(range(1, image.ndim)), keepdims=True)
    return mean + (image - mean) * (1 - 0.8 * min(severity, 1.25))


def _rotation(image: Array, severity: float, rng: np.random.Generator) -> Any:
    return ndimage.rotate(image, 30 * severity, axes=(2, 1), reshape=False, order=1)


#: Kind -> what it makes of images, of its severity: the standard deviation of noise, 0.5 of white; of blur, 0.15 of the
#: image; the share of pixels that become black or white, 0.3; 0.5 brighter; 0.8 of the contrast gone; turned by 30
#: degrees. Each is at a severity of 1, and nothing at 0.
CORRUPTIONS: Final[Mapping[str, Callable[[Array, float, np.random.Generator], Any]]] = MappingProxyType(
    {
        "noise": _noise, "blur": _blur, "impulse": _impulse, "brightness": _brightness, "contrast": _contrast,
        "rotation": _rotation,
    }
)  # fmt: skip


def corrupt(image: Array, kind: str, severity: float, rng: np.random.Generator) -> Array:
    """(B, height, width[, 3]) images in 0 .. 1, corrupted: see :data:`CORRUPTIONS`. Raises :class:`ConnectomeError` for
    an unknown kind and a severity below 0."""
    if kind not in CORRUPTIONS:
        raise ConnectomeError("corruption", f"must be among {', '.join(CORRUPTIONS)}", repr(kind))
    if not 0 <= severity < np.inf:
        raise ConnectomeError("severity", "must be finite and at least 0", severity)
    return np.asarray(CORRUPTIONS[kind](image, severity, rng).clip(0, 1), np.float32)


def entropy(logits: Tensor) -> Tensor:
    """(B,) entropy of the softmax of logits (B, K), in 0 .. ln K."""
    p = logits.log_softmax(1)
    return -(p.exp() * p).sum(1)


@dataclass(frozen=True, eq=False)
class Corrupted(Perception):
    """Perception of corrupted images, with their labels: what :class:`Perception` takes, and

    Parameters
    ----------
    corruption : one of :data:`CORRUPTIONS`
    severity : 0: none
    """

    corruption: str = "noise"
    severity: float = 1.0

    def _spikes_of(self, image: NDArray[Any], rng: np.random.Generator) -> Tensor:
        return super()._spikes_of(corrupt(image, self.corruption, self.severity, rng), rng)


@dataclass(frozen=True, eq=False)
class Adaptation(Corrupted):
    """Test-time adaptation: corrupted images without labels. The loss is the mean entropy of what is said to them
    (Tent: Wang et al. 2021, arXiv 2006.10726); scores go by labels.

    By default its region is a side region: it sees the image and is linked with perception, which answers by its
    effector. With the ``name`` of a region that is there and nothing ``earlier``, that region adapts alone, in a loop
    of one's own.

    Parameters
    ----------
    below : only samples count whose entropy is below this part of ln K (EATA: Niu et al. 2022, arXiv 2204.02610)
    strength : of the entropy in the loss; 0: all that is learnt comes from what is added to it
    """

    name: str = "adaptation"
    earlier: tuple[str, ...] = ("perception",)
    below: float = 1.0
    strength: float = 1.0
    has_labels: ClassVar = False

    @property
    def effectors(self) -> Mapping[str, int]:
        """None of its own, if it has earlier regions."""
        return {} if self.earlier else super().effectors

    @property
    def record(self) -> tuple[str, ...]:
        """The earlier regions, whose activity may be kept as it was."""
        return self.earlier

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Mapping[str, Tensor], Any]:
        """Corrupted training images, and nothing besides."""
        return super().batch(rng, size)[0], None

    def loss(self, activity: BatchActivity, target: Any) -> Tensor:
        """The entropy: no label is asked for."""
        logits = self.outputs(activity)
        found = entropy(logits)
        sure = (found <= self.below * np.log(logits.shape[1])).to(found)
        loss: Tensor = self.strength * (sure * found).sum() / torch.clamp(sure.sum(), min=1)
        return loss
