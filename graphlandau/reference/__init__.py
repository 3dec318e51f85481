"""Reference values that no particle enters: roots of dispersion relations."""

from graphlandau.reference.dispersion import dielectric, dominant_root, plasma_dispersion, roots

__all__ = ["dielectric", "dominant_root", "plasma_dispersion", "roots"]
