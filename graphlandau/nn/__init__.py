"""Layers and score models."""

from graphlandau.nn.conv import BlobScore, EquivariantConv, JKOAction, LandauDrift
from graphlandau.nn.equivariance import equivariance_error, require_equivariant
from graphlandau.nn.score import (
    ClosedFormScore,
    GaussianScore,
    GNNScore,
    MLPScore,
    ResidualScore,
    ScoreModel,
    as_score_model,
)

__all__ = [
    "BlobScore",
    "ClosedFormScore",
    "EquivariantConv",
    "GNNScore",
    "GaussianScore",
    "JKOAction",
    "LandauDrift",
    "MLPScore",
    "ResidualScore",
    "ScoreModel",
    "as_score_model",
    "equivariance_error",
    "require_equivariant",
]
