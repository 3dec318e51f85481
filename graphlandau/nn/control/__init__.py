"""Controls: velocity fields on phase space that move particles by collisions, with their derivatives."""

from graphlandau.nn.control.affine import AffineControl
from graphlandau.nn.control.base import ControlModel, as_control_model
from graphlandau.nn.control.embedding import PhaseEmbedding
from graphlandau.nn.control.features import FeatureControl
from graphlandau.nn.control.linear import LinearControl, Solution
from graphlandau.nn.control.mlp import MLPControl
from graphlandau.nn.control.objective import ControlObjective, ExtraTerm

__all__ = [
    "AffineControl",
    "ControlModel",
    "ControlObjective",
    "ExtraTerm",
    "FeatureControl",
    "LinearControl",
    "MLPControl",
    "PhaseEmbedding",
    "Solution",
    "as_control_model",
]
