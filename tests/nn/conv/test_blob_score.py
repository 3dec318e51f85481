"""The blob score: its formula, the entropy it descends, its bias on Gaussians, its Jacobian, bandwidths, blocks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from invariants import particles, rotation
from scipy.stats import chi2

import graphlandau.nn.conv.blob_score as blob_score
from graphlandau.graphs import radius_edges
from graphlandau.graphs.partition import Partition
from graphlandau.nn import BlobScore
from graphlandau.nn.conv.pairwise import complete_edges

BATCH = torch.tensor([7, 2, 7, 2, 2, 7, 7, 7, 2, 9, 9, 9, 9])


def blob_sum(v: torch.Tensor, h: float, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """s_i = sum_j w_j grad phi(v_i - v_j) (1/rho_i + 1/rho_j) by a loop over pairs, and rho."""
    x, w = v.double().numpy(), weight.double().numpy()
    n, d = x.shape

    def phi(z):
        return np.exp(-(z @ z) / (2 * h**2)) / (2 * np.pi * h**2) ** (d / 2)

    rho = np.array([sum(w[k] * phi(x[i] - x[k]) for k in range(n)) for i in range(n)])
    s = np.zeros((n, d))
    for i in range(n):
        for j in range(n):
            z = x[i] - x[j]
            s[i] += w[j] * (-z / h**2) * phi(z) * (1 / rho[i] + 1 / rho[j])
    return torch.from_numpy(s), torch.from_numpy(rho)


def silverman(v: torch.Tensor, weight: torch.Tensor) -> float:
    n, d = 1 / float((weight**2).sum()), v.size(1)
    mean = weight @ v
    covariance = (weight[:, None] * (v - mean)).T @ (v - mean)
    return n ** (-1 / (d + 6)) * float(torch.linalg.det(covariance)) ** (1 / (2 * d))


@given(st.integers(2, 12), st.sampled_from((1, 2, 3, 5)), st.floats(0.2, 3), st.booleans(), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_is_the_two_term_formula(n, d, h, weighted, seed):
    v, _, weight = particles(n, d, seed)
    weight = weight if weighted else torch.full_like(weight, 1 / n)
    expected, rho = blob_sum(v, h, weight)
    blob = BlobScore(h)
    given_weight = 5 * weight if weighted else None
    assert torch.allclose(blob(v, weight=given_weight), expected, rtol=1e-11, atol=1e-12)
    entropy = (weight * rho.log()).sum()[None]
    assert torch.allclose(blob.entropy(v, weight=given_weight), entropy, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("batch", [None, BATCH])
def test_descends_its_entropy(batch):
    """dH_h / dv_i = + w_i s_i exactly, with H_h = sum w log rho: both terms, no factor. In blocks, block by block."""
    v, _, weight = particles(13, 3)
    weight = weight if batch is None else weight / torch.zeros(10).double().index_add(0, batch, weight)[batch]
    blob = BlobScore(0.7)
    gradient = torch.func.grad(lambda x: blob.entropy(x, batch=batch, weight=weight).sum())(v)
    assert torch.allclose(gradient, weight[:, None] * blob(v, batch=batch, weight=weight), rtol=1e-11, atol=1e-13)


def test_one_sided_score_does_not_descend_it():
    """The check above has teeth: grad log rho alone, or the other sign, is not the gradient."""
    v, _, weight = particles(13, 3)
    blob = BlobScore(0.7)
    gradient = torch.func.grad(lambda x: blob.entropy(x, weight=weight).sum())(v) / weight[:, None]
    for wrong in (gradient / 2, -gradient):
        assert not torch.allclose(wrong, blob(v, weight=weight), rtol=1e-2)


@given(st.integers(3, 12), st.sampled_from((2, 3)), st.booleans(), st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_symmetries(n, d, correct, seed):
    """Equivariant under rotations and permutations, blind to translations; momentum sum w s = 0 without correction."""
    v, _, weight = particles(n + d, d, seed)
    blob = BlobScore("silverman", correct)
    s = blob(v, weight=weight)
    size = float(s.norm())
    q, order = rotation(d, seed), torch.randperm(n + d, generator=torch.Generator().manual_seed(seed))
    # The principal axes are taken from an eigendecomposition: rounding, amplified by close eigenvalues.
    assert torch.allclose(blob(v @ q.T, weight=weight), s @ q.T, rtol=0, atol=1e-9 * size)
    assert torch.allclose(blob(v[order], weight=weight[order]), s[order], rtol=0, atol=1e-11 * size)
    assert torch.allclose(blob(v + 3, weight=weight), s, rtol=0, atol=1e-9 * size)
    # Same score in other units: s has the dimension of 1/v.
    assert torch.allclose(blob(4 * v, weight=weight), s / 4, rtol=0, atol=1e-11 * size)
    if not correct:
        assert float((weight[:, None] * s).sum(0).norm()) <= 1e-12 * size


def score_field(v, weight, h, correct):
    """The score at one point apart from the particles, whose densities rho_j are fixed."""
    _, rho = blob_sum(v, h, weight)
    d = v.size(1)
    mean = weight @ v
    variance, axes = torch.linalg.eigh((weight[:, None] * (v - mean)).T @ (v - mean))

    def field(x):
        z = x - v
        phi = torch.exp(-(z * z).sum(1) / (2 * h**2)) / (2 * math.pi * h**2) ** (d / 2)
        s = -((weight * phi * (1 / (weight * phi).sum() + 1 / rho))[:, None] * z / h**2).sum(0)
        if not correct:
            return s
        y, q = axes.T @ (x - mean), variance**2 + variance * h**2 + h**4
        bump = ((variance + h**2) / q.sqrt()).prod() * torch.exp(-0.5 * (h**2 * y**2 / q).sum())
        ratio = variance * (1 / (variance + h**2) + h**2 / q * bump)
        return axes @ ((axes.T @ s) / ratio)

    return field


@pytest.mark.parametrize("correct", [False, True])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_jacobian_of_the_field(d, correct):
    """Against autograd of the field where particle 4 is, with it and all rho_j held fixed."""
    v, _, weight = particles(12, d)
    field = score_field(v, weight, 0.6, correct)
    s, jacobian = BlobScore(0.6, correct).value_and_jacobian(v, weight=weight)
    assert torch.allclose(s, BlobScore(0.6, correct)(v, weight=weight), rtol=1e-12, atol=1e-13)
    for i in range(12):
        assert torch.allclose(s[i], field(v[i]), rtol=1e-11, atol=1e-12)
        assert torch.allclose(jacobian[i], torch.func.jacrev(field)(v[i]), rtol=1e-10, atol=1e-11)
    trace = jacobian.diagonal(dim1=1, dim2=2).sum(-1)
    assert torch.allclose(BlobScore(0.6, correct).divergence(v, weight=weight), trace, rtol=1e-12)
    if not correct and d > 1:
        assert torch.allclose(jacobian, jacobian.mT, rtol=0, atol=1e-12)


def population_score(sigma: torch.Tensor, h: float, v: torch.Tensor) -> torch.Tensor:
    """Two-term score of N(0, diag(sigma^2)) at v: grad log(phi*f) + int grad phi(v - w) f(w) / (phi*f)(w) dw.

    All Gaussian, so that the integral separates: one-dimensional trapezoidal sums, spectrally accurate.
    """
    w = torch.linspace(-14, 14, 4001, dtype=torch.float64)[:, None]
    step = float(w[1, 0] - w[0, 0])

    def normal(x, variance):
        return torch.exp(-(x**2) / (2 * variance)) / torch.sqrt(2 * math.pi * variance)

    z = v[:, None, :] - w
    kernel = normal(z, torch.tensor(h**2)) * normal(w, sigma**2) / normal(w, sigma**2 + h**2)
    mass, slope = step * kernel.sum(1), step * (-z / h**2 * kernel).sum(1)
    second = slope / mass * mass.prod(1, keepdim=True)
    return -v / (sigma**2 + h**2) + second


@pytest.mark.parametrize("sigma", [[1.0], [1.3, 0.45], [1.3, 0.45, 1.0]])
@pytest.mark.parametrize("h", [0.1, 0.5])
def test_correction_is_exact_for_gaussians(sigma, h):
    """R_b = (population score) / (-v_b / sigma_b^2) by quadrature, read off the layer's correct / plain ratio.

    The layer's R_b is that of the covariance of its particles, so they are made to have the covariance exactly.
    """
    sigma = torch.tensor(sigma, dtype=torch.float64)
    v = torch.randn(200, len(sigma), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v = v - v.mean(0)
    v = v @ torch.linalg.inv(torch.linalg.cholesky(v.T @ v / 200)).T * sigma
    ratio = BlobScore(h)(v) / BlobScore(h, correct=True)(v)
    expected = population_score(sigma, h, v) / (-v / sigma**2)
    # The quotient loses digits where a component of the score vanishes.
    clear = v.abs() > 1e-2
    assert torch.allclose(ratio[clear], expected[clear], rtol=1e-8)


@pytest.mark.parametrize("h", [0.1, 0.25])
def test_two_terms_cancel_the_leading_bias(h):
    """Bias of the two-term score O(h^4), of the one-sided score O(h^2): 16 and 4 times less at half the h."""
    sigma, v = torch.ones(2, dtype=torch.float64), torch.tensor([[0.7, -0.4]], dtype=torch.float64)

    def bias(h):
        return float((population_score(sigma, h, v) + v).norm())

    assert bias(h) / bias(h / 2) == pytest.approx(16, rel=0.25)
    one_sided = [float((v - v / (1 + k**2)).norm()) for k in (h, h / 2)]
    assert one_sided[0] / one_sided[1] == pytest.approx(4, rel=0.25)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_particles_approach_the_population(d):
    """4000 samples of N(0, diag(sigma^2)): the corrected score within the noise, the plain one off by its bias.

    Noise of the kernel estimate about (N h^d sigma^-d)^(-1/2) = 5-10 % at h = 0.7; the plain score's bias is 8-20 %.
    """
    sigma = torch.tensor([1.2, 0.8, 1.0][:d], dtype=torch.float64)
    v = sigma * torch.randn(4000, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    exact = -v / sigma**2

    def error(s):
        return float(((s - exact) ** 2).sum() / (exact**2).sum())

    corrected, plain = error(BlobScore(0.7, correct=True)(v)), error(BlobScore(0.7)(v))
    assert corrected < 0.02
    assert corrected < 0.7 * plain


@pytest.mark.parametrize("correct", [False, True])
@pytest.mark.parametrize("bandwidth", ["silverman", 0.6])
def test_blocks_are_separate_systems(bandwidth, correct):
    """Score, Jacobian and entropy, each block with its own bandwidth, axes and weights."""
    v, _, weight = particles(13, 2)
    blob = BlobScore(bandwidth, correct)
    s, jacobian = blob.value_and_jacobian(v, batch=BATCH, weight=weight)
    entropies = blob.entropy(v, batch=BATCH, weight=weight)
    for label, entropy in zip((2, 7, 9), entropies, strict=True):
        inside = label == BATCH
        alone, alone_jacobian = blob.value_and_jacobian(v[inside], weight=weight[inside])
        assert torch.allclose(s[inside], alone, rtol=1e-10, atol=1e-11)
        assert torch.allclose(jacobian[inside], alone_jacobian, rtol=1e-10, atol=1e-10)
        assert torch.allclose(entropy, blob.entropy(v[inside], weight=weight[inside])[0], rtol=1e-12)
    assert torch.allclose(s, blob(v, batch=BATCH, weight=weight), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("d", [1, 2, 3, 10])
def test_silverman_bandwidth(d, weighted):
    """n^(-1/(d+6)) (prod of eigenvalues of the covariance)^(1/2d), n = 1 / sum w^2."""
    v, _, weight = particles(40, d)
    weight = weight if weighted else torch.full_like(weight, 1 / 40)
    h = silverman(v, weight)
    assert torch.allclose(BlobScore()(v, weight=weight), BlobScore(h)(v, weight=weight), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("correct", [False, True])
def test_float32_agrees_with_float64(correct):
    """Also with a mean of 10 thermal speeds: velocities are centred first."""
    v = torch.randn(300, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v32 = (v + 10).float()
    exact = BlobScore(0.5, correct)(v32.double())
    s = BlobScore(0.5, correct)(v32)
    assert s.dtype == torch.float32
    assert float((s.double() - exact).norm(dim=1).max()) < 2e-5 * float(exact.norm(dim=1).max())


def test_gradients_at_fixed_bandwidth():
    """Autograd of the score and of the entropy against finite differences, both modes, twice."""
    v = particles(6, 2)[0].requires_grad_()
    for blob in (BlobScore(0.8), BlobScore(0.8).entropy):
        assert torch.autograd.gradcheck(blob, v, check_forward_ad=True, check_batched_grad=True, fast_mode=True)
        assert torch.autograd.gradgradcheck(blob, v, check_fwd_over_rev=True, fast_mode=True)


@pytest.mark.parametrize("correct", [False, True])
@pytest.mark.parametrize("bandwidth", ["silverman", 0.8])
def test_bandwidth_and_axes_are_constants_to_both_modes(bandwidth, correct):
    """jacfwd = jacrev: what is held constant is so in either."""
    v, blob = particles(7, 2)[0], BlobScore(bandwidth, correct)
    assert torch.allclose(torch.func.jacfwd(blob)(v), torch.func.jacrev(blob)(v), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("correct", [False, True])
@pytest.mark.parametrize("bandwidth", ["silverman", 0.8])
def test_vmap(bandwidth, correct):
    v, blob = particles(7, 2)[0], BlobScore(bandwidth, correct)
    copies = torch.stack([v, 2 * v, v + 1])
    for at, mapped in zip(copies, torch.vmap(blob)(copies), strict=True):
        assert torch.allclose(mapped, blob(at), rtol=1e-10, atol=1e-12)


# Over a graph


def everything(blob, v, **graph):
    """Score, Jacobian, the score by forward, and entropy."""
    return (*blob.value_and_jacobian(v, **graph), blob(v, **graph), blob.entropy(v, **graph))


@pytest.mark.parametrize("correct", [False, True])
@pytest.mark.parametrize("bandwidth", ["silverman", 0.6])
@pytest.mark.parametrize("batch", [None, BATCH])
@pytest.mark.parametrize("at_once", [7, 2**18])
def test_cutoff_beyond_everything_is_all_pairs(monkeypatch, bandwidth, correct, batch, at_once):
    """To rounding, in blocks with bandwidths of their own too, whether edges are summed in parts or at once."""
    monkeypatch.setattr(blob_score, "EDGES_AT_ONCE", at_once)
    v, _, weight = particles(13, 2)
    graph = {"batch": batch, "weight": weight}
    expected = everything(BlobScore(bandwidth, correct), v, **graph)
    for a, b in zip(everything(BlobScore(bandwidth, correct, cutoff=1e3), v, **graph), expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("correct", [False, True])
def test_complete_graph_is_all_pairs(correct):
    """Self-loops or none: each particle meets itself once. Weights need not have sum 1."""
    v, _, weight = particles(13, 3)
    edges = complete_edges(Partition.from_batch(None, v))
    loops = torch.arange(5).expand(2, 5)
    expected = everything(BlobScore("silverman", correct), v, weight=weight)
    for graph in (edges, torch.cat([loops, edges], dim=1)):
        actual = everything(BlobScore("silverman", correct), v, edge_index=graph, weight=3 * weight)
        for a, b in zip(actual, expected, strict=True):
            assert torch.allclose(a, b, rtol=1e-12, atol=1e-13)


def test_edges_point_from_sender_to_receiver():
    """With the one edge 1 -> 0: rho_0 = (phi(0) + phi(z)) / 3, the others their own phi(0) / 3; only 0 is pushed."""
    v, h = torch.tensor([[0.0], [0.5], [0.8]], dtype=torch.float64), 0.7
    s = BlobScore(h)(v, edge_index=torch.tensor([[1], [0]]))
    phi = math.exp(-0.5 * (0.5 / h) ** 2)
    expected = 0.5 / h**2 * phi * (1 / (1 + phi) + 1)
    assert torch.allclose(s, torch.tensor([[expected], [0.0], [0.0]], dtype=torch.float64), rtol=1e-14)


@pytest.mark.parametrize("batch", [None, torch.arange(60) % 3])
@pytest.mark.parametrize("bandwidth", ["silverman", 0.3])
def test_cutoff_is_the_sum_over_near_pairs(batch, bandwidth):
    """In units of each block's own h: against the blob of each block over the edges within 2h."""
    v, _, weight = particles(60, 2)
    blob = BlobScore(bandwidth, cutoff=2.0)
    s = blob(v, batch=batch, weight=weight)
    for label in range(1 if batch is None else 3):
        inside = slice(None) if batch is None else label == batch
        at, w = v[inside], weight[inside] / weight[inside].sum()
        h = silverman(at, w) if bandwidth == "silverman" else bandwidth
        edges = radius_edges(at, 2 * h)
        assert 0 < edges.size(1) < len(at) * (len(at) - 1)
        assert torch.allclose(s[inside], BlobScore(h)(at, edge_index=edges, weight=w), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("cutoff", [3.0, 4.0, 5.0])
def test_cutoff_error(d, cutoff):
    r"""A smooth plasma loses P(chi^2_{d+2} > cutoff^2) of its score: the part of <z_a^2 phi> / h^2 beyond the cutoff.

    Less here, where the density falls off within 5h; the Jacobian has two more powers of z.
    """
    v = torch.randn(1000, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    full, near = (everything(BlobScore(cutoff=c), v) for c in (None, cutoff))
    lost = float(chi2.sf(cutoff**2, d + 2))
    error = float((near[0] - full[0]).norm() / full[0].norm())
    assert 0.2 * lost < error < lost
    assert float((near[1] - full[1]).norm() / full[1].norm()) < 2 * cutoff**2 * lost
    # Each of at most N terms left out of rho_i is below exp(-cutoff^2 / 2) of the particle's own, which is <= rho_i.
    assert 0 < float(full[3] - near[3]) < 1000 * math.exp(-(cutoff**2) / 2)


def test_cutoff_keeps_momentum():
    """Pairs are left out in both directions: sum w s = 0 to rounding."""
    v, _, weight = particles(200, 3)
    s = BlobScore(0.3, cutoff=2.0)(v, weight=weight)
    assert float((weight[:, None] * s).sum(0).norm()) < 1e-14 * float(s.norm())


def test_cutoff_descends_its_entropy():
    """w_i s_i = dH_h / dv_i also of the truncated sums, the pairs held fixed."""
    v, _, weight = particles(40, 2)
    blob = BlobScore(0.3, cutoff=2.0)
    gradient = torch.func.grad(lambda x: blob.entropy(x, weight=weight).sum())(v)
    assert torch.allclose(gradient, weight[:, None] * blob(v, weight=weight), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("bandwidth", ["silverman", 0.5])
def test_derivatives_with_cutoff(bandwidth):
    """Both modes agree with all pairs: vmap over tangents and cotangents, a cutoff that loses 1e-14."""
    v, tangents = particles(20, 2)[0], torch.stack([particles(20, 2, seed)[0] for seed in (1, 2)])
    full, near = BlobScore(bandwidth), BlobScore(bandwidth, cutoff=9.0)
    pushed = [torch.vmap(lambda t, b=b: torch.func.jvp(b, (v,), (t,))[1])(tangents) for b in (full, near)]
    assert torch.allclose(*pushed, rtol=1e-9, atol=1e-10)
    assert torch.allclose(torch.func.jacrev(near)(v), torch.func.jacrev(full)(v), rtol=1e-9, atol=1e-10)
    leaf = v.clone().requires_grad_()
    gradients = [torch.autograd.grad((b(leaf) ** 2).sum(), leaf)[0] for b in (full, near)]
    assert torch.allclose(*gradients, rtol=1e-9, atol=1e-10)


def test_float32_with_cutoff():
    v = torch.randn(300, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = BlobScore(0.5)(v.float().double())
    s = BlobScore(0.5, cutoff=7.0)(v.float())
    assert s.dtype == torch.float32
    assert float((s.double() - exact).norm(dim=1).max()) < 2e-5 * float(exact.norm(dim=1).max())


# Where there is little to estimate from


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coincident_and_isolated_particles(dtype):
    """No force between coincident particles, none on an isolated one; finite Jacobians and gradients."""
    v = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1e3, 0.0]], dtype=dtype)
    s, jacobian = BlobScore(0.5).value_and_jacobian(v)
    assert not s.any()
    assert torch.isfinite(jacobian).all()
    assert torch.isfinite(torch.func.jacrev(BlobScore(0.5))(v)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tracers_of_weight_zero(dtype):
    """They change nothing for the others, however far they are, and what they feel is finite."""
    v, _, weight = particles(8, 2, dtype=dtype)
    v[0] = 1e3
    weight[0] = 0.0
    blob = BlobScore(0.5)
    s, jacobian = blob.value_and_jacobian(v, weight=weight)
    rest, rest_jacobian = blob.value_and_jacobian(v[1:], weight=weight[1:])
    tolerance = {torch.float32: 1e-4, torch.float64: 1e-12}[dtype]
    assert torch.allclose(s[1:], rest, rtol=tolerance, atol=tolerance)
    assert torch.allclose(jacobian[1:], rest_jacobian, rtol=tolerance, atol=tolerance)
    assert torch.isfinite(s).all()
    assert torch.isfinite(jacobian).all()
    assert torch.allclose(blob.entropy(v, weight=weight), blob.entropy(v[1:], weight=weight[1:]), rtol=tolerance)
    gradient = torch.func.grad(lambda x: (blob(x, weight=weight) ** 2).sum())(v)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("arguments", [{"correct": True, "bandwidth": 0.5}, {"bandwidth": "silverman"}])
@pytest.mark.parametrize("flat", [torch.zeros(6, 3), torch.randn(6, 3) * torch.tensor([1.0, 1.0, 0.0])])
def test_refuses_flat_particles_where_it_needs_their_covariance(arguments, flat):
    with pytest.raises(ValueError, match=r"'v' must span all 3 dimensions .* block 0 of 6 particles"):
        BlobScore(**arguments)(flat)
    assert torch.isfinite(BlobScore(0.5)(flat)).all()


V = particles(6, 3)[0]


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), "scott", None, True])
def test_refuses_bandwidth(value):
    with pytest.raises(ValueError, match="'bandwidth' must be"):
        BlobScore(value)


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("'v' must be finite", {"v": V * float("nan")}),
        ("'v' must have shape", {"v": V[:1]}),
        ("'v' must have shape", {"v": V[:, 0]}),
        ("'weight' must", {"v": V, "weight": torch.ones(5).double()}),
        ("'weight' must", {"v": V, "weight": -torch.ones(6).double()}),
        ("'batch' must", {"v": V, "batch": torch.zeros(4).long()}),
    ],
)
@pytest.mark.parametrize("call", ["forward", "jacobian", "entropy"])
def test_refuses_tensors(call, message, arguments):
    with pytest.raises(ValueError, match=message):
        getattr(BlobScore(), call)(**arguments)


