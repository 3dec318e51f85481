"""Particle methods: state to next state."""

from graphlandau.methods.blob import Blob
from graphlandau.methods.jko import JKO
from graphlandau.methods.learned import LearnedTransport
from graphlandau.methods.method import Frame, Method
from graphlandau.methods.pinn import PINN
from graphlandau.methods.pinn_training import Recipe, Training, TrainingDivergedError
from graphlandau.methods.sbtm import SBTM
from graphlandau.methods.trained_flow import TrainedFlow
from graphlandau.methods.transport import LandauTransport

__all__ = [
    "JKO",
    "PINN",
    "SBTM",
    "Blob",
    "Frame",
    "LandauTransport",
    "LearnedTransport",
    "Method",
    "Recipe",
    "TrainedFlow",
    "Training",
    "TrainingDivergedError",
]
