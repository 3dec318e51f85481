"""Derivatives of functions of many rows: in forward mode, and in reverse mode where there is no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

__all__ = ["elementary_attention", "forward_mode", "jacobian_product", "reverse_mode"]


@contextmanager
def elementary_attention() -> Iterator[None]:
    """Compute attention by elementary operations: the fused kernels have no forward-mode derivatives.

    Example:
        >>> def attend(x):
        ...     return torch.nn.functional.scaled_dot_product_attention(x, x, x)
        >>> with elementary_attention():
        ...     _, tangent = torch.func.jvp(attend, (torch.ones(1, 1, 2),), (torch.ones(1, 1, 2),))
        >>> tangent
        tensor([[[1., 1.]]])
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel([SDPBackend.MATH]):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def forward_mode(
    function: Callable[..., Tensor], at: tuple[Tensor, ...], directions: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    r"""Value of a pointwise ``function`` and its derivatives along the same directions for all particles.

    A pointwise field moves a particle by its own tangent only: ``k`` tangents give the derivatives of all.

    Args:
        function: Maps tensors with particles in the last but one dimension to such a tensor.
        at: Where.
        directions: Tangents of each argument, one a row.

    Shapes:
        - **at**: :math:`(*, d_m)` for argument :math:`m`; **directions**: :math:`(k, d_m)`
        - **output**: :math:`(*, d)` and :math:`(*, d, k)`
    """

    def push(*direction: Tensor) -> tuple[Tensor, Tensor]:
        tangents = tuple(u.expand_as(x) for u, x in zip(direction, at, strict=True))
        return torch.func.jvp(function, at, tangents)[:2]

    with elementary_attention():
        # What is random, as in dropout, belongs to the function, not to the tangent.
        values, columns = torch.func.vmap(push, randomness="same")(*directions)
    return values[0], columns.movedim(0, -1)


def reverse_mode(
    function: Callable[..., Tensor], at: tuple[Tensor, ...], directions: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    r"""What :func:`forward_mode` gives, by a gradient of each component summed over the particles.

    For functions with an operation that knows no forward mode; their derivatives can be trained through if that
    operation has a second derivative. Every value has arguments of its own: these are not broadcast. Not inside
    function transforms.

    Example:
        >>> reverse_mode(torch.square, (torch.tensor([[1.0, 2.0]]),), (torch.eye(2),))[1].tolist()
        [[[2.0, 0.0], [0.0, 4.0]]]
    """
    recorded = torch.is_grad_enabled()
    with torch.enable_grad(), elementary_attention():
        inputs = tuple(x if x.requires_grad else x.detach().requires_grad_() for x in at)
        value = function(*inputs)
        rows = []
        for component in value.unbind(-1):
            gradients = _gradients(component.sum(), inputs, recorded)
            rows.append(sum(g @ u.mT for g, u in zip(gradients, directions, strict=True)))
        jacobian = torch.stack(rows, dim=-2)
    return (value, jacobian) if recorded else (value.detach(), jacobian.detach())


def jacobian_product(
    function: Callable[[Tensor], Tensor], x: Tensor, z: Tensor, reverse: bool = False
) -> tuple[Tensor, Tensor]:
    r"""Value of ``function`` and :math:`J z`, or in reverse mode :math:`J^\top z`.

    Both have the same product with :math:`z`, summed over all particles.
    """
    if not reverse:
        with elementary_attention():
            return torch.func.jvp(function, (x,), (z,))[:2]
    recorded = torch.is_grad_enabled()
    with torch.enable_grad(), elementary_attention():
        at = x if x.requires_grad else x.detach().requires_grad_()
        value = function(at)
        (product,) = _gradients((value * z).sum(), (at,), recorded)
    return (value, product) if recorded else (value.detach(), product.detach())


def _gradients(scalar: Tensor, inputs: tuple[Tensor, ...], recorded: bool) -> tuple[Tensor, ...]:
    """Gradients that are zero where nothing depends on an input."""
    if not scalar.requires_grad:
        return tuple(torch.zeros_like(x) for x in inputs)
    # That asks for gradients of the seed too: an operation that can be differentiated once says so then, where without
    # it its second derivative would be zero in silence.
    seed = torch.ones_like(scalar, requires_grad=recorded)
    return torch.autograd.grad(
        scalar, inputs, seed, create_graph=recorded, retain_graph=True, allow_unused=True, materialize_grads=True
    )
