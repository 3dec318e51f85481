"""How particles are moved: groups of options that methods share, each declared, checked and documented here.

A method takes groups, ``SBTM(score, step=Step(integrator="midpoint"), collisions=Collisions(batch_size=500))``, and
one that is to move particles like another takes the very group of it. On the command line the options of a group are
keys of the method: ``--method.integrator midpoint``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import (
    as_number,
    keep,
    require_integer,
    require_one_of,
    require_positive,
    require_repeats,
)
from graphlandau.graphs import RandomBatches
from graphlandau.graphs.grid import MIN_CELLS
from graphlandau.integrators.integrator import Integrator
from graphlandau.integrators.named import explicit_integrator, integrator_of
from graphlandau.integrators.symplectic import MAPS
from graphlandau.nn.conv import LandauDrift
from graphlandau.nn.pairs import BACKENDS, MESH_TOLERANCE, keops_available

__all__ = ["Collisions", "InnerStep", "Mesh", "Push", "Step"]


@dataclass(frozen=True, kw_only=True)
class Collisions:
    """How the Landau drift is summed.

    Args:
        backend: Backend of the drift, see :class:`~graphlandau.nn.LandauDrift`.
        mesh_tolerance: Relative error of the drift that the backend ``"mesh"`` is made for.
        batch_size: Particles per random batch in which drifts are summed; ``None`` sums over all.
        graph: Along which graph they are summed instead, drawn anew at every step: a PyG transform that sets
            ``edge_index``, or ``batch`` for pairs inside blocks, on a ``Data`` with ``v`` and ``weight``. The weights
            are those of the plasma: a graph leaves pairs out, and the sum tends to that over all as it fills. Momentum
            and energy are kept if every edge is there in both directions.

    Raises:
        ValueError: If an option is out of range, KeOps does not work here, or a graph meets ``batch_size`` or a
            backend that follows no edges. (``RandomBatches(n)`` as a graph is ``batch_size=n``.)

    Example:
        >>> from graphlandau.graphs import KNNGraph
        >>> Collisions(graph=KNNGraph(16, undirected=True)).backend
        'auto'
    """

    backend: str = "auto"
    mesh_tolerance: float = MESH_TOLERANCE
    batch_size: int | None = None
    graph: BaseTransform | None = None

    def __post_init__(self) -> None:
        require_one_of("backend", self.backend, tuple(BACKENDS))
        if self.backend == "keops" and not keops_available()[0]:
            reason = f"'keops', which needs pykeops and g++, pip install 'graphlandau[keops]': {keops_available()[1]}"
            raise InvalidArgument("backend", "must be one that works here", reason)
        keep(self, mesh_tolerance=require_positive("mesh_tolerance", self.mesh_tolerance))
        if self.batch_size is not None:
            keep(self, batch_size=require_integer("batch_size", self.batch_size, minimum=2))
        if type(self.graph) is RandomBatches and self.batch_size is None:
            object.__setattr__(self, "batch_size", self.graph.size)
            object.__setattr__(self, "graph", None)
        if self.graph is None:
            return
        if not isinstance(self.graph, BaseTransform):
            raise InvalidArgument("graph", "must be a PyG transform", repr(self.graph))
        if self.batch_size is not None:
            raise InvalidArgument("batch_size", "must not be given with a graph", self.batch_size)
        if self.backend not in ("auto", "edges"):
            raise InvalidArgument("backend", "must be 'auto' or 'edges' along a graph", repr(self.backend))

    def pairs(self, state: Data, generator: torch.Generator) -> tuple[Tensor | None, Tensor | None]:
        """Who meets whom at ``state``: ``batch`` and ``edge_index``, both ``None`` for all pairs.

        Raises:
            ValueError: If the graph sets neither.
        """
        particles = Data(v=state.v) if "weight" not in state else Data(v=state.v, weight=state.weight)
        if self.batch_size is not None:
            return RandomBatches(self.batch_size, generator)(particles).batch, None
        if self.graph is None:
            return None, None
        drawn = self.graph(particles)
        if drawn.get("edge_index") is not None:
            return None, drawn.edge_index
        if drawn.get("batch") is None:
            raise InvalidArgument("graph", "must set 'edge_index' or 'batch'", repr(self.graph))
        return drawn.batch, None

    def drift(self, gamma: float, strength: float) -> LandauDrift:
        """The layer that sums them."""
        return LandauDrift(gamma, strength, backend=self.backend, tolerance=self.mesh_tolerance)


@dataclass(frozen=True, kw_only=True)
class Step:
    r"""A step along the drift of a score that is held fixed, and what becomes of the log-density.

    Args:
        integrator: ``"euler"``, ``"midpoint"`` (exact energy), ``"rk4"``, or an
            :class:`~graphlandau.integrators.Integrator`, also by its import path.
        log_det: ``"exact"`` determinant of the step, ``"linear"`` (its first order in dt, as in the papers),
            or ``"none"``: no log-density, hence no entropy and KL.

    Raises:
        ValueError: If an option is not one of its choices.
    """

    integrator: str | Integrator = "euler"
    log_det: str = "exact"

    def __post_init__(self) -> None:
        integrator_of(self.integrator)
        require_one_of("log_det", self.log_det, ("exact", "linear", "none"))


@dataclass(frozen=True, kw_only=True)
class InnerStep:
    r"""The flow along the field of a JKO step, in its inner time.

    Args:
        integrator: Of the inner time, ``"euler"``, ``"rk4"``, or a :class:`~graphlandau.integrators.RungeKutta`, also
            by its import path.
        inner_steps: Steps of the inner time.
        log_det: ``"linear"``, ``"exact"``, or ``"none"``: the linear objective, but no log-density is carried.

    Raises:
        ValueError: If an option is out of range.
    """

    integrator: str | Integrator = "euler"
    inner_steps: int = 1
    log_det: str = "linear"

    def __post_init__(self) -> None:
        explicit_integrator(self.integrator)
        keep(self, inner_steps=require_repeats("inner_steps", self.inner_steps, minimum=1))
        require_one_of("log_det", self.log_det, ("exact", "linear", "none"))

    @property
    def single(self) -> bool:
        """Whether the drift is evaluated once, at the start: one step of Euler, a map that is linear in ``dt``."""
        return self.inner_steps == 1 and len(explicit_integrator(self.integrator).weights) == 1


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """The grid on which particles make their own field.

    Args:
        order: Order of the B-spline by which charge is deposited and the field gathered, 0 to 3; 1 is cloud in cell.
        cells: Cells in each direction; the problem's unless given.

    Raises:
        ValueError: If an option is out of range.
    """

    order: int = 1
    cells: int | None = None

    def __post_init__(self) -> None:
        keep(self, order=as_number(self.order))
        if isinstance(self.order, bool) or self.order not in (0, 1, 2, 3):
            raise InvalidArgument("order", "must be 0, 1, 2 or 3", repr(self.order))
        if self.cells is not None:
            keep(self, cells=require_integer("cells", self.cells, minimum=MIN_CELLS))


@dataclass(frozen=True, kw_only=True)
class Push(Mesh):
    """The symplectic map of a time step, and the field that it takes.

    Args:
        map: ``"verlet"``, ``"kick_drift"`` or ``"drift_kick"``, see
            :class:`~graphlandau.integrators.SymplecticMap`.
        field: ``"poisson"``, or ``"ampere"``: the field is moved on by the current, and solved for once, at the start;
            its components are then on the faces between nodes, half a cell further.

    Raises:
        ValueError: If an option is out of range.
    """

    map: str = "verlet"
    field: str = "poisson"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("map", self.map, tuple(MAPS))
        require_one_of("field", self.field, ("poisson", "ampere"))
