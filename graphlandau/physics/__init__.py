"""The collision kernel, and velocity moments."""

from graphlandau.physics.landau_kernel import LandauKernel

__all__ = ["LandauKernel"]
