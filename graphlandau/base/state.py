"""The state of a plasma: a PyG ``Data`` object whose nodes are particles."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch_geometric.data import Data

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_finite, require_velocities, require_weight

__all__ = ["ParticleState", "particle_state", "start_of"]

# What lives on a grid, and not at particles.
GRID_KEYS = ("field",)


class ParticleState(Data):
    """A ``Data`` whose nodes are particles; made by :func:`particle_state`.

    A ``field`` on a grid is an attribute of the whole plasma, also if the grid has as many cells as there are
    particles: a ``Batch`` of states stacks it along a new first dimension, one entry for each plasma.
    """

    def is_node_attr(self, key: str) -> bool:
        """Whether ``key`` has an entry for each particle."""
        return key not in GRID_KEYS and super().is_node_attr(key)

    def is_edge_attr(self, key: str) -> bool:
        """Whether ``key`` has an entry for each edge."""
        return key not in GRID_KEYS and super().is_edge_attr(key)

    def __cat_dim__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        return None if key in GRID_KEYS else super().__cat_dim__(key, value, *args, **kwargs)


def particle_state(
    v: Tensor,
    *,
    t: float = 0.0,
    pos: Tensor | None = None,
    weight: Tensor | None = None,
    log_f: Tensor | None = None,
    checked: bool = True,
    **further: Tensor | None,
) -> ParticleState:
    r"""Bundle particles into a ``torch_geometric.data.Data`` with the keys every method and layer reads.

    Keys: ``v`` velocities :math:`(N, d)`; ``t`` the time (a Python float); ``pos`` positions :math:`(N, d_x)`, absent
    in a homogeneous plasma; ``weight`` :math:`(N,)` with sum 1, absent when uniform; ``log_f`` :math:`(N,)`, the
    log-density at each particle, absent when it is not carried. All dimensionless. It goes through PyG transforms and
    loaders like any other ``Data``.

    Args:
        v: Velocities.
        t: Time.
        pos: Positions.
        weight: Weights; of any positive sum if they are checked.
        log_f: Log-densities.
        checked: Whether to refuse bad tensors and normalise the weights. In a step of a method neither is needed: the
            time loop finds and names what is not finite.
        further: What a method carries along (``force``, ``control``, the ``field`` on the grid); ``None`` is left out.

    Raises:
        ValueError: If a tensor is non-finite or has the wrong shape, or N < 2.

    Example:
        >>> import torch
        >>> particle_state(torch.zeros(3, 2), t=5.5)
        ParticleState(v=[3, 2], t=5.5, num_nodes=3)
    """
    if checked:
        require_velocities("v", v)
        weight = require_weight("weight", weight, v)
        weight = None if weight is None else weight / weight.sum()
        _require_fitting(v, pos, log_f)
    tensors = {"pos": pos, "weight": weight, "log_f": log_f, **further}
    given = {key: x for key, x in tensors.items() if x is not None}
    return ParticleState(v=v, t=float(t), num_nodes=v.size(0), **given)


def _require_fitting(v: Tensor, pos: Tensor | None, log_f: Tensor | None) -> None:
    n = v.size(0)
    if pos is not None:
        require_velocities("pos", pos)
        if pos.size(0) != n:
            raise InvalidArgument("pos", f"must have a row for each of the {n} particles", tuple(pos.shape))
    if log_f is not None:
        if log_f.shape != v.shape[:1]:
            raise InvalidArgument("log_f", f"must have shape ({n},)", tuple(log_f.shape))
        require_finite("log_f", log_f)


def start_of(state: Data) -> Tensor:
    """Return the initial velocities that a state carries along, else those that it has.

    At the start of a run these are the same, but for a learned flow that may miss its own start.
    """
    return state.get("v0", state.v)
