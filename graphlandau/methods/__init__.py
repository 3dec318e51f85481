"""Particle methods: state to next state."""

from graphlandau.methods.blob import Blob
from graphlandau.methods.jko import JKO
from graphlandau.methods.kinetic import (
    PICJKO,
    KineticJKO,
    KineticSBTM,
    KineticTransport,
    Langevin,
    VelocityMatching,
    Vlasov,
)
from graphlandau.methods.learned import LearnedTransport
from graphlandau.methods.method import Frame, Method, Scored
from graphlandau.methods.pinn import PINN
from graphlandau.methods.pinn_training import Recipe, Training, TrainingDivergedError
from graphlandau.methods.sbtm import SBTM
from graphlandau.methods.trained_flow import TrainedFlow
from graphlandau.methods.transport import LandauTransport

__all__ = [
    "JKO",
    "PICJKO",
    "PINN",
    "SBTM",
    "Blob",
    "Frame",
    "KineticJKO",
    "KineticSBTM",
    "KineticTransport",
    "LandauTransport",
    "Langevin",
    "LearnedTransport",
    "Method",
    "Recipe",
    "Scored",
    "TrainedFlow",
    "Training",
    "TrainingDivergedError",
    "VelocityMatching",
    "Vlasov",
]
