"""KeOps sums against dense ones: values, gradients, blocks. Few formulas, because each compiles for seconds."""

from __future__ import annotations

import pytest
import torch
from invariants import assert_close, particles

from graphlandau.nn import BlobScore, LandauDrift
from graphlandau.nn.pairs import keops_available

pytest.importorskip("pykeops")
pytestmark = pytest.mark.skipif(not keops_available()[0], reason=f"KeOps does not work here: {keops_available()[1]}")

BATCH = torch.tensor([7, 2, 7, 2, 2, -1, 7, 7, 2, 9, 9, 7])


# Without and with ranges are compiled apart; the formulas that differ least have the blocks in the slow suite.
BOTH = [None, pytest.param(BATCH, marks=pytest.mark.slow)]


def test_drift_of_a_general_exponent_in_blocks():
    v, s, weight = particles(12, 3)
    actual, expected = (LandauDrift(-1.5, backend=b)(v, s, batch=BATCH, weight=weight) for b in ("keops", "dense"))
    assert_close("drift", actual, expected, float(expected.norm(dim=1).mean()), 1e-10)


@pytest.mark.parametrize("batch", BOTH)
@pytest.mark.parametrize("wrt", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_coulomb_drift_and_its_gradients(batch, wrt):
    """float64 to 1e-10 with the dense sum: the drift and its gradient in v or s, two particles coincident."""
    v, s, weight = particles(12, 2)
    v[1] = v[0]
    found = []
    for backend in ("keops", "dense"):
        inputs = [x.clone().requires_grad_(k == wrt) for k, x in enumerate((v, s))]
        u = LandauDrift(-3.0, backend=backend)(*inputs, batch=batch, weight=weight)
        found.append([u, torch.autograd.grad((u * s).sum(), inputs[wrt])[0]])
    for name, actual, expected in zip(("drift", "gradient"), *found, strict=True):
        assert_close(name, actual.detach(), expected.detach(), float(expected.detach().norm(dim=1).mean()), 1e-10)


@pytest.mark.slow
def test_second_gradient():
    v, s, _ = particles(12, 2)
    found = []
    for backend in ("keops", "dense"):
        a = v.clone().requires_grad_()
        (first,) = torch.autograd.grad((LandauDrift(-3.0, backend=backend)(a, s) * s).sum(), a, create_graph=True)
        found.append(torch.autograd.grad((first * s).sum(), a)[0])
    assert torch.allclose(*found, rtol=1e-10, atol=1e-10 * float(found[1].norm()))


@pytest.mark.parametrize("batch", BOTH)
def test_partials(batch):
    v, s, weight = particles(12, 2)
    found = [LandauDrift(-3.0, backend=b).partials(v, s, batch=batch, weight=weight) for b in ("keops", "dense")]
    for actual, expected in zip(*found, strict=True):
        assert torch.allclose(actual, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_blob_in_blocks():
    v, _, weight = particles(12, 2)
    keops, dense = (BlobScore(0.6, backend=b) for b in ("keops", "dense"))
    graph = {"batch": BATCH, "weight": weight}
    assert torch.allclose(keops(v, **graph), dense(v, **graph), rtol=1e-10, atol=1e-12)
    assert torch.allclose(keops.jacobian(v, **graph), dense.jacobian(v, **graph), rtol=1e-10, atol=1e-12)
    assert torch.allclose(keops.entropy(v, **graph), dense.entropy(v, **graph), rtol=1e-12)
