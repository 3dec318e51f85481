"""Refusals of bad input, worded alike everywhere: which argument, what is allowed, what came."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from graphlandau.base.errors import InvalidArgument, NonFinite

__all__ = [
    "as_number",
    "as_numbers",
    "is_concrete",
    "keep",
    "require_bool",
    "require_dimension",
    "require_edge_index",
    "require_finite",
    "require_integer",
    "require_number",
    "require_one_of",
    "require_options",
    "require_parts",
    "require_positive",
    "require_repeats",
    "require_unmapped",
    "require_velocities",
    "require_weight",
]


# What a count may be at most, and what one of it costs at the least: a gradient step, a layer with its module.
MAX_REPEATS, LEAST_SECONDS = 10**9, 1e-4
MAX_PARTS, LEAST_BYTES = 10_000, 10_000

OptionsT = TypeVar("OptionsT")


def as_number(value: Any) -> Any:
    """Return the Python number that a NumPy number, a 0-d array or a 0-d tensor is; all else as it is.

    A tensor that requires a gradient is more than a number, and comes back as it is.

    Example:
        >>> import numpy as np
        >>> as_number(np.int32(7)), as_number(torch.tensor(0.5)), as_number(np.ones(1)), as_number("7")
        (7, 0.5, array([1.]), '7')
    """
    if isinstance(value, Tensor):
        plain = value.dim() == 0 and not value.requires_grad and not value.is_meta and is_concrete(value)
        return value.item() if plain else value
    if isinstance(value, np.generic | np.ndarray) and value.ndim == 0:
        value = value.item()
    # A long double is its own item.
    return float(value) if isinstance(value, np.floating) else value


def as_numbers(value: Any) -> Any:
    """Return the number or the list of numbers that an array or a tensor is; all else as it is."""
    value = as_number(value)
    return value.tolist() if isinstance(value, np.ndarray | Tensor) else value


def keep(options: Any, **values: Any) -> None:
    """Put checked values into a frozen dataclass, in its ``__post_init__``."""
    for name, value in values.items():
        object.__setattr__(options, name, value)


def _finite(value: Any) -> float | None:
    """Return a finite number as a float, ``None`` for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer beyond all floats
        return None


