"""Score models: vector fields close to the gradient of the log-density, with their derivatives."""

from graphlandau.nn.score.base import ScoreModel, Solvable, as_score_model
from graphlandau.nn.score.closed_form import ClosedFormScore
from graphlandau.nn.score.gnn import GNNScore
from graphlandau.nn.score.mlp import MLPScore
from graphlandau.nn.score.residual import ResidualScore
from graphlandau.nn.score.time_score import TimeScore
from graphlandau.nn.score.whitened import GaussianScore

__all__ = [
    "ClosedFormScore",
    "GNNScore",
    "GaussianScore",
    "MLPScore",
    "ResidualScore",
    "ScoreModel",
    "Solvable",
    "TimeScore",
    "as_score_model",
]
