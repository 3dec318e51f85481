"""Collisions along any graph: the sum over its edges, conserved quantities, the log-density, what is refused."""

from __future__ import annotations

import csv

import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from graphlandau.base.state import particle_state
from graphlandau.cli import main as cli
from graphlandau.cli.arguments import read_arguments
from graphlandau.cli.config import compose
from graphlandau.graphs import KNNGraph, RadiusGraph, RandomBatches
from graphlandau.integrators import INTEGRATORS
from graphlandau.methods import JKO, SBTM, Blob, Collisions, Step
from graphlandau.nn import ClosedFormScore, LandauDrift
from graphlandau.problems import Anisotropic

PROBLEM = Anisotropic(d=2, gamma=-3.0, strength=0.2)
GRAPHS = {"knn": KNNGraph(5, undirected=True), "radius": RadiusGraph(0.8)}
graphs = pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)


def begin(method, n=60, weighted=False):
    v = PROBLEM.sample(n, generator=torch.Generator().manual_seed(0)).double()
    weight = torch.rand(n, generator=torch.Generator().manual_seed(1), dtype=v.dtype) + 0.5 if weighted else None
    return method.initialise(particle_state(v, weight=None if weight is None else weight / weight.sum()), PROBLEM)


@graphs
@pytest.mark.parametrize("weighted", [False, True])
def test_momentum_and_energy_are_kept_along_undirected_edges(graph, weighted):
    """By the midpoint energy to rounding; the entropy of every pair rises, so <s.U> <= 0."""
    method = Blob(step=Step(integrator="midpoint", log_det="none"), collisions=Collisions(graph=graph))
    state = begin(method, weighted=weighted)
    weight = state.get("weight", torch.full_like(state.v[:, 0], 1 / 60))
    first = state
    for _ in range(3):
        frame = method.evaluate(state)
        assert float(frame.drift.norm()) > 0
        assert float((weight[:, None] * frame.s * frame.drift).sum()) <= 0
        state = method.advance(state, frame, 0.05)
    assert float((weight @ (state.v - first.v)).norm()) < 1e-14
    energies = [float(weight @ each.v.square().sum(1)) for each in (first, state)]
    assert energies[1] == pytest.approx(energies[0], rel=1e-13)
    assert float((state.v - first.v).norm()) > 1e-3


def test_a_directed_graph_keeps_no_momentum():
    method = Blob(step=Step(log_det="none"), collisions=Collisions(graph=KNNGraph(5)))
    frame = method.evaluate(begin(method))
    assert float(frame.drift.mean(0).norm()) > 1e-6


@graphs
@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_the_log_density_follows_the_edges(graph, integrator):
    """A tracer of weight zero, its edges held: the determinant of its map by central differences."""
    edges = graph(Data(v=begin(Blob()).v)).edge_index

    class Held(BaseTransform):
        def forward(self, data):
            data.edge_index = edges
            return data

    method = SBTM(ClosedFormScore(2), step=Step(integrator=integrator), collisions=Collisions(graph=Held()))
    state = begin(method)
    state.weight = torch.full_like(state.v[:, 0], 1 / 59)
    state.weight[-1] = 0.0
    frame = method.evaluate(state)

    def moved(shift):
        there = particle_state(state.v.clone(), t=0.0, weight=state.weight, log_f=state.log_f)
        there.v[-1] += shift
        s, jac_s = method.model.value_and_jacobian(there.v)
        return method.advance(there, method.scored(there, s, jac_s, None, edges), 0.05)

    h, eye = 1e-5, torch.eye(2, dtype=state.v.dtype)
    columns = [(moved(h * e).v[-1] - moved(-h * e).v[-1]) / (2 * h) for e in eye]
    change = state.log_f[-1] - method.advance(state, frame, 0.05).log_f[-1]
    assert float(change) == pytest.approx(float(torch.linalg.slogdet(torch.stack(columns, 1)).logabsdet), abs=1e-7)


