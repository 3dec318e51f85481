"""What the layers of the Landau collision kernel have in common: its constants, inputs checked, backend chosen."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_finite, require_velocities
from graphlandau.graphs.partition import Partition
from graphlandau.nn.conv.pairwise import PairwiseLayer
from graphlandau.nn.pairs import choose_backend, choose_exact
from graphlandau.physics.landau_kernel import LandauKernel

__all__ = ["CollisionLayer", "reduced_field"]


class CollisionLayer(PairwiseLayer):
    """Base of layers that sum terms with the kernel :math:`A(v_i - v_j)` over pairs of particles.

    Args:
        gamma: Kernel exponent in [-4, 1].
        strength: Collision strength.
        backend: ``"auto"`` or one of ``backends``. Those that evaluate the formula of the class and no other (moments,
            mesh) are refused for a subclass with a ``message`` of its own, and not taken by ``"auto"``.
        eps: Softening length, see :class:`~graphlandau.physics.LandauKernel`.
        backends: What the subclass supports.

    Raises:
        InvalidArgument: If an argument is out of range, or ``backend="moments"`` and ``gamma`` is not 0.
        ImportError: If ``backend="keops"`` and KeOps does not work here.
    """

    def __init__(
        self,
        gamma: float,
        strength: float = 1.0,
        *,
        backend: str = "auto",
        eps: float | None = None,
        backends: tuple[str, ...] = ("dense", "moments", "keops", "edges"),
    ) -> None:
        super().__init__(backend, backends)
        self.kernel = LandauKernel(gamma, strength, eps)
        if backend == "moments" and gamma != 0:
            raise InvalidArgument("backend", "must not be 'moments' unless gamma is 0", f"gamma {gamma}")

    @property
    def original(self) -> bool:
        """Whether the message is that of the class that this package has; each of them says which."""
        raise NotImplementedError

    @property
    def weighted(self) -> bool:
        """The weight is a factor of the original message."""
        return self.original

    @property
    def one_sided(self) -> bool:
        """The original message depends on both."""
        return not self.original

    def message_key(self) -> Hashable:
        """The kernel, for the original message."""
        return self.kernel if self.original else super().message_key()

    def prepare_field(
        self,
        v: Tensor,
        field: tuple[str, Tensor] | None,
        edge_index: Tensor | None,
        batch: Tensor | None,
        weight: Tensor | None,
    ) -> tuple[Partition | Tensor, str, Tensor]:
        """Check velocities and a field at them, then as :meth:`prepare`.

        Args:
            v: Velocities.
            field: Name and values of the vector field at the particles, if there is one.
            edge_index: Edges, or ``None``.
            batch: Block of each particle, or ``None``.
            weight: Weights, or ``None``.

        Raises:
            InvalidArgument: If tensors are non-finite or do not fit together, both ``edge_index`` and ``batch`` are
                given, or ``edge_index`` meets a backend other than edges.
        """
        require_velocities("v", v, min_dim=2)
        if field is not None:
            name, x = field
            if not isinstance(x, Tensor) or x.shape != v.shape or x.dtype != v.dtype:
                got = f"{tuple(x.shape)}, {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
                want = f"{tuple(v.shape)}, {v.dtype}"
                raise InvalidArgument(name, f"must have the shape and dtype of 'v', {want}", got)
            require_finite(name, x)
        return self.prepare(v, edge_index, batch, weight)

    def units(self, v: Tensor, graph: Partition | Tensor) -> Float[Tensor, "N 1"]:
        """Unit of velocity of each particle's block, :meth:`Partition.scale`; along edges, of all particles.

        The kernel is homogeneous. In units in which the particles are of order 1, softening is a length of theirs and
        no intermediate power overflows. A softening length that was given is one in the units of the velocities, and a
        message of a subclass, or one that hooks see, is evaluated in these: then the unit is 1.
        """
        if self.kernel.eps is not None or not self.original or self.only_propagate:
            return v.new_ones((v.size(0), 1), dtype=torch.float64)
        return (graph if isinstance(graph, Partition) else Partition.from_batch(None, v)).scale(v)

    def chosen_backend(self, d: int, particles: int, device: torch.device | str | None = None) -> str:
        """The backend that sums over blocks of so many particles, the smallest one, in ``d`` dimensions.

        Raises:
            InvalidArgument: If one was asked for that cannot do what only ``propagate`` does, or that evaluates another
                message than the one of this layer.
        """
        if self.backend in ("moments", "mesh") and not self.original:
            what = f"for {type(self).__name__}, which has a message of its own"
            raise InvalidArgument("backend", f"must be dense, keops, edges or auto {what}", repr(self.backend))
        return super().chosen_backend(d, particles, device)

    def choose(self, d: int, particles: int, device: torch.device | str | None) -> str:
        """Moments or the mesh where they are known for the message, else an exact sum."""
        if not self.original:
            return choose_exact(device)
        chosen = choose_backend(self.kernel.gamma, d, particles, device)
        return chosen if chosen in self.backends else choose_exact(device)

    def __repr__(self) -> str:
        k = self.kernel
        name = type(self).__name__
        return f"{name}(gamma={k.gamma}, strength={k.strength}, backend={self.backend!r}, eps={k.eps})"


def reduced_field(v: Tensor, u: Tensor, partition: Partition) -> tuple[Tensor, Tensor]:
    r"""A field with the same pair differences across ``z`` that loses fewer digits, and the slope taken out of it.

    :math:`A(z)(u_i - u_j)` ignores ``u -> u + a + b v`` in each block. Near equilibrium ``u`` is close to ``-v/T`` and
    every term is a small difference of large ones; taking out the best such multiple in float64 first keeps the digits
    of what is left. ``a`` and ``b`` are constants to every derivative, because nothing depends on them.

    Returns:
        The field ``(N, d)``, and ``b`` of each particle's block, ``(N, 1)`` in float64.
    """
    x, y, size = v.double(), u.double(), partition.size.double()[:, None]
    fixed, given = x.detach(), y.detach()
    mean_v, mean_u = partition.total(fixed) / size, partition.total(given) / size
    fixed, given = fixed - partition.spread(mean_v), given - partition.spread(mean_u)
    square = partition.total((fixed * fixed).sum(1, keepdim=True))
    slope = partition.total((fixed * given).sum(1, keepdim=True)) / square.clamp_min(torch.finfo(v.dtype).tiny)
    slope = partition.spread(slope)
    return (y - partition.spread(mean_u) - slope * (x - partition.spread(mean_v))).to(u.dtype), slope
