"""Benchmark problems: one file each, with the exact solution or covariance where one is known."""

from graphlandau.problems.anisotropic import Anisotropic
from graphlandau.problems.bimaxwellian import BiMaxwellian
from graphlandau.problems.bkw import BKW, BKWDensity
from graphlandau.problems.density import Density, Gaussian
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
    "Density",
    "Gaussian",
    "GaussianMixture",
    "Mixture",
    "Problem",
    "ProductDensity",
    "Rosenbluth",
    "RosenbluthDensity",
    "Truncated",
    "TruncatedGaussian",
]
