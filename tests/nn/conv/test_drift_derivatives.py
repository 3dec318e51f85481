"""Derivatives of the drift: of any order, in both modes, through every exact backend; at coincident particles."""

from __future__ import annotations

import pytest
import torch
from invariants import EXPONENTS, direct_sum, particles
from torch.autograd import forward_ad, gradcheck, gradgradcheck

from graphlandau.nn import LandauDrift

BATCH = torch.tensor([4, 1, 4, 1, 4, 0])
VARIANTS = [
    pytest.param(gamma, backend, batch, id=f"{backend}{gamma:+}{'-blocks' if batch is not None else ''}")
    for gamma, backend in [(-3.0, "dense"), (-1.5, "dense"), (-3.0, "edges"), (0.0, "edges"), (0.0, "moments")]
    for batch in (None, BATCH)
]


@pytest.mark.parametrize(("gamma", "backend", "batch"), VARIANTS)
def test_gradients_in_velocity_score_and_weight(gamma, backend, batch):
    """First derivatives in both modes, and batched over tangents and cotangents, against finite differences."""
    layer = LandauDrift(gamma, backend=backend)
    inputs = [x.requires_grad_() for x in particles(6, 2)]

    def drift(v, s, weight):
        return layer(v, s, batch=batch, weight=weight)

    assert gradcheck(drift, inputs, check_forward_ad=True, check_batched_grad=True, fast_mode=True)


@pytest.mark.parametrize(("gamma", "backend"), [(-3.0, "dense"), (-3.0, "edges"), (0.0, "moments")])
def test_second_gradients(gamma, backend):
    """Reverse over reverse and forward over reverse, what a network trained through the drift needs."""
    layer = LandauDrift(gamma, backend=backend)
    inputs = [x.requires_grad_() for x in particles(4, 2)]
    assert gradgradcheck(
        lambda v, s, w: layer(v, s, weight=w), inputs, check_fwd_over_rev=True, check_rev_over_rev=True, fast_mode=True
    )


@pytest.mark.parametrize(("gamma", "backend", "batch"), VARIANTS)
def test_function_transforms(gamma, backend, batch):
    """jacfwd = jacrev, hessians by every composition, vmap = a loop, forward_ad = jvp: rounding apart."""
    layer = LandauDrift(gamma, backend=backend)
    v, s, weight = particles(6, 2)

    def drift(v, s):
        return layer(v, s, batch=batch, weight=weight)

    def close(a, b):
        return torch.allclose(a, b, rtol=1e-10, atol=1e-12)

    forward, reverse = torch.func.jacfwd(drift, (0, 1))(v, s), torch.func.jacrev(drift, (0, 1))(v, s)
    assert close(forward[0], reverse[0])
    assert close(forward[1], reverse[1])

    def work(v):
        return (drift(v, s) ** 2).sum()

    hessian = torch.func.jacrev(torch.func.jacrev(work))(v)
    assert close(torch.func.jacfwd(torch.func.jacrev(work))(v), hessian)
    assert close(torch.func.jacfwd(torch.func.jacfwd(work))(v), hessian)
    copies = torch.stack([v, 2 * v, v + 1])
    for at, mapped in zip(copies, torch.vmap(lambda x: drift(x, s))(copies), strict=True):
        assert close(mapped, drift(at, s))
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(drift(forward_ad.make_dual(v, s), s)).tangent
    assert close(dual, torch.einsum("nakb,kb->na", forward[0], s))


# The field: how the drift changes where a particle is, everything else held fixed


