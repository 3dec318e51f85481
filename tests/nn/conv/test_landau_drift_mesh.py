"""The Landau drift by the particle mesh: invariants to rounding, the direct sum to its tolerance, refusals."""

from __future__ import annotations

import re
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import graphlandau.nn.mesh.lattice as mesh_module
from graphlandau.graphs.partition import Partition
from graphlandau.nn import LandauDrift
from graphlandau.nn.conv.collision_layer import reduced_field
from graphlandau.nn.pairs import choice

CASES = [(2, -3.0), (3, -3.0), (2, -1.5), (3, -0.3)]
EPS = {torch.float32: 2**-23, torch.float64: 2**-52}
MODES = torch.tensor([1.5, 0.0, 0.0], dtype=torch.float64)


def sample(n: int, d: int, seed: int = 0, *, modes: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Gaussian or bimodal velocities, a score that is not theirs, and uneven weights of sum 1."""
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(n, d, generator=generator, dtype=torch.float64)
    weight = 0.5 + torch.rand(n, generator=generator, dtype=torch.float64)
    if modes:
        sign = 2.0 * (torch.rand(n, 1, generator=generator) < 0.5) - 1
        v = v * torch.tensor([0.6, 1.0, 1.0], dtype=torch.float64)[:d] + sign * MODES[:d]
    return v, score(v), weight / weight.sum()


def score(v: Tensor) -> Tensor:
    """A smooth vector field that is no gradient."""
    d = v.size(1)
    return 0.3 * torch.sin(v.roll(1, 1)) - v * torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)[:d]


def relative(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm())


def mesh(gamma: float, tolerance: float = 2e-2, **options) -> LandauDrift:
    return LandauDrift(gamma, backend="mesh", tolerance=tolerance, **options)


# Invariants


def assert_conserves(u: Tensor, v: Tensor, weight: Tensor) -> None:
    r"""Momentum and energy, relative to :math:`\sum w |U|` and :math:`\sum w |v| |U|`."""
    u, x, w = u.double(), v.double(), weight.double()[:, None]
    # Fields are sums of what some hundred nodes carry, transformed: measured below 4 eps.
    tolerance = 20 * EPS[v.dtype]
    momentum, scale = (w * u).sum(0).norm(), (w * u.abs()).sum()
    assert float(momentum) <= tolerance * float(scale)
    energy, scale = (w * u * x).sum(), (w * u.norm(dim=1, keepdim=True) * x.norm(dim=1, keepdim=True)).sum()
    assert abs(float(energy)) <= tolerance * float(scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("d", "gamma"), CASES)
def test_momentum_and_energy_for_any_vector_field(d, gamma, dtype):
    """Random fields and weights, whatever the lattice; far from the origin too."""
    v, _, weight = sample(2000, d)
    s = torch.randn(2000, d, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    for tolerance in (1.0, 3e-2):
        for shift in (0.0, 10.0):
            x, y, w = (z.to(dtype) for z in (v + shift, s, weight))
            u = mesh(gamma, tolerance)(x, y, weight=w)
            assert u.dtype == dtype
            assert_conserves(u, x - x.mean(0), w)


def test_without_the_correction_energy_is_not_kept(monkeypatch):
    """Why there is one: the kernel on the lattice does not vanish along the relative velocity."""
    v, s, weight = sample(2000, 2)
    module = __import__("graphlandau.nn.mesh.landau", fromlist=["_heating"])
    monkeypatch.setattr(module, "_heating", lambda v, *_: (torch.zeros(len(v), 1), torch.zeros(len(v), 2)))
    u = mesh(-3.0)(v, s, weight=weight)
    energy = abs(float((weight[:, None] * u * v).sum()))
    assert energy > 1e-8 * float((weight[:, None] * u.abs() * v.abs()).sum())


@pytest.mark.parametrize(("d", "gamma"), CASES)
def test_blocks_are_separate_systems(d, gamma):
    """Unsorted blocks with gaps in the numbering, each conserved; each alone is the same but for the lattice's size."""
    v, s, weight = sample(3000, d)
    batch = torch.tensor([7, -2, 4])[torch.arange(3000) % 3]
    v = v * (1 + (batch == 4))[:, None] + 5.0 * (batch == 7)[:, None]
    layer = mesh(gamma)
    u = layer(v, s, batch=batch, weight=weight)
    for label in (7, -2, 4):
        inside = batch == label
        share = weight[inside] / weight[inside].sum()
        assert_conserves(u[inside], v[inside] - v[inside].mean(0), share)
        # Both are within the tolerance of the exact drift; lattices of other sizes differ by far less.
        assert relative(u[inside], layer(v[inside], s[inside], weight=share)) < 2e-3
    order = torch.randperm(3000, generator=torch.Generator().manual_seed(1))
    again = layer(v[order], s[order], batch=batch[order], weight=weight[order])
    assert relative(again, u[order]) < 1e-12


# Symmetries

kernels = given(st.sampled_from((2, 3)), st.floats(-3, -0.1), st.integers(0, 2**31))


@kernels
@settings(max_examples=6, deadline=None)
def test_symmetries_to_rounding(d, gamma, seed):
    """Translations, permutations of particles and of axes, powers of two as scales, shifts and boosts of the score."""
    v, s, weight = sample(300, d, seed)
    layer = mesh(gamma, 0.2)
    u = layer(v, s, weight=weight)
    # Rounding, and that of the Galilean shift relative to the score, which is ten times as large.
    assert relative(layer(v + 4.0, s, weight=weight), u) < 1e-11
    axes = torch.randperm(d, generator=torch.Generator().manual_seed(seed))
    assert relative(layer(v[:, axes], s[:, axes], weight=weight), u[:, axes]) < 1e-11
    order = torch.randperm(300, generator=torch.Generator().manual_seed(seed))
    assert relative(layer(v[order], s[order], weight=weight[order]), u[order]) < 1e-11
    assert relative(layer(v, s + 3.0 - 5.0 * v, weight=weight), u) < 1e-11
    assert relative(layer(v, 2.5 * s, weight=weight), 2.5 * u) < 1e-11
    for factor in (0.25, 3.0):
        assert relative(layer(factor * v, s, weight=weight), factor ** (gamma + 2) * u) < 1e-10
    assert relative(LandauDrift(gamma, 1 / 16, backend="mesh", tolerance=0.2)(v, s, weight=weight), u / 16) < 1e-14


@kernels
@settings(max_examples=6, deadline=None)
def test_turned_by_a_right_angle(d, gamma, seed):
    """The particles lie elsewhere in their cells: the drift turns with them to the tolerance of the mesh."""
    v, s, weight = sample(300, d, seed)
    turn = torch.eye(d, dtype=torch.float64)
    turn[:2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    layer = mesh(gamma, 5e-2)
    u = layer(v, s, weight=weight)
    assert relative(layer(v @ turn.T, s @ turn.T, weight=weight), u @ turn.T) < 0.1


@pytest.mark.parametrize("d", [2, 3])
def test_a_maxwellian_rests(d):
    """s = a + b v in every block: nothing is left of it."""
    v, _, weight = sample(1000, d)
    batch = torch.arange(1000) % 2
    u = mesh(-3.0, 5e-2)(v, 2.0 - 3.0 * v * (1 + batch[:, None]), batch=batch, weight=weight)
    assert float(u.abs().max()) < 1e-12


# Errors


@pytest.mark.parametrize("modes", [False, True])
@pytest.mark.parametrize(
    ("d", "gamma", "n", "tolerance"),
    [
        (2, -3.0, 10_000, 3e-3),
        (2, -2.0, 2_000, 1e-3),
        (2, -0.3, 5_000, 1e-3),
        (3, -3.0, 20_000, 3e-3),
        (3, -3.0, 2_000, 1e-2),
        (3, -2.5, 5_000, 3e-3),
        (3, -1.0, 5_000, 1e-3),
    ],
)
def test_the_error_is_below_the_tolerance(d, gamma, n, tolerance, modes):
    """100 targets by the direct sum. Of two modes the spread is wider than what has to be resolved."""
    v, s, weight = sample(n, d, modes=modes)
    layer = mesh(gamma, tolerance)
    u = layer(v, s, weight=weight)
    z = v[:100, None] - v
    r2 = z.square().sum(-1, keepdim=True)
    difference = s[:100, None] - s
    term = r2 * difference - z * (z * difference).sum(-1, keepdim=True)
    power = torch.where(r2 > 0, r2, 1.0) ** (0.5 * gamma)
    exact = -(weight[:, None] * power * term).sum(1)
    error = relative(u[:100], exact)
    assert error < (1.5 if modes else 1.0) * tolerance
    measured = layer.error(v, s, weight=weight, drift=u, targets=100, generator=torch.Generator().manual_seed(0))
    assert 0.5 * error < measured < 2 * error


@pytest.mark.parametrize(("d", "gamma"), CASES)
def test_the_error_falls_with_the_tolerance(d, gamma):
    """By hard and by soft kernels, whose coarsest lattice is good already."""
    v, s, _ = sample(4000, d)
    errors = [
        mesh(gamma, tolerance).error(v, s, targets=100, generator=torch.Generator().manual_seed(0))
        for tolerance in ((1.0, 1e-2, 4e-3) if gamma == -3 else (1.0, 1e-3, 1e-5))
    ]
    assert errors[0] >= errors[1] > errors[2]
    assert errors[0] > 2.5 * errors[2]


def test_error_of_exact_backends_is_their_rounding():
    """The same sum in another order; tensors of a drift that is wrong have the error they have."""
    v, s, weight = sample(500, 3)
    batch = torch.arange(500) % 20
    for gamma, backend in ((-3.0, "dense"), (0.0, "moments"), (-1.0, "edges")):
        layer = LandauDrift(gamma, 0.3, backend=backend)
        assert layer.error(v, s, weight=weight) < 1e-12
        assert layer.error(v, s, batch, weight, targets=64) < 1e-12
        wrong = 1.25 * layer(v, s, weight=weight)
        assert layer.error(v, s, weight=weight, drift=wrong) == pytest.approx(0.25, rel=1e-10)
        assert layer.error(v.float(), s.float(), weight=weight.float()) < 1e-4
    assert LandauDrift(-3.0).error(v, torch.zeros_like(s)) == 0.0


def test_error_takes_its_targets_from_a_generator():
    v, s, _ = sample(1000, 2)
    first, again, other = (
        mesh(-3.0).error(v, s, targets=20, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert first == again != other


# The field


@pytest.mark.parametrize(("d", "gamma"), CASES)
def test_test_particles(d, gamma):
    """In the place of the particles they feel what these feel; elsewhere what the direct sum says."""
    v, s, weight = sample(4000, d)
    layer, direct = mesh(gamma, 1e-2), LandauDrift(gamma, backend="dense")
    u = layer(v, s, weight=weight)
    assert relative(layer(v, s, weight=weight, at=(v.clone(), s.clone())), u) < 1e-11
    places = (0.8 * v + 0.1)[torch.arange(4000).flip(0)]
    at = places, score(places)
    assert relative(layer(v, s, weight=weight, at=at), direct(v, s, weight=weight, at=at)) < 1e-2


@pytest.mark.parametrize(("d", "gamma"), CASES)
def test_partials_and_diffusion_are_those_of_the_direct_sum(d, gamma):
    """To a few tolerances: no difference of scores makes little of what is within a cell, as it does for the drift."""
    v, s, weight = sample(1500, d)
    layer, direct = mesh(gamma, 1e-2, strength=0.5), LandauDrift(gamma, 0.5, backend="dense")
    by_v, by_s = layer.partials(v, s, weight=weight)
    exact_v, exact_s = direct.partials(v, s, weight=weight)
    assert relative(by_s, exact_s) < 0.06
    matrix, divergence = layer.diffusion(v, weight=weight)
    exact_m, exact_d = direct.diffusion(v, weight=weight)
    assert relative(matrix, exact_m) < 0.06
    # |z|^gamma z of nearby particles has an infinite variance unless gamma + 1 > -d / 2.
    if gamma + 1 > -d / 2:
        assert relative(divergence, exact_d) < 0.1
        assert relative(by_v, exact_v) < 0.1


def test_nobody_meets_himself():
    """The mean of D over particles is that of the direct sum: what each would add to its own is taken out.

    40 particles, so that this is some per cent; the mean over 10 samples of it, in place of what pairs within a cell
    of each other add, which has no bias.
    """
    bias, own = 0.0, 0.0
    for seed in range(10):
        v, _, _ = sample(40, 3, seed)
        exact = LandauDrift(-3.0, backend="dense").diffusion(v)[0]
        layer = mesh(-3.0, 5.0)
        matrix = layer.diffusion(v)[0]
        bias += float((matrix - exact).diagonal(dim1=1, dim2=2).mean()) / 10
        # Without it: -D is the derivative by the score of a test particle in the same place.
        one = torch.ones_like(v)
        zero = torch.zeros_like(v)
        felt = -layer(v, zero, at=(v, one)) + layer(v, zero, at=(v, zero))
        own += float((felt - matrix.sum(2)).mean()) / 10
    assert own > 0.02
    assert abs(bias) < 0.3 * own


@pytest.mark.parametrize(("d", "gamma"), CASES[:2])
def test_partials_are_the_derivatives_of_the_field(d, gamma):
    """Central differences of the drift of test particles; the lattice, which the particles hold, stays where it is."""
    v, s, weight = sample(400, d)
    s = reduced_field(v, s, Partition.from_batch(None, v))[0]
    layer, step = mesh(gamma, 5e-2), 1e-4
    inner = v * 0.9
    by_v, by_s = layer.partials(v, s, weight=weight, at=(inner, s))
    for b in range(d):
        shift = step * torch.eye(d, dtype=torch.float64)[b]
        after, before = (layer(v, s, weight=weight, at=(inner + sign * shift, s)) for sign in (1, -1))
        # O(step^2) = 1e-8 of third derivatives, which jump from cell to cell.
        assert relative(by_v[:, :, b], (after - before) / (2 * step)) < 1e-4
    # The same field with another score: U(x, u + a + b x) is what U(x, u) was, so T + b D is what T was.
    shifted_v, shifted_s = layer.partials(v, s + 2 - 3 * v, weight=weight, at=(inner, s + 2 - 3 * inner))
    assert relative(shifted_s, by_s) < 1e-12
    assert relative(shifted_v - 3 * shifted_s, by_v) < 1e-10


def test_gradients_are_those_of_the_direct_sum():
    """Of a smooth function of the drift, in velocity, score and weight, for a soft kernel; measured, at most 0.035."""
    v, s, weight = sample(1000, 2)
    target = torch.sin(v.roll(1, 1))
    gradients = []
    for layer in (mesh(-1.0, 1e-3), LandauDrift(-1.0, backend="dense")):
        inputs = [x.clone().requires_grad_() for x in (v, s, weight)]
        loss = (layer(inputs[0], inputs[1], weight=inputs[2]) * target).mean()
        gradients.append(torch.autograd.grad(loss, inputs))
    for got, want in zip(*gradients, strict=True):
        assert relative(got, want) < 7e-2


def test_training_after_inference():
    """Multipliers that were first made without gradients serve a training too."""
    v, s, _ = sample(300, 2)
    layer = mesh(-1.37, 0.1)
    with torch.inference_mode():
        layer(v, s)
    s = s.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(layer(v, s).square().sum(), s)
    assert bool(gradient.isfinite().all())
    assert bool(gradient.any())


# auto


def test_auto_takes_the_mesh_from_a_number_of_particles_on(monkeypatch):
    """In 2D and 3D and for negative exponents down to Coulomb; the smallest block decides."""
    layer = LandauDrift(-3.0)
    assert layer.chosen_backend(3, choice.MESH_FROM) == "mesh"
    assert layer.chosen_backend(3, choice.MESH_FROM - 1) == "dense"
    for gamma, d in ((-3.5, 3), (0.5, 3), (-3.0, 4), (-1.0, 5)):
        assert LandauDrift(gamma).chosen_backend(d, 10**7) == "dense"
    assert LandauDrift(0.0).chosen_backend(3, 10**7) == "moments"
    assert LandauDrift(-3.0, backend="dense").chosen_backend(3, 10**7) == "dense"
    v, s, _ = sample(400, 2)
    monkeypatch.setattr(choice, "MESH_FROM", 200)
    auto, by_mesh, direct = (LandauDrift(-1.0, backend=name) for name in ("auto", "mesh", "dense"))
    assert torch.equal(auto(v, s), by_mesh(v, s))
    assert torch.equal(auto(v[:199], s[:199]), direct(v[:199], s[:199]))
    even, uneven = torch.arange(400) % 2, (torch.arange(400) < 150).long()
    assert torch.equal(auto(v, s, batch=even), by_mesh(v, s, batch=even))
    assert torch.equal(auto(v, s, batch=uneven), direct(v, s, batch=uneven))
    edges = torch.tensor([[0, 1], [1, 0]])
    assert torch.equal(auto(v, s, edge_index=edges), LandauDrift(-1.0, backend="edges")(v, s, edge_index=edges))


@pytest.mark.parametrize("call", ["forward", "partials", "diffusion"])
def test_auto_falls_back_to_dense_with_a_warning(monkeypatch, call):
    v, s, _ = sample(300, 2)
    monkeypatch.setattr(choice, "MESH_FROM", 200)
    inputs = (v,) if call == "diffusion" else (v, s)
    exact = getattr(LandauDrift(-1.0, backend="dense"), call)(*inputs)
    layer = LandauDrift(-1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        getattr(layer, call)(*inputs)
    monkeypatch.setattr(mesh_module, "MESH_MEMORY", 1000)
    with pytest.warns(UserWarning, match=r"drifts are summed by the backend 'dense' \(the mesh would need \d+ x \d+ n"):
        got = getattr(layer, call)(*inputs)
    pairs = zip(got, exact, strict=True) if isinstance(got, tuple) else [(got, exact)]
    assert all(torch.equal(a, b) for a, b in pairs)


# Refusals


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("'backend' must not be 'mesh' unless gamma is in [-3, 0) (got gamma 0)", {"gamma": 0}),
        ("'backend' must not be 'mesh' unless gamma is in [-3, 0) (got gamma 0.5)", {"gamma": 0.5}),
        ("'backend' must not be 'mesh' unless gamma is in [-3, 0) (got gamma -3.5)", {"gamma": -3.5}),
        ("'eps' must be None with backend 'mesh', which is smooth at its own scale (got 0.01)", {"eps": 0.01}),
        ("'tolerance' must be positive (got 0)", {"tolerance": 0}),
        ("'tolerance' must be positive (got -0.1)", {"tolerance": -0.1}),
        ("'tolerance' must be positive (got nan)", {"tolerance": float("nan")}),
        ("'tolerance' must be positive (got inf)", {"tolerance": float("inf")}),
    ],
)
def test_refuses_arguments(message, arguments):
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        LandauDrift(**{"gamma": -3.0, "backend": "mesh", **arguments})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("call", ["forward", "partials", "diffusion"])
@pytest.mark.parametrize("d", [1, 4])
def test_refuses_other_dimensions(call, d):
    v = torch.randn(20, d)
    inputs = (v,) if call == "diffusion" else (v, v)
    expected = "unless d is 2 or 3 (got d = 4)" if d == 4 else "'v' must have shape (N, d) with N >= 2 and d >= 2"
    with pytest.raises(ValueError, match=re.escape(expected)):
        getattr(mesh(-3.0), call)(*inputs)


@pytest.mark.parametrize("tolerance", [1e-4, 1e-8, 1e-100])
@pytest.mark.parametrize("call", ["forward", "partials", "diffusion"])
def test_refuses_a_tolerance_that_takes_too_large_a_lattice(call, tolerance):
    """At once, however large: it says which, and how much memory that would be."""
    v, s, _ = sample(500, 2)
    inputs = (v,) if call == "diffusion" else (v, s)
    words = rf"'tolerance' must be larger, or the backend 'dense' \(got {tolerance:g} for 500 particles: the mesh would"
    with pytest.raises(ValueError, match=words + r" need \S+ x \S+ nodes \(\S+ GiB of at most 2\)\)") as refused:
        getattr(mesh(-3.0, tolerance), call)(*inputs)
    assert "\n" not in str(refused.value)


def test_refuses_edges():
    v, s, _ = sample(20, 2)
    with pytest.raises(ValueError, match=r"'edge_index' needs backend 'edges' or 'auto' \(got 'mesh'\)"):
        mesh(-3.0)(v, s, edge_index=torch.tensor([[0, 1], [1, 0]]))


@pytest.mark.parametrize("kind", ["far", "line", "point"])
def test_refuses_in_one_line_or_gives_the_drift(kind):
    """A particle far away, all on a line, all at one place."""
    v, s, _ = sample(50, 2)
    if kind == "far":
        v[0] = 1e200
    if kind == "line":
        v[:, 1] = 1.0
    if kind == "point":
        v[:] = 1.0
    try:
        u = mesh(-1.0)(v, s)
    except ValueError as error:
        message = str(error)
    else:
        exact = LandauDrift(-1.0, backend="dense")(v, s)
        assert float((u - exact).norm()) <= 0.1 * float(exact.norm())
        return
    assert re.match(r"'\w+' must", message)
    assert "\n" not in message


def test_a_lone_particle_of_a_block_does_not_move():
    v, s, _ = sample(500, 2)
    batch = (torch.arange(500) == 3).long()
    u = mesh(-1.0)(v, s, batch=batch)
    others = batch == 0
    assert not u[3].any()
    assert relative(u[others], mesh(-1.0)(v[others], s[others])) < 1e-3


@pytest.mark.gpu
@pytest.mark.parametrize(("d", "gamma"), CASES)
def test_gpu_gives_what_the_cpu_does(d, gamma):
    """In float64, with copies for blocks, to the rounding of sums whose order differs."""
    v, s, weight = sample(3000, d)
    batch = torch.arange(3000) % 2
    inputs = [x.cuda() for x in (v, s, batch, weight)]
    here, there = (mesh(gamma)(*x[:2], batch=x[2], weight=x[3]) for x in ((v, s, batch, weight), inputs))
    torch.testing.assert_close(there.cpu(), here, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("layer", [LandauDrift(-3.0, backend="mesh"), LandauDrift(-3.0, backend="mesh").partials])
@pytest.mark.parametrize("transform", [lambda f: f, torch.func.grad], ids=["vmap", "vmap of grad"])
def test_vmap_over_the_particles_is_refused_in_one_line(layer, transform):
    v = torch.randn(2, 3000, 2, generator=torch.Generator().manual_seed(0))

    def first(x):
        out = layer(x, -x)
        return (out if isinstance(out, torch.Tensor) else out[0]).sum()

    with pytest.raises(ValueError, match=r"'backend' must not be 'mesh' under torch.vmap.*\(got a batch of 2\)"):
        torch.vmap(transform(first))(v)


def test_its_error_is_measured_whatever_the_default_device():
    v = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    layer, expected = LandauDrift(-3.0, backend="dense"), []
    for device in (None, "meta"):
        torch.set_default_device(device)
        try:
            expected.append(layer.error(v, -(v**3), targets=8, generator=torch.Generator().manual_seed(1)))
        finally:
            torch.set_default_device(None)
    assert expected[0] == expected[1]