@pytest.mark.parametrize("value", [0, -5.0, float("nan"), float("inf"), "5", True])
def test_refuses_cutoff(value):
    with pytest.raises(ValueError, match="'cutoff' must be"):
        BlobScore(cutoff=value)


EDGE = torch.tensor([[0], [1]])


@pytest.mark.parametrize(
    ("message", "options", "arguments"),
    [
        ("'edge_index' and 'batch' must not be given together", {}, {"batch": torch.zeros(6).long()}),
        (r"'edge_index' must not be given to a blob with a cutoff \(got cutoff 5.0\)", {"cutoff": 5.0}, {}),
        (r"'edge_index' needs backend 'auto' \(got 'dense'\)", {"backend": "dense"}, {}),
        ("'edge_index' must name particles 0..5", {}, {"edge_index": EDGE + 5}),
    ],
)
@pytest.mark.parametrize("call", ["forward", "jacobian", "entropy"])
def test_refuses_edges(call, message, options, arguments):
    with pytest.raises(ValueError, match=message):
        getattr(BlobScore(0.5, **options), call)(V, **{"edge_index": EDGE, **arguments})


def test_refuses_cutoff_with_another_backend():
    with pytest.raises(ValueError, match=r"'cutoff' needs backend 'auto' \(got 'dense'\)"):
        BlobScore(cutoff=5.0, backend="dense")


