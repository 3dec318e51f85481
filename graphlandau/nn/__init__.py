"""Layers and score models."""

from graphlandau.nn.control import (
    AffineControl,
    ControlModel,
    FeatureControl,
    LinearControl,
    MLPControl,
    PhaseEmbedding,
    as_control_model,
)
from graphlandau.nn.conv import BlobScore, Deposit, EquivariantConv, Gather, JKOAction, LandauDrift, PairwiseLayer
from graphlandau.nn.equivariance import equivariance_error, require_equivariant
from graphlandau.nn.flow import FlowMap
from graphlandau.nn.score import (
    ClosedFormScore,
    GaussianScore,
    GNNScore,
    MLPScore,
    ResidualScore,
    ScoreModel,
    TimeScore,
    as_score_model,
)
from graphlandau.nn.time_field import TimeField, as_time_field
from graphlandau.nn.time_mlp import TimeMLP

__all__ = [
    "AffineControl",
    "BlobScore",
    "ClosedFormScore",
    "ControlModel",
    "Deposit",
    "EquivariantConv",
    "FeatureControl",
    "FlowMap",
    "GNNScore",
    "Gather",
    "GaussianScore",
    "JKOAction",
    "LandauDrift",
    "LinearControl",
    "MLPControl",
    "MLPScore",
    "PairwiseLayer",
    "PhaseEmbedding",
    "ResidualScore",
    "ScoreModel",
    "TimeField",
    "TimeMLP",
    "TimeScore",
    "as_control_model",
    "as_score_model",
    "as_time_field",
    "equivariance_error",
    "require_equivariant",
]
