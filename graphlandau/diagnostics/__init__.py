"""What a run is measured by: moments, entropy, densities on grids, errors, the equilibrium."""

from graphlandau.diagnostics.density import (
    gaussian_kde,
    grid_axes,
    grid_points,
    relative_l2_error,
    scott_bandwidth,
)
from graphlandau.diagnostics.entropy import entropy, entropy_dissipation, kl_divergence, standard_error
from graphlandau.diagnostics.entropy_error import Gap, carried_error, maxwellian_gap
from graphlandau.diagnostics.equilibrium import (
    effective_particles,
    equilibrium_distance,
    equilibrium_distance_mc,
    equilibrium_entropy,
    temperature,
)
from graphlandau.diagnostics.errors import covariance_error, relative_fisher_divergence
from graphlandau.diagnostics.mode_growth import ModeGrowth, mode_growth, why_no_growth
from graphlandau.diagnostics.phase_space import field_mode, field_noise
from graphlandau.diagnostics.trajectories import relative_trajectory_error
from graphlandau.fields.energy import field_square, potential_energy
from graphlandau.physics.moments import average, covariance, energy, fourth_moment, kinetic_energy, mass, momentum

__all__ = [
    "Gap",
    "ModeGrowth",
    "average",
    "carried_error",
    "covariance",
    "covariance_error",
    "effective_particles",
    "energy",
    "entropy",
    "entropy_dissipation",
    "equilibrium_distance",
    "equilibrium_distance_mc",
    "equilibrium_entropy",
    "field_mode",
    "field_noise",
    "field_square",
    "fourth_moment",
    "gaussian_kde",
    "grid_axes",
    "grid_points",
    "kinetic_energy",
    "kl_divergence",
    "mass",
    "maxwellian_gap",
    "mode_growth",
    "momentum",
    "potential_energy",
    "relative_fisher_divergence",
    "relative_l2_error",
    "relative_trajectory_error",
    "scott_bandwidth",
    "standard_error",
    "temperature",
    "why_no_growth",
]
