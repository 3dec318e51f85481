"""The precision of a module: what follows the particles, and what keeps its own and is converted to at its border."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import torch
from torch import Tensor, nn

from graphlandau.base.copies import copied

__all__ = ["Adapted", "full_precision", "place"]


HALF = (torch.float16, torch.bfloat16)
ResultT = TypeVar("ResultT")
Given = ParamSpec("Given")


def full_precision(method: Callable[Given, ResultT]) -> Callable[Given, ResultT]:
    """Let a method of a layer leave ``torch.autocast``: sums over pairs need more digits than half precision has.

    Inside an autocast region tensors in half precision are brought to the precision of the first real one that is not,
    ``float32`` if there is none, and the method runs outside of the region. Elsewhere nothing changes.
    """

    @functools.wraps(method)
    def run(*args: Given.args, **kwargs: Given.kwargs) -> ResultT:
        given = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
        kinds = {x.device.type for x in given if torch.is_autocast_enabled(x.device.type)}
        if not kinds:
            return method(*args, **kwargs)
        full = (x.dtype for x in given if x.is_floating_point() and x.dtype not in HALF)
        dtype = next(full, torch.float32)

        def widened(x: Any) -> Any:
            if type(x) is tuple:
                return tuple(widened(each) for each in x)
            return x.to(dtype) if isinstance(x, Tensor) and x.dtype in HALF else x

        with contextlib.ExitStack() as outside:
            for kind in kinds:
                outside.enter_context(torch.autocast(kind, enabled=False))
            return cast(Any, method)(*map(widened, args), **{key: widened(x) for key, x in kwargs.items()})

    return run


class Adapted(nn.Module):
    """Base of what calls somebody's ``nn.Module``, which keeps its own precision.

    Arguments are brought to the precision that the module takes, its value to that of the arguments.

    Attributes:
        taken: Name of the parameter or buffer that has the precision that the module takes; ``None`` if it has none.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.taken = next(iter(_one_of_each_precision(module)), None)

    @property
    def precision(self) -> torch.dtype | None:
        """Precision that the module takes, ``None`` if it takes any."""
        if self.taken is None:
            return None
        owner, _, name = self.taken.rpartition(".")
        return getattr(self.module.get_submodule(owner), name).dtype

    def try_precisions(self, *at: Tensor) -> None:
        """Of the precisions of its layers, let the module take the first that works."""
        names = _one_of_each_precision(self.module)
        if len(names) < 2:
            return
        with torch.no_grad(), torch.random.fork_rng():
            tried = copied(self).eval()
            for name in names:
                tried.taken = name
                try:
                    tried(*at)
                except Exception:  # a module may fail in any way on a precision that it does not take
                    continue
                self.taken = name
                return

    def call(self, *at: Tensor) -> Tensor:
        """Value of the module."""
        value = self.module(*(x if self.precision is None else x.to(self.precision) for x in at))
        real = isinstance(value, Tensor) and value.is_floating_point()
        return value.to(at[0].dtype) if real else value


def _one_of_each_precision(module: nn.Module) -> list[str]:
    """Names of real parameters or buffers, the first of each precision."""
    found: dict[torch.dtype, str] = {}
    for name, x in (*module.named_parameters(), *module.named_buffers()):
        if x.is_floating_point():
            found.setdefault(x.dtype, name)
    return list(found.values())


def place(field: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Bring a field to a device, and its real numbers to a precision; what it adapted keeps its own.

    Complex numbers stay complex, in the precision that goes with ``dtype``.
    """
    field.to(device)
    kept = {m for adapted in field.modules() if isinstance(adapted, Adapted) for m in adapted.module.modules()}
    for module in field.modules():
        if module in kept:
            continue
        for x in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            if x.is_complex():
                x.data = x.data.to(dtype.to_complex())
            elif x.is_floating_point():
                x.data = x.data.to(dtype)
