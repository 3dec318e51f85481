"""Benchmark problems: one file each, with the exact solution or covariance where one is known."""

from graphlandau.problems.anisotropic import Anisotropic
from graphlandau.problems.bkw import BKW, BKWDensity
from graphlandau.problems.density import Density, Gaussian
from graphlandau.problems.problem import Problem

__all__ = ["BKW", "Anisotropic", "BKWDensity", "Density", "Gaussian", "Problem"]
