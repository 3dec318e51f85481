"""The pairwise JKO objective: the sum over pairs, its gradient, its null space, and what its minimum is."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from invariants import cases, particles, rotation
from torch.autograd import gradcheck

from graphlandau.nn import JKOAction, LandauDrift, MLPScore
from graphlandau.nn.pairs import keops_available
from graphlandau.problems import Gaussian

BATCH = torch.tensor([4, 1, 4, 1, 4, 0, 1, 4, 1])


def backends(gamma: float) -> list[str]:
    return ["dense", "edges"] + ["moments"] * (gamma == 0)


def field(n: int, d: int, seed: int = 0):
    """Velocities, a field with its Jacobian as independent random numbers, uneven weights."""
    v, u, weight = particles(n, d, seed)
    jacobian = torch.randn(n, d, d, generator=torch.Generator().manual_seed(seed + 1), dtype=v.dtype)
    return v, u, jacobian, weight


def pair_losses(v, u, jacobian, gamma, strength=1.0):
    """l_ij of arXiv:2409.12296, Eq. (25), without tau^2, by a loop and without softening."""
    n, d = v.shape
    out = torch.zeros(n, n, dtype=v.dtype)
    for i in range(n):
        for j in range(n):
            if i == j:
                continue
            z, w = v[i] - v[j], u[i] - u[j]
            power = strength * z.norm() ** gamma
            a = power * (z @ z * torch.eye(d, dtype=v.dtype) - torch.outer(z, z))
            growth = (a * jacobian[i]).sum() - (d - 1) * power * z @ w
            out[i, j] = 0.5 * w @ a @ w + 2 * growth
    return out


@given(cases(), st.booleans())
@settings(max_examples=20, deadline=None)
def test_is_the_sum_over_pairs(case, weighted):
    n, d, gamma, seed = case
    v, u, jacobian, weight = field(n, d, seed)
    losses = pair_losses(v, u, jacobian, gamma, 0.5)
    w = weight if weighted else torch.full_like(weight, 1 / n)
    expected, scale = w @ losses @ w, w @ losses.abs() @ w
    for backend in backends(gamma):
        value = JKOAction(gamma, 0.5, backend=backend)(v, u, jacobian, weight=weight if weighted else None)
        # Rounding of some thirty operations per pair; the moments add up cancelling polynomials of degree four.
        assert float((value - expected).abs()) <= 1e-11 * float(scale)


@pytest.mark.parametrize("gamma", [-3.0, -1.5, 0.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_blocks_are_means_of_their_own_losses(gamma, weighted):
    """Each block with weights of sum 1, and the blocks by their mass: what a mini-batch estimates."""
    v, u, jacobian, weight = field(9, 3)
    weight = weight if weighted else torch.full_like(weight, 1 / 9)
    for backend in backends(gamma):
        layer = JKOAction(gamma, backend=backend)
        expected = torch.zeros((), dtype=v.dtype)
        for label in BATCH.unique():
            inside = label == BATCH
            share = weight[inside].sum()
            if int(inside.sum()) > 1:
                own = weight[inside] / share
                expected += share * layer(v[inside], u[inside], jacobian[inside], weight=own)
        value = layer(v, u, jacobian, batch=BATCH, weight=weight if weighted else None)
        assert torch.allclose(value, expected, rtol=1e-10)


@pytest.mark.parametrize("gamma", [-3.0, 0.0])
def test_explicit_edges_are_those_pairs(gamma):
    v, u, jacobian, weight = field(9, 3)
    edge_index = torch.tensor([[0, 3, 4, 8, 2, 2], [1, 1, 5, 0, 7, 3]])
    losses = pair_losses(v, u, jacobian, gamma)
    expected = sum(weight[i] * weight[j] * losses[i, j] for j, i in edge_index.T.tolist())
    assert torch.allclose(JKOAction(gamma)(v, u, jacobian, edge_index, weight=weight), expected, rtol=1e-12)


@pytest.mark.parametrize("gamma", [-3.0, -1.5, 0.0])
@pytest.mark.parametrize("batch", [None, BATCH])
def test_is_what_the_drift_of_the_field_says(gamma, batch):
    """sum_ij |u_i - u_j|_A^2 / 2 = -sum u.U and sum_j h_ij = -div U: the loss from the layer of the transport."""
    v, u, jacobian, _ = field(9, 2)
    drift = LandauDrift(gamma)
    U, divergence = drift(v, u, batch=batch), drift.divergence(v, u, jacobian, batch=batch)
    expected = -((u * U).sum(1) + 2 * divergence).mean()
    assert torch.allclose(JKOAction(gamma)(v, u, jacobian, batch=batch), expected, rtol=1e-10)


@given(cases(), st.integers(0, 10))
@settings(max_examples=15, deadline=None)
def test_maxwellian_fields_change_nothing(case, seed):
    """u -> u + a + b v has the same loss: the minimiser is the score only up to these."""
    n, d, gamma, _ = case
    v, u, jacobian, weight = field(n, d, seed)
    moved, jac_moved = u - 0.7 * v + 2, jacobian - 0.7 * torch.eye(d, dtype=v.dtype)
    for backend in backends(gamma):
        layer = JKOAction(gamma, backend=backend)
        before, after = layer(v, u, jacobian, weight=weight), layer(v, moved, jac_moved, weight=weight)
        # The pieces that cancel are larger than what is left, most for close pairs and gamma = -4.
        scale = float(weight @ pair_losses(v, u, jacobian, gamma).abs() @ weight)
        scale += float(weight @ pair_losses(v, v, torch.eye(d, dtype=v.dtype).expand(n, d, d), gamma).abs() @ weight)
        assert float((after - before).abs()) <= 1e-10 * scale


@given(cases())
@settings(max_examples=10, deadline=None)
def test_rotations_translations_and_order_change_nothing(case):
    n, d, gamma, seed = case
    v, u, jacobian, weight = field(n, d, seed)
    q, order = rotation(d, seed), torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    scale = float(weight @ pair_losses(v, u, jacobian, gamma).abs() @ weight)
    for backend in backends(gamma):
        layer = JKOAction(gamma, backend=backend)
        expected = layer(v, u, jacobian, weight=weight)
        turned = layer(v @ q.T + 1, u @ q.T, q @ jacobian @ q.T, weight=weight)
        assert float((turned - expected).abs()) <= 1e-9 * scale
        shuffled = layer(v[order], u[order], jacobian[order], weight=weight[order])
        assert float((shuffled - expected).abs()) <= 1e-10 * scale


VARIANTS = [
    (gamma, backend, batch)
    for gamma, backend in [(-3.0, "dense"), (-1.5, "edges"), (0.0, "dense"), (0.0, "moments")]
    for batch in (None, BATCH)
]


@pytest.mark.parametrize(("gamma", "backend", "batch"), VARIANTS)
def test_gradient(gamma, backend, batch):
    """In velocities, field, Jacobian and weights, against finite differences."""
    inputs = [x.requires_grad_() for x in field(9, 2)]
    layer = JKOAction(gamma, backend=backend)
    assert gradcheck(lambda v, u, j, w: layer(v, u, j, batch=batch, weight=w), inputs, fast_mode=True)


@pytest.mark.parametrize("gamma", [-3.0, 0.0])
def test_gradient_in_the_field_is_twice_the_missing_drift(gamma):
    """dL/du_i of the action is -2 w_i U_i, by the symmetry of the pairs."""
    v, u, jacobian, weight = field(9, 3)
    layer = JKOAction(gamma)
    u.requires_grad_()
    whole = torch.autograd.grad(layer(v, u, jacobian, weight=weight), u)[0]
    growth = torch.autograd.grad(layer(v, 0 * u, jacobian, weight=weight), u, materialize_grads=True)[0]
    assert float(growth.norm()) == 0
    # What the field adds to the growth is linear: its gradient is that of the whole loss at u = 0.
    zero = torch.zeros_like(v, requires_grad=True)
    linear = torch.autograd.grad(layer(v, zero, jacobian, weight=weight), zero)[0]
    expected = -2 * weight[:, None] * LandauDrift(gamma)(v, u.detach(), weight=weight)
    assert torch.allclose(whole - linear, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("gamma", [-3.0, -1.0, 0.0])
def test_is_trained_through_the_derivatives_of_a_network(gamma):
    """All parameters of a network get the gradient of the sum over pairs."""
    v = particles(9, 3)[0]
    network = MLPScore(3, width=8, depth=2).double()
    value = JKOAction(gamma)(v, *network.value_and_jacobian(v))
    found = torch.autograd.grad(value, list(network.parameters()), materialize_grads=True)
    expected = torch.autograd.grad(
        pair_losses(v, *network.value_and_jacobian(v), gamma).mean(),
        list(network.parameters()),
        materialize_grads=True,
    )
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(found, expected, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("gamma", [0.0, -1.0])
def test_completing_the_square(gamma):
    """L(u) - L(s) -> E |(u - s) - (u - s)_*|_A^2 / 2 for the score s of the density: pairwise score matching.

    A Gaussian with unequal temperatures and a field far from its score; 200 independent samples of 200 particles.
    The difference of the two sides has mean zero: within 4 of its standard errors, which are 5 % of the distance.
    """
    density = Gaussian(mean=[0.0, 0.0], covariance=[[1.5, 0.2], [0.2, 0.6]])
    layer, mixing = JKOAction(gamma), torch.tensor([[0.8, -0.3], [0.5, 0.6]], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    gaps, distances = [], []
    for _ in range(200):
        v = density.sample(200, generator=generator)
        s = density.score(v)
        jac_s = torch.func.vmap(torch.func.jacrev(lambda x: density.score(x[None])[0]))(v)
        extra = torch.tanh(v @ mixing)
        jac_extra = (1 - extra[:, :, None] ** 2) * mixing.T
        gain = layer(v, s + extra, jac_s + jac_extra) - layer(v, s, jac_s)
        distance = -(extra * LandauDrift(gamma)(v, extra)).sum(1).mean()
        gaps.append(float(gain - distance))
        distances.append(float(distance))
    gaps, distance = torch.tensor(gaps), float(torch.tensor(distances).mean())
    error = float(gaps.std()) / len(gaps) ** 0.5
    assert error < 0.05 * distance
    assert abs(float(gaps.mean())) < 4 * error


@pytest.mark.parametrize(("gamma", "backend"), [(-3.0, "auto"), (0.0, "auto"), (0.0, "dense")])
@pytest.mark.parametrize("batch", [None, BATCH])
def test_gram_matrix_is_that_of_the_action(gamma, backend, batch):
    """w^T G w is the action of the field with these weights, for any of them."""
    v, _, _, weight = field(9, 3)
    phi = torch.stack([torch.tanh(v[:, 0]), v[:, 1] * v[:, 2], torch.sin(v.sum(1)), v[:, 0]], dim=1)
    gram = JKOAction(gamma, 0.5, backend=backend).gram(v, phi, batch, weight)
    assert torch.allclose(gram, gram.T, rtol=1e-12)
    # 1e-14 of the largest eigenvalue is rounding.
    values = torch.linalg.eigvalsh(gram)
    assert float(values[0]) > -1e-14 * float(values[-1])
    weights = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=v.dtype)
    u = phi @ weights
    drift = LandauDrift(gamma, 0.5)(v, u, batch=batch, weight=weight)
    expected = -(weight * (u * drift).sum(1)).sum() / (1 if batch is None else weight.sum())
    assert torch.allclose(weights.flatten() @ gram @ weights.flatten(), expected, rtol=1e-11)


def test_float32_stays_close_near_equilibrium():
    """The score of a Maxwellian plus a thousandth of noise: what is left after the cancellation keeps its digits."""
    v, noise, jacobian, _ = field(200, 3)
    u, jac_u = -3 * v + 1e-3 * noise, -3 * torch.eye(3, dtype=v.dtype) + 1e-3 * jacobian
    layer = JKOAction(-3.0)
    exact = layer(v, u, jac_u)
    found = layer(*(x.float() for x in (v, u, jac_u)))
    # Rounding u to float32 alone changes it by 1e-7 of 3, or 3e-4 of the noise, at random over 40,000 pairs.
    assert float((found.double() - exact).abs() / exact.abs()) < 1e-3


@pytest.mark.skipif(not keops_available()[0], reason=keops_available()[1])
@pytest.mark.parametrize("batch", [None, pytest.param(BATCH, marks=pytest.mark.slow)])
@pytest.mark.parametrize("gradient", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_keops_agrees(batch, gradient):
    v, u, jacobian, weight = field(9, 2)
    u.requires_grad_()
    values = [JKOAction(-3.0, backend=b)(v, u, jacobian, batch=batch, weight=weight) for b in ("dense", "keops")]
    assert torch.allclose(*values, rtol=1e-10)
    if gradient:
        assert torch.allclose(*(torch.autograd.grad(x, u)[0] for x in values), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"u": torch.zeros(9, 2)}, "'u' must have the shape and dtype of 'v'"),
        ({"jac_u": torch.zeros(9, 3)}, r"'jac_u' must have shape \(9, 3, 3\)"),
        ({"jac_u": torch.full((9, 3, 3), float("nan"), dtype=torch.float64)}, "'jac_u' must be finite"),
        ({"batch": BATCH, "edge_index": torch.zeros(2, 1, dtype=torch.long)}, "must not be given together"),
        ({"weight": -torch.ones(9, dtype=torch.float64)}, "'weight' must be non-negative"),
    ],
)
def test_refuses_what_does_not_fit(change, message):
    v, u, jacobian, _ = field(9, 3)
    with pytest.raises(ValueError, match=message):
        JKOAction(-3.0)(**({"v": v, "u": u, "jac_u": jacobian} | change))


def test_refuses_moments_for_coulomb_and_edges_on_tiles():
    with pytest.raises(ValueError, match="'backend' must not be 'moments'"):
        JKOAction(-3.0, backend="moments")
    v, u, jacobian, _ = field(9, 3)
    with pytest.raises(ValueError, match="'edge_index' needs backend 'edges'"):
        JKOAction(-3.0, backend="dense")(v, u, jacobian, torch.zeros(2, 1, dtype=torch.long))
    with pytest.raises(ValueError, match=r"'phi' must have shape \(9, m\)"):
        JKOAction(-3.0).gram(v, torch.zeros(4, 2))
