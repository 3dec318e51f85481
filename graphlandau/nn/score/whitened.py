"""Scores built on the Gaussian with the particles' own mean and covariance."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import is_concrete, require_integer, require_velocities, require_weight
from graphlandau.base.vectors import less
from graphlandau.graphs.partition import Partition
from graphlandau.nn.score.base import ScoreModel, given

__all__ = ["GaussianScore", "WhitenedScore"]


class WhitenedScore(ScoreModel):
    r"""A score written in the whitened velocities of the particles.

    .. math::
        x = \Sigma^{-1/2} (v - m), \qquad s(v) = \Sigma^{-1/2} s_x(x), \qquad
        J(v) = \Sigma^{-1/2} J_x(x) \, \Sigma^{-1/2}

    with the symmetric root, so that :math:`x` turns continuously with the particles. ``condition`` sets the (weighted)
    mean :math:`m` and :math:`\Sigma^{-1/2}`; before the first call they are 0 and the identity. They are kept in
    double precision and in the ``state_dict``. Subclasses give :math:`s_x` and :math:`J_x`.

    With ``batch`` each plasma has its own mean and covariance, and ``forward`` and ``value_and_jacobian`` need the
    ``batch`` of their particles, numbered as in ``condition``. A subclass may keep other buffers for each plasma: it
    names them in ``per_plasma``, and takes the entry of each particle by :meth:`of_plasma`.

    Attributes:
        per_plasma: Names of the buffers that have an entry for each plasma after ``condition(v, batch=batch)``.
    """

    mean: Tensor
    whitening: Tensor
    per_plasma: tuple[str, ...] = ("mean", "whitening")

    def __init__(self, d: int) -> None:
        super().__init__()
        self.d = d = require_integer("d", d, minimum=1)
        self.register_buffer("mean", torch.zeros(d, dtype=torch.float64))
        self.register_buffer("whitening", torch.eye(d, dtype=torch.float64))

    def whitened_score(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """Score :math:`s_x` in whitened velocities."""
        raise NotImplementedError

    def whitened_score_and_jacobian(self, x: Tensor, batch: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Score and Jacobian in whitened velocities."""
        raise NotImplementedError

    def condition(
        self,
        v: Float[Tensor, "N d"],
        weight: Float[Tensor, " N"] | None = None,
        batch: Int[Tensor, " N"] | None = None,
    ) -> None:
        """Take mean and covariance from the particles, of each plasma if there are several.

        A number that no particle has leaves mean 0 and the identity.

        Raises:
            ValueError: If ``v`` is not finite, a plasma has fewer than ``d + 2`` particles or a singular covariance, or
                ``batch`` is not an integer of at least 0 for each particle.
        """
        if batch is None:
            mean, whitening = mean_and_whitening(v, weight, self.d)
        else:
            partition, plasmas = Partition.from_batch(batch, v), plasma_count(batch)
            mean = torch.zeros(plasmas, self.d, dtype=torch.float64, device=v.device)
            whitening = torch.eye(self.d, dtype=torch.float64, device=v.device).repeat(plasmas, 1, 1)
            for rows in partition.order.split(partition.size.tolist()):
                plasma, own = int(batch[rows[0]]), None if weight is None else weight[rows]
                mean[plasma], whitening[plasma] = mean_and_whitening(v[rows], own, self.d)
        self.store("mean", mean)
        self.store("whitening", whitening)

    def store(self, name: str, value: Tensor) -> None:
        """Set a buffer of ``per_plasma``, whose shape may change with the number of plasmas."""
        buffer = self.get_buffer(name)
        if buffer.shape == value.shape:
            buffer.copy_(value)
        else:
            setattr(self, name, value.to(buffer))

    def plasmas(self) -> int | None:
        """Number of plasmas that the model was conditioned on, ``None`` without ``batch``."""
        return self.mean.size(0) if self.mean.dim() == 2 else None

    def of_plasma(self, x: Tensor, batch: Tensor | None) -> Tensor:
        """The entries of a buffer of ``per_plasma`` for the plasma of each particle; all of it if there is one plasma.

        Raises:
            InvalidArgument: If several plasmas meet no ``batch``, or one that was not conditioned on.
        """
        count = self.plasmas()
        if count is None:
            return x
        if batch is None:
            raise InvalidArgument("batch", f"must be given to a score conditioned on {count} plasmas", None)
        if is_concrete(batch) and batch.numel():
            low, high = (int(b) for b in batch.aminmax())
            if low < 0 or high >= count:
                raise InvalidArgument("batch", f"must be from 0 to {count - 1}", low if low < 0 else high)
        return x[batch]

    def whiten(self, v: Tensor, batch: Tensor | None = None) -> Tensor:
        """Whitened velocities :math:`x`."""
        return transformed(less(v, self.of_plasma(self.mean, batch)), self.of_plasma(self.whitening.to(v), batch))

    def forward(self, v: Float[Tensor, "N d"], *, batch: Int[Tensor, " N"] | None = None) -> Float[Tensor, "N d"]:
        """Score at ``v``."""
        s = self.whitened_score(self.whiten(v, batch), **given(batch=batch))
        return transformed(s, self.of_plasma(self.whitening.to(v), batch))

    def value_and_jacobian(
        self, v: Float[Tensor, "N d"], batch: Int[Tensor, " N"] | None = None
    ) -> tuple[Float[Tensor, "N d"], Float[Tensor, "N d d"]]:
        """Score and Jacobian in one pass."""
        s, jacobian = self.whitened_score_and_jacobian(self.whiten(v, batch), **given(batch=batch))
        root = self.of_plasma(self.whitening.to(v), batch)
        return transformed(s, root), root @ jacobian @ root

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any, **more: Any) -> None:
        """Load the buffers of any number of plasmas."""
        for name in self.per_plasma:
            saved = state_dict.get(f"{prefix}{name}")
            if isinstance(saved, Tensor) and saved.shape != self.get_buffer(name).shape:
                setattr(self, name, self.get_buffer(name).new_empty(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest, **more)


class GaussianScore(WhitenedScore):
    r"""The score of the Gaussian with the particles' mean and covariance, :math:`s(v) = -\Sigma^{-1} (v - m)`.

    No parameters: ``condition`` is all the fitting there is. Exact for Gaussian densities, hence the reference that
    every richer model has to beat; over the particles themselves :math:`\langle s \rangle = 0` and
    :math:`\langle v s^{\top} \rangle = -I` exactly.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> v = 2 * torch.randn(1000, 2)
        >>> score = GaussianScore(2)
        >>> score.condition(v)
        >>> bool((score.divergence(v) + 0.5).abs().max() < 0.05)
        True
    """

    def whitened_score(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """Score :math:`-x`."""
        return -x

    def whitened_score_and_jacobian(self, x: Tensor, batch: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Score :math:`-x` and Jacobian :math:`-I`."""
        return -x, -torch.eye(self.d, dtype=x.dtype, device=x.device).expand(x.size(0), -1, -1)


def plasma_count(batch: Tensor) -> int:
    """Number of plasmas that ``batch`` counts, from 0.

    Raises:
        InvalidArgument: If a number is below 0.
    """
    low, high = (int(b) for b in batch.aminmax())
    if low < 0:
        raise InvalidArgument("batch", "must not be below 0", low)
    return high + 1


def transformed(x: Tensor, matrix: Tensor) -> Tensor:
    """Rows times one matrix, or each times its own."""
    return x @ matrix if matrix.dim() == 2 else (x[:, None] @ matrix)[:, 0]


def mean_and_whitening(v: Tensor, weight: Tensor | None, d: int) -> tuple[Tensor, Tensor]:
    r"""Mean and :math:`\Sigma^{-1/2}` of the particles, in double precision."""
    require_velocities("v", v, min_particles=d + 2)
    require_weight("weight", weight, v)
    if v.size(1) != d:
        raise InvalidArgument("v", f"must have shape (N, {d})", tuple(v.shape))
    x = v.detach().double()
    w = torch.full_like(x[:, 0], 1 / x.size(0)) if weight is None else weight.detach().double() / weight.sum()
    mean = w @ x
    x = x - mean
    variance, axes = torch.linalg.eigh(x.T @ (w[:, None] * x))
    # Below this the variance is rounding: of the stored velocities, or of their covariance in double precision.
    rounding = max((10 * torch.finfo(v.dtype).eps) ** 2, 1e-14)
    if not bool(variance[0] > rounding * (variance[-1] + mean @ mean)):
        raise InvalidArgument(
            "v", "must have a non-singular covariance", f"principal variances {variance[0]:.3g} to {variance[-1]:.3g}"
        )
    return mean, (axes / variance.sqrt()) @ axes.T
