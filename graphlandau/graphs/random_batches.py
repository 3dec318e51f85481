"""Random batches: each particle meets only the few others of its block."""

from __future__ import annotations

import torch
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import as_number

__all__ = ["RandomBatches"]


class RandomBatches(BaseTransform):
    r"""Split the particles of a state into random blocks of about ``size``, afresh at every call.

    Sets ``batch`` :math:`(N,)`. N particles make :math:`\lfloor N / \text{size} \rfloor` blocks whose sizes differ
    by at most one, so no particle is left out and no block is smaller than ``size``. The pair sum then costs
    :math:`O(N \, \text{size})` and keeps momentum, energy and dissipation exact in every block.

    Args:
        size: Particles per block, at least 2 and at most N.
        generator: Where the shuffle is drawn from, on the device of the particles; torch's global one if absent.

    Raises:
        ValueError: If ``size`` is below 2, or larger than the number of particles of a state.

    Example:
        >>> from graphlandau.base.state import particle_state
        >>> state = RandomBatches(2, torch.Generator().manual_seed(0))(particle_state(torch.randn(5, 3)))
        >>> torch.bincount(state.batch)
        tensor([3, 2])

    Reference: Huang and Wang, arXiv:2409.12296, Section 4.3; Carrillo, Jin and Tang 2022.
    """

    def __init__(self, size: int, generator: torch.Generator | None = None) -> None:
        self.size = size = as_number(size)
        if isinstance(size, bool) or not isinstance(size, int) or size < 2:
            raise InvalidArgument("size", "must be an integer of at least 2", repr(size))
        self.generator = generator

    def forward(self, data: Data) -> Data:
        """Return the state with a fresh ``batch``."""
        like = data.get("v", data.get("pos"))
        if not isinstance(like, torch.Tensor):
            raise InvalidArgument("data", "must have velocities 'v' or positions 'pos'", f"keys {list(data.keys())}")
        n = like.size(0)
        if self.size > n:
            raise InvalidArgument("size", f"must be at most the number of particles, {n}", self.size)
        shuffle = torch.randperm(n, generator=self.generator, device=like.device)
        data.batch = torch.empty_like(shuffle)
        data.batch[shuffle] = torch.arange(n, device=like.device) % (n // self.size)
        return data

    def __repr__(self) -> str:
        return f"RandomBatches(size={self.size})"
