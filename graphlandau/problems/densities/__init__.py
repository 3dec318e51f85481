"""Densities that are known in closed form, to draw from and to compare with."""
