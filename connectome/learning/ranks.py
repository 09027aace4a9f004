"""Data-parallel training: the processes that torchrun has started share each batch, and act alike on what it gave.

Every rank holds the whole connectome and draws the whole batch; each trains on its part. Gradients, counts and losses
are summed over ranks, so that what follows of them (changes of weights, importance, rules) is the same on each. For one
number of ranks results are the same bytes; for another one they differ in the last bits, as sums are taken in another
order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from connectome.errors import ConnectomeError

__all__ = ["ALONE", "Ranks", "joined"]


@dataclass(frozen=True)
class Ranks:
    """This process's number, from 0, and how many there are."""

    rank: int = 0
    size: int = 1

    def part(self, batch: Any, samples: int) -> Any:
        """What this rank has of a batch: of each tensor in it whose first dimension is ``samples``, every
        ``size``-th sample. Raises :class:`ConnectomeError` for fewer samples than ranks."""
        if self.size == 1:
            return batch
        if samples < self.size:
            raise ConnectomeError("training.batch", f"must be {self.size} or more, a sample for each rank", samples)
        return self._part(batch, samples)

    def _part(self, value: Any, samples: int) -> Any:
        if isinstance(value, Tensor):
            return value[self.rank :: self.size].contiguous() if value.ndim and len(value) == samples else value
        if isinstance(value, Mapping):
            return {name: self._part(of, samples) for name, of in value.items()}
        return type(value)(self._part(of, samples) for of in value) if isinstance(value, (tuple, list)) else value

    def weight(self, samples: int) -> float:
        """By which the mean over this rank's part counts in the mean over the batch."""
        return len(range(self.rank, samples, self.size)) / samples

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Put the sum over ranks in the place of each tensor; all are of one type and device. Raises
        :class:`ConnectomeError` if a rank is lost."""
        if self.size == 1 or not tensors:
            return
        whole = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _all_there():
            dist.all_reduce(whole)
        for tensor, part in zip(tensors, torch.split(whole, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.reshape(tensor.shape))

    def any(self, is_so: bool) -> bool:
        """Whether it is so on any rank; all ask at once."""
        if self.size == 1:
            return is_so
        found = torch.tensor([float(is_so)], device="cuda" if dist.get_backend() == "nccl" else "cpu")
        self.add_up([found])
        return bool(found.item())

    def given(self, value: Any) -> Any:
        """What rank 0 has, on every rank; what the others have is not looked at."""
        if self.size == 1:
            return value
        found = [value]
        with _all_there():
            dist.broadcast_object_list(found)
        return found[0]


#: A process that shares nothing.
ALONE = Ranks()


@contextmanager
def joined(device: str = "cpu") -> Iterator[Ranks]:
    """In the block, the ranks of the job of torchrun that this process is of, over gloo, or NCCL where ``device`` is a
    GPU: that of its local number is the current one then. On a CPU each takes its share of the machine's cores. A
    process that torchrun did not start is alone."""
    if "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("WORLD_SIZE") == "1":
        yield ALONE
        return
    here, of = (int(os.environ[name]) for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    if torch.device(device).type == "cuda":
        torch.cuda.set_device(here)
    elif hasattr(os, "sched_setaffinity"):
        mine = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, mine[here % len(mine) :: of])
    dist.init_process_group("nccl" if torch.device(device).type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


@contextmanager
def _all_there() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of gloo and NCCL, when a connection ends
        raise ConnectomeError("torchrun", "must keep all its processes", "one that is lost") from error
