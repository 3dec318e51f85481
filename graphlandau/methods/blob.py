"""The blob method: the score of a regularised entropy."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphlandau.methods.options import Collisions, Step
from graphlandau.methods.transport import LandauTransport
from graphlandau.nn.conv import BlobScore

__all__ = ["Blob"]


class Blob(LandauTransport):
    r"""Blob method: transport along the kernel-density score of :class:`~graphlandau.nn.BlobScore`.

    Decreases the regularised entropy :math:`H_h = \int f \log(\phi_h * f)` in continuous time. Needs no training.

    Args:
        bandwidth: Standard deviation :math:`h` of the kernel, or ``"silverman"``.
        correct: Whether to take out the smoothing bias, exact for Gaussians.
        cutoff: Bandwidths beyond which pairs are left out of the score; ``None`` sums over all.
        step: Integrator, and what becomes of the log-density.
        collisions: How the drift is summed.
        seed: Seed of the random batches.

    Raises:
        ValueError: If an argument is out of range.

    Reference: Carrillo, Hu, Wang and Wu 2020; Ilin, Hu and Wang 2025, Section 5.
    """

    def __init__(
        self,
        bandwidth: float | str = "silverman",
        correct: bool = False,
        *,
        cutoff: float | None = None,
        step: Step = Step(),
        collisions: Collisions = Collisions(),
        seed: int = 0,
    ) -> None:
        super().__init__(step, collisions, seed)
        # The drift may need a backend that the score does not have.
        on_mesh = collisions.backend == "mesh" and cutoff is None
        self.blob = BlobScore(bandwidth, correct, cutoff=cutoff, backend="mesh" if on_mesh else "auto")

    def score(self, state: Data) -> tuple[Tensor, Tensor | None]:
        """Blob score of all particles, also when drifts are summed in random batches."""
        weight = state.get("weight")
        if not self.carries_log_f:
            return self.blob(state.v, weight=weight), None
        return self.blob.value_and_jacobian(state.v, weight=weight)

    def score_field(self, state: Data) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """The field of the particles, each of which also feels its own kernel."""
        v, weight = state.v.double(), state.get("weight")
        weight = None if weight is None else weight.double()
        return lambda x: self.blob.value_and_jacobian(v, weight=weight, at=x)

    @torch.no_grad()
    def entropy(self, state: Data) -> float | None:
        """Regularised entropy of the particles."""
        return float(self.blob.entropy(state.v, weight=state.get("weight")))