@pytest.mark.parametrize("d", [2, 3, 5])
@pytest.mark.parametrize("gamma", EXPONENTS)
def test_jacobian_of_the_field(gamma, d):
    """At a target apart from the sources, for a smooth score, by autograd of the direct formula without softening."""
    v, s, weight = particles(9, d)
    mixing = torch.randn(d, d, generator=torch.Generator().manual_seed(3), dtype=v.dtype)

    def score(x):
        return torch.tanh(x @ mixing.T)

    def field(x):
        z, u = x - v, score(x) - s
        r = z.norm(dim=1, keepdim=True)
        return -(weight[:, None] * r**gamma * (r**2 * u - z * (z * u).sum(1, keepdim=True))).sum(0)

    # The target joins the sources with weight zero: it feels them, they are not moved by it.
    x = torch.linspace(-0.5, 0.8, d, dtype=v.dtype)
    jac_s = torch.zeros(10, d, d, dtype=v.dtype)
    jac_s[9] = torch.func.jacrev(score)(x)
    everyone = (torch.cat([v, x[None]]), torch.cat([s, score(x)[None]]))
    with_target = torch.cat([weight, weight.new_zeros(1)])
    exact = torch.func.jacrev(field)(x)
    for backend in ["dense", "edges"] + ["moments"] * (gamma == 0):
        layer = LandauDrift(gamma, backend=backend)
        assert torch.allclose(layer(*everyone, weight=with_target)[9], field(x), rtol=1e-12)
        jacobian = layer.jacobian(*everyone, jac_s, weight=with_target)
        assert torch.allclose(jacobian[9], exact, rtol=1e-11, atol=1e-11 * float(exact.norm()))
        divergence = layer.divergence(*everyone, jac_s, weight=with_target)
        assert torch.allclose(divergence[9], exact.trace(), rtol=1e-11, atol=1e-11 * float(exact.norm()))


