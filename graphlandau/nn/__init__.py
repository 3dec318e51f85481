"""Layers and score models."""

from graphlandau.nn.conv import BlobScore, LandauDrift

__all__ = ["BlobScore", "LandauDrift"]