def test_refuses_backend():
    with pytest.raises(ValueError, match="'backend' must be one of auto, dense, mesh, keops"):
        BlobScore(backend="edges")


def test_repr_shows_the_arguments():
    assert repr(BlobScore(0.3, True)) == "BlobScore(bandwidth=0.3, correct=True, cutoff=None, backend='auto')"


@pytest.mark.parametrize("correct", [False, True])
@pytest.mark.parametrize("choice", ["all", "batch", "cutoff"])
def test_field_elsewhere(choice, correct):
    """At a place of its own number i feels what particle i does, its own kernel included: the particles stay.

    The place of one particle is moved; a tracer of weight zero that stands there from the start sees the same field.
    """
    v, _, weight = particles(13, 2)
    blob = BlobScore(0.7, correct, cutoff=9.0 if choice == "cutoff" else None)
    batch = BATCH if choice == "batch" else None
    at = v + torch.tensor([0.2, -0.1], dtype=v.dtype)
    found = blob.value_and_jacobian(v, batch=batch, weight=weight, at=at)
    for i in range(13):
        members = torch.ones(13, dtype=torch.bool) if batch is None else batch == batch[i]
        sources, masses = torch.cat([v[members], at[i][None]]), torch.cat([weight[members], weight.new_zeros(1)])
        tracer = blob.value_and_jacobian(sources, weight=masses)
        for own, expected in zip(found, tracer, strict=True):
            assert torch.allclose(own[i], expected[-1], rtol=1e-11, atol=1e-12)
    here = blob.value_and_jacobian(v, batch=batch, weight=weight, at=v)
    for own, expected in zip(here, blob.value_and_jacobian(v, batch=batch, weight=weight), strict=True):
        assert torch.allclose(own, expected, rtol=1e-13)


def test_refuses_places_of_another_shape():
    v, _, _ = particles(5, 2)
    with pytest.raises(ValueError, match=r"'at' must have the shape and dtype of 'v', \(5, 2\), torch.float64 \(got"):
        BlobScore(0.7).value_and_jacobian(v, at=v[:4])
