"""What can be said about the error of a run without its exact solution."""

from graphlandau.diagnostics.certificates.density_split import (
    DensitySplit,
    sampling_bound,
    split_density_error,
    trajectory_bound,
)
from graphlandau.diagnostics.certificates.flow_error import FlowCertificate, certify_flow
from graphlandau.diagnostics.certificates.relative_entropy import (
    KLBound,
    bound_for,
    covariance_gap,
    covariance_term,
    is_radial,
    pair_loss,
    score_matching_loss,
)
from graphlandau.diagnostics.certificates.tracked_score import PushedForward, push_forward, push_score

__all__ = [
    "DensitySplit",
    "FlowCertificate",
    "KLBound",
    "PushedForward",
    "bound_for",
    "certify_flow",
    "covariance_gap",
    "covariance_term",
    "is_radial",
    "pair_loss",
    "push_forward",
    "push_score",
    "sampling_bound",
    "score_matching_loss",
    "split_density_error",
    "trajectory_bound",
]
