"""Layers and score models."""

from graphlandau.nn.conv import BlobScore, EquivariantConv, JKOAction, LandauDrift
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
    "BlobScore",
    "ClosedFormScore",
    "EquivariantConv",
    "FlowMap",
    "GNNScore",
    "GaussianScore",
    "JKOAction",
    "LandauDrift",
    "MLPScore",
    "ResidualScore",
    "ScoreModel",
    "TimeField",
    "TimeMLP",
    "TimeScore",
    "as_score_model",
    "as_time_field",
    "equivariance_error",
    "require_equivariant",
]
