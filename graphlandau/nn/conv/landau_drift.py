"""The Landau collision drift as a message-passing layer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.precision import full_precision
from graphlandau.base.validation import require_positive
from graphlandau.graphs.partition import Partition
from graphlandau.nn.conv.collision_layer import CollisionLayer, reduced_field
from graphlandau.nn.conv.drift_derivatives import differentiated_partials, diffusion, partials
from graphlandau.nn.conv.drift_on_mesh import on_mesh, reduced_with_targets
from graphlandau.nn.conv.pairwise import Message
from graphlandau.nn.conv.sampled_error import sampled_error
from graphlandau.nn.mesh import mesh_diffusion, mesh_drift, mesh_partials
from graphlandau.nn.pairs import MESH_TOLERANCE, choose_exact, maxwell_drift, maxwell_partials

__all__ = ["LandauDrift"]


class LandauDrift(CollisionLayer):
    r"""Landau collision drift of weighted particles.

    .. math::
        U_i = -\sum_{j} w_j \, A(v_i - v_j) (s_i - s_j), \qquad
        A(z) = C |z|^{\gamma} (|z|^2 I - z z^{\top}), \quad A(0) = 0

    Sums over all pairs, over the pairs inside each block of ``batch``, or over the edges :math:`j \to i` of
    ``edge_index``. If every pair is present in both directions, then for *any* vector field ``s`` momentum
    :math:`\sum_i w_i U_i = 0`, energy :math:`\sum_i w_i v_i \cdot U_i = 0`, and
    :math:`\sum_i w_i s_i \cdot U_i \le 0`. In float32 distances must stay below about 1e18, where squares overflow.
    A kNN graph is directed: symmetrise it, or these are lost.
    Dimensionless, as in the papers.

    Args:
        gamma: Kernel exponent in [-4, 1]; 0 is Maxwell, -3 is Coulomb in every dimension.
        strength: Collision strength :math:`C > 0`.
        backend: ``"dense"`` (tiles, compiled where it pays), ``"moments"`` (exact :math:`O(N)`, ``gamma = 0``),
            ``"keops"``, ``"edges"`` (``propagate``), ``"mesh"`` (:math:`O(N + M^d \log M)` for :math:`-3 \le \gamma <
            0` in 2D and 3D, below), or ``"auto"``: ``edges`` when a graph is given, ``moments`` for ``gamma = 0``,
            ``mesh`` from 100,000 particles (in every block) where it can, else ``dense``. All but the mesh are exact
            and agree to rounding; all are differentiable in ``v``, ``s`` and ``weight``, and all but ``keops`` and
            ``mesh`` in forward mode too.
        eps: Softening length: :math:`\max(|z|, \varepsilon)` stands in the power of :math:`|z|`. ``None`` takes 1e-10
            (float32: 1e-5) of the spread of the particles of a block, to a factor of 1.5, so that
            :math:`U(l v, s / l) = l^{\gamma + 1} U(v, s)`. Not with the mesh, which is smooth at its own scale.
        tolerance: Relative error :math:`\|\tilde U - U\| / \|U\|` from which the mesh takes its spacing;
            :meth:`error` measures what it is. It is missed, by factors of 2 to 10, for narrow modes far apart, whose
            drift is small beside what its terms are, and at test particles (``at``) whose scores are unlike those of
            their neighbours.

    **The mesh.** Particles are spread over a cubic lattice by cubic B-splines, convolved with the kernel by zero-padded
    FFTs, and the fields :math:`A * \mu`, :math:`A * s \mu` gathered by the same splines. Momentum is kept to rounding,
    because spreading and gathering are adjoint; the energy exactly, by a drift :math:`a_i (v_i - m)` of the size of
    the error; of dissipation there is no proof. The kernel is split as in an Ewald sum and each part transformed
    exactly, so the density that the lattice resolves has the right field; nothing is added for particles within a cell
    of each other, which feel a kernel that is smooth at that scale. :meth:`partials` are the derivatives of that smooth
    field. Blocks have lattices of their own. Lattices whose fields take more than 2 GiB are refused, or with ``"auto"``
    replaced by ``dense`` with a warning.

    Attributes:
        used: Backend of the last drift, ``None`` before the first.

    Shapes:
        - **v**, **s**: velocities and scores, :math:`(N, d)` with :math:`d \ge 2`
        - **edge_index**: :math:`(2, E)`, row 0 sends (:math:`j`), row 1 receives (:math:`i`) *(optional)*
        - **batch**: :math:`(N,)`, block of each particle, in any order *(optional)*
        - **weight**: :math:`(N,)` *(optional, uniform* :math:`1/N` *)*. Taken as given for the complete graph
          and for ``edge_index``; made to sum to 1 inside each block of ``batch``
        - **at**: velocities and scores of test particles, :math:`(N, d)` each *(optional, the particles themselves)*:
          the field of the particles is evaluated there. Number :math:`i` feels what meets particle :math:`i`: its
          block, its edges
        - **output**: drift :math:`U`, :math:`(N, d)`

    Raises:
        ValueError: If an argument is out of range, tensors are non-finite or do not fit together, both
            ``edge_index`` and ``batch`` are given, ``edge_index`` meets a backend other than edges, or the mesh is
            asked for another ``gamma`` or dimension or a tolerance that takes too large a lattice.
        ImportError: If ``backend="keops"`` and KeOps does not work here.

    Example:
        >>> drift = LandauDrift(gamma=-3.0, strength=1 / 16)
        >>> drift
        LandauDrift(gamma=-3.0, strength=0.0625, backend='auto', eps=None, tolerance=0.001)
        >>> v = torch.randn(100, 3)
        >>> drift(v, s=-v).abs().max() < 1e-6  # a Maxwellian is at rest
        tensor(True)

    Reference: Huang and Wang, arXiv:2409.12296, Eq. (22); Ilin, Hu and Wang 2025, Eq. (3.1). Blocks are the
    random batches of Huang and Wang, Section 4.3. Sparse ``edge_index`` is ours, and so is the mesh.
    """

    def __init__(
        self,
        gamma: float,
        strength: float = 1.0,
        *,
        backend: str = "auto",
        eps: float | None = None,
        tolerance: float = MESH_TOLERANCE,
    ) -> None:
        super().__init__(
            gamma, strength, backend=backend, eps=eps, backends=("dense", "moments", "mesh", "keops", "edges")
        )
        self.tolerance = require_positive("tolerance", tolerance)
        self.used: str | None = None
        if backend == "mesh" and not -3 <= gamma < 0:
            raise InvalidArgument("backend", "must not be 'mesh' unless gamma is in [-3, 0)", f"gamma {gamma}")
        if backend == "mesh" and eps is not None:
            raise InvalidArgument("eps", "must be None with backend 'mesh', which is smooth at its own scale", eps)

    def message(self, v_i: Any, v_j: Any, s_i: Any, s_j: Any, weight_j: Any) -> Any:
        r""":math:`-w_j A(v_i - v_j)(s_i - s_j)`."""
        return self.kernel.apply(v_i - v_j, s_i - s_j) * weight_j * -1.0

    @property
    def original(self) -> bool:
        """Whether :meth:`message` is that of this class."""
        return self.sums_message_of(LandauDrift)

    @full_precision
    def forward(
        self,
        v: Float[Tensor, "N d"],
        s: Float[Tensor, "N d"],
        edge_index: Int[Tensor, "2 E"] | None = None,
        batch: Int[Tensor, " N"] | None = None,
        weight: Float[Tensor, " N"] | None = None,
        at: tuple[Float[Tensor, "N d"], Float[Tensor, "N d"]] | None = None,
    ) -> Float[Tensor, "N d"]:
        """Drift of every particle, or what a test particle ``at`` its place would feel."""
        graph, backend, weight = self.prepare_field(v, ("s", s), edge_index, batch, weight)
        _require_like(at, v)
        self.used = backend
        if backend == "moments":
            assert isinstance(graph, Partition)
            return self.kernel.strength * maxwell_drift(v, s, weight, graph, at)
        unit, v, s, at = self._in_units(v, s, graph, at)
        factor = (unit ** (self.kernel.gamma + 1)).to(v.dtype)
        if backend == "mesh":
            assert isinstance(graph, Partition)
            drift = self._on_mesh(mesh_drift, reduced_with_targets(v, s, graph, at)[0], weight, graph)
            if drift is not None:
                return self.kernel.strength * drift * factor
            self.used = backend = choose_exact(v.device)
        # What is reduced are differences: test particles need scores of the same kind, and so does another message.
        if at is None and self.original:
            s, _ = reduced_field(v, s, graph if isinstance(graph, Partition) else Partition.from_batch(None, v))
        return self._direct(backend, at or (v, s), (v, s, weight[:, None]), graph) * factor

    def _in_units(
        self, v: Tensor, s: Tensor, graph: Partition | Tensor, at: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor] | None]:
        """The unit of velocity of each particle, and particles and targets in it."""
        unit = self.units(v, graph)
        by = unit.to(v.dtype)
        return unit, v / by, s * by, None if at is None else (at[0] / by, at[1] * by)

    def _direct(
        self,
        backend: str,
        at: tuple[Tensor, Tensor],
        senders: tuple[Tensor, Tensor, Tensor],
        graph: Partition | Tensor,
    ) -> Tensor:
        v, s, weight = senders
        receivers = {"v": at[0], "s": at[1]}
        return self.sum(backend, receivers, {"v": v, "s": s, "weight": weight}, graph, width=v.size(1))

    @full_precision
    def partials(
        self,
        v: Float[Tensor, "N d"],
        s: Float[Tensor, "N d"],
        edge_index: Int[Tensor, "2 E"] | None = None,
        batch: Int[Tensor, " N"] | None = None,
        weight: Float[Tensor, " N"] | None = None,
        at: tuple[Float[Tensor, "N d"], Float[Tensor, "N d"]] | None = None,
    ) -> tuple[Float[Tensor, "N d d"], Float[Tensor, "N d d"]]:
        r"""How the drift field changes at each particle, the other particles held fixed.

        .. math::
            T_i = \partial_v U = -\sum_j w_j \, \partial_z [A(z) u]_{u = s_i - s_j}, \qquad
            D_i = \partial_s U = -\sum_j w_j A(v_i - v_j)

        so that :math:`\nabla U(v_i) = T_i + D_i \nabla s(v_i)` and
        :math:`\operatorname{div} U = \operatorname{tr} T + D : \nabla s`, Eq. of Prop. 2.4 in arXiv:2409.12296.
        Derivatives of these with respect to ``at`` are those of the field: the particles, its sources, stay where they
        are. ``at`` the particles themselves, bit for bit, they leave out what each one would contribute to its own
        field; for negative ``gamma`` that has no derivative there. A message of a subclass is differentiated.

        Shapes:
            - **output**: ``T`` and ``D``, :math:`(N, d, d)` each, ``T[:, a, b]`` :math:`= \partial U_a / \partial v_b`;
              ``D`` is symmetric, ``T`` only for ``gamma = -3``
        """
        graph, backend, weight = self.prepare_field(v, ("s", s), edge_index, batch, weight)
        _require_like(at, v)
        if backend == "moments":
            assert isinstance(graph, Partition)
            by_v, by_s = maxwell_partials(v, s, weight, graph, at)
            return self.kernel.strength * by_v, self.kernel.strength * by_s
        unit, v, s, at = self._in_units(v, s, graph, at)
        of_v, of_s = ((unit**power).to(v.dtype)[:, :, None] for power in (self.kernel.gamma, self.kernel.gamma + 2))
        if backend == "mesh":
            assert isinstance(graph, Partition)
            inputs, slope = reduced_with_targets(v, s, graph, at)
            found = self._on_mesh(mesh_partials, inputs, weight, graph)
            if found is not None:
                by_v, by_s = (self.kernel.strength * x for x in found)
                return (by_v - slope.to(v.dtype)[:, :, None] * by_s) * of_v, by_s * of_s
            backend = choose_exact(v.device)
        senders = (v, s, weight[:, None])
        if not self.original:
            return differentiated_partials(lambda x, u: self._direct(backend, (x, u), senders, graph), at or (v, s))
        by_v, by_s = partials(self.kernel, backend, at or (v, s), senders, graph, by_hand=at is not None)
        return by_v * of_v, by_s * of_s

    @full_precision
    def diffusion(
        self,
        v: Float[Tensor, "N d"],
        edge_index: Int[Tensor, "2 E"] | None = None,
        batch: Int[Tensor, " N"] | None = None,
        weight: Float[Tensor, " N"] | None = None,
    ) -> tuple[Float[Tensor, "N d d"], Float[Tensor, "N d"]]:
        r"""Diffusion matrix at each particle and its divergence, the other particles held fixed.

        .. math::
            D_i = \sum_j w_j A(v_i - v_j), \qquad
            \nabla \cdot D_i = -(d - 1) C \sum_j w_j |v_i - v_j|^\gamma (v_i - v_j)

        the diffusion and half the friction of the Fokker-Planck form of the Landau equation. For Coulomb collisions
        the divergence of a direct sum is mostly that of the nearest particles; the mesh leaves these out.

        Shapes:
            - **output**: symmetric positive semi-definite :math:`(N, d, d)`, and :math:`(N, d)`

        Raises:
            InvalidArgument: Also for a subclass with a message of its own, which has another diffusion.

        Reference: Ilin, Hu and Wang 2025, Eq. (3.3) and Prop. 2.1.
        """
        if not self.original:
            raise InvalidArgument("message", "must be that of LandauDrift for its diffusion", type(self).__name__)
        graph, backend, weight = self.prepare_field(v, None, edge_index, batch, weight)
        d = v.size(1)
        if backend == "moments":
            assert isinstance(graph, Partition)
            by_s = maxwell_partials(v, torch.zeros_like(v), weight, graph)[1]
            mass, first = graph.total(weight[:, None]), graph.total(weight[:, None] * v)
            away = graph.spread(mass) * v - graph.spread(first)
            return -self.kernel.strength * by_s, -(d - 1) * self.kernel.strength * away
        unit = self.units(v, graph)
        v = v / unit.to(v.dtype)
        of_matrix, of_vector = ((unit ** (self.kernel.gamma + power)).to(v.dtype) for power in (2, 1))
        if backend == "mesh":
            assert isinstance(graph, Partition)
            found = self._on_mesh(mesh_diffusion, (v, torch.zeros_like(v), None), weight, graph)
            if found is not None:
                matrix, divergence = (self.kernel.strength * x for x in found)
                return matrix * of_matrix[:, :, None], divergence * of_vector
            backend = choose_exact(v.device)
        matrix, divergence = diffusion(self.kernel, backend, v, weight[:, None], graph)
        return matrix * of_matrix[:, :, None], divergence * of_vector

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, tolerance={self.tolerance})"

    @full_precision
    @torch.no_grad()
    def error(
        self,
        v: Float[Tensor, "N d"],
        s: Float[Tensor, "N d"],
        batch: Int[Tensor, " N"] | None = None,
        weight: Float[Tensor, " N"] | None = None,
        *,
        drift: Float[Tensor, "N d"] | None = None,
        targets: int = 512,
        generator: torch.Generator | None = None,
    ) -> float:
        r"""Relative error :math:`\|\tilde U - U\| / \|U\|` over random targets, by the direct sum.

        Costs ``targets`` times N pairs, in float64. Of exact backends it is the rounding.

        Args:
            v: Velocities.
            s: Scores.
            batch: Blocks.
            weight: Weights.
            drift: What :meth:`forward` gave, if that is known.
            targets: Number of targets, in at most 8 of the blocks.
            generator: Where they are drawn from, on the CPU.
        """
        found = self(v, s, batch=batch, weight=weight) if drift is None else drift
        graph, _, share = self.prepare_field(v, ("s", s), None, batch, weight)
        assert isinstance(graph, Partition)
        unit, v, s, _ = self._in_units(v, s, graph, None)
        # In float64 with the softening of the particles' precision: that of float32 belongs to what is measured.
        exact = copy.copy(self)
        exact.kernel = replace(self.kernel, eps=self.kernel.softening(v.dtype))
        given = {"v": v, "s": s, "weight": share}
        formula = Message.of(exact, given, given)
        s = reduced_field(v, s, graph)[0] if self.original else s
        factor = unit ** (self.kernel.gamma + 1)
        return sampled_error(found, formula, v, s, share, graph, targets, generator, factor)

    def _on_mesh(
        self,
        function: Callable[..., Any],
        inputs: tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None],
        weight: Tensor,
        graph: Partition,
    ) -> Any:
        return on_mesh(function, inputs, weight, graph, self.kernel.gamma, self.tolerance, self.backend == "mesh")

    @full_precision
    def jacobian(
        self, v: Float[Tensor, "N d"], s: Float[Tensor, "N d"], jac_s: Float[Tensor, "N d d"], **graph: Any
    ) -> Float[Tensor, "N d d"]:
        r""":math:`\nabla U(v_i)` given the Jacobian of the score; ``graph`` is what ``forward`` takes."""
        by_v, by_s = self.partials(v, s, **graph)
        if jac_s.shape != by_s.shape or jac_s.dtype != by_s.dtype:
            want = f"{tuple(by_s.shape)} and dtype {by_s.dtype}"
            raise InvalidArgument("jac_s", f"must have shape {want}", f"{tuple(jac_s.shape)}, {jac_s.dtype}")
        return by_v + by_s @ jac_s

    @full_precision
    def divergence(
        self, v: Float[Tensor, "N d"], s: Float[Tensor, "N d"], jac_s: Float[Tensor, "N d d"], **graph: Any
    ) -> Float[Tensor, " N"]:
        r""":math:`\operatorname{div} U(v_i) = -\sum_j w_j [A : \nabla s - (d-1) C |z|^\gamma z \cdot (s_i - s_j)]`."""
        return self.jacobian(v, s, jac_s, **graph).diagonal(dim1=1, dim2=2).sum(-1)


def _require_like(at: tuple[Tensor, Tensor] | None, v: Tensor) -> None:
    for x in at or ():
        if x.shape != v.shape or x.dtype != v.dtype:
            want = f"{tuple(v.shape)}, {v.dtype}"
            raise InvalidArgument("at", f"must have the shape and dtype of 'v', {want}", f"{tuple(x.shape)}, {x.dtype}")
