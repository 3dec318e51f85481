"""What score models are fitted by."""

from graphlandau.objectives.score_matching import collision_weighted, denoising, explicit, hutchinson, implicit

__all__ = ["collision_weighted", "denoising", "explicit", "hutchinson", "implicit"]
