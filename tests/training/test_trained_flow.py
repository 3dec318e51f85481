"""The file of a trained pair: what it gives back, to whom, and what it is not for."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from graphlandau.methods import TrainedFlow
from graphlandau.nn import FlowMap, TimeField, TimeMLP, TimeScore
from graphlandau.problems import BKW, Anisotropic, Gaussian, Problem


class Own(nn.Module):
    """A user's network without a formula for its shapes."""

    def __init__(self, width=5):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 2))

    def forward(self, v, t):
        return self.net(torch.cat([v, t[:, None]], dim=1))


class OwnField(TimeField):
    """A user's field; its arguments alone do not say where its code is."""

    def __init__(self, d=2):
        super().__init__()
        self.d, self.arguments = d, {"d": d}
        self.rate = nn.Parameter(torch.full((d,), 0.3))

    def forward(self, v, t):
        return v * self.rate * t[..., None]


def disturbed(network):
    for p in network.parameters():
        nn.init.normal_(p, std=0.5)
    return network


def pair(flow=None, score=None, dtype=torch.float64, problem=None, t_end=3.0, **options):
    """A trained flow with some mean and temperature."""
    problem = BKW(2, t_start=0.5) if problem is None else problem
    d, start = problem.d, problem.t_start
    networks = [disturbed(x or TimeMLP(d, 6, 2, 4, 1, 5, 2, "softsign")) for x in (flow, score)]
    flow_map = FlowMap(networks[0].to(dtype), d, start, t_end, initial=options.get("initial", "exact"))
    time_score = TimeScore(networks[1].to(dtype), d, start, t_end, base=options.get("base", "maxwellian"))
    for module in (flow_map, time_score):
        module.condition(torch.linspace(-1.0, 2.0, d, dtype=torch.float64), 1.7)
        module.to(dtype)
    return TrainedFlow.of(flow_map, time_score, problem, {"iterations": 3, "decay": "none", "seconds": 0.25})


