"""What score models are fitted by."""

from graphlandau.objectives.global_in_time import Collocation, collocate
from graphlandau.objectives.score_matching import collision_weighted, denoising, explicit, hutchinson, implicit

__all__ = ["Collocation", "collision_weighted", "collocate", "denoising", "explicit", "hutchinson", "implicit"]
