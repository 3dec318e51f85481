"""How models are trained: gradient steps, schedules, flows over all times."""

from graphlandau.training.schedules import CosineDecay, ExponentialDecay, Schedule, StepDecay

__all__ = ["CosineDecay", "ExponentialDecay", "Schedule", "StepDecay"]
