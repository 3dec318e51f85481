"""What the layers of the Landau collision kernel share: its constants, inputs checked, backend chosen."""

from __future__ import annotations

import torch
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_edge_index, require_finite, require_velocities, require_weight
from graphlandau.graphs.partition import Partition
from graphlandau.nn.conv.pairwise import PairwiseLayer
from graphlandau.nn.pairs import choose_backend
from graphlandau.physics.landau_kernel import LandauKernel

__all__ = ["CollisionLayer"]


class CollisionLayer(PairwiseLayer):
    """Base of layers that sum terms with the kernel :math:`A(v_i - v_j)` over pairs of particles.

    Args:
        gamma: Kernel exponent in [-4, 1].
        strength: Collision strength.
        backend: ``"auto"`` or one of ``backends``.
        eps: Softening length.
        backends: What the subclass supports.

    Raises:
        ValueError: If an argument is out of range, or ``backend="moments"`` and ``gamma`` is not 0.
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
        super().__init__(backend, ("auto", *backends))
        self.backends = backends
        self.kernel = LandauKernel(gamma, strength, eps)
        if backend == "moments" and gamma != 0:
            raise InvalidArgument("backend", "must not be 'moments' unless gamma is 0", f"gamma {gamma}")

    def prepare(
        self,
        v: Tensor,
        field: tuple[str, Tensor] | None,
        edge_index: Tensor | None,
        batch: Tensor | None,
        weight: Tensor | None,
    ) -> tuple[Partition | Tensor, str, Tensor]:
        """Check the inputs of a sum; return its graph, its backend and the weights of the senders.

        Args:
            v: Velocities.
            field: Name and values of the vector field at the particles, if there is one.
            edge_index: Edges, or ``None``.
            batch: Block of each particle, or ``None``.
            weight: Weights, or ``None``.

        Raises:
            ValueError: If tensors are non-finite or do not fit together, both ``edge_index`` and ``batch`` are given,
                or ``edge_index`` meets a backend other than edges.
        """
        require_velocities("v", v, min_dim=2)
        if field is not None:
            name, x = field
            if not isinstance(x, Tensor) or x.shape != v.shape or x.dtype != v.dtype:
                got = f"{tuple(x.shape)}, {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
                want = f"{tuple(v.shape)}, {v.dtype}"
                raise InvalidArgument(name, f"must have the shape and dtype of 'v', {want}", got)
            require_finite(name, x)
        require_weight("weight", weight, v)
        if edge_index is not None:
            if batch is not None:
                raise InvalidArgument("edge_index", "and 'batch' must not be given together", "both")
            if self.backend not in ("auto", "edges"):
                raise InvalidArgument("edge_index", "needs backend 'edges' or 'auto'", repr(self.backend))
            require_edge_index("edge_index", edge_index, v)
            return edge_index, "edges", v.new_full((v.size(0),), 1 / v.size(0)) if weight is None else weight
        partition = Partition.from_batch(batch, v)
        if weight is None or batch is not None:
            weight = partition.normalised(weight, v)
        return partition, self.chosen_backend(v.size(1), int(partition.size.min())), weight

    def chosen_backend(self, d: int, particles: int) -> str:
        """The backend that sums over blocks of so many particles, the smallest one, in ``d`` dimensions."""
        if self.backend != "auto":
            return self.backend
        chosen = choose_backend(self.kernel.gamma, d, particles)
        return chosen if chosen in self.backends else "dense"

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
