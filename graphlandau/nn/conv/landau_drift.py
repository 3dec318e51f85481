"""The Landau collision drift as a message-passing layer."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import is_concrete, require_positive
from graphlandau.base.vectors import dot, identity, join, outer
from graphlandau.graphs.partition import Partition
from graphlandau.nn.conv.collision_layer import CollisionLayer, reduced_field
from graphlandau.nn.pairs import (
    MESH_TOLERANCE,
    FlatBlock,
    MeshTooLarge,
    maxwell_drift,
    maxwell_partials,
    mesh_diffusion,
    mesh_drift,
    mesh_partials,
    rectangular_pair_sum,
)
from graphlandau.physics.landau_kernel import LandauKernel

__all__ = ["LandauDrift"]

# Blocks in which the error of a drift is measured.
MOST_BLOCKS = 8


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
        eps: Softening length: :math:`\max(|z|, \varepsilon)` stands in the power of :math:`|z|`. ``None`` follows the
            dtype, see :class:`~graphlandau.physics.LandauKernel`. Not with the mesh, which is smooth at its own scale.
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
        graph, backend, weight = self.prepare(v, ("s", s), edge_index, batch, weight)
        _require_like(at, v)
        self.used = backend
        if backend == "moments":
            assert isinstance(graph, Partition)
            return self.kernel.strength * maxwell_drift(v, s, weight, graph, at)
        if backend == "mesh":
            assert isinstance(graph, Partition)
            drift = self._by_mesh(mesh_drift, *_reduced(v, s, graph, at)[0], weight, graph)
            if drift is not None:
                return self.kernel.strength * drift
            self.used = backend = "dense"
        if at is None:  # what is reduced are differences: test particles need scores of the same kind
            s, _ = reduced_field(v, s, graph if isinstance(graph, Partition) else Partition.from_batch(None, v))
        formula = _Drift(self.kernel, self.kernel.softening(v.dtype))
        return self.pair_sum(backend, formula, at or (v, s), (v, s, weight[:, None]), graph)

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
        field; for negative ``gamma`` that has no derivative there.

        Shapes:
            - **output**: ``T`` and ``D``, :math:`(N, d, d)` each, ``T[:, a, b]`` :math:`= \partial U_a / \partial v_b`;
              ``D`` is symmetric, ``T`` only for ``gamma = -3``
        """
        graph, backend, weight = self.prepare(v, ("s", s), edge_index, batch, weight)
        _require_like(at, v)
        if backend == "moments":
            assert isinstance(graph, Partition)
            by_v, by_s = maxwell_partials(v, s, weight, graph, at)
            return self.kernel.strength * by_v, self.kernel.strength * by_s
        if backend == "mesh":
            assert isinstance(graph, Partition)
            inputs, slope = _reduced(v, s, graph, at)
            partials = self._by_mesh(mesh_partials, *inputs, weight, graph)
            if partials is not None:
                by_v, by_s = (self.kernel.strength * x for x in partials)
                return by_v - slope.to(v.dtype)[:, :, None] * by_s, by_s
            backend = "dense"
        d = v.size(1)
        formula = _Partials(self.kernel, self.kernel.softening(v.dtype))
        senders = (v, s, weight[:, None])

        def value(x: Tensor, u: Tensor) -> Tensor:
            return self.pair_sum(backend, formula, (x, u), senders, graph)

        def gradient(x: Tensor, u: Tensor, cotangent: Tensor) -> tuple[Tensor, ...]:
            slope = _PartialsGradient(formula.kernel, formula.eps)
            receivers = (x, u, *_contractions(*cotangent.unflatten(1, (2, d, d)).unbind(1)))
            return self.pair_sum(backend, slope, receivers, senders, graph).split(d, dim=1)

        if at is None or not is_concrete(at[0]) or any(x.requires_grad for x in senders):
            out = value(*(at or (v, s)))
        else:
            out = _ByReceivers.apply(*at, value, gradient)
        by_v, by_s = out.split(d * d, dim=1)
        return by_v.unflatten(1, (d, d)), by_s.unflatten(1, (d, d))

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

        Reference: Ilin, Hu and Wang 2025, Eq. (3.3) and Prop. 2.1.
        """
        graph, backend, weight = self.prepare(v, None, edge_index, batch, weight)
        d = v.size(1)
        if backend == "moments":
            assert isinstance(graph, Partition)
            by_s = maxwell_partials(v, torch.zeros_like(v), weight, graph)[1]
            mass, first = graph.total(weight[:, None]), graph.total(weight[:, None] * v)
            away = graph.spread(mass) * v - graph.spread(first)
            return -self.kernel.strength * by_s, -(d - 1) * self.kernel.strength * away
        if backend == "mesh":
            assert isinstance(graph, Partition)
            still = torch.zeros_like(v)
            found = self._by_mesh(mesh_diffusion, v, still, None, weight, graph)
            if found is not None:
                return self.kernel.strength * found[0], self.kernel.strength * found[1]
            backend = "dense"
        formula = _Diffusion(self.kernel, self.kernel.softening(v.dtype))
        out = self.pair_sum(backend, formula, (v,), (v, weight[:, None]), graph)
        matrix, divergence = out.split([d * d, d], dim=1)
        return matrix.unflatten(1, (d, d)), (d - 1) * divergence

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, tolerance={self.tolerance})"

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
        graph, _, share = self.prepare(v, ("s", s), None, batch, weight)
        assert isinstance(graph, Partition)
        # In float64 with the softening of the particles' precision: that of float32 belongs to what is measured.
        formula = _Drift(self.kernel, self.kernel.softening(v.dtype))
        v, s, share = v.double(), reduced_field(v, s, graph)[0].double(), share.double()
        chosen = torch.randperm(graph.count, generator=generator)[:MOST_BLOCKS].tolist()
        error, size = 0.0, 0.0
        for block in chosen:
            members = (graph.block == block).nonzero()[:, 0]
            picked = torch.randperm(members.numel(), generator=generator)[: max(1, targets // len(chosen))]
            at = members[picked.to(members.device)]
            senders = (v[members], s[members], share[members, None])
            exact = rectangular_pair_sum(formula, (v[at], s[at]), senders)
            error += float((found[at].double() - exact).square().sum())
            size += float(exact.square().sum())
        return math.sqrt(error / size) if size > 0 else 0.0

    def _by_mesh(
        self,
        function: Callable[..., Any],
        v: Tensor,
        s: Tensor,
        at: tuple[Tensor, Tensor] | None,
        weight: Tensor,
        partition: Partition,
    ) -> Any:
        """What ``function`` finds on a mesh, for strength 1; ``None`` if ``auto`` takes another backend after all.

        Raises:
            ValueError: If the mesh was asked for and is not defined here or too large.
        """
        if v.size(1) not in (2, 3):
            raise InvalidArgument("backend", "must not be 'mesh' unless d is 2 or 3", f"d = {v.size(1)}")
        try:
            return function(v, s, weight, partition, self.kernel.gamma, self.tolerance, at)
        except FlatBlock as error:
            if self.backend == "mesh":
                raise
            reason = str(error)
        except MeshTooLarge as error:
            if self.backend == "mesh":
                raise InvalidArgument(
                    "tolerance",
                    "must be larger, or the backend 'dense'",
                    f"{self.tolerance:g} for {v.size(0):,} particles: {error}",
                    "; of a run it is --mesh_tolerance",
                ) from error
            reason = str(error)
        warnings.warn(f"drifts are summed by the backend 'dense' ({reason})", stacklevel=3)
        return None

    def jacobian(
        self, v: Float[Tensor, "N d"], s: Float[Tensor, "N d"], jac_s: Float[Tensor, "N d d"], **graph: Any
    ) -> Float[Tensor, "N d d"]:
        r""":math:`\nabla U(v_i)` given the Jacobian of the score; ``graph`` is what ``forward`` takes."""
        by_v, by_s = self.partials(v, s, **graph)
        if jac_s.shape != by_s.shape or jac_s.dtype != by_s.dtype:
            want = f"{tuple(by_s.shape)} and dtype {by_s.dtype}"
            raise InvalidArgument("jac_s", f"must have shape {want}", f"{tuple(jac_s.shape)}, {jac_s.dtype}")
        return by_v + by_s @ jac_s

    def divergence(
        self, v: Float[Tensor, "N d"], s: Float[Tensor, "N d"], jac_s: Float[Tensor, "N d d"], **graph: Any
    ) -> Float[Tensor, " N"]:
        r""":math:`\operatorname{div} U(v_i) = -\sum_j w_j [A : \nabla s - (d-1) C |z|^\gamma z \cdot (s_i - s_j)]`."""
        return self.jacobian(v, s, jac_s, **graph).diagonal(dim1=1, dim2=2).sum(-1)


def _reduced(
    v: Tensor, s: Tensor, partition: Partition, at: tuple[Tensor, Tensor] | None
) -> tuple[tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None], Tensor]:
    """Particles and test particles with what every block has in common taken out of the scores, and the slope of it."""
    reduced, slope = reduced_field(v, s, partition)
    if at is not None:
        common = (s - reduced) + (slope * (at[0] - v)).to(s.dtype)
        at = at[0], at[1] - common
    return (v, reduced, at), slope


def _require_like(at: tuple[Tensor, Tensor] | None, v: Tensor) -> None:
    for x in at or ():
        if x.shape != v.shape or x.dtype != v.dtype:
            want = f"{tuple(v.shape)}, {v.dtype}"
            raise InvalidArgument("at", f"must have the shape and dtype of 'v', {want}", f"{tuple(x.shape)}, {x.dtype}")


@dataclass(frozen=True)
class _Drift:
    r"""What one sender adds to the drift, :math:`-w_j A(v_i - v_j)(s_i - s_j)`."""

    kernel: LandauKernel
    eps: float

    def __call__(self, receiver: Sequence[Any], sender: Sequence[Any]) -> Any:
        (v_i, s_i), (v_j, s_j, w_j) = receiver, sender
        return self.kernel.apply(v_i - v_j, s_i - s_j, self.eps) * w_j * -1.0


@dataclass(frozen=True)
class _Partials:
    r"""What one sender adds to :math:`T` and :math:`D`, row by row.

    With :math:`p = C |z|^\gamma` and :math:`A(z) u = p\,(|z|^2 u - z (z \cdot u))`,
    :math:`\partial_z [A(z) u] = \frac{\gamma p}{|z|^2} (|z|^2 u - z (z \cdot u)) z^\top
    + p\,(2 u z^\top - (z \cdot u) I - z u^\top)`.
    """

    kernel: LandauKernel
    eps: float

    def __call__(self, receiver: Sequence[Any], sender: Sequence[Any]) -> Any:
        (v_i, s_i), (v_j, s_j, w_j) = receiver, sender
        z, u = v_i - v_j, s_i - s_j
        r2, zu, eye = dot(z, z), dot(z, u), identity(z)
        p = self.kernel.power(r2, self.eps) * w_j
        e2 = self.eps * self.eps
        slope = p * self.kernel.gamma / ((r2 - e2).relu() + e2)
        by_v = outer(u * r2 - z * zu, z) * slope + (outer(u, z) * 2.0 - eye * zu - outer(z, u)) * p
        by_s = (eye * r2 - outer(z, z)) * p
        return join([by_v * -1.0, by_s * -1.0])


class _ByReceivers(torch.autograd.Function):
    """A function of the receivers alone with a first derivative of its own, and no second one."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        u: Tensor,
        value: Callable[[Tensor, Tensor], Tensor],
        gradient: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]],
    ) -> Tensor:
        ctx.save_for_backward(x, u)
        ctx.gradient = gradient
        return value(x, u)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return (*ctx.gradient(*ctx.saved_tensors, cotangent), None, None)


