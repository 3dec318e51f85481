"""A method that moves particles by a wrong score of the BKW solution, whose error is known."""

from __future__ import annotations

import torch

from graphlandau.methods import LandauTransport
from graphlandau.problems import BKW


class WrongScore(LandauTransport):
    """The exact score times ``scale``, or the Gaussian ``-v``, plus ``shear`` v_1 along the first axis."""

    def __init__(self, problem: BKW, scale: float | None, shear: float = 0.0, **options):
        super().__init__(**options)
        self.problem, self.scale, self.shear = problem, scale, shear

    def score(self, state):
        s, jac_s = self.score_field(state)(state.v.double())
        return s.to(state.v), jac_s.to(state.v)

    def score_field(self, state):
        f = self.problem.density(state.t)

        def field(x):
            eye = torch.eye(x.size(1), dtype=x.dtype)
            first = torch.zeros_like(eye)
            first[0, 0] = self.shear
            if self.scale is None:
                return first[0] * x - x, (first - eye).expand(x.size(0), -1, -1)
            polynomial = f.P + f.Q * x.square().sum(1, keepdim=True)
            radial = 2 * f.Q / polynomial - 1 / f.K
            slope = (-4 * f.Q**2 / polynomial**2)[:, :, None] * (x[:, :, None] * x[:, None, :])
            jacobian = self.scale * (radial[:, :, None] * eye + slope) + first
            return self.scale * radial * x + first[0] * x, jacobian

        return field
