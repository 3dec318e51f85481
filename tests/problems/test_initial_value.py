"""What every problem has: an interval, a step, a number of particles, a name."""

from __future__ import annotations

import math

import pytest
import torch

from graphlandau.problems import InitialValueProblem


class Line(InitialValueProblem):
    """Particles at rest."""

    def draw(self, n, *, generator):
        return {"v": torch.zeros(n, self.d, dtype=torch.float64)}

    def facts(self):
        return {}


def line(**given) -> Line:
    return Line(**{"d": 1, "t_start": 0.5, "t_end": 1, "dt": 0.1, "particles": 10} | given)


def test_numbers_are_kept_and_the_name_is_that_of_the_class():
    problem = line()
    assert (problem.d, problem.t_start, problem.t_end, problem.dt, problem.particles) == (1, 0.5, 1.0, 0.1, 10)
    assert problem.name == "line"
    assert isinstance(problem.t_end, float)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"t_end": 0.5}, r"'t_end' must be after t_start = 0.5 \(got 0.5\)"),
        ({"t_start": math.nan}, "'t_start' must be a finite number"),
        ({"t_end": math.inf}, "'t_end' must be a finite number"),
        ({"dt": 0.0}, "'dt' must be positive"),
        ({"particles": 1}, "'particles' must be an integer >= 2"),
    ],
)
def test_refuses_numbers_out_of_range(given, said):
    with pytest.raises(ValueError, match=said):
        line(**given)


def test_a_problem_must_say_how_particles_are_drawn():
    with pytest.raises(TypeError, match="abstract"):
        InitialValueProblem(d=1, t_start=0.0, t_end=1.0, dt=0.1, particles=10)
