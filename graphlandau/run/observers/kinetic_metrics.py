"""The row of numbers measured at a step of particles with positions: energies, free energy, the field's mode."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphlandau.diagnostics import (
    field_mode,
    field_noise,
    field_square,
    kinetic_energy,
    mode_growth,
    potential_energy,
    why_no_growth,
)
from graphlandau.problems import KineticProblem
from graphlandau.run.observers.observer import Observer, Run

__all__ = ["KineticMetrics"]


class KineticMetrics(Observer):
    r"""Fills ``run.row`` when a row is due; sums are taken in float64, what is not known is ``None``.

    With the mass :math:`m` of ``f``: ``kinetic`` :math:`\int \tfrac12 |v|^2 f`, ``e2`` :math:`\int |E|^2 dx`,
    ``field_energy`` half of it, ``potential`` :math:`\int \phi f`, ``energy`` their sum; ``momentum`` the first
    component of :math:`\int v f`, further ones numbered; ``entropy`` :math:`\int f \log f`, ``free_energy`` energy plus
    :math:`T_0` times it; ``kl`` :math:`\int f \log(f / f_\infty)` where the stationary density is known, with
    ``kl_stderr``, the standard error of that mean over the particles. ``mode_amplitude`` is :math:`|E_k|` of the
    problem's mode, ``mode_noise`` what of it may be noise. ``drift_error`` is the root of :math:`\langle |u +
    \varepsilon (v + T_0 \nabla_v \log f)|^2 \rangle` between the last step's control and the exact solution after it.
    Dimensionless.

    Args:
        problem: What is run.
    """

    def __init__(self, problem: KineticProblem) -> None:
        self.problem, self.stationary = problem, problem.stationary()
        self.first_energy: Tensor | None = None
        # Time, amplitude of the mode, and what of it may be noise.
        self.history: list[tuple[float, complex, float]] = []

    def begin(self, run: Run) -> None:
        """Remember the energy of the first particles, unless a checkpoint has brought it back."""
        if self.first_energy is None:
            self.first_energy = torch.tensor(self.energies(run.state)["energy"], dtype=torch.float64)

    @torch.no_grad()
    def after_evaluate(self, run: Run) -> None:
        """Measure; the mode at every step."""
        field = run.state.get("field")
        if field is not None:
            mode = self.problem.mode
            self.history.append((run.t, field_mode(field, mode), field_noise(field, mode)))
        if not run.row_due:
            return
        run.row |= self.energies(run.state) | self.momenta(run.state.v)
        if self.problem.epsilon == 0:
            first = float(self.first_energy) if self.first_energy is not None else math.nan
            run.row["energy_rel_drift"] = abs(run.row["energy"] - first) / abs(first)
        run.row |= self.entropies(run.state, run.row["energy"])
        if field is not None:
            amplitude = self.history[-1][1]
            run.row |= {"mode_amplitude": abs(amplitude), "mode_re": amplitude.real, "mode_im": amplitude.imag}
            run.row["mode_noise"] = self.history[-1][2]
        if self.problem.density(self.problem.t_end) is not None:
            run.row["drift_error"] = self.drift_error(run.state)
        run.row |= run.method.record()

    def energies(self, state: Data) -> dict[str, float]:
        """Kinetic energy, those of field and potential where there are any, and the sum."""
        problem, field = self.problem, state.get("field")
        row = {"kinetic": kinetic_energy(state.v, problem.mass)}
        if field is not None and problem.volume is not None:
            row["e2"] = field_square(field, problem.volume)
            row["field_energy"] = 0.5 * row["e2"]
        if problem.potential is not None:
            row["potential"] = potential_energy(state["pos"], mass=problem.mass, potential=problem.potential)
        return row | {"energy": row["kinetic"] + row.get("field_energy", 0.0) + row.get("potential", 0.0)}

    def momenta(self, v: Tensor) -> dict[str, float]:
        """Momentum, component by component."""
        mean = self.problem.mass * v.double().mean(0)
        return {"momentum" if a == 0 else f"momentum_{a + 1}": float(p) for a, p in enumerate(mean)}

    def entropies(self, state: Data, energy: float) -> dict[str, float | None]:
        """Entropy, free energy and distance from the stationary density, where the log-density is carried."""
        problem, stationary = self.problem, self.stationary
        keys = ("entropy", "free_energy", *(("kl", "kl_stderr") if stationary is not None else ()))
        if "log_f" not in state:
            return dict.fromkeys(keys) if problem.log_density_known else {}
        log_f = state.log_f.double()
        entropy = problem.mass * float(log_f.mean())
        row: dict[str, float | None] = {"entropy": entropy, "free_energy": energy + problem.temperature * entropy}
        if stationary is not None:
            ratio = log_f - stationary(state["pos"].double(), state.v.double())
            row["kl"] = problem.mass * float(ratio.mean())
            row["kl_stderr"] = problem.mass * float(ratio.std()) / math.sqrt(ratio.numel())
        return row

    def drift_error(self, state: Data) -> float | None:
        """Root mean square of control plus exact friction, after a step of a method that has a control."""
        density = self.problem.density(state.t)
        if density is None or "control" not in state:
            return None
        e, temperature = self.problem.epsilon, self.problem.temperature
        v = state.v.double()
        friction = e * (v + temperature * density.score_v(state["pos"].double(), v))
        return float((state.control.double() + friction).square().sum(1).mean().sqrt())

    def summary(self, run: Run) -> dict[str, Any]:
        """The free energy at equilibrium; growth rate and frequency of the mode, measured and from linear theory.

        Each where it is known; ``growth_rate_missing`` says why no rate could be fitted.
        """
        relaxed = self.problem.equilibrium_free_energy() if self.problem.epsilon > 0 else None
        least = {} if relaxed is None else {"free_energy_equilibrium": relaxed}
        if not self.history:
            return least
        history = tuple(zip(*self.history, strict=True))
        fit, root = mode_growth(*history), self.problem.rate()
        return least | {
            "growth_rate_missing": why_no_growth(*history),
            "growth_rate": None if fit is None else fit.rate,
            "frequency": None if fit is None else fit.frequency,
            "growth_rate_exact": None if root is None else root.real,
            "frequency_exact": None if root is None else root.imag,
        }

    def state_dict(self) -> dict[str, Tensor]:
        """The first energy, and the history of the mode."""
        if self.first_energy is None:
            return {}
        flat = [[t, a.real, a.imag, noise] for t, a, noise in self.history]
        return {"first_energy": self.first_energy, "history": torch.tensor(flat, dtype=torch.float64).reshape(-1, 4)}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take them back."""
        self.first_energy = tensors["first_energy"]
        self.history = [(t, complex(a, b), noise) for t, a, b, noise in tensors["history"].tolist()]
