"""Message-passing layers: everything that happens between particles."""

from graphlandau.nn.conv.blob_score import BlobScore
from graphlandau.nn.conv.deposit import Deposit
from graphlandau.nn.conv.equivariant_conv import EquivariantConv
from graphlandau.nn.conv.gather import Gather
from graphlandau.nn.conv.jko_action import JKOAction
from graphlandau.nn.conv.landau_drift import LandauDrift
from graphlandau.nn.conv.pairwise import PairwiseLayer

__all__ = ["BlobScore", "Deposit", "EquivariantConv", "Gather", "JKOAction", "LandauDrift", "PairwiseLayer"]