def require_same(one, other):
    """Equal to the last bit, at velocities and times of all kinds."""
    v = torch.randn(50, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    v = v.to(next(one.flow.parameters()).dtype)
    for t in (0.5, *(0.5 + 2.5 * torch.rand(4, generator=torch.Generator().manual_seed(6))).tolist(), 3.0):
        for a, b in zip(one.flow.at_with_log_det(v, t), other.flow.at_with_log_det(v, t), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
        assert torch.equal(one.score.at(t)(v), other.score.at(t)(v))


@pytest.mark.parametrize("options", [{}, {"initial": "penalty", "base": "none"}], ids=["defaults", "as printed"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_saved_is_loaded(tmp_path, dtype, options):
    trained = pair(dtype=dtype, **options)
    trained.save(tmp_path / "trained.safetensors")
    again = TrainedFlow.load(tmp_path / "trained.safetensors")
    require_same(trained, again)
    assert again.problem.items() >= {"name": "bkw_2d", "d": 2, "gamma": 0.0, "strength": 1 / 16, "t_start": 0.5}.items()
    assert again.problem == trained.problem
    assert again.training == trained.training
    assert (again.flow.t_start, again.flow.t_end, again.score.t_start, again.score.t_end) == (0.5, 3.0, 0.5, 3.0)
    assert again.flow.network.activation == "softsign"
    # Saved once more, it is the same file.
    again.save(tmp_path / "again.safetensors")
    one, other = (load_file(tmp_path / f"{name}.safetensors") for name in ("trained", "again"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("own", [Own, OwnField])
def test_networks_of_the_users_are_given_back_to_them(tmp_path, own):
    path = tmp_path / "trained.safetensors"
    trained = pair(own(), own())
    trained.save(path)
    require_same(trained, TrainedFlow.load(path, flow=own(), score=own()))
    # One of each: what is known is built, what is given for it is not needed.
    mixed = pair(score=own())
    mixed.save(path)
    require_same(mixed, TrainedFlow.load(path, score=own()))
    require_same(mixed, TrainedFlow.load(path, flow=own(), score=own()))


@pytest.mark.parametrize("own", [Own, OwnField])
def test_refuses_to_guess_the_networks_of_the_users(tmp_path, own):
    """In one line, with the name of their class."""
    path = tmp_path / "trained.safetensors"
    pair(own(), own()).save(path)
    for given, missing in (({}, "flow"), ({"flow": own()}, "score")):
        with pytest.raises(ValueError, match=f"'{missing}' must be given to load .*{own.__name__} only") as caught:
            TrainedFlow.load(path, **given)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [Own(width=7), TimeMLP(2, 4), OwnField()], ids=["width", "class", "field"])
def test_refuses_networks_that_do_not_fit_the_weights(tmp_path, wrong):
    path = tmp_path / "trained.safetensors"
    pair(Own(), Own()).save(path)
    with pytest.raises(ValueError, match="'score' must be the network that was trained in") as caught:
        TrainedFlow.load(path, flow=Own(), score=wrong)
    assert "\n" not in str(caught.value)


def test_saving_replaces_the_file_at_once(tmp_path, monkeypatch):
    """A process that dies while it writes leaves the old file."""
    path = tmp_path / "trained.safetensors"
    first = pair()
    first.save(path)

    def killed(temporary, path):
        raise KeyboardInterrupt

    monkeypatch.setattr("graphlandau.base.files.replace_durably", killed)
    with pytest.raises(KeyboardInterrupt):
        pair().save(path)
    require_same(first, TrainedFlow.load(path))


def test_refuses_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="'path' must be a file that can be written"):
        pair().save(tmp_path / "file" / "trained.safetensors")


class Beam(Problem):
    """From t = -4 to -1."""

    def __init__(self):
        super().__init__(
            Gaussian([1.0, 0.0], [[0.2, 0.0], [0.0, 1.0]]),
            gamma=-3.0, strength=0.1, t_start=-4.0, t_end=-1.0, dt=0.1, particles=30,
        )  # fmt: skip


@pytest.mark.parametrize("problem", [BKW(2, t_start=0.5), Beam()], ids=["bkw", "before 0"])
def test_the_problem_of_the_training_is_accepted(problem):
    trained = pair(problem=problem, t_end=problem.t_end)
    for t_end in (problem.t_end, problem.t_start + 0.3, problem.t_end + 1e-12):
        trained.require_problem(problem, t_end, "x.safetensors")


@pytest.mark.parametrize(
    ("problem", "t_end", "message"),
    [
        (
            Anisotropic(2, strength=1 / 16),
            3.0,
            r"'trained' must be for problem = 'anisotropic_2d' .*trained for 'bkw_2d'",
        ),
        (BKW(3, t_start=6.0, t_end=7.0), 3.0, "'trained' must be for problem = 'bkw_3d'"),
        (BKW(2, t_start=0.5, strength=0.1), 3.0, r"'trained' must be for problem.strength = 0.1 .*trained for 0.0625"),
        (BKW(2), 3.0, r"'trained' must be for problem.t_start = 0.0 .*trained for 0.5"),
        (BKW(2, t_start=0.5), 3.1, r"'t_end' must be within the times of .*trained to t = 3 \(got 3.1\)"),
    ],
)
def test_refuses_another_problem_or_a_later_end(problem, t_end, message):
    with pytest.raises(ValueError, match=message) as caught:
        pair().require_problem(problem, t_end, "some/trained.safetensors")
    assert "some/trained.safetensors" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("d", [2, 3])
def test_refuses_another_dimension(d):
    problem = Anisotropic(d)
    problem.__class__ = type("Same", (Anisotropic,), {"name": "same"})
    trained = pair(problem=problem)
    other = Anisotropic(5 - d)
    other.__class__ = problem.__class__
    with pytest.raises(ValueError, match=f"'trained' must be for problem.d = {5 - d} .*trained for {d}"):
        trained.require_problem(other, 1.0, "x.safetensors")


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"\x00" * 100])
def test_refuses_what_is_no_safetensors_file(tmp_path, content):
    path = tmp_path / "trained.safetensors"
    path.write_bytes(content)
    for name in (path, tmp_path / "absent", tmp_path):
        with pytest.raises(ValueError, match="'trained' must be a file of trained networks") as caught:
            TrainedFlow.load(name)
        assert str(name) in str(caught.value)
        assert "\n" not in str(caught.value)


def rewritten(path, **changes):
    """A trained pair under another header; ``None`` leaves an entry out."""
    pair().save(path)
    with safe_open(path, framework="pt") as file:
        record = json.loads(file.metadata()["record"])
    record = {key: value for key, value in (record | changes).items() if value is not None}
    save_file(load_file(path), path, metadata={"record": json.dumps(record)})


@pytest.mark.parametrize("key", ["problem", "t_end", "flow", "score", "training"])
def test_refuses_a_file_of_something_else(tmp_path, key):
    """A checkpoint of a run, say: it has a header, but not this one."""
    path = tmp_path / "other.safetensors"
    rewritten(path, **{key: None})
    with pytest.raises(ValueError, match=r"other\.safetensors") as caught:
        TrainedFlow.load(path)
    assert "\n" not in str(caught.value)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="'trained' must be a file of trained networks"):
        TrainedFlow.load(path)


@pytest.mark.parametrize(
    "class_path",
    [
        "graphlandau.nn.MLPScore",
        "graphlandau.nn.NoSuchField",
        "graphlandau.no_such_module.Field",
        "graphlandau.cli.main.main",
    ],
)
def test_refuses_a_class_that_is_no_field(tmp_path, class_path):
    """A file is not trusted to name code."""
    path = tmp_path / "other.safetensors"
    rewritten(path, flow={"network": {"class_path": class_path, "arguments": {"d": 2}}, "initial": "exact"})
    with pytest.raises(ValueError, match=r"other\.safetensors"):
        TrainedFlow.load(path)


def test_refuses_to_import_what_is_not_of_the_package(tmp_path, monkeypatch):
    (tmp_path / "evil_fields.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "other.safetensors"
    for class_path in ("evil_fields.Field", "graphlandau_evil.Field", "os.system"):
        rewritten(path, flow={"network": {"class_path": class_path, "arguments": {"d": 2}}, "initial": "exact"})
        with pytest.raises(ValueError, match="'flow' must be given to load"):
            TrainedFlow.load(path)
