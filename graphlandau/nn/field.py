"""What a field is: a vector at each particle, with derivatives; and how a stranger's module becomes one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from graphlandau.base.copies import copied
from graphlandau.base.derivatives import forward_mode, jacobian_product, reverse_mode
from graphlandau.base.errors import InvalidArgument
from graphlandau.base.precision import Adapted

__all__ = ["Field", "Trial", "adapt", "moved_first", "require_derivatives"]

# Particles that a module is tried on.
TRIED = 8


class Field(nn.Module):
    r"""A vector field :math:`g`, a vector :math:`(N, d)` at each particle: the base of scores, controls and flows.

    A subclass says on what it depends by the arguments of ``forward``; the same arguments go to every method here.
    Derivatives are exact, by forward-mode differentiation with all tangents in one batch, and can be trained through;
    a field with an operation that has no forward mode is differentiated in reverse mode.
    The Jacobian is :math:`J_{ab} = \partial g_a / \partial v_b`. All dimensionless.

    Attributes:
        d: Number of velocity dimensions.
        pointwise: Whether the value at a particle depends on that particle alone.
        reverse: Whether derivatives are taken in reverse mode; found out when a method takes the field.
    """

    d: int
    pointwise: bool = True
    reverse: bool = False

    def forward(self, *at: Any, **more: Any) -> Tensor:
        """Value at the particles."""
        raise NotImplementedError

    def value_and_jacobian(self, *at: Any, **more: Any) -> tuple[Tensor, Tensor]:
        """Value and Jacobian in one pass."""
        raise NotImplementedError

    def value_and_divergence(self, *at: Any, **more: Any) -> tuple[Tensor, Tensor]:
        """Value and divergence in one pass."""
        value, jacobian = self.value_and_jacobian(*at, **more)
        return value, jacobian.diagonal(dim1=-2, dim2=-1).sum(-1)

    def jacobian(self, *at: Any, **more: Any) -> Tensor:
        r"""Jacobian :math:`\partial g_a / \partial v_b`."""
        return self.value_and_jacobian(*at, **more)[1]

    def divergence(self, *at: Any, **more: Any) -> Tensor:
        r"""Divergence :math:`\nabla_v \cdot g`."""
        return self.value_and_divergence(*at, **more)[1]

    @property
    def in_reverse(self) -> bool:
        """Whether derivatives are taken in reverse mode: by :attr:`reverse`, or with a ``LayerNorm``."""
        # torch 2.13 differentiates the forward-mode derivative of one wrongly: gradients of a divergence are 20 % off.
        return self.reverse or any(isinstance(each, nn.LayerNorm) for each in self.modules())

    def derivatives(
        self, function: Callable[..., Tensor], at: tuple[Tensor, ...], directions: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        """Value and derivatives of a pointwise ``function``, see :func:`graphlandau.base.derivatives.forward_mode`."""
        return (reverse_mode if self.in_reverse else forward_mode)(function, at, directions)

    def condition(self, *state: Any, **more: Any) -> None:
        """Adapt what needs no gradient to the particles; by default there is nothing to adapt."""

    def takes(self, argument: str) -> bool:
        """Whether ``forward``, and with it every method here, has an argument of this name."""
        return argument in inspect.signature(type(self).forward).parameters


FieldT = TypeVar("FieldT", bound=Field)


class Trial(NamedTuple):
    """Where a module is tried.

    Args:
        at: The arguments.
        moved: The arguments with the first particle at another place.
        shape: Shape of what is to come back.
    """

    at: tuple[Tensor, ...]
    moved: tuple[Tensor, ...]
    shape: tuple[int, ...]


def adapt(
    module: nn.Module,
    kind: type[FieldT],
    wrap: Callable[[nn.Module], FieldT],
    *,
    name: str,
    dimensions: dict[str, int],
    signature: str,
    own_signature: str | None = None,
    trial: Callable[[Callable[[int], Tensor]], Trial],
    may_couple: bool = False,
) -> FieldT:
    """Give any ``nn.Module`` the convention of a kind of fields, after trying it on a few particles.

    A copy is tried in evaluation mode, so that nothing in the module changes, nor torch's random state. A field of the
    kind is returned as it is, if it passes.

    Args:
        module: The module.
        kind: The kind of fields.
        wrap: Makes a field of a module that is none of the kind.
        name: What the module is for, in messages.
        dimensions: Attributes that a field of the kind must have.
        signature: What it maps to what, in messages.
        own_signature: The same for a field of the kind, if it is another one.
        trial: Where to try it, by a function that draws so many columns for each particle.
        may_couple: Whether the field may couple particles; if one that was wrapped does, it is marked as not pointwise.

    Raises:
        InvalidArgument: If ``module`` is no ``nn.Module``, is a field of the kind with other dimensions, fails, returns
            another shape or dtype or something infinite, is random, or couples particles where it may not.
    """
    if not isinstance(module, nn.Module):
        raise InvalidArgument(name, "must be a torch.nn.Module", type(module).__name__)
    who, own = f"a {type(module).__name__}", isinstance(module, kind)
    have = {key: getattr(module, key, None) for key in dimensions}
    if own and have != dimensions:
        raise InvalidArgument(name, f"must have {_equations(dimensions)}", f"{who} with {_equations(have)}")
    field = module if isinstance(module, kind) else wrap(module)
    wanted = f"must map {own_signature if own and own_signature else signature}"
    numbers = [x for x in [*module.parameters(), *module.buffers()] if x.is_floating_point()]
    like = numbers[0] if numbers else torch.empty(0)
    generator = torch.Generator().manual_seed(0)
    n = max(TRIED, getattr(field, "min_particles", 1))
    at, moved, shape = trial(lambda columns: torch.randn(n, columns, generator=generator).to(like))
    arguments = ", ".join(_shape_and_dtype(x) for x in at)
    if isinstance(field, Adapted):
        field.try_precisions(*at)
    with torch.no_grad(), torch.random.fork_rng():
        tried = copied(field).eval()
        try:
            value, again, other = tried(*at), tried(*at), tried(*moved)
        except Exception as error:  # a module that is no such field may fail in any way
            reason = " ".join(str(error).split())
            raise InvalidArgument(name, wanted, f"{who} that failed on {arguments}: {reason}") from error
    # A field of the kind without numbers of its own may be made for one precision, that of its particles.
    free = own and not numbers and isinstance(value, Tensor) and value.is_floating_point()
    if not isinstance(value, Tensor) or value.shape != torch.Size(shape) or not (free or value.dtype == like.dtype):
        got = _shape_and_dtype(value) if isinstance(value, Tensor) else type(value).__name__
        raise InvalidArgument(name, wanted, f"{who} that returned {got} for {arguments}")
    if not bool(torch.isfinite(value).all()):
        raise InvalidArgument(name, "must return finite values", f"{who} that did not, for standard normal particles")
    if not torch.equal(value, again):
        raise InvalidArgument(name, "must be a function of its arguments", f"{who} with two answers: is it random?")
    # Rounding of a matrix product may depend on nothing but its own row; leave room for kernels where it does.
    eps = max(torch.finfo(x.dtype).eps for x in [value, *numbers])
    tolerance = min(1e3 * eps, 1e-2) * (1 + value.abs().max())
    couples = not bool(((value - other)[..., 1:, :].abs() <= tolerance).all())
    if couples and not may_couple:
        raise InvalidArgument(name, "must act on each particle alone", f"{who} that changes others when one is moved")
    if not own:
        field.pointwise = tried.pointwise = not couples
    # Where neither mode works, derivatives fail when they are asked for.
    field.reverse = needs_reverse(tried, at, product=couples) or False
    return field


def require_derivatives(
    field: Field, at: tuple[Tensor, ...], name: str, *, product: bool = False, trained: bool = True, hint: str = ""
) -> None:
    """Find the mode in which ``field`` has the derivatives that a run will ask for.

    Args:
        field: The field; copies of it are tried.
        at: Where to try it.
        name: What it is for, in messages.
        product: Whether the product of the Jacobian with a vector is enough, as for a random divergence.
        trained: Whether the derivatives are trained through, in training mode.
        hint: What else can be done, as the message goes on.

    Raises:
        InvalidArgument: If they fail in forward and in reverse mode.
    """
    errors: list[Exception] = []
    reverse = needs_reverse(field, at, product=product, trained=trained, errors=errors)
    if reverse is None:
        who, error = type(getattr(field, "module", field)).__name__, errors[0]
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        allowed = "must have derivatives in the velocities, in forward or in reverse mode"
        raise InvalidArgument(name, allowed, f"a {who} that failed: {reason}", hint) from error
    field.reverse = reverse


def needs_reverse(
    field: Field,
    at: tuple[Tensor, ...],
    *,
    product: bool,
    trained: bool = False,
    errors: list[Exception] | None = None,
) -> bool | None:
    """Whether derivatives have to be taken in reverse mode, ``None`` if they have neither.

    Forward mode is cheaper. It is passed over where it fails, and where gradients of what it gives are not those of
    what reverse mode gives: torch 2.13 differentiates the forward-mode derivative of ``LayerNorm`` wrongly.
    """
    found: dict[bool, list[Tensor]] = {}
    for reverse in (False, True):
        try:
            with torch.random.fork_rng():
                tried = copied(field)
                tried.zero_grad()
                tried.reverse = reverse
                if trained:  # what batch normalisation does in training, for one
                    _differentiated(tried.train(), at, product)
                    tried.zero_grad()
                found[reverse] = _differentiated(tried.eval(), at, product)
        except Exception as error:  # an operation without such derivatives may fail in any way
            if errors is not None:
                errors.append(error)
    if len(found) < 2:
        return next(iter(found), None)
    return not all(_alike(a, b) for a, b in zip(found[False], found[True], strict=True))


def _differentiated(field: Field, at: tuple[Tensor, ...], product: bool) -> list[Tensor]:
    """Value and derivatives, and the gradients of both in the parameters of ``field``, which keeps them."""
    parameters = [x for x in field.parameters() if x.requires_grad]
    with torch.enable_grad():
        if product:
            value, product_of = jacobian_product(field, at[0], at[0], field.in_reverse)
            derivative = (product_of * at[0]).sum()  # the same in both modes
        else:
            value, derivative = field.value_and_jacobian(*at)
        total = value.sum() + derivative.square().sum()
        if total.requires_grad:
            total.backward()
    return [value, derivative, *(torch.zeros_like(x) if x.grad is None else x.grad for x in parameters)]


def _alike(a: Tensor, b: Tensor) -> bool:
    """Whether ``a`` and ``b`` differ by rounding only."""
    return a.numel() == 0 or bool((a - b).abs().max() <= 1e-3 * b.abs().max() + 1e-5)


def moved_first(x: Tensor) -> Tensor:
    """``x`` with its first row at another place."""
    return torch.cat([-2 * x[:1] + 1, x[1:]])


def _equations(values: dict[str, Any]) -> str:
    return " and ".join(f"{key} = {value}" for key, value in values.items())


def _shape_and_dtype(x: Tensor) -> str:
    return f"{tuple(x.shape)} {str(x.dtype).removeprefix('torch.')}"
