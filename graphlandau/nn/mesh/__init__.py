"""Pair sums over a lattice: spread, convolve, gather."""
