"""Particles with positions at one time, as a run folder keeps them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from graphlandau.run.record import RunRecord

__all__ = ["PhaseSnapshot", "phase_snapshot", "phase_snapshots"]


@dataclass(frozen=True)
class PhaseSnapshot:
    """Positions ``x`` (N, d_x) and velocities ``v`` (N, d) at one time, float64; dimensionless.

    ``field`` (*nodes, d_x) is the electric field on the grid, ``None`` where there is none.
    """

    t: float
    step: int
    x: Tensor
    v: Tensor
    field: Tensor | None = None


def phase_snapshot(run: RunRecord, place: int) -> PhaseSnapshot:
    """Read the snapshot of that place in time order (negative from the end)."""
    t, step, tensors = run.tensors(place)
    return PhaseSnapshot(t, step, tensors["pos"], tensors["v"], tensors.get("field"))


def phase_snapshots(run: RunRecord, count: int) -> list[PhaseSnapshot]:
    """Read at most ``count`` snapshots, the first and the last among them, at nearly equal steps of time."""
    return [phase_snapshot(run, place) for place in run.places(count)]
