"""What score models and controls are fitted by."""

from graphlandau.nn.control.determinant import log_determinant
from graphlandau.nn.control.objective import ControlObjective, ExtraTerm
from graphlandau.objectives.global_in_time import Collocation, collocate
from graphlandau.objectives.score_matching import collision_weighted, denoising, explicit, hutchinson, implicit

__all__ = [
    "Collocation",
    "ControlObjective",
    "ExtraTerm",
    "collision_weighted",
    "collocate",
    "denoising",
    "explicit",
    "hutchinson",
    "implicit",
    "log_determinant",
]
