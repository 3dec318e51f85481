"""Message-passing layers: everything that happens between particles."""

from graphlandau.nn.conv.blob_score import BlobScore
from graphlandau.nn.conv.equivariant_conv import EquivariantConv
from graphlandau.nn.conv.jko_action import JKOAction
from graphlandau.nn.conv.landau_drift import LandauDrift

__all__ = ["BlobScore", "EquivariantConv", "JKOAction", "LandauDrift"]
