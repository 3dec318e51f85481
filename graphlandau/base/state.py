"""The state of a plasma: a PyG ``Data`` object whose nodes are particles."""

from __future__ import annotations

from torch import Tensor
from torch_geometric.data import Data

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_finite, require_velocities, require_weight

__all__ = ["particle_state", "start_of"]


def particle_state(
    v: Tensor,
    *,
    t: float = 0.0,
    pos: Tensor | None = None,
    weight: Tensor | None = None,
    log_f: Tensor | None = None,
) -> Data:
    r"""Bundle particles into a ``torch_geometric.data.Data`` with the keys every method and layer reads.

    Keys: ``v`` velocities :math:`(N, d)`; ``t`` the time (a Python float); ``pos`` positions :math:`(N, d_x)`, absent
    in a homogeneous plasma; ``weight`` :math:`(N,)` with sum 1, absent when uniform; ``log_f`` :math:`(N,)`, the
    log-density at each particle, absent when it is not carried. All dimensionless. It goes through PyG transforms and
    loaders like any other ``Data``.

    Raises:
        ValueError: If a tensor is non-finite or has the wrong shape, or N < 2.

    Example:
        >>> import torch
        >>> particle_state(torch.zeros(3, 2), t=5.5)
        Data(v=[3, 2], t=5.5, num_nodes=3)
    """
    require_velocities("v", v)
    require_weight("weight", weight, v)
    state = Data(v=v, t=float(t), num_nodes=v.size(0))
    if pos is not None:
        require_velocities("pos", pos)
        if pos.size(0) != v.size(0):
            raise InvalidArgument("pos", f"must have a row for each of the {v.size(0)} particles", tuple(pos.shape))
        state.pos = pos
    if weight is not None:
        state.weight = weight / weight.sum()
    if log_f is not None:
        if log_f.shape != v.shape[:1]:
            raise InvalidArgument("log_f", f"must have shape ({v.size(0)},)", tuple(log_f.shape))
        state.log_f = require_finite("log_f", log_f)
    return state


def start_of(state: Data) -> Tensor:
    """Return the initial velocities that a state carries along, else those that it has.

    At the start of a run these are the same, but for a learned flow that may miss its own start.
    """
    return state.get("v0", state.v)
