"""The blob score: kernel density estimation as a message-passing layer."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch_geometric.utils import add_remaining_self_loops

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.precision import full_precision
from graphlandau.base.validation import (
    as_number,
    is_concrete,
    require_edge_index,
    require_positive,
    require_unmapped,
    require_velocities,
    require_weight,
)
from graphlandau.base.vectors import dot, identity, join, less, matvec, outer
from graphlandau.graphs.neighbours import radius_edges
from graphlandau.graphs.partition import Partition
from graphlandau.nn.conv.pairwise import PairwiseLayer
from graphlandau.nn.mesh import GaussianMesh, MeshTooLarge
from graphlandau.nn.pairs import MESH_FROM, choose_exact, complete_edges, pair_sum

__all__ = ["BlobScore"]

# Messages of so many edges at a time: memory that does not grow with the graph, and stays in the cache.
EDGES_AT_ONCE = 2**18
# Density beside the largest one below which the transforms of a mesh know nothing.
MESH_FLOOR = 1e-11


class BlobScore(PairwiseLayer):
    r"""Score of the regularised entropy of weighted particles (blob method).

    .. math::
        s_i = \sum_j w_j \nabla\phi(v_i - v_j) \left( \frac{1}{\rho_i} + \frac{1}{\rho_j} \right), \qquad
        \rho_i = \sum_k w_k \phi(v_i - v_k)

    the gradient of :math:`\delta H_h / \delta f` for :math:`H_h = \int f \log(\phi * f)`, so that
    :math:`\partial H_h / \partial v_i = w_i s_i`, with a Gaussian
    :math:`\phi` of standard deviation :math:`h`, over all pairs, all pairs inside each block of ``batch``, the pairs
    within ``cutoff``, or the edges :math:`j \to i` of ``edge_index``; each particle meets itself once in all of them.
    The bandwidth and the choice of pairs are constants to every derivative. Dimensionless.

    Args:
        bandwidth: The standard deviation :math:`h`, or ``"silverman"``:
            :math:`h = n^{-1/(d+6)} \sqrt{(\prod_b \lambda_b)^{1/d}}` with the eigenvalues :math:`\lambda_b` of the
            covariance and :math:`n = (\sum w)^2 / \sum w^2`, for each block.
        correct: Divide the component along each principal axis by :math:`R_b(v)`, what the formula gives for a
            Gaussian of the particles' covariance relative to its true score (``q_c = sigma_c^4 + sigma_c^2 h^2
            + h^4``)

            .. math::
                R_b = \sigma_b^2 \Big[ \frac{1}{\sigma_b^2 + h^2} + \frac{h^2}{q_b} \prod_c
                \frac{\sigma_c^2 + h^2}{\sqrt{q_c}} \exp\Big(-\frac{1}{2} \sum_c \frac{h^2 v_c^2}{q_c}\Big) \Big],

            which makes Gaussians exact as :math:`N \to \infty` for any :math:`h`. Ours, not in the papers.
        cutoff: Leave out pairs farther apart than this many :math:`h` (of their block), which
            :func:`~graphlandau.graphs.radius_edges` finds; ``None`` sums over all. Costs :math:`O(N k)` and about 80
            bytes a pair for k neighbours, so it pays where that many :math:`h` are far less than the plasma. Each term
            left out of :math:`\rho_i` is below :math:`e^{-\text{cutoff}^2 / 2}` of the particle's own (equal weights).
            A smooth plasma loses the fraction :math:`P(\chi^2_{d+2} > \text{cutoff}^2)` of its score: at 5, which we
            recommend, 5e-5 in 2D and 1.4e-4 in 3D; measured 4e-5 and 9e-5 (N(0, I), N = 2000, Silverman's h, rms).
            Not under ``torch.vmap`` over ``v``.
        backend: ``"dense"``, ``"keops"``, ``"mesh"`` (up to 3D: sums over a lattice of half a bandwidth, spread and
            gathered by cubic splines, :math:`O(N + M^d \log M)`; relative errors, rms, of 2e-4 to 6e-4 in the score and
            2e-3 in the Jacobian, measured for Gaussians with 2000 and 8000 particles; what is so far out that its
            density is below 1e-11 of the largest gets no meaningful score; no forward mode), or ``"auto"``: edges
            where there are any, the mesh from 100,000 particles (in every block) up to 3D unless it takes more than 2
            GiB, else dense.

    Shapes:
        - **v**: velocities :math:`(N, d)`
        - **edge_index**: :math:`(2, E)`, row 0 sends (:math:`j`), row 1 receives (:math:`i`); self-loops change
          nothing *(optional)*
        - **batch**, **weight**: :math:`(N,)` *(optional)*; weights are made to sum to 1 (in each block)
        - **output**: score :math:`(N, d)`

    Raises:
        ValueError: If ``bandwidth`` is not ``"silverman"`` or positive, ``cutoff`` is not positive, tensors are
            non-finite or do not fit, the particles of a block span fewer than d dimensions when their covariance is
            needed, more than one of ``cutoff``, ``edge_index`` and (with the latter) ``batch`` choose the pairs, edges
            meet a backend other than ``"auto"``, or ``cutoff`` leaves more than 50 million.

    Example:
        >>> BlobScore(bandwidth=0.3)
        BlobScore(bandwidth=0.3, correct=False, cutoff=None, backend='auto')
        >>> BlobScore()(torch.randn(500, 2)).shape
        torch.Size([500, 2])

    As a carrier of the log-density its Jacobian is biased: particle i sees its own kernel move with the field, which
    adds about :math:`1 / (N h^{d+2})` to the divergence.

    Reference: Carrillo, Hu, Wang and Wu 2020; Ilin, Hu and Wang 2025, Section 5.1, whose rule for the bandwidth
    ``"silverman"`` follows (with covariance eigenvalues, and the result used as a standard deviation).
    """

    def __init__(
        self,
        bandwidth: float | str = "silverman",
        correct: bool = False,
        *,
        cutoff: float | None = None,
        backend: str = "auto",
    ) -> None:
        super().__init__(backend, ("dense", "mesh", "keops"))
        bandwidth = as_number(bandwidth)
        if isinstance(bandwidth, str):
            if bandwidth != "silverman":
                raise InvalidArgument("bandwidth", "must be 'silverman' or a positive number", repr(bandwidth))
        else:
            bandwidth = require_positive("bandwidth", bandwidth)
        if cutoff is not None:
            cutoff = require_positive("cutoff", cutoff)
            if backend != "auto":
                raise InvalidArgument("cutoff", "needs backend 'auto'", repr(backend))
        self.bandwidth = bandwidth
        self.correct = correct
        self.cutoff = cutoff

    def message(self, v_i: Any, v_j: Any, inverse_density_i: Any, inverse_density_j: Any, weight_j: Any) -> Any:
        r"""Of ``h`` times the score, :math:`-w_j \phi(z) z (1/\rho_i + 1/\rho_j)`; velocities in units of ``h``."""
        z = v_i - v_j
        return z * (_gaussian(z) * weight_j * (inverse_density_i + inverse_density_j) * -1.0)

    @property
    def original(self) -> bool:
        """Whether :meth:`message` is that of this class."""
        return self.sums_message_of(BlobScore)

    @property
    def weighted(self) -> bool:
        """The weight is a factor of the original message."""
        return self.original

    @property
    def one_sided(self) -> bool:
        """The original message depends on both."""
        return not self.original

    def message_key(self) -> Hashable:
        """Nothing for the original message: in units of ``h`` all blobs are alike."""
        return None if self.original else super().message_key()

    @full_precision
    def forward(
        self,
        v: Float[Tensor, "N d"],
        edge_index: Int[Tensor, "2 E"] | None = None,
        batch: Int[Tensor, " N"] | None = None,
        weight: Float[Tensor, " N"] | None = None,
    ) -> Float[Tensor, "N d"]:
        """Score at every particle."""
        blob = self._prepare(v, edge_index, batch, weight)
        if blob.mesh is None:
            score = self._scores(blob, blob.x, blob.inverse_density) / blob.h
        else:
            by_density, by_others = blob.mesh.gradients(blob.inverse_density)
            score = (by_density * blob.inverse_density + by_others) / blob.h
        return self._corrected(blob.x, score, None, blob)[0] if self.correct else score

    @full_precision
    def value_and_jacobian(
        self,
        v: Float[Tensor, "N d"],
        edge_index: Int[Tensor, "2 E"] | None = None,
        batch: Int[Tensor, " N"] | None = None,
        weight: Float[Tensor, " N"] | None = None,
        at: Float[Tensor, "N d"] | None = None,
    ) -> tuple[Float[Tensor, "N d"], Float[Tensor, "N d d"]]:
        r"""Score and Jacobian of the score *field* at every particle: the others, and :math:`\rho_j`, stay fixed.

        With :math:`\rho(v) = \sum_k w_k \phi(v - v_k)` the field is
        :math:`s(v) = \nabla \log \rho(v) + \sum_j w_j \nabla\phi(v - v_j) / \rho_j`, and its Jacobian
        :math:`\sum_j w_j \nabla\nabla\phi \, (1/\rho_i + 1/\rho_j) - \nabla\rho \nabla\rho^\top / \rho^2`. A message
        of a subclass is differentiated.

        Shapes:
            - **at**: where the field is evaluated, :math:`(N, d)` *(optional, at the particles)*; velocity :math:`i`
              meets the block or the neighbours of particle :math:`i`. Derivatives with respect to it are those of the
              field
            - **output**: :math:`(N, d)` and :math:`(N, d, d)`, ``[:, a, b]`` is :math:`\partial s_a / \partial v_b`
        """
        if at is not None and (at.shape != v.shape or at.dtype != v.dtype):
            want = f"{tuple(v.shape)}, {v.dtype}"
            raise InvalidArgument(
                "at", f"must have the shape and dtype of 'v', {want}", f"{tuple(at.shape)}, {at.dtype}"
            )
        blob = self._prepare(v, edge_index, batch, weight, at)
        d, x, inverse_density = v.size(1), blob.x, blob.inverse_density
        if at is not None:
            x = (at - blob.mean) / blob.h
            inverse_density = self._inverse_density(blob, x)
        if not self.original:
            score, jacobian = self._differentiated(blob, x)
            jacobian = jacobian / blob.h[:, :, None] ** 2
            return self._corrected(x, score / blob.h, jacobian, blob) if self.correct else (score / blob.h, jacobian)
        if blob.mesh is None:
            out = self._sum(_ScoreAndHessian(), blob, blob.inverse_density, at=(x, inverse_density))
            score, log_gradient, hessian = out.split([d, d, d * d], dim=1)
            hessian = hessian.unflatten(1, (d, d))
        else:
            place = None if at is None else x
            by_density, by_others = blob.mesh.gradients(blob.inverse_density, place)
            log_gradient = by_density * inverse_density
            score = log_gradient + by_others
            of_density, of_others = blob.mesh.hessians(blob.inverse_density, place)
            hessian = of_density * inverse_density[:, :, None] + of_others
        jacobian = (hessian - log_gradient[:, :, None] * log_gradient[:, None, :]) / blob.h[:, :, None] ** 2
        return self._corrected(x, score / blob.h, jacobian, blob) if self.correct else (score / blob.h, jacobian)

    def jacobian(self, v: Float[Tensor, "N d"], **graph: Any) -> Float[Tensor, "N d d"]:
        """Jacobian of the score field, see :meth:`value_and_jacobian`."""
        return self.value_and_jacobian(v, **graph)[1]

    def divergence(self, v: Float[Tensor, "N d"], **graph: Any) -> Float[Tensor, " N"]:
        """Divergence of the score field, see :meth:`value_and_jacobian`."""
        return self.jacobian(v, **graph).diagonal(dim1=1, dim2=2).sum(-1)

    @full_precision
    def entropy(
        self,
        v: Float[Tensor, "N d"],
        edge_index: Int[Tensor, "2 E"] | None = None,
        batch: Int[Tensor, " N"] | None = None,
        weight: Float[Tensor, " N"] | None = None,
    ) -> Float[Tensor, " B"]:
        r"""Regularised entropy :math:`H_h = \sum_i w_i \log \rho_i`, one number per block."""
        blob = self._prepare(v, edge_index, batch, weight)
        norm = 0.5 * v.size(1) * math.log(2 * math.pi) + v.size(1) * torch.log(blob.h)
        log_density = -torch.log(blob.inverse_density) - norm
        return blob.partition.total(blob.weight[:, None] * log_density)[:, 0]

    def _prepare(
        self,
        v: Tensor,
        edge_index: Tensor | None,
        batch: Tensor | None,
        weight: Tensor | None,
        at: Tensor | None = None,
    ) -> _Blob:
        require_velocities("v", v)
        require_weight("weight", weight, v)
        if edge_index is not None:
            self._require_only(edge_index, batch, v)
        partition = Partition.from_batch(batch, v)
        share = partition.normalised(weight, v)
        mean = partition.spread(partition.total(share.double()[:, None] * v.double()))
        centred = less(v, mean)
        h = partition.spread(self._bandwidths(centred, share, partition))[:, None].to(v.dtype)
        # In units of h: one compiled formula for every bandwidth.
        x = centred / h
        if self.cutoff is not None:
            edge_index = radius_edges(x, self.cutoff, batch=partition.block)
        elif edge_index is None and self.chosen_backend(v.size(1), int(partition.size.min()), v.device) == "edges":
            edge_index = complete_edges(partition)
        graph = partition if edge_index is None else add_remaining_self_loops(edge_index, num_nodes=v.size(0))[0]
        places = None if at is None else less(at, mean) / h
        mesh = None if edge_index is not None else self._mesh(x, share, partition, places)
        blob = _Blob(partition, graph, share, mean, x, h, v.new_empty(0), mesh)
        return blob._replace(inverse_density=self._inverse_density(blob))

    def _mesh(self, x: Tensor, share: Tensor, partition: Partition, at: Tensor | None) -> GaussianMesh | None:
        """The mesh over the particles if that is the backend, ``None`` if not.

        Raises:
            ValueError: If it was asked for and is too large, or ``x`` has more than three dimensions.
        """
        if self.chosen_backend(x.size(1), int(partition.size.min()), x.device) != "mesh":
            return None
        require_unmapped("backend", "must not be 'mesh' under torch.vmap, each lattice has a size of its own", x)
        if x.size(1) > 3:
            raise InvalidArgument("backend", "must not be 'mesh' beyond three dimensions", f"d = {x.size(1)}")
        try:
            return GaussianMesh.over(x, share, partition, at)
        except MeshTooLarge as error:
            if self.backend == "mesh":
                raise ValueError(f"'bandwidth' must be larger, or the backend 'dense' ({error})") from error
            warnings.warn(f"scores are summed by the backend 'dense' ({error})", stacklevel=4)
            return None

    def _inverse_density(self, blob: _Blob, at: Tensor | None = None) -> Tensor:
        if blob.mesh is not None:
            density = blob.mesh.density(at)
            # Rounding of the transforms must not outweigh what a particle feels of itself, nor be taken for a density.
            floor = MESH_FLOOR * density.detach().amax()
            floor = torch.maximum(blob.weight[:, None], floor) if at is None else floor
        else:
            density = self._sum(_Density(), blob, at=(blob.x if at is None else at,))
            floor = density.new_zeros(())
        # A tracer of weight 0 may be so far from everything that its density underflows.
        return 1 / torch.maximum(density, floor).clamp_min(torch.finfo(density.dtype).tiny ** 0.5)

    def _require_only(self, edge_index: Tensor, batch: Tensor | None, v: Tensor) -> None:
        if batch is not None:
            raise InvalidArgument("edge_index", "and 'batch' must not be given together", "both")
        if self.cutoff is not None:
            raise InvalidArgument("edge_index", "must not be given to a blob with a cutoff", f"cutoff {self.cutoff}")
        if self.backend != "auto":
            raise InvalidArgument("edge_index", "needs backend 'auto'", repr(self.backend))
        require_edge_index("edge_index", edge_index, v)

    def _bandwidths(self, centred: Tensor, share: Tensor, partition: Partition) -> Tensor:
        if not isinstance(self.bandwidth, str):
            return centred.new_full((partition.count,), self.bandwidth)
        d = centred.size(1)
        with torch.no_grad():
            eigenvalues, _ = _principal_axes(centred, share, partition)
            particles = 1 / partition.total(share.double() ** 2)
            return particles ** (-1 / (d + 6)) * torch.exp(torch.log(eigenvalues).mean(-1) / 2)

    def _sum(self, formula: Any, blob: _Blob, *extra: Tensor, at: tuple[Tensor, ...] | None = None) -> Tensor:
        receivers = (blob.x, *extra) if at is None else at
        senders = (blob.x, *extra, blob.weight[:, None])
        return self._over_graph(blob, lambda backend, graph: pair_sum(backend, formula, receivers, senders, graph))

    def _scores(self, blob: _Blob, x: Tensor, inverse_density: Tensor) -> Tensor:
        """Sum of the messages to receivers at ``x``."""
        receivers = {"v": x, "inverse_density": inverse_density}
        senders = {"v": blob.x, "inverse_density": blob.inverse_density, "weight": blob.weight[:, None]}
        d = x.size(1)
        return self._over_graph(blob, lambda backend, graph: self.sum(backend, receivers, senders, graph, d))

    def _over_graph(self, blob: _Blob, sum_over: Callable[[str, Partition | Tensor], Tensor]) -> Tensor:
        """A sum over blocks by the backend, or over edges, so many at a time."""
        if isinstance(blob.graph, Partition):
            exact = choose_exact(blob.x.device) if self.backend in ("auto", "mesh") else self.backend
            return sum_over(exact, blob.graph)
        first, *others = blob.graph.split(EDGES_AT_ONCE, dim=1)
        total = sum_over("edges", first)
        for edges in others:
            total = total + sum_over("edges", edges)
        return total

    def _differentiated(self, blob: _Blob, at: Tensor) -> tuple[Tensor, Tensor]:
        """``h`` times the score at ``at``, and its derivatives in units of ``h``, of a message of a subclass."""
        keep = torch.is_grad_enabled() and (at.requires_grad or blob.x.requires_grad)
        with torch.enable_grad():
            x = at if at.requires_grad else at.detach().requires_grad_()
            score = self._scores(blob, x, self._inverse_density(blob, x))
            rows = [torch.autograd.grad(s.sum(), x, retain_graph=True, create_graph=keep)[0] for s in score.unbind(1)]
        return (score if keep else score.detach()), torch.stack(rows, 1)

    def chosen_backend(self, d: int, particles: int, device: torch.device | str | None = None) -> str:
        """The backend that sums over blocks of so many particles, the smallest one, in ``d`` dimensions.

        Raises:
            InvalidArgument: If one was asked for that cannot do what only ``propagate`` does, or the mesh for a message
                of a subclass.
        """
        if self.backend == "mesh" and not self.original:
            what = f"for {type(self).__name__}, which has a message of its own"
            raise InvalidArgument("backend", f"must be dense, keops or auto {what}", repr(self.backend))
        return super().chosen_backend(d, particles, device)

    def choose(self, d: int, particles: int, device: torch.device | str | None) -> str:
        """The mesh for many particles in few dimensions, else an exact sum."""
        return "mesh" if self.original and d <= 3 and particles >= MESH_FROM else choose_exact(device)

    def _corrected(self, x: Tensor, score: Tensor, jacobian: Tensor | None, blob: _Blob) -> tuple[Tensor, Tensor]:
        partition, h = blob.partition, blob.h
        with torch.no_grad():
            variance, axes = _principal_axes(blob.x * h, blob.weight, partition)
            variance, axes = (partition.spread(a.to(x.dtype)) for a in (variance, axes))
        along = matvec(axes.mT, x * h)
        h2 = h**2
        q = variance**2 + variance * h2 + h2**2
        amplitude = torch.exp(torch.log((variance + h2) / torch.sqrt(q)).sum(-1, keepdim=True))
        bump = variance * h2 / q * amplitude * torch.exp(-0.5 * (h2 * along**2 / q).sum(-1, keepdim=True))
        ratio = variance / (variance + h2) + bump
        along_score = matvec(axes.mT, score) / ratio
        corrected = matvec(axes, along_score)
        if jacobian is None:
            return corrected, score.new_empty(0)
        # d(s_b / R_b)/dv_c = (ds_b/dv_c - s_b/R_b dR_b/dv_c) / R_b, dR_b/dv_c = -bump_b h^2 v_c / q_c.
        inner = axes.mT @ jacobian @ axes
        slope = -bump[:, :, None] * (h2 * along / q)[:, None, :]
        inner = (inner - along_score[:, :, None] * slope) / ratio[:, :, None]
        return corrected, axes @ inner @ axes.mT

    def __repr__(self) -> str:
        return (
            f"BlobScore(bandwidth={self.bandwidth!r}, correct={self.correct}, cutoff={self.cutoff}, "
            f"backend={self.backend!r})"
        )


class _Blob(NamedTuple):
    """Particles of each block about their mean in units of its bandwidth, and their unnormalised 1/density."""

    partition: Partition
    graph: Partition | Tensor
    weight: Tensor
    mean: Tensor
    x: Tensor
    h: Tensor
    inverse_density: Tensor
    mesh: GaussianMesh | None


def _principal_axes(centred: Tensor, share: Tensor, partition: Partition) -> tuple[Tensor, Tensor]:
    x, share = centred.detach().double(), share.detach()
    covariance = partition.total((share[:, None] * x)[:, :, None] * x[:, None, :])
    eigenvalues, axes = torch.linalg.eigh(covariance)
    flat = eigenvalues[:, 0] <= 1e-12 * eigenvalues[:, -1]
    if is_concrete(flat) and bool(flat.any()):
        block = int(flat.nonzero()[0])
        raise InvalidArgument(
            "v",
            f"must span all {x.size(1)} dimensions in every block for 'silverman' and 'correct'",
            f"a flat covariance in block {block} of {int(partition.size[block])} particles",
        )
    return eigenvalues, axes


def _gaussian(z: Any) -> Any:
    return (dot(z, z) * -0.5).exp()


@dataclass(frozen=True)
class _Density:
    """What one sender adds to the unnormalised density; velocities in units of h."""

    def __call__(self, receiver: Sequence[Any], sender: Sequence[Any]) -> Any:
        (x_i,), (x_j, w_j) = receiver, sender
        return _gaussian(x_i - x_j) * w_j


@dataclass(frozen=True)
class _ScoreAndHessian:
    r"""The term of the score, of :math:`h \nabla \log \rho`, and of h^2 times the Hessian part of the Jacobian."""

    def __call__(self, receiver: Sequence[Any], sender: Sequence[Any]) -> Any:
        (x_i, inverse_i), (x_j, inverse_j, w_j) = receiver, sender
        z = x_i - x_j
        phi = _gaussian(z) * w_j
        both = phi * (inverse_i + inverse_j)
        return join([z * both * -1.0, z * (phi * inverse_i) * -1.0, (outer(z, z) - identity(z)) * both])
