"""Copies of modules, also of those that torch cannot copy."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, TypeVar

from torch import Tensor, nn

__all__ = ["copied"]

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def copied(module: ModuleT) -> ModuleT:
    """Return a deep copy of ``module``; results of earlier calls that it holds are copied as numbers.

    ``copy.deepcopy`` refuses a module that keeps such a result, as one with ``torch.nn.utils.weight_norm`` does once
    it has been called.

    Example:
        >>> import torch
        >>> layer = torch.nn.utils.weight_norm(torch.nn.Linear(2, 3))
        >>> torch.equal(copied(layer)(torch.ones(2)), layer(torch.ones(2)))
        True
    """
    results = {id(x): x for each in module.modules() for x in _tensors(vars(each)) if x.grad_fn is not None}
    return copy.deepcopy(module, {key: x.detach().clone() for key, x in results.items()})


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in ``value``, inside of containers too; modules are passed over."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _tensors(each)
    elif isinstance(value, list | tuple | set):
        for each in value:
            yield from _tensors(each)
