"""The pairwise objective of the JKO scheme as a message-passing layer."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.precision import full_precision
from graphlandau.base.validation import require_finite
from graphlandau.base.vectors import dimension, dot, identity, outer
from graphlandau.graphs.partition import Partition
from graphlandau.nn.conv.collision_layer import CollisionLayer, reduced_field
from graphlandau.nn.pairs import maxwell_drift, maxwell_gram, maxwell_partials

__all__ = ["JKOAction"]

# Pairs of a Gram matrix that are held at a time: bounds the memory.
PAIRS_AT_A_TIME = 2**21


class JKOAction(CollisionLayer):
    r"""Pairwise JKO objective of a vector field ``u`` for one explicit inner step.

    .. math::
        L(u) = \sum_{ij} w_i w_j \left[ \tfrac12 (u_i - u_j) \cdot A(v_i - v_j) (u_i - u_j) + 2 h_{ij} \right], \qquad
        h_{ij} = A(z) : \nabla u(v_i) - (d - 1) C |z|^{\gamma} z \cdot (u_i - u_j), \quad z = v_i - v_j

    the action of the Landau metric less twice the growth of the log-determinant, with :math:`\tau^2` factored out.
    Completing the square, :math:`L(u) = \tfrac12 E|(u - \nabla \log f) - (u_* - \nabla_* \log f_*)|_A^2 - c` in the
    limit of many particles: a score matching over *pairs*, whose minimiser is the score up to ``a + b v``. Such
    fields change neither term of any pair. Sums over all pairs, over the pairs inside each block of ``batch`` (the
    mini-batches of the scheme), or over the edges :math:`j \to i` of ``edge_index``. Dimensionless.

    Args:
        gamma: Kernel exponent in [-4, 1]; 0 is Maxwell, -3 is Coulomb in every dimension.
        strength: Collision strength :math:`C > 0`.
        backend: As of :class:`~graphlandau.nn.LandauDrift`. All are exact and agree to rounding; all are differentiable
            in ``v``, ``u``, ``jac_u`` and ``weight``.
        eps: Softening length, see :class:`~graphlandau.physics.LandauKernel`.

    Shapes:
        - **v**, **u**: velocities and field at them, :math:`(N, d)` with :math:`d \ge 2`
        - **jac_u**: :math:`\nabla u(v_i)`, :math:`(N, d, d)`, ``jac_u[:, a, b]`` :math:`= \partial u_a / \partial v_b`
        - **edge_index**: :math:`(2, E)`, row 0 sends (:math:`j`), row 1 receives (:math:`i`) *(optional)*
        - **batch**: :math:`(N,)`, block of each particle *(optional)*
        - **weight**: :math:`(N,)` *(optional, uniform* :math:`1/N` *)*. Taken as given for the complete graph and for
          ``edge_index``. With ``batch`` senders have sum 1 inside each block and receivers over all blocks: the loss
          is the mean of those of the blocks, by their mass
        - **output**: loss, a scalar

    Raises:
        ValueError: If an argument is out of range, tensors are non-finite or do not fit together, both
            ``edge_index`` and ``batch`` are given, or ``edge_index`` meets a backend other than edges.
        ImportError: If ``backend="keops"`` and KeOps does not work here.

    Example:
        >>> v = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> equilibrium = -torch.eye(3).expand(100, 3, 3)
        >>> bool(JKOAction(gamma=-3.0)(v, -v, equilibrium).abs() < 1e-6)  # the score of a Maxwellian moves nothing
        True

    Reference: Huang and Wang, arXiv:2409.12296, Eqs. (21) and (25).
    """

    def message(self, v_i: Any, v_j: Any, u_i: Any, u_j: Any, jac_u_i: Any, weight_j: Any) -> Any:
        r""":math:`w_j [\frac12 |u_i - u_j|_A^2 + 2 h_{ij}]`; the Jacobian row by row in one vector."""
        z, u = v_i - v_j, u_i - u_j
        r2, zu = dot(z, z), dot(z, u)
        action = r2 * dot(u, u) - zu * zu
        growth = r2 * dot(identity(z), jac_u_i) - dot(outer(z, z), jac_u_i) - zu * float(dimension(z) - 1)
        return (action * 0.5 + growth * 2.0) * self.kernel.power(r2) * weight_j

    @property
    def original(self) -> bool:
        """Whether :meth:`message` is that of this class."""
        return self.sums_message_of(JKOAction)

    @full_precision
    def forward(
        self,
        v: Float[Tensor, "N d"],
        u: Float[Tensor, "N d"],
        jac_u: Float[Tensor, "N d d"],
        edge_index: Int[Tensor, "2 E"] | None = None,
        batch: Int[Tensor, " N"] | None = None,
        weight: Float[Tensor, " N"] | None = None,
    ) -> Float[Tensor, ""]:
        """Loss of the field."""
        graph, backend, senders = self.prepare_field(v, ("u", u), edge_index, batch, weight)
        if not isinstance(jac_u, Tensor) or jac_u.shape != (*v.shape, v.size(1)) or jac_u.dtype != v.dtype:
            got = f"{tuple(jac_u.shape)}, {jac_u.dtype}" if isinstance(jac_u, Tensor) else type(jac_u).__name__
            raise InvalidArgument("jac_u", f"must have shape {(*v.shape, v.size(1))} and dtype {v.dtype}", got)
        require_finite("jac_u", jac_u)
        receivers = _receivers(senders, batch, weight)
        if backend == "moments":
            assert isinstance(graph, Partition)
            drift = maxwell_drift(v, u, senders, graph)
            by_v, by_u = maxwell_partials(v, u, senders, graph)
            divergence = (by_v + by_u @ jac_u).diagonal(dim1=1, dim2=2).sum(-1)
            # sum_ij w_i w_j |u_i - u_j|_A^2 / 2 = -sum_i w_i u_i . U_i, and sum_j w_j h_ij = -div U_i.
            return -self.kernel.strength * (receivers * ((u * drift).sum(1) + 2 * divergence)).sum()
        unit = self.units(v, graph)
        by = unit.to(v.dtype)
        v, u, jac_u = v / by, u * by, jac_u * by[:, :, None] ** 2
        receivers = receivers * (unit[:, 0] ** self.kernel.gamma).to(v.dtype)
        if self.original:
            u, slope = reduced_field(v, u, graph if isinstance(graph, Partition) else Partition.from_batch(None, v))
            eye = torch.eye(v.size(1), dtype=v.dtype, device=v.device)
            jac_u = jac_u - slope[:, :, None].to(v.dtype) * eye
        receivers_of = {"v": v, "u": u, "jac_u": jac_u.flatten(1)}
        out = self.sum(backend, receivers_of, {"v": v, "u": u, "weight": senders[:, None]}, graph, width=1)
        return (receivers * out.squeeze(1)).sum()

    @full_precision
    @torch.no_grad()
    def gram(
        self,
        v: Float[Tensor, "N d"],
        phi: Float[Tensor, "N m"],
        batch: Int[Tensor, " N"] | None = None,
        weight: Float[Tensor, " N"] | None = None,
    ) -> Float[Tensor, "md md"]:
        r"""Matrix of the action for fields that are linear in ``m`` functions, by dense matrix products.

        .. math::
            G_{ka, lb} = \tfrac12 \sum_{ij} w_i w_j (\phi_k(v_i) - \phi_k(v_j)) A_{ab}(v_i - v_j)
            (\phi_l(v_i) - \phi_l(v_j))

        so that a field :math:`u_a = \sum_k \phi_k W_{ka}` has the action :math:`w^\top G w` with ``w`` the rows of
        ``W`` one after the other. :math:`O(N B m)` time for blocks of ``B`` particles; :math:`O(N m^2)` for all pairs
        if ``gamma`` is 0 and the backend allows moments. Not differentiable.

        Shapes:
            - **phi**: values of the functions at the particles, :math:`(N, m)`
            - **output**: :math:`(m d, m d)`, symmetric positive semi-definite, float64
        """
        if not self.original:
            raise InvalidArgument("message", "must be that of JKOAction for its Gram matrix", type(self).__name__)
        if phi.dim() != 2 or phi.size(0) != v.size(0) or phi.dtype != v.dtype:
            want = f"({v.size(0)}, m) and dtype {v.dtype}"
            raise InvalidArgument("phi", f"must have shape {want}", f"{tuple(phi.shape)}, {phi.dtype}")
        graph, backend, senders = self.prepare_field(v, None, None, batch, weight)
        assert isinstance(graph, Partition)
        d, m = v.size(1), phi.size(1)
        if backend == "moments" and graph.count == 1:
            return (self.kernel.strength * maxwell_gram(v, phi, senders)).reshape(m * d, m * d)
        unit = self.units(v, graph)
        v = v / unit.to(v.dtype)
        receivers = _receivers(senders, batch, weight) * (unit[:, 0] ** (self.kernel.gamma + 2)).to(v.dtype)
        total = torch.zeros(m, d, m, d, dtype=torch.float64, device=v.device)
        for index, mask in graph.padded():
            size = index.size(1)
            together = max(1, PAIRS_AT_A_TIME // size**2)
            rows = min(size, max(1, PAIRS_AT_A_TIME // size))
            for some, real in zip(index.split(together), mask.split(together), strict=True):
                for at, there in zip(some.split(rows, 1), real.split(rows, 1), strict=True):
                    self._add_gram(
                        total, (v[at], phi[at], receivers[at] * there), (v[some], phi[some], senders[some] * real)
                    )
        total = total + total.permute(2, 3, 0, 1)
        return 0.5 * total.reshape(m * d, m * d)

    def _add_gram(
        self, total: Tensor, receiver: tuple[Tensor, Tensor, Tensor], sender: tuple[Tensor, Tensor, Tensor]
    ) -> None:
        """Add :math:`\\sum_i w_i \\phi_k(i) \\sum_j w_j A_{ab} (\\phi_l(i) - \\phi_l(j))` of some blocks."""
        (v_i, phi_i, w_i), (v_j, phi_j, w_j) = receiver, sender
        z = v_i[:, :, None] - v_j[:, None]
        r2 = z.square().sum(-1)
        power = self.kernel.power(r2) * w_j[:, None]
        for a in range(z.size(-1)):
            for b in range(a + 1):
                matrix = -power * z[..., a] * z[..., b]
                if a == b:
                    matrix = matrix + power * r2
                difference = matrix.sum(-1, keepdim=True) * phi_i - matrix @ phi_j
                part = (phi_i.flatten(0, 1).T @ (w_i[..., None] * difference).flatten(0, 1)).double()
                total[:, a, :, b] += part
                if a != b:
                    total[:, b, :, a] += part


def _receivers(senders: Tensor, batch: Tensor | None, weight: Tensor | None) -> Tensor:
    """Weights of the receivers: those of the senders, but with sum 1 over all blocks instead of each."""
    if batch is None:
        return senders
    return torch.full_like(senders, 1 / senders.numel()) if weight is None else weight / weight.sum()
