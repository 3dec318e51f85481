"""Collisional plasmas with particles as graph nodes and learned scores, on PyTorch Geometric."""

__version__ = "0.1.0"
