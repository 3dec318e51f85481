"""Benchmark problems: one file each, with the exact solution or covariance where one is known."""

from graphlandau.problems.anisotropic import Anisotropic
from graphlandau.problems.bimaxwellian import BiMaxwellian
from graphlandau.problems.bkw import BKW, BKWDensity
from graphlandau.problems.density import Density, Gaussian
from graphlandau.problems.initial_value import InitialValueProblem
from graphlandau.problems.kinetic import (
    Boltzmann,
    KineticProblem,
    LandauDamping,
    Marginal,
    NormalMixture,
    PhaseDensity,
    PhaseGaussian,
    PhaseProduct,
    Ripple,
    TwoStream,
    VFPDoubleWell,
    VFPGaussian,
    VFPPeriodic,
    VPFPBeams,
    VPFPBeamsAsPrinted,
)
from graphlandau.problems.mixture import Mixture
from graphlandau.problems.mixture_density import GaussianMixture, ProductDensity
from graphlandau.problems.problem import Problem
from graphlandau.problems.rosenbluth import Rosenbluth, RosenbluthDensity
from graphlandau.problems.truncated import Truncated, TruncatedGaussian

__all__ = [
    "BKW",
    "Anisotropic",
    "BKWDensity",
    "BiMaxwellian",
    "Boltzmann",
    "Density",
    "Gaussian",
    "GaussianMixture",
    "InitialValueProblem",
    "KineticProblem",
    "LandauDamping",
    "Marginal",
    "Mixture",
    "NormalMixture",
    "PhaseDensity",
    "PhaseGaussian",
    "PhaseProduct",
    "Problem",
    "ProductDensity",
    "Ripple",
    "Rosenbluth",
    "RosenbluthDensity",
    "Truncated",
    "TruncatedGaussian",
    "TwoStream",
    "VFPDoubleWell",
    "VFPGaussian",
    "VFPPeriodic",
    "VPFPBeams",
    "VPFPBeamsAsPrinted",
]
