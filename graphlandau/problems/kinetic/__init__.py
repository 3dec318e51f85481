"""Benchmarks with positions: Vlasov-Fokker-Planck in a potential, Vlasov-Poisson-Fokker-Planck in a periodic box."""

from graphlandau.problems.kinetic.density_wave import DensityWave
from graphlandau.problems.kinetic.kinetic_problem import KineticProblem
from graphlandau.problems.kinetic.landau_damping import LandauDamping
from graphlandau.problems.kinetic.marginals import Boltzmann, Marginal, NormalMixture, Ripple
from graphlandau.problems.kinetic.phase_density import PhaseDensity, PhaseGaussian, PhaseProduct
from graphlandau.problems.kinetic.two_stream import TwoStream
from graphlandau.problems.kinetic.vfp_double_well import VFPDoubleWell
from graphlandau.problems.kinetic.vfp_gaussian import VFPGaussian
from graphlandau.problems.kinetic.vfp_periodic import VFPPeriodic
from graphlandau.problems.kinetic.vpfp_beams import VPFPBeams, VPFPBeamsAsPrinted

__all__ = [
    "Boltzmann",
    "DensityWave",
    "KineticProblem",
    "LandauDamping",
    "Marginal",
    "NormalMixture",
    "PhaseDensity",
    "PhaseGaussian",
    "PhaseProduct",
    "Ripple",
    "TwoStream",
    "VFPDoubleWell",
    "VFPGaussian",
    "VFPPeriodic",
    "VPFPBeams",
    "VPFPBeamsAsPrinted",
]
