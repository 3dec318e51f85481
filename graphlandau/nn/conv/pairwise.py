"""Layers that sum a message over pairs of particles: what a subclass writes, and everything that it does not."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch_geometric.nn import MessagePassing

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.precision import full_precision
from graphlandau.base.validation import require_edge_index, require_one_of, require_velocities, require_weight
from graphlandau.base.vectors import Components, dot
from graphlandau.graphs.partition import Partition
from graphlandau.nn.pairs import choose_exact, complete_edges, keops_available, pair_sum

__all__ = ["Message", "PairwiseLayer"]

EXACT = ("dense", "keops", "edges")
# What PyG runs around a message, besides the message itself: only ``propagate`` knows these.
STEPS = ("aggregate", "update", "edge_update", "message_and_aggregate")
HOOKS = (
    "_propagate_forward_pre_hooks",
    "_propagate_forward_hooks",
    "_message_forward_pre_hooks",
    "_message_forward_hooks",
    "_aggregate_forward_pre_hooks",
    "_aggregate_forward_hooks",
)


class PairwiseLayer(MessagePassing):
    r"""Sums :math:`y_i = \sum_j m(x_i, x_j)` over all pairs, the pairs inside blocks, or the edges of a graph.

    A subclass writes the message and nothing else. Its arguments are named as in PyG: ``v_i`` belongs to the receiver,
    ``v_j`` to the sender, and ``weight_j`` is the weight of the sender. It is written with broadcasting arithmetic
    along the last axis: ``+ - * / **``, ``exp``, ``log``, ``sqrt``, ``rsqrt``, ``abs``, ``square``, ``sin``, ``cos``,
    ``relu`` (as methods, or of ``torch``), ``.sum(-1, keepdim=True)``, ``.norm(dim=-1, keepdim=True)`` and the
    functions of :mod:`graphlandau.base.vectors`. The one method is what ``propagate`` runs along edges, what the dense
    tiles run (compiled where it pays, see :func:`graphlandau.nn.pairs.compile_mode`), and what KeOps gets as symbols.

    Args:
        backend: ``"dense"`` (tiles, :math:`O(N)` memory), ``"keops"``, ``"edges"`` (``propagate``), or ``"auto"``:
            ``edges`` where a graph is given or only ``propagate`` will do (below), else ``keops`` on CUDA where it
            works, else ``dense``. All are exact and differentiable; all but ``keops`` in forward mode too.
        backends: What the subclass supports.

    **What only propagate does.** Hooks that are registered on the layer, an ``aggregate`` or ``update`` of one's own,
    and parameters to train that the message uses. ``"auto"`` then takes ``edges``; other backends are refused.

    Shapes:
        - **quantities**: one tensor :math:`(N, k)` for each name of the message, in the order of their first mention;
          the weight is given by keyword
        - **edge_index**: :math:`(2, E)`, row 0 sends (:math:`j`), row 1 receives (:math:`i`) *(optional)*
        - **batch**: :math:`(N,)`, block of each particle *(optional)*
        - **weight**: :math:`(N,)` *(optional, uniform* :math:`1/N` *)*. Taken as given for all pairs and for
          ``edge_index``; made to sum to 1 inside each block of ``batch``
        - **output**: :math:`(N, q)`

    A dense sum meets every particle with itself once; edges of a complete graph have no loops. A message that does not
    vanish at :math:`i = j` therefore differs between the two.

    Raises:
        InvalidArgument: If ``backend`` is not one of ``backends``, tensors do not fit together, or, at the first call,
            the message does not broadcast.
        ImportError: If ``backend="keops"`` and KeOps does not work here.

    Example:
        >>> class Attraction(PairwiseLayer):
        ...     def __init__(self, range, **options):
        ...         super().__init__(**options)
        ...         self.range = range
        ...
        ...     def message(self, v_i, v_j, weight_j):
        ...         z = v_j - v_i
        ...         r2 = (z * z).sum(-1, keepdim=True)
        ...         return weight_j * z * torch.exp(-r2 / self.range**2)
        >>> v = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> pull = Attraction(range=0.5)
        >>> pull(v).sum(0).abs().max() < 1e-6  # what i does to j, j does to i
        tensor(True)
        >>> same = Attraction(range=0.5, backend="edges")
        >>> torch.allclose(pull(v, batch=torch.arange(100) % 3), same(v, batch=torch.arange(100) % 3), atol=1e-6)
        True
    """

    def __init__(self, backend: str = "auto", backends: tuple[str, ...] = EXACT) -> None:
        super().__init__(aggr="add", flow="source_to_target", node_dim=0)
        self.backends = backends
        self.backend = require_one_of("backend", backend, ("auto", *backends))
        if backend == "keops" and not keops_available()[0]:
            reason = keops_available()[1]
            raise ImportError(f"backend 'keops' needs pykeops and g++: pip install 'graphlandau[keops]' ({reason})")
        self._tried: set[Hashable] = set()

    def message(self, *args: Any, **kwargs: Any) -> Tensor:
        """What edge j -> i carries; a subclass writes it."""
        raise NotImplementedError(f"{type(self).__name__} needs a method 'message'")

    @full_precision
    def forward(
        self,
        *quantities: Float[Tensor, "N _k"],
        edge_index: Int[Tensor, "2 E"] | None = None,
        batch: Int[Tensor, " N"] | None = None,
        weight: Float[Tensor, " N"] | None = None,
    ) -> Float[Tensor, "N q"]:
        """Sum of the messages that each particle receives."""
        names = [name for name in quantities_of(self) if name != "weight"]
        if len(quantities) != len(names):
            raise InvalidArgument("quantities", f"must be {', '.join(names) or 'none'}", f"{len(quantities)} tensors")
        first = require_velocities(names[0], quantities[0])
        for name, x in zip(names[1:], quantities[1:], strict=True):
            if x.dim() != 2 or x.size(0) != first.size(0) or x.dtype != first.dtype:
                want = f"({first.size(0)}, k) and dtype {first.dtype}"
                raise InvalidArgument(name, f"must have shape {want}", f"{tuple(x.shape)}, {x.dtype}")
        graph, backend, share = self.prepare(first, edge_index, batch, weight)
        given = dict(zip(names, quantities, strict=True))
        return self.sum(backend, given, given | {"weight": share[:, None]}, graph)

    def prepare(
        self, v: Tensor, edge_index: Tensor | None, batch: Tensor | None, weight: Tensor | None
    ) -> tuple[Partition | Tensor, str, Tensor]:
        """Check the graph of a sum; return it, its backend and the weights of the senders.

        Raises:
            InvalidArgument: If tensors do not fit together, both ``edge_index`` and ``batch`` are given, or
                ``edge_index`` meets a backend other than edges.
        """
        require_weight("weight", weight, v)
        if edge_index is not None:
            if batch is not None:
                raise InvalidArgument("edge_index", "and 'batch' must not be given together", "both")
            if self.backend not in ("auto", "edges"):
                raise InvalidArgument("edge_index", "needs backend 'edges' or 'auto'", repr(self.backend))
            require_edge_index("edge_index", edge_index, v)
            return edge_index, "edges", v.new_full((v.size(0),), 1 / v.size(0)) if weight is None else weight
        partition = Partition.from_batch(batch, v)
        if weight is None or batch is not None:
            weight = partition.normalised(weight, v)
        return partition, self.chosen_backend(v.size(1), int(partition.size.min()), v.device), weight

    def chosen_backend(self, d: int, particles: int, device: torch.device | str | None = None) -> str:
        """The backend that sums over blocks of so many particles, the smallest one, in ``d`` dimensions.

        Raises:
            InvalidArgument: If one was asked for that cannot do what only ``propagate`` does.
        """
        reason = self.only_propagate
        if self.backend == "auto":
            return "edges" if reason else self.choose(d, particles, device)
        if reason and self.backend != "edges":
            raise InvalidArgument("backend", f"must be 'edges' or 'auto' for a layer with {reason}", repr(self.backend))
        return self.backend

    def choose(self, d: int, particles: int, device: torch.device | str | None) -> str:
        """What ``auto`` takes for all pairs of blocks where every backend would do."""
        return choose_exact(device)

    @property
    def only_propagate(self) -> str | None:
        """What this layer has that only ``propagate`` knows, in words; ``None`` if there is nothing."""
        if any(getattr(self, name, None) for name in HOOKS):
            return "registered hooks"
        own = [name for name in STEPS if getattr(type(self), name) is not getattr(MessagePassing, name)]
        if own:
            return f"a method '{own[0]}' of its own"
        return "parameters to train" if any(p.requires_grad for p in self.parameters()) else None

    def sums_message_of(self, layer: type[PairwiseLayer]) -> bool:
        """Whether the message is that of the class ``layer``, and not one of a subclass."""
        return getattr(self.message, "__func__", None) is layer.message

    @property
    def weighted(self) -> bool:
        """Whether ``weight_j`` is a factor of the message for certain, so that padding may weigh 0."""
        return False

    @property
    def one_sided(self) -> bool:
        """Whether the message may depend on the sender or the receiver alone."""
        return True

    def message_key(self) -> Hashable:
        """What the message depends on beside its arguments: layers of equal keys share a compiled kernel."""
        return id(self)

    def sum(
        self,
        backend: str,
        receivers: Mapping[str, Float[Tensor, "N _k"]],
        senders: Mapping[str, Float[Tensor, "M _l"]],
        graph: Partition | Int[Tensor, "2 E"],
        width: int | None = None,
    ) -> Float[Tensor, "N q"]:
        """Sum the message over ``graph``: the quantities of receivers and senders are given by their names.

        Args:
            backend: An exact backend.
            receivers: Quantities of the receivers.
            senders: Quantities of the senders, the weight ``(M, 1)`` among them.
            graph: Blocks, or edges.
            width: Number of columns that the sum must have; any unless given.
        """
        formula = Message.of(self, receivers, senders)
        self._try_once(formula, receivers, senders, backend, width)
        if backend != "edges":
            return pair_sum(backend, formula, formula.pick(receivers), formula.pick(senders, "j"), graph)
        edges = complete_edges(graph) if isinstance(graph, Partition) else graph
        names = dict.fromkeys((*formula.receivers, *formula.senders))
        both: dict[str, Any] = {name: (senders.get(name), receivers.get(name)) for name in names}
        return self.propagate(edges, **both)

    def _try_once(
        self,
        formula: Message,
        receivers: Mapping[str, Tensor],
        senders: Mapping[str, Tensor],
        backend: str,
        width: int | None,
    ) -> None:
        """Evaluate a message of a user's own for two pairs, before it is believed.

        Raises:
            InvalidArgument: If it fails, gives other columns than ``width``, or another number for other carriers.
        """
        x, y = formula.pick(receivers), formula.pick(senders, "j")
        kind = (backend, width, *(a.size(1) for a in (*x, *y)))
        if type(self).__module__.startswith("graphlandau.") or kind in self._tried:
            return
        name = type(self).__name__
        with torch.no_grad():
            # Other particles than the receivers, where there are some: a pair of a particle with itself tells little.
            x, y = [a[:2].detach() for a in x], [a[-2:].flip(0).detach() for a in y]
            out = _attempt(formula, name, x, y)
            if not isinstance(out, Tensor) or out.dim() != 2 or out.size(0) != len(x[0]):
                got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
                raise InvalidArgument("message", f"of {name} must return (E, q) for E edges", f"{got} for {len(x[0])}")
            if width is not None and out.size(1) != width:
                raise InvalidArgument("message", f"of {name} must return {width} columns", out.size(1))
            if backend != "edges":
                parts = _attempt(
                    formula, name, [Components(a.unbind(1)) for a in x], [Components(a.unbind(1)) for a in y]
                )
                same = isinstance(parts, Components) and len(parts.parts) == out.size(1)
                if not same or not torch.allclose(torch.stack([p.expand(len(out)) for p in parts.parts], 1), out, 1e-4):
                    allowed = f"of {name} must broadcast along the last axis (keepdim=True)"
                    raise InvalidArgument("message", allowed, "another value for tiles", _AS_EDGES)
        self._tried.add(kind)


_AS_EDGES = "; backend 'edges' takes any message"


def _attempt(formula: Message, name: str, x: Sequence[Any], y: Sequence[Any]) -> Any:
    try:
        return formula(x, y)
    except Exception as error:  # whatever a user's own message may raise
        hint = _AS_EDGES if isinstance(x[0], Components) else ""
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise InvalidArgument("message", f"of {name} must broadcast along the last axis", reason, hint) from error


def _of_both(out: Any, receiver: Any, sender: Any) -> Any:
    """A message for every pair, also where it depends on one of the two only."""
    if isinstance(out, Tensor) or not hasattr(out, "sum"):
        return out
    if isinstance(out, Components):
        shape = torch.broadcast_shapes(receiver.parts[0].shape, sender.parts[0].shape)
        return Components(tuple(part.expand(shape) for part in out.parts))
    return out + dot(receiver, receiver) * 0.0 + dot(sender, sender) * 0.0


def quantities_of(layer: MessagePassing) -> list[str]:
    """Names of the quantities that a message uses, in the order of their first mention, without ``_i`` and ``_j``."""
    names = inspect.signature(layer.message).parameters
    wrong = [name for name in names if not name.endswith(("_i", "_j"))]
    if wrong:
        raise InvalidArgument("message", f"of {type(layer).__name__} must have arguments NAME_i and NAME_j", wrong[0])
    return list(dict.fromkeys(name[:-2] for name in names))


@dataclass(frozen=True, eq=False)
class Message:
    """The message of a layer as a formula of the pair sums, whatever carries its vectors.

    Args:
        layer: The layer.
        receivers: Names of what it uses of the receiver, in the order in which they are summed.
        senders: Names of what it uses of the sender.
    """

    layer: PairwiseLayer
    receivers: tuple[str, ...]
    senders: tuple[str, ...]

    @classmethod
    def of(cls, layer: PairwiseLayer, receivers: Mapping[str, Tensor], senders: Mapping[str, Tensor]) -> Message:
        """The formula for what the message of ``layer`` uses of what is given.

        Raises:
            InvalidArgument: If it uses what is not given, or nothing of one side.
        """
        quantities_of(layer)
        names = list(inspect.signature(layer.message).parameters)
        found = []
        for end, given in (("_i", receivers), ("_j", senders)):
            used = [name[:-2] for name in names if name.endswith(end)]
            unknown = [name for name in used if name not in given]
            if unknown or not used:
                known = ", ".join(f"{name}{end}" for name in given)
                got = f"{unknown[0]}{end}" if unknown else "none"
                raise InvalidArgument("message", f"of {type(layer).__name__} must use some of {known}", got)
            found.append(tuple(name for name in given if name in used))
        return cls(layer, *found)

    @property
    def weighted(self) -> bool:
        """Whether the last vector of the sender is a factor."""
        return self.layer.weighted and self.senders[-1] == "weight"

    @property
    def _key(self) -> Hashable:
        return type(self.layer), self.layer.message_key(), self.receivers, self.senders

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Message) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def pick(self, given: Mapping[str, Tensor], end: str = "i") -> list[Tensor]:
        """The tensors that the formula takes of one side."""
        return [given[name] for name in (self.receivers if end == "i" else self.senders)]

    def __call__(self, receiver: Sequence[Any], sender: Sequence[Any]) -> Any:
        """What one pair adds."""
        arguments = {f"{name}_i": x for name, x in zip(self.receivers, receiver, strict=True)}
        arguments |= {f"{name}_j": x for name, x in zip(self.senders, sender, strict=True)}
        out = self.layer.message(**arguments)
        return _of_both(out, receiver[0], sender[0]) if self.layer.one_sided else out
