"""One round of equivariant message passing, whatever the messages are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch_geometric.nn import MessagePassing

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.precision import full_precision
from graphlandau.base.validation import require_edge_index

__all__ = ["EquivariantConv"]

Message = Callable[[Tensor, Tensor, Tensor], Tensor]

# Edges whose messages are in memory together when no gradient is wanted.
EDGES_AT_A_TIME = 2**18


class EquivariantConv(MessagePassing):
    r"""Sums of relative velocities and of scalar messages over the edges :math:`j \to i` of a graph.

    .. math::
        y_i = \sum_j w_{ij} \, (x_i - x_j) \, \phi(|x_i - x_j|^2, h_i, h_j), \qquad
        g_i = \sum_j w_{ij} \, \psi(|x_i - x_j|^2, h_i, h_j)

    Whatever :math:`\phi` and :math:`\psi` are, for node features :math:`h` that are invariant :math:`y` turns and is
    reflected with the particles, :math:`g` is invariant, neither sees a translation, and both are permuted with the
    particles. Squared distances rather than distances, so that coincident particles have derivatives. Dimensionless.

    Args:
        phi: Module or function from :math:`(E, 1), (E, q), (E, q)` to :math:`(E, 1)`; ``None`` for :math:`y = 0`.
        psi: Module or function from the same to :math:`(E, p)`; ``None`` for no :math:`g`, that is :math:`p = 0`.

    Shapes:
        - **x**: velocities or positions :math:`(N, d)`
        - **h**: node features :math:`(N, q)`, :math:`q \ge 0`
        - **edge_index**: :math:`(2, E)`, row 0 sends (:math:`j`), row 1 receives (:math:`i`); self-loops count in
          :math:`g`
        - **edge_weight**: :math:`(E,)` *(optional, uniform* :math:`1/N` *)*: the sums are then Monte Carlo estimates
          of integrals over the density, alike for all particles and for a random part of them
        - **output**: :math:`y`, :math:`(N, d)`, and :math:`g`, :math:`(N, p)`

    Time and memory are :math:`O(E)` messages; without gradients the memory of 262,144 at a time.

    Raises:
        ValueError: If both ``phi`` and ``psi`` are ``None``, or the edges or their weights do not fit the particles.

    Example:
        >>> conv = EquivariantConv(phi=lambda r2, h_i, h_j: torch.exp(-r2))
        >>> y, g = conv(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.empty(2, 0), torch.tensor([[0, 1], [1, 0]]))
        >>> y
        tensor([[-0.1839,  0.0000],
                [ 0.1839,  0.0000]])

    Reference: Satorras, Hoogeboom and Welling, arXiv:2102.09844, Eqs. (3)-(5), with velocities in place of positions
    and any weights.
    """

    def __init__(self, phi: Message | None = None, psi: Message | None = None) -> None:
        super().__init__(aggr="add", flow="source_to_target", node_dim=0)
        if phi is None and psi is None:
            raise InvalidArgument("phi", "or 'psi' must be given", "neither")
        self.phi, self.psi = phi, psi

    @full_precision
    def forward(
        self,
        x: Float[Tensor, "N d"],
        h: Float[Tensor, "N q"],
        edge_index: Int[Tensor, "2 E"],
        edge_weight: Float[Tensor, " E"] | None = None,
    ) -> tuple[Float[Tensor, "N d"], Float[Tensor, "N p"]]:
        """Both sums at every particle."""
        require_edge_index("edge_index", edge_index, x)
        if edge_weight is None:
            edge_weight = x.new_full((edge_index.size(1),), 1 / x.size(0))
        if edge_weight.shape != edge_index.shape[1:]:
            raise InvalidArgument("edge_weight", f"must have shape ({edge_index.size(1)},)", tuple(edge_weight.shape))
        size = max(1, edge_index.size(1)) if torch.is_grad_enabled() else EDGES_AT_A_TIME
        total: Any = 0
        for edges, weight in zip(edge_index.split(size, dim=1), edge_weight.split(size), strict=True):
            total = total + self.propagate(edges, x=x, h=h, edge_weight=weight)
        d = x.size(1)
        return total[:, :d], total[:, d:]

    def message(self, x_i: Tensor, x_j: Tensor, h_i: Tensor, h_j: Tensor, edge_weight: Tensor) -> Tensor:
        """What edge j -> i carries: the terms of both sums, side by side."""
        z = x_i - x_j
        r2 = z.square().sum(1, keepdim=True)
        vector = torch.zeros_like(z) if self.phi is None else z * self.phi(r2, h_i, h_j)
        if self.psi is None:
            return vector * edge_weight[:, None]
        return torch.cat([vector, self.psi(r2, h_i, h_j)], dim=1) * edge_weight[:, None]

    def __repr__(self) -> str:
        return f"EquivariantConv(phi={self.phi}, psi={self.psi})"