@pytest.mark.parametrize("gamma", [-3.0, -1.5, 0.0])
def test_divergence_of_the_papers(gamma):
    """div U = -sum_j w_j [A : grad s - (d - 1) C |z|^gamma z . (s_i - s_j)], JKO-L Proposition 2.4."""
    v, s, weight = particles(7, 3)
    jac_s = torch.randn(7, 3, 3, generator=torch.Generator().manual_seed(1), dtype=v.dtype)
    expected = torch.zeros(7, dtype=v.dtype)
    for i in range(7):
        for j in range(7):
            z = v[i] - v[j]
            if i == j:
                continue
            power = 0.5 * z.norm() ** gamma
            a = power * (z @ z * torch.eye(3, dtype=v.dtype) - torch.outer(z, z))
            expected[i] -= weight[j] * ((a * jac_s[i]).sum() - 2 * power * z @ (s[i] - s[j]))
    for backend in ["dense", "edges"] + ["moments"] * (gamma == 0):
        layer = LandauDrift(gamma, 0.5, backend=backend)
        assert torch.allclose(layer.divergence(v, s, jac_s, weight=weight), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("gamma", [-3.0, 0.0])
def test_partials_in_blocks_and_on_graphs(gamma):
    """Each block alone; the complete graph as edges."""
    v, s, weight = particles(6, 3)
    blocked = LandauDrift(gamma).partials(v, s, batch=BATCH, weight=weight)
    for label in (4, 1):
        inside = label == BATCH
        alone = LandauDrift(gamma).partials(v[inside], s[inside], weight=weight[inside] / weight[inside].sum())
        for a, b in zip(blocked, alone, strict=True):
            assert torch.allclose(a[inside], b, rtol=1e-11, atol=1e-13)
    assert not any(a[BATCH == 0].any() for a in blocked)
    complete = torch.cartesian_prod(torch.arange(6), torch.arange(6)).T
    by_edges = LandauDrift(gamma).partials(v, s, edge_index=complete, weight=weight)
    for a, b in zip(by_edges, LandauDrift(gamma).partials(v, s, weight=weight), strict=True):
        assert torch.allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("d", [2, 3, 5])
def test_the_jacobian_at_fixed_score_is_symmetric_for_coulomb_only(d):
    """Its antisymmetric part is (3 + gamma) |z|^gamma (u z^T - z u^T), in every dimension; D is negative."""
    v, s, weight = particles(7, d)
    for gamma in (-3.0, -1.5, 0.0, 1.0):
        by_v, by_s = LandauDrift(gamma).partials(v, s, weight=weight)
        skew = float((by_v - by_v.mT).norm() / by_v.norm())
        assert skew < 1e-12 if gamma == -3.0 else skew > 0.05
        assert torch.allclose(by_s, by_s.mT, rtol=0, atol=1e-12)
        # D = -sum w A: collisions diffuse.
        assert float(torch.linalg.eigvalsh(by_s).max()) <= 1e-12


# Coincident particles


def coincident(dtype: torch.dtype, d: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    v, s, _ = particles(6, d, dtype=dtype)
    v[1] = v[0]
    v[2] = v[0]
    return v.requires_grad_(), (3 * s).requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gamma", [*EXPONENTS, -3.6, -3.5])
@pytest.mark.parametrize("backend", ["dense", "edges", "auto"])
def test_coincident_particles(backend, gamma, dtype):
    """A(0) = 0: the value is that of the pairs apart, and first gradients are finite in both modes."""
    v, s = coincident(dtype)
    layer = LandauDrift(gamma, backend=backend)
    u = layer(v, s)
    apart = [(i, j) for i in range(6) for j in range(6) if not (i < 3 and j < 3)]
    expected, magnitude = direct_sum(v, s, torch.full((6,), 1 / 6, dtype=dtype), gamma, pairs=apart)
    error = (u.detach().double() - expected).norm(dim=1)
    assert float((error / magnitude).max()) < {torch.float32: 1e-5, torch.float64: 1e-13}[dtype]
    grads = torch.autograd.grad((u * u).sum(), (v, s))
    assert all(torch.isfinite(g).all() for g in grads)
    assert torch.isfinite(torch.func.jacfwd(layer)(v.detach(), s.detach())).all()
    assert all(torch.isfinite(x).all() for x in layer.partials(v, s))


@pytest.mark.parametrize("separation", [0.0, 1e-20, 1e-10, 1e-7, 1e-5, 1e-3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("backend", ["dense", "edges"])
def test_second_gradients_of_coulomb_at_contact(backend, dtype, separation):
    """gamma = -3, from coincident to distinct: what a physics-informed loss differentiates once more."""
    v, s = coincident(dtype)
    with torch.no_grad():
        v[1, 0] += separation
    layer = LandauDrift(-3.0, backend=backend)
    first = torch.autograd.grad((layer(v, s) ** 2).sum(), (v, s), create_graph=True)
    second = torch.autograd.grad(sum((g * g.detach().sign()).sum() for g in first), (v, s))
    assert all(torch.isfinite(g).all() for g in (*first, *second))
    hessian = torch.func.jacfwd(torch.func.jacfwd(lambda x: layer(x, s.detach())))(v.detach())
    assert torch.isfinite(hessian).all()


# Test particles: the same field, elsewhere


@pytest.mark.parametrize("batch", [None, BATCH])
@pytest.mark.parametrize(("gamma", "backend"), [(-3.0, "dense"), (-3.0, "edges"), (0.0, "dense"), (0.0, "moments")])
def test_field_at_test_particles(gamma, backend, batch):
    """Number i feels the particles of block i, itself included: -sum_j w_j A(x_i - v_j)(u_i - s_j), pair by pair.

    Along explicit edges of a complete graph no particle is its own neighbour, so test particle i does not feel
    particle i there.
    """
    v, s, weight = particles(6, 3)
    x, u = v + 0.3, torch.cos(v)
    layer = LandauDrift(gamma, 0.5, backend=backend)
    block = torch.zeros(6, dtype=torch.long) if batch is None else batch
    expected = torch.zeros_like(v)
    for i in range(6):
        inside = [j for j in range(6) if block[j] == block[i]]
        mass = 1.0 if batch is None else float(weight[inside].sum())
        for j in inside:
            if not (backend == "edges" and i == j):
                expected[i] -= weight[j] / mass * layer.kernel((x[i] - v[j])[None], (u[i] - s[j])[None])[0]
    assert torch.allclose(layer(v, s, batch=batch, weight=weight, at=(x, u)), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("gamma", "backend"), [(-3.0, "dense"), (-1.5, "dense"), (0.0, "dense"), (0.0, "moments")])
def test_partials_at_test_particles(gamma, backend):
    """Their derivatives in place and score, and at the particles themselves what partials gives without ``at``."""
    v, s, weight = particles(6, 2)
    x, u = v + 0.3, torch.cos(v)
    layer = LandauDrift(gamma, backend=backend)
    by_v, by_s = layer.partials(v, s, weight=weight, at=(x, u))
    jacobians = torch.func.jacrev(lambda x, u: layer(v, s, weight=weight, at=(x, u)), (0, 1))(x, u)
    each = torch.arange(6)
    for own, whole in zip((by_v, by_s), jacobians, strict=True):
        assert torch.allclose(own, whole[each, :, each], rtol=1e-11, atol=1e-12)
    for own, alone in zip(
        layer.partials(v, s, weight=weight, at=(v, s)), layer.partials(v, s, weight=weight), strict=True
    ):
        assert torch.allclose(own, alone, rtol=1e-13)


@pytest.mark.parametrize("gamma", [-4.0, -3.0, -1.5])
def test_partials_leave_out_the_particle_itself(gamma):
    """Their gradient at the particles is that of the field of the others, although A(z) has none at z = 0."""
    v, s, weight = particles(5, 2)
    layer = LandauDrift(gamma)
    x = v.clone().requires_grad_()
    (found,) = torch.autograd.grad(layer.partials(v, s, weight=weight, at=(x, s))[0].sum(), x)
    far = torch.full((1, 2), 9.0, dtype=v.dtype)
    for i in range(5):
        # Particle i gives its place to a test particle; its weight is zero, and it is far away.
        others = torch.arange(5) != i
        rest = (torch.cat([v[others], far]), torch.cat([s[others], far]), torch.cat([weight[others], torch.zeros(1)]))
        y = v[i].clone().requires_grad_()
        at = (torch.cat([v[others], y[None]]), torch.cat([s[others], s[i][None]]))
        by_v, _ = layer.partials(rest[0], rest[1], weight=rest[2].to(v), at=at)
        (expected,) = torch.autograd.grad(by_v[-1].sum(), y)
        assert torch.allclose(found[i], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize(("gamma", "backend"), [(-4.0, "dense"), (-3.0, "dense"), (-3.0, "edges"), (0.5, "dense")])
@pytest.mark.parametrize("batch", [None, BATCH])
def test_gradient_of_the_partials_by_hand(batch, gamma, backend, d):
    """The formula for the receivers is what automatic differentiation of the partials gives, apart and at home."""
    v, s, weight = particles(6, d)
    layer = LandauDrift(gamma, 0.5, backend=backend)
    cotangents = [torch.sin(torch.arange(6.0 * d * d, dtype=v.dtype) * k).view(6, d, d) for k in (1, 2)]

    def contracted(x, u):
        by_v, by_s = layer.partials(v, s, batch=batch, weight=weight, at=(x, u))
        return (by_v * cotangents[0] + by_s * cotangents[1]).sum()

    for x, u in [(v + 0.3, torch.cos(v)), (v, s)]:
        x, u = x.clone().requires_grad_(), u.clone().requires_grad_()
        by_hand = torch.autograd.grad(contracted(x, u), (x, u))
        automatic = torch.func.grad(contracted, (0, 1))(x.detach(), u.detach())
        for own, expected in zip(by_hand, automatic, strict=True):
            assert torch.allclose(own, expected, rtol=1e-10, atol=1e-11)


def test_refuses_test_particles_of_another_shape():
    v, s, _ = particles(4, 2)
    with pytest.raises(ValueError, match=r"'at' must have the shape and dtype of 'v', \(4, 2\), torch.float64 \(got"):
        LandauDrift(0.0)(v, s, at=(v[:3], s[:3]))