def _contractions(M: Float[Tensor, "N d d"], N: Float[Tensor, "N d d"]) -> list[Tensor]:
    """Cotangents of T and D as :class:`_PartialsGradient` takes them: two traces, rows of M, M^T and N + N^T."""
    traces = [x.diagonal(dim1=1, dim2=2).sum(1, keepdim=True) for x in (M, N)]
    return [*traces, *M.unbind(1), *M.unbind(2), *(N + N.mT).unbind(1)]


@dataclass(frozen=True)
class _PartialsGradient:
    r"""What one sender adds to the gradient of :math:`M : T + N : D` in the velocity and in the score of the receiver.

    By hand, because to differentiate :class:`_Partials` entry by entry takes three times as long (in 3D), and minutes
    to compile.
    With :math:`p = C |z|^\gamma`, :math:`c = \gamma p / |z|^2`, :math:`\alpha = u \cdot M z`,
    :math:`\beta = u \cdot z`, :math:`\kappa = z \cdot M z` the term is

    .. math::
        -w_j \left[ c \, (|z|^2 \alpha - \beta \kappa) + p \, (2 \alpha - \beta \operatorname{tr} M - z \cdot M u
        + |z|^2 \operatorname{tr} N - z \cdot N z) \right]

    and :math:`\nabla p = c z`, :math:`\nabla c = (\gamma - 2) c z / |z|^2`. Inside the softened ball ``p`` is constant,
    which is left aside: no pair is that close but a particle and itself, where all of it vanishes.
    """

    kernel: LandauKernel
    eps: float

    def __call__(self, receiver: Sequence[Any], sender: Sequence[Any]) -> Any:
        (v_i, s_i, trace_m, trace_n, *rows), (v_j, s_j, w_j) = receiver, sender
        d = len(rows) // 3
        z, u = v_i - v_j, s_i - s_j

        def times(matrix: Sequence[Any], x: Any) -> Any:
            return join([dot(row, x) for row in matrix])

        m, m_t, n_twice = rows[:d], rows[d : 2 * d], times(rows[2 * d :], z)
        mz, mtz = times(m, z), times(m_t, z)
        r2, alpha, beta, kappa = dot(z, z), dot(u, mz), dot(u, z), dot(z, mz)
        e2 = self.eps * self.eps
        softened = (r2 - e2).relu() + e2
        p = self.kernel.power(r2, self.eps) * w_j
        c = p * self.kernel.gamma / softened
        first = alpha * r2 - beta * kappa
        second = alpha * 2.0 - beta * trace_m - dot(u, mtz) + r2 * trace_n - dot(z, n_twice) * 0.5
        by_z = z * (c * (first / softened * (self.kernel.gamma - 2.0) + alpha * 2.0 + second) + p * trace_n * 2.0)
        by_z = by_z + times(m_t, u) * (c * r2 + p * 2.0) - u * (c * kappa + p * trace_m)
        by_z = by_z - (mz + mtz) * (c * beta) - (times(m, u) + n_twice) * p
        by_u = mz * (c * r2 + p * 2.0) - z * (c * kappa + p * trace_m) - mtz * p
        return join([by_z * -1.0, by_u * -1.0])


@dataclass(frozen=True)
class _Diffusion:
    r"""What one sender adds to :math:`D`, row by row, and to :math:`\nabla \cdot D / (d - 1)`."""

    kernel: LandauKernel
    eps: float

    def __call__(self, receiver: Sequence[Any], sender: Sequence[Any]) -> Any:
        (v_i,), (v_j, w_j) = receiver, sender
        z = v_i - v_j
        r2 = dot(z, z)
        p = self.kernel.power(r2, self.eps) * w_j
        return join([(identity(z) * r2 - outer(z, z)) * p, z * p * -1.0])