def require_positive(name: str, value: float) -> float:
    """Return ``value`` as a float; raise ``ValueError`` unless it is finite and > 0."""
    value = as_number(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidArgument(name, "must be a positive number", repr(value))
    number = _finite(value)
    if number is None or number <= 0:
        raise InvalidArgument(name, "must be positive", value)
    return number


def require_bool(name: str, value: bool) -> bool:
    """Return ``value``; raise ``ValueError`` unless it is true or false."""
    value = as_number(value)
    if not isinstance(value, bool):
        raise InvalidArgument(name, "must be true or false", repr(value))
    return value


def require_one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    """Return ``value``; raise ``ValueError`` naming the choices unless it is one of ``allowed``."""
    if value not in allowed:
        raise InvalidArgument(name, f"must be one of {', '.join(allowed)}", repr(value))
    return value


def require_options(name: str, value: OptionsT, kind: type[OptionsT]) -> OptionsT:
    """Return ``value``; raise ``InvalidArgument`` unless it is a group of options of the class ``kind``."""
    if not isinstance(value, kind):
        raise InvalidArgument(name, f"must be options of the class {kind.__name__}", repr(value))
    return value


def is_concrete(x: Tensor) -> bool:
    """Whether the values of ``x`` can be looked at: not while compiling, nor inside a function transform."""
    functorch = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
    return not (torch.compiler.is_compiling() or functorch.is_functorch_wrapped_tensor(x))


def all_finite(x: Tensor) -> bool:
    """Whether no entry is infinite or not a number."""
    # A finite sum has finite terms only, and is found ten times faster; one that is not may have overflowed.
    x = x.detach()
    return bool(x.sum().isfinite()) or bool(torch.isfinite(x).all())


def require_finite(name: str, x: Tensor) -> Tensor:
    """Return ``x``; raise ``ValueError`` with the number of bad entries unless all are finite."""
    if not is_concrete(x):
        return x
    if not all_finite(x):
        bad = int((~torch.isfinite(x)).sum())
        raise NonFinite(name, "must be finite", f"{bad} non-finite of {x.numel()} entries")
    return x


def require_velocities(name: str, v: Tensor, *, min_particles: int = 2, min_dim: int = 1) -> Tensor:
    """Return ``v``; raise ``ValueError`` unless it is a finite floating ``(N, d)`` tensor."""
    if not isinstance(v, Tensor):
        raise InvalidArgument(name, "must be a tensor of shape (N, d)", type(v).__name__)
    if v.dim() != 2 or v.size(0) < min_particles or v.size(1) < min_dim:
        allowed = f"(N, d) with N >= {min_particles} and d >= {min_dim}"
        raise InvalidArgument(name, f"must have shape {allowed}", tuple(v.shape))
    if v.dtype not in (torch.float32, torch.float64):
        raise InvalidArgument(name, "must be float32 or float64", v.dtype)
    return require_finite(name, v)


def require_weight(name: str, weight: Tensor | None, like: Tensor) -> Tensor | None:
    """Return ``weight``; raise ``ValueError`` unless it is ``None`` or ``(N,)``, finite, >= 0, of positive sum."""
    if weight is None:
        return None
    if not isinstance(weight, Tensor):
        raise InvalidArgument(name, f"must be a tensor of shape ({like.size(0)},)", type(weight).__name__)
    if weight.shape != like.shape[:1] or weight.dtype != like.dtype:
        want = f"({like.size(0)},) and dtype {like.dtype}"
        raise InvalidArgument(name, f"must have shape {want}", f"{tuple(weight.shape)}, {weight.dtype}")
    require_finite(name, weight)
    if not is_concrete(weight):
        return weight
    if bool((weight < 0).any()) or not bool(weight.sum() > 0):
        raise InvalidArgument(name, "must be non-negative with a positive sum", f"sum {float(weight.sum()):g}")
    return weight


def require_integer(name: str, value: int, *, minimum: int) -> int:
    """Return ``value``; raise ``ValueError`` unless it is an integer of at least ``minimum``."""
    value = as_number(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise InvalidArgument(name, f"must be an integer >= {minimum}", repr(value))
    return value


def require_repeats(name: str, value: int, *, minimum: int) -> int:
    """Return ``value``, how often something is done; raise ``ValueError`` unless that can come to an end."""
    value = require_integer(name, value, minimum=minimum)
    if value > MAX_REPEATS:
        days = value * LEAST_SECONDS / (24 * 3600)
        time = f"{days / 365.25:.2g} years" if days > 365.25 else f"{days:.2g} days"
        raise InvalidArgument(name, f"must be at most {MAX_REPEATS:,}", f"{value:,}, which take more than {time}")
    return value


def require_parts(name: str, value: int, *, minimum: int) -> int:
    """Return ``value``, of how many parts a model is made; raise ``ValueError`` unless they fit into a memory."""
    value = require_integer(name, value, minimum=minimum)
    if value > MAX_PARTS:
        needs = f"{value:,}, which need more than {value * LEAST_BYTES / 2**30:.2g} GiB"
        raise InvalidArgument(name, f"must be at most {MAX_PARTS:,}", needs)
    return value


def require_number(name: str, value: float) -> float:
    """Return ``value`` as a float; raise ``ValueError`` unless it is a finite number."""
    number = _finite(as_number(value))
    if number is None:
        raise InvalidArgument(name, "must be a finite number", repr(value))
    return number


def require_dimension(name: str, v: Tensor, d: int) -> Tensor:
    """Return ``v``; raise ``ValueError`` unless it is a finite floating ``(N, d)`` tensor with this ``d``."""
    require_velocities(name, v, min_particles=1)
    if v.size(1) != d:
        raise InvalidArgument(name, f"must have shape (N, {d})", tuple(v.shape))
    return v


def require_edge_index(name: str, edge_index: Tensor, like: Tensor) -> Tensor:
    """Return ``edge_index``; raise ``ValueError`` unless it is an integer ``(2, E)`` of nodes of ``like``."""
    if not isinstance(edge_index, Tensor) or edge_index.dtype != torch.int64 or edge_index.dim() != 2:
        got = f"{tuple(edge_index.shape)}, {edge_index.dtype}" if isinstance(edge_index, Tensor) else edge_index
        raise InvalidArgument(name, "must be an int64 tensor of shape (2, E)", got)
    if edge_index.size(0) != 2:
        raise InvalidArgument(name, "must have shape (2, E)", tuple(edge_index.shape))
    if edge_index.numel() and (int(edge_index.min()) < 0 or int(edge_index.max()) >= like.size(0)):
        low, high = int(edge_index.min()), int(edge_index.max())
        raise InvalidArgument(name, f"must name particles 0..{like.size(0) - 1}", f"{low}..{high}")
    return edge_index


def require_unmapped(name: str, allowed: str, *tensors: Tensor) -> None:
    """Raise ``InvalidArgument`` if ``torch.vmap`` maps over one of ``tensors``, at whatever depth of transforms."""
    for x in tensors:
        _Unmapped.apply(x, name, allowed)


class _Unmapped(torch.autograd.Function):
    """Nothing, which ``vmap`` cannot map."""

    @staticmethod
    def forward(x: Tensor, name: str, allowed: str) -> Tensor:
        return x.new_empty(0)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        return None, None, None

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        return None

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, name: str, allowed: str) -> Any:
        raise InvalidArgument(name, allowed, f"a batch of {info.batch_size}")
