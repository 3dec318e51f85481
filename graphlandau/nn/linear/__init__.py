r"""Closed forms: features, the means that a fit needs, the choice of the ridge, the solve and a quasi-Newton method.

A linear model is :math:`W^\top \Psi`: a base that is fitted freely, and blocks of features on which a ridge acts.
Scores, controls and the JKO scheme over a closed form are made of the same parts: :class:`Features` give values and
gradients, :class:`Moments` what a quadratic loss depends on, fold by fold, :func:`choose_ridge` the ridge of one block
beside its :class:`Base`, :func:`minimise` the minimum where the loss is not quadratic.
"""

from graphlandau.nn.linear.features import Features, FourierFeatures, NetworkFeatures
from graphlandau.nn.linear.moments import Moments, score_moments
from graphlandau.nn.linear.quasi_newton import Minimum, Point, Problem, minimise
from graphlandau.nn.linear.ridge import choose_ridge, choose_ridge_by, ridge_is_due
from graphlandau.nn.linear.solve import Base, Quadratic, cholesky, features_beside
from graphlandau.nn.linear.tangents import Tangents
from graphlandau.nn.linear.tanh import TanhFeatures

__all__ = [
    "Base",
    "Features",
    "FourierFeatures",
    "Minimum",
    "Moments",
    "NetworkFeatures",
    "Point",
    "Problem",
    "Quadratic",
    "Tangents",
    "TanhFeatures",
    "cholesky",
    "choose_ridge",
    "choose_ridge_by",
    "features_beside",
    "minimise",
    "ridge_is_due",
    "score_moments",
]
