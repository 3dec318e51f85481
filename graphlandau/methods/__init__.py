"""Particle methods: state to next state."""

from graphlandau.methods.blob import Blob
from graphlandau.methods.jko import JKO
from graphlandau.methods.kinetic_jko import KineticJKO
from graphlandau.methods.kinetic_sbtm import KineticSBTM
from graphlandau.methods.kinetic_transport import KineticTransport
from graphlandau.methods.langevin import Langevin
from graphlandau.methods.learned import LearnedTransport
from graphlandau.methods.method import Frame, Method, Scored
from graphlandau.methods.options import Collisions, InnerStep, Mesh, Push, Step
from graphlandau.methods.pic_jko import PICJKO
from graphlandau.methods.pinn import PINN
from graphlandau.methods.sbtm import SBTM
from graphlandau.methods.transport import LandauTransport
from graphlandau.methods.velocity_matching import VelocityMatching
from graphlandau.methods.vlasov import Vlasov
from graphlandau.training.flow_training import Recipe, Training, TrainingDivergedError
from graphlandau.training.options import ControlTraining, EpochFit, Fit
from graphlandau.training.trained_flow import TrainedFlow

__all__ = [
    "JKO",
    "PICJKO",
    "PINN",
    "SBTM",
    "Blob",
    "Collisions",
    "ControlTraining",
    "EpochFit",
    "Fit",
    "Frame",
    "InnerStep",
    "KineticJKO",
    "KineticSBTM",
    "KineticTransport",
    "LandauTransport",
    "Langevin",
    "LearnedTransport",
    "Mesh",
    "Method",
    "Push",
    "Recipe",
    "Scored",
    "Step",
    "TrainedFlow",
    "Training",
    "TrainingDivergedError",
    "VelocityMatching",
    "Vlasov",
]
