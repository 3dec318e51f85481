"""Particle methods: state to next state."""

from graphlandau.methods.blob import Blob
from graphlandau.methods.method import Frame, Method
from graphlandau.methods.sbtm import SBTM
from graphlandau.methods.transport import LandauTransport

__all__ = ["SBTM", "Blob", "Frame", "LandauTransport", "Method"]
