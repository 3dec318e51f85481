"""What score models are fitted by."""

from graphlandau.objectives.score_matching import denoising, explicit, hutchinson, implicit

__all__ = ["denoising", "explicit", "hutchinson", "implicit"]
