"""A device that is none: tensors on it are the CPU's, in a wrapping that says otherwise, and an operation on tensors of
both is refused as a GPU refuses it. So what is made on the wrong device is found where there is no GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

__all__ = ["pretended"]

#: Of the devices that every torch has, the one with no memory of its own.
_DEVICE = torch.device("meta")
_ANY = {"aten._to_copy.default", "aten.copy_.default"}


class _Elsewhere(torch.Tensor):
    """A CPU tensor that says it is on a GPU."""

    kept: torch.Tensor

    @staticmethod
    def __new__(cls, kept: torch.Tensor) -> _Elsewhere:
        made = torch.Tensor._make_wrapper_subclass(
            cls, kept.shape, dtype=kept.dtype, device=_DEVICE, strides=kept.stride()
        )
        made.kept = kept
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]  # as torch's guide has it
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    device = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
    here: list[torch.Tensor] = []
    there: list[torch.Tensor] = []
    tree_map_only(torch.Tensor, lambda x: (there if isinstance(x, _Elsewhere) else here).append(x), (args, kwargs))
    moved = str(func) in _ANY
    if there and not moved:
        wrong = [x for x in here if x.ndim and x.layout == torch.strided]
        # Indices may be the CPU's, but not what is indexed.
        if wrong and not (str(func).startswith("aten.index") and isinstance(args[0], _Elsewhere)):
            raise RuntimeError(f"{func}: expected all tensors on one device, found {tuple(wrong[0].shape)} on the CPU")
    out = there or "values" in str(func) if device is None else device.type == _DEVICE.type
    if moved and device is None:
        out = isinstance(args[0], _Elsewhere)
    kwargs = {k: torch.device("cpu") if k == "device" and v is not None else v for k, v in kwargs.items()}
    kwargs.pop("pin_memory", None)
    args, kwargs = tree_map_only(_Elsewhere, lambda x: x.kept, (args, kwargs))
    found = func(*args, **kwargs)
    return tree_map_only(torch.Tensor, _there, found) if out else found


def _there(x: torch.Tensor) -> torch.Tensor:
    """A sparse one cannot be wrapped: it is taken to be where its parts were."""
    return _Elsewhere(x) if x.layout == torch.strided else x


class _Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Made(TorchFunctionMode):
    """What is made of arrays and numbers goes to the device by an operation, which the other mode sees."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor):
            device, grad = kwargs.pop("device", None), kwargs.pop("requires_grad", False)
            made = func(*args, **kwargs)
            return (made if device is None else made.to(device)).requires_grad_(grad or made.requires_grad)
        if func is torch.sparse_csr_tensor and any(isinstance(x, _Elsewhere) for x in args[:3]):
            assert all(isinstance(x, _Elsewhere) for x in args[:3])  # a probe's network is the CPU's
            return func(*(x.kept for x in args[:3]), *args[3:], **kwargs)
        if func is torch.Tensor.numpy and isinstance(args[0], _Elsewhere):
            if not kwargs.get("force"):
                raise TypeError("can't convert a tensor on a GPU to numpy")
            return args[0].detach().cpu().numpy()
        if func is torch.Tensor.tolist and isinstance(args[0], _Elsewhere):
            return args[0].cpu().tolist()
        return func(*args, **kwargs)


@contextmanager
def pretended() -> Iterator[torch.device]:
    """In the block there is this device, to which modules go with their parameters, as objects, the same."""
    swap = torch.utils.swap_tensors

    def once(a: torch.Tensor, b: torch.Tensor) -> None:  # what is there stays as it is
        if not isinstance(a, _Elsewhere):
            swap(a, b)  # type: ignore[no-untyped-call]

    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with mock.patch("torch.utils.swap_tensors", once), _Mode(), _Made():  # type: ignore[no-untyped-call]
            yield _DEVICE
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)
