"""How models are trained: gradient steps, schedules, flows over all times."""

from graphlandau.training.options import ControlTraining, EpochFit, Fit
from graphlandau.training.schedules import CosineDecay, ExponentialDecay, Schedule, StepDecay

__all__ = ["ControlTraining", "CosineDecay", "EpochFit", "ExponentialDecay", "Fit", "Schedule", "StepDecay"]
