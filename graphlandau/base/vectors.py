"""One notation for the vectors of a pair formula, whatever carries them.

A pair formula such as ``r2 * u - z * dot(z, u)`` is written once and evaluated on three carriers: tensors ``(E, k)``
with one row per edge; :class:`Components`, one contiguous array per component, which compiles to a single loop over
pairs; and KeOps symbols. Scalars are vectors of one component.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.errors import InvalidArgument

__all__ = ["Components", "dimension", "dot", "identity", "join", "less", "matvec", "of_message", "outer", "precision"]


@dataclass(frozen=True)
class Components:
    """A vector held as a tuple of broadcastable arrays; one of length 1 multiplies any other.

    Example:
        >>> z = Components((torch.tensor([3.0]), torch.tensor([4.0])))
        >>> dot(z, z).parts
        (tensor([25.]),)
    """

    parts: tuple[Tensor, ...]

    def _zip(self, other: Components | float, op: Callable[[Any, Any], Any]) -> Components:
        if not isinstance(other, Components):
            return Components(tuple(op(a, other) for a in self.parts))
        if len(other.parts) == 1:
            return Components(tuple(op(a, other.parts[0]) for a in self.parts))
        if len(self.parts) == 1:
            return Components(tuple(op(self.parts[0], b) for b in other.parts))
        return Components(tuple(op(a, b) for a, b in zip(self.parts, other.parts, strict=True)))

    def __add__(self, other: Components | float) -> Components:
        return self._zip(other, lambda a, b: a + b)

    def __sub__(self, other: Components | float) -> Components:
        return self._zip(other, lambda a, b: a - b)

    def __mul__(self, other: Components | float) -> Components:
        return self._zip(other, lambda a, b: a * b)

    def __truediv__(self, other: Components | float) -> Components:
        return self._zip(other, lambda a, b: a / b)

    def __radd__(self, other: float) -> Components:
        return self + other

    def __rsub__(self, other: float) -> Components:
        return Components(tuple(other - a for a in self.parts))

    def __rmul__(self, other: float) -> Components:
        return self * other

    def __rtruediv__(self, other: float) -> Components:
        return Components(tuple(other / a for a in self.parts))

    def __neg__(self) -> Components:
        return Components(tuple(-a for a in self.parts))

    def __pow__(self, exponent: float) -> Components:
        return Components(tuple(a**exponent for a in self.parts))

    def sum(self, dim: int = -1, keepdim: bool = False) -> Components:
        """Sum of the components, as a vector of one: ``x.sum(-1, keepdim=True)`` of tensors.

        Raises:
            InvalidArgument: If it is another sum: there is one pair here, and the sum over pairs is not the message's.
        """
        if dim != -1 or not keepdim:
            raise InvalidArgument("sum", "must be taken with dim=-1 and keepdim=True in a message", f"{dim}, {keepdim}")
        total = self.parts[0]
        for part in self.parts[1:]:
            total = total + part
        return Components((total,))

    def norm(self, p: float = 2, dim: int = -1, keepdim: bool = False) -> Components:
        """Euclidean length, as ``x.norm(dim=-1, keepdim=True)`` of tensors."""
        if p != 2:
            raise InvalidArgument("norm", "must be the Euclidean one in a message", p)
        return Components(tuple(a.sqrt() for a in (self * self).sum(dim, keepdim).parts))

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return of_message(cls, func, args, kwargs)


# Functions of one number that tensors, components and KeOps symbols have alike.
ELEMENTWISE = ("abs", "cos", "exp", "log", "relu", "rsqrt", "sign", "sin", "sqrt", "square", "tanh", "sigmoid")


def of_message(carrier: type, func: Any, args: Any, kwargs: Any) -> Any:
    """``torch.exp(x)`` is ``x.exp()`` for another carrier than tensors: the body of its ``__torch_function__``."""
    name = getattr(func, "__name__", "")
    if isinstance(args[0], carrier) and name in (*ELEMENTWISE, "sum", "norm"):
        return getattr(args[0], name)(*args[1:], **(kwargs or {}))
    return NotImplemented


def _each(name: str) -> Callable[[Components], Components]:
    def function(self: Components) -> Components:
        return Components(tuple(getattr(a, name)() for a in self.parts))

    function.__name__ = name
    function.__doc__ = f"``torch.{name}`` of every component."
    return function


for _name in ELEMENTWISE:
    setattr(Components, _name, _each(_name))


def precision(like: Any) -> torch.dtype:
    """Floating-point type of the components."""
    if isinstance(like, Components):
        return like.parts[0].dtype
    if isinstance(like, Tensor):
        return like.dtype
    return torch.float64 if like.dtype == "float64" else torch.float32


def dimension(like: Any) -> int:
    """Number of components."""
    if isinstance(like, Components):
        return len(like.parts)
    return like.size(-1) if isinstance(like, Tensor) else like._shape[-1]


def dot(a: Any, b: Any) -> Any:
    """Inner product, a vector of one component."""
    if isinstance(a, Components):
        total = a.parts[0] * b.parts[0]
        for x, y in zip(a.parts[1:], b.parts[1:], strict=True):
            total = total + x * y
        return Components((total,))
    if isinstance(a, Tensor):
        return (a * b).sum(-1, keepdim=True)
    return (a * b).sum(-1)


def outer(a: Any, b: Any) -> Any:
    """Outer product ``a b^T``, row by row in one vector of ``d * d`` components."""
    if isinstance(a, Components):
        return Components(tuple(x * y for x in a.parts for y in b.parts))
    if isinstance(a, Tensor):
        return (a[..., :, None] * b[..., None, :]).flatten(-2)
    return a.tensorprod(b)


def identity(like: Any) -> Any:
    """The identity matrix of the dimension of ``like``, row by row in one vector."""
    if isinstance(like, Components):
        d, first = len(like.parts), like.parts[0]
        zero = torch.zeros((), dtype=first.dtype, device=first.device)
        return Components(tuple(zero + float(a == b) for a in range(d) for b in range(d)))
    if isinstance(like, Tensor):
        return torch.eye(like.size(-1), dtype=like.dtype, device=like.device).flatten()
    carrier = like.variables[0]
    eye = torch.eye(like._shape[-1], dtype=carrier.dtype, device=carrier.device)
    return type(like)(eye.view(1, 1, -1))


def join(vectors: list[Any]) -> Any:
    """All components of several vectors in one."""
    if isinstance(vectors[0], Components):
        return Components(tuple(part for v in vectors for part in v.parts))
    if isinstance(vectors[0], Tensor):
        return torch.cat(vectors, dim=-1)
    joined = vectors[0]
    for v in vectors[1:]:
        joined = joined.concat(v)
    return joined


def less(x: Float[Tensor, "*n d"], centre: Float[Tensor, "*b d"]) -> Float[Tensor, "*n d"]:
    """``x - centre`` to the digits of ``x``, for a centre in double precision.

    The nearest number of the precision of ``x`` is taken off first, which loses nothing near the centre, then the rest
    of it: a mean that is cast down before would shift all by its rounding, however narrow the particles are around it.
    """
    near = centre.to(x)
    return x - near - (centre - near.to(centre)).to(x)


def matvec(matrix: Float[Tensor, "N d d"], x: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
    """Each particle's matrix times its vector."""
    return (matrix @ x[..., None])[..., 0]