def test_a_graph_that_reaches_all_is_the_sum_over_all():
    along, over_all = (Blob(collisions=Collisions(graph=g)) for g in (KNNGraph(59), None))
    a, b = (method.evaluate(begin(method)) for method in (along, over_all))
    assert torch.allclose(a.drift, b.drift, rtol=1e-10, atol=1e-13)
    assert along.facts(PROBLEM, 60).backend == "edges"


def test_blocks_of_ones_own_and_the_short_form_of_random_batches():
    class Halves(BaseTransform):
        def forward(self, data):
            data.batch = (data.v[:, 0] > 0).long()
            return data

    method = Blob(collisions=Collisions(graph=Halves()))
    state = begin(method)
    frame = method.evaluate(state)
    expected = LandauDrift(PROBLEM.gamma, PROBLEM.strength)(state.v, frame.s, batch=(state.v[:, 0] > 0).long())
    assert torch.equal(frame.drift, expected)
    assert Collisions(graph=RandomBatches(20)) == Collisions(batch_size=20)


def test_refusals():
    knn = KNNGraph(5)
    with pytest.raises(ValueError, match=r"'batch_size' must not be given with a graph \(got 8\)"):
        Collisions(graph=knn, batch_size=8)
    with pytest.raises(ValueError, match="'backend' must be 'auto' or 'edges' along a graph"):
        Collisions(graph=knn, backend="mesh")
    with pytest.raises(ValueError, match="'graph' must be a PyG transform"):
        Collisions(graph="knn")
    with pytest.raises(ValueError, match=r"'graph' must be none for jko, .* \(got KNNGraph"):
        JKO(ClosedFormScore(2), collisions=Collisions(graph=knn))

    class Nothing(BaseTransform):
        def forward(self, data):
            return data

    method = Blob(collisions=Collisions(graph=Nothing()))
    with pytest.raises(ValueError, match="'graph' must set 'edge_index' or 'batch'"):
        method.evaluate(begin(method))


def simulation(line):
    return compose(read_arguments(line.split())).simulation()


def test_the_command_line_takes_a_graph_by_name_or_path(tmp_path):
    line = "--problem bkw_2d --method blob --particles 50"
    for graph in ("knn", "graphlandau.graphs.KNNGraph --graph.undirected true"):
        found = simulation(f"{line} --graph {graph} --graph.k 7").method.collisions.graph
        assert (found.k, found.undirected) == (7, True)
    config = compose(read_arguments(f"{line} --graph radius --graph.r 0.5".split()))
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert config.labels["graph"] == "radius"
    assert compose({"config": [str(tmp_path / "config.yaml")]}).to_yaml() == config.to_yaml()
    assert simulation(line).method.collisions.graph is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--problem bkw_2d --method jko --graph knn", "'graph' must be none for jko"),
        (
            "--problem landau_damping --method vlasov --graph knn",
            "'graph' must not be given, vlasov sums no collisions",
        ),
        ("--problem bkw_2d --method blob --graph knn --graph.k 0", r"'graph.k' must be an integer >= 1 \(got 0\)"),
        ("--problem bkw_2d --method blob --graph knn --graph.size 3", "'graph.size' is not a known key"),
        ("--problem bkw_2d --method blob --graph nearest", "'graph' must be a known name"),
        (
            "--problem bkw_2d --method blob --graph knn --batch_size 9",
            "'method.batch_size' must not be given with a graph",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(line, message):
    with pytest.raises(ValueError, match=message) as refused:
        simulation(line)
    assert "\n" not in str(refused.value)


def test_a_run_along_a_graph_resumes_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = "run --problem bkw_2d --method blob --particles 40 --dt 0.1 --graph knn --graph.k 4 --figures false"
    assert cli.main([*line.split(), "--t_end", "0.4", "--out", "whole"]) == 0
    assert cli.main([*line.split(), "--t_end", "0.2", "--out", "part"]) == 0
    assert cli.main(["run", "--resume", "part", "--t_end", "0.4"]) == 0
    rows = []
    for name in ("whole", "part"):
        with (tmp_path / name / "metrics.csv").open() as file:
            rows.append([row | {"wall_seconds": ""} for row in csv.DictReader(file)])
    assert rows[0] == rows[1]
