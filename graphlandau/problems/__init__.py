"""Benchmark problems, one file each: in velocities alone, or with positions; exact solutions where known."""

from graphlandau.problems.anisotropic import Anisotropic
from graphlandau.problems.bimaxwellian import BiMaxwellian
from graphlandau.problems.bkw import BKW, BKWDensity
from graphlandau.problems.densities.density import Density, Gaussian
from graphlandau.problems.densities.marginals import Boltzmann, Marginal, NormalMixture, Ripple
from graphlandau.problems.densities.mixture_density import GaussianMixture, ProductDensity
from graphlandau.problems.densities.phase_density import PhaseDensity, PhaseGaussian, PhaseProduct
from graphlandau.problems.density_wave import DensityWave
from graphlandau.problems.initial_value import InitialValueProblem
from graphlandau.problems.kinetic_problem import KineticProblem
from graphlandau.problems.landau_damping import LandauDamping
from graphlandau.problems.mixture import Mixture
from graphlandau.problems.problem import Problem
from graphlandau.problems.rosenbluth import Rosenbluth, RosenbluthDensity
from graphlandau.problems.samples import PhaseSamples, Samples
from graphlandau.problems.truncated import Truncated, TruncatedGaussian
from graphlandau.problems.two_stream import TwoStream
from graphlandau.problems.vfp_double_well import VFPDoubleWell
from graphlandau.problems.vfp_gaussian import VFPGaussian
from graphlandau.problems.vfp_periodic import VFPPeriodic
from graphlandau.problems.vpfp_beams import VPFPBeams, VPFPBeamsAsPrinted

__all__ = [
    "BKW",
    "Anisotropic",
    "BKWDensity",
    "BiMaxwellian",
    "Boltzmann",
    "Density",
    "DensityWave",
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
    "PhaseSamples",
    "Problem",
    "ProductDensity",
    "Ripple",
    "Rosenbluth",
    "RosenbluthDensity",
    "Samples",
    "Truncated",
    "TruncatedGaussian",
    "TwoStream",
    "VFPDoubleWell",
    "VFPGaussian",
    "VFPPeriodic",
    "VPFPBeams",
    "VPFPBeamsAsPrinted",
]
