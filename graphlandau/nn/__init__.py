"""Layers and score models."""

from graphlandau.nn.conv import BlobScore, LandauDrift
from graphlandau.nn.score import (
    ClosedFormScore,
    GaussianScore,
    MLPScore,
    ResidualScore,
    ScoreModel,
    as_score_model,
)

__all__ = [
    "BlobScore",
    "ClosedFormScore",
    "GaussianScore",
    "LandauDrift",
    "MLPScore",
    "ResidualScore",
    "ScoreModel",
    "as_score_model",
]
