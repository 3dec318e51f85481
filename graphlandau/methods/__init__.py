"""Particle methods: state to next state."""

from graphlandau.methods.blob import Blob
from graphlandau.methods.jko import JKO
from graphlandau.methods.learned import LearnedTransport
from graphlandau.methods.method import Frame, Method
from graphlandau.methods.sbtm import SBTM
from graphlandau.methods.transport import LandauTransport

__all__ = ["JKO", "SBTM", "Blob", "Frame", "LandauTransport", "LearnedTransport", "Method"]
