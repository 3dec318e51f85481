import re
from pathlib import Path

import pytest
import torch
import yaml

from graphlandau.cli.arguments import describe_type, full_key, read_arguments, read_yaml, refuse_typos
from graphlandau.cli.config import compose, help_text
from graphlandau.cli.options import OPTIONS
from graphlandau.cli.presets import (
    GROUPS,
    Choice,
    choose,
    describe_preset,
    experiment_names,
    experiment_path,
    import_class,
    known_options,
    load_preset,
    preset_label,
    preset_names,
)
from graphlandau.methods import Collisions, Step
from graphlandau.problems import KineticProblem

BLOB = ["--problem", "bkw_2d", "--method", "blob"]
SBTM = ["--problem", "bkw_2d", "--method", "sbtm"]
PINN = ["--problem", "bkw_2d", "--method", "pinn_pm"]


def composed(*argv):
    return compose(read_arguments(argv))


@pytest.fixture
def my_lab(tmp_path, monkeypatch):
    """A package of the user's in the current directory."""
    (tmp_path / "my_lab_nets.py").write_text(
        "import torch\n"
        "class MyScore(torch.nn.Module):\n"
        "    '''Mine.'''\n"
        "    def __init__(self, d, width: int = 8):\n"
        "        super().__init__()\n"
        "        self.width = width\n"
        "        self.net = torch.nn.Linear(d, d)\n"
        "    def forward(self, v):\n"
        "        return self.net(v)\n"
        "class Flat(MyScore):\n"
        "    def forward(self, v):\n"
        "        return self.net(v)[:, :1]\n"
        "class Plane(torch.nn.Linear):\n"
        "    def __init__(self):\n"
        "        super().__init__(2, 2)\n"
        "class MyField(MyScore):\n"
        "    def forward(self, v, t):\n"
        "        return self.net(v) * t[:, None]\n"
        "class Coupled(MyScore):\n"
        "    def forward(self, v, t):\n"
        "        return v - v.mean(0)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_pairs_are_read_with_negative_numbers_and_flags():
    read = read_arguments(["--problem.gamma", "-3", "--dt=0.1", "--config", "a", "--config", "b", "--print_config"])
    assert read == {"problem.gamma": ["-3"], "dt": ["0.1"], "config": ["a", "b"], "print_config": []}
    with pytest.raises(ValueError, match=r"unexpected '0\.1'"):
        read_arguments(["0.1"])
    with pytest.raises(ValueError, match=r"'particles' needs a value \(got none\)"):
        read_arguments(["--particles", "5", "--particles", "--dt", "1"])


def test_yaml_is_read_into_dotted_keys(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("problem: bkw_2d\nscore: {width: 7}\nmethod: {class_path: a.B, init_args: {steps: 3}}\ndt: 0.1\n")
    assert read_yaml(str(path)) == {
        "problem": "bkw_2d",
        "score.width": 7,
        "method": "a.B",
        "method.steps": 3,
        "dt": 0.1,
    }


@pytest.mark.parametrize("text", ["[1, 2]", "a: b: c", "just text"])
def test_what_is_no_configuration_is_refused(tmp_path, text):
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"'config' must"):
        read_yaml(str(tmp_path / "run.yaml"))


def test_presets_of_every_group_compose():
    for problem in preset_names("problem"):
        kinetic = issubclass(import_class("problem", load_preset("problem", problem).class_path), KineticProblem)
        method = "langevin" if kinetic else "blob"
        assert composed("--problem", problem, "--method", method).labels["problem"] == problem
    for control in preset_names("control"):
        config = composed("--problem", "vfp_gaussian_1d", "--method", "kinetic_jko", "--control", control)
        labels = {"problem": "vfp_gaussian_1d", "method": "kinetic_jko", "score": None, "control": control}
        assert config.labels == labels
        simulation = config.simulation()
        assert simulation.method.fit.control(torch.zeros(3, 1), torch.zeros(3, 1)).shape == (3, 1)
    for score in preset_names("score"):
        if score == "time_mlp":  # a field of velocity and time, for the method that learns one
            continue
        config = composed(*SBTM, "--score", score)
        assert config.labels == {"problem": "bkw_2d", "method": "sbtm", "score": score}
        assert config.simulation().method.model(torch.zeros(3, 2)).shape == (3, 2)
    for flow in preset_names("flow"):
        config = composed(*PINN, "--flow", flow)
        assert config.labels == {"problem": "bkw_2d", "method": "pinn_pm", "score": "time_mlp", "flow": flow}
        assert config.simulation().method.networks["flow"](torch.zeros(3, 2), torch.zeros(3)).shape == (3, 2)
    for group in GROUPS:
        assert all(describe_preset(group, name) for name in preset_names(group))


@pytest.mark.parametrize("name", experiment_names())
def test_experiments_compose(name):
    composed("--config", name).simulation()
    assert composed("--config", str(experiment_path(name))).labels == composed("--config", name).labels


def test_problem_gives_the_defaults_and_the_command_line_overrides():
    config = composed(*BLOB)
    assert config.options.particles == config.problem.particles
    assert (config.options.dt, config.options.t_end) == (config.problem.dt, config.problem.t_end)
    config = composed(*BLOB, "--problem.strength", "1", "--particles", "7", "--method.bandwidth", "0.3")
    simulation = config.simulation()
    assert simulation.problem.strength == 1
    assert simulation.particles == 7
    assert simulation.method.blob.bandwidth == 0.3


def test_integers_may_be_written_as_powers_of_ten(tmp_path):
    assert composed(*BLOB, "--particles", "1e4", "--batch_size", "5.0").options.particles == 10_000
    assert composed(*BLOB, "--seed", str(2**63 - 1)).options.seed == 2**63 - 1  # no detour through a float
    (tmp_path / "run.yaml").write_text("particles: 1e3\nthreads: 1.0\n")
    options = composed(*BLOB, "--config", str(tmp_path / "run.yaml")).options
    assert (options.particles, options.threads) == (1000, 1)


def test_values_left_to_the_problem_are_written():
    written = yaml.safe_load(composed(*BLOB, "--problem", "bkw_3d").to_yaml())["problem"]["init_args"]
    assert written == {"d": 3, "strength": 1 / 24, "t_start": 5.5, "t_end": 6.0}


def test_method_options_need_no_prefix():
    method = composed(*BLOB, "--integrator", "midpoint", "--batch_size", "50", "--log_det", "none").simulation().method
    assert method.step == Step(integrator="midpoint", log_det="none")
    assert method.collisions == Collisions(batch_size=50)


def test_later_files_win_and_the_command_line_over_all(tmp_path):
    (tmp_path / "a.yaml").write_text("problem: bkw_2d\nmethod: blob\nmethod.bandwidth: 0.1\ndt: 0.5\nseed: 1\n")
    (tmp_path / "b.yaml").write_text("dt: 0.25\nseed: 2\n")
    files = ["--config", str(tmp_path / "a.yaml"), "--config", str(tmp_path / "b.yaml")]
    config = composed("--seed", "3", *files)
    assert (config.options.dt, config.options.seed) == (0.25, 3)
    assert config.choices["method"].init_args["bandwidth"] == 0.1
    # Another choice, even of the same name, starts from its own values.
    assert composed(*files, "--method", "blob").choices["method"].init_args["bandwidth"] == "silverman"


def test_written_configuration_composes_to_itself(tmp_path):
    config = composed(*SBTM, "--score", "mlp", "--score.width", "11", "--seed", "4", "--out", "somewhere")
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())
    again = composed("--config", str(path))
    assert again.to_yaml() == config.to_yaml()
    assert again.labels == config.labels
    groups = yaml.safe_load(config.to_yaml())
    assert list(groups)[:3] == ["problem", "method", "score"]
    assert groups["score"]["init_args"]["width"] == 11
    assert not {"d", "seed"} & groups["score"]["init_args"].keys()


def test_seed_reaches_network_method_and_particles():
    def parts(seed):
        simulation = composed(*SBTM, "--score", "mlp", "--seed", seed).simulation()
        return (
            simulation.method.seed,
            simulation.seed,
            torch.cat([p.flatten() for p in simulation.method.model.parameters()]),
        )

    first, same, other = parts("5"), parts("5"), parts("6")
    assert first[:2] == (5, 5)
    assert torch.equal(first[2], same[2])
    assert not torch.equal(first[2], other[2])


def test_own_score_by_import_path(my_lab):
    config = composed(*SBTM, "--score", "my_lab_nets.MyScore", "--score.width", "5")
    assert config.labels["score"] == "MyScore"
    assert config.choices["score"].init_args == {"width": 5}
    assert config.simulation().method.model(torch.zeros(4, 2)).shape == (4, 2)
    # A class without d in its signature is built without it.
    assert composed(*SBTM, "--score", "my_lab_nets.Plane").simulation().method.model(torch.zeros(4, 2)).shape == (4, 2)


def test_own_fields_by_import_path(my_lab):
    own = ["--score", "my_lab_nets.MyField", "--score.width", "5", "--flow", "my_lab_nets.MyField"]
    config = composed(*PINN, *own)
    assert (config.labels["score"], config.labels["flow"]) == ("MyField", "MyField")
    assert config.choices["score"].init_args == {"width": 5}
    assert config.choices["flow"].init_args == {"width": 8}
    networks = config.simulation().method.networks
    v, t = torch.ones(4, 2), torch.linspace(0, 1, 4)
    assert networks["score"].module.width == 5
    torch.testing.assert_close(networks["flow"](v, t), networks["flow"].module.net(v) * t[:, None])


def test_a_method_that_learns_no_flow_drops_that_of_a_file(tmp_path):
    (tmp_path / "run.yaml").write_text(
        "problem: bkw_2d\nmethod: pinn_pm\nscore: time_mlp\nflow: time_mlp\nflow.width: 9\n"
    )
    config = composed("--config", str(tmp_path / "run.yaml"))
    assert config.choices["flow"].init_args["width"] == 9
    assert list(config.choices) == ["problem", "method", "score", "flow"]
    config = composed("--config", str(tmp_path / "run.yaml"), "--method", "blob")
    assert list(config.choices) == ["problem", "method"]
    assert config.labels == {"problem": "bkw_2d", "method": "blob", "score": None}


def test_written_configuration_of_a_flow_composes_to_the_same_run(tmp_path):
    """To the same text, the same initial weights of both networks and the same recipe."""
    options = ["--flow", "time_mlp", "--flow.width", "9", "--score", "time_mlp", "--score.activation", "tanh"]
    config = composed(*PINN, *options, "--method.transport", "score", "--method.iterations", "7", "--seed", "3")
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())
    again = composed("--config", str(path))
    assert again.to_yaml() == config.to_yaml()
    assert again.labels == config.labels
    groups = yaml.safe_load(config.to_yaml())
    assert list(groups)[:4] == ["problem", "method", "score", "flow"]
    assert groups["flow"]["init_args"]["width"] == 9
    assert not {"d", "seed"} & groups["flow"]["init_args"].keys()
    assert not {"flow", "score", "seed"} & groups["method"]["init_args"].keys()
    one, other = (each.simulation().method for each in (config, again))
    assert one.recipe == other.recipe
    assert (one.recipe.iterations, one.transport, one.seed) == (7, "score", 3)
    for name in ("flow", "score"):
        weights = [torch.cat([p.flatten() for p in each.networks[name].parameters()]) for each in (one, other)]
        assert torch.equal(*weights)
    assert one.networks["flow"].arguments["width"] == 9
    assert one.networks["score"].activation == "tanh"


def test_label_is_the_preset_that_fits_best():
    config = composed(*BLOB, "--problem", "bkw_3d", "--problem.strength", "2")
    assert config.labels["problem"] == "bkw_3d"
    assert preset_label("score", Choice("x", "my_lab.nets.Net")) == "Net"


def test_help_names_every_key():
    text = help_text(read_arguments([*SBTM, "--score", "mlp", "--help"]))
    for key in ("--problem.strength", "--method.objective", "--score.width", "--particles", "--checkpoint_every"):
        assert key in text


def test_types_in_words():
    assert describe_type(float | str | None) == "a number or text"
    assert describe_type(list[int]) == "list[int]"


# Each bad input: the arguments, and what the message must say.
REFUSALS = [
    ([], r"'problem' must be given \(got none; known: .*bkw_2d"),
    (["--problem", "bkw_2d"], r"'method' must be given \(got none; known: blob, jko, .*pinn_pm, sbtm"),
    ([*BLOB, "--problem", "bkw2d"], r"'problem' must be .*'bkw2d'; did you mean 'bkw_2d'\? known: .*bkw_3d"),
    (
        [*BLOB, "--method", "sbmt"],
        r"'method' must be .*'sbmt'; did you mean 'sbtm'\? known: blob, jko, .*pinn_pm, sbtm",
    ),
    ([*SBTM, "--score", "closedform"], r"'score' must be .*'closedform'; did you mean 'closed_form'"),
    ([*SBTM, "--score", "no_such_lab.nets.Net"], r"'score' must be .*no_such_lab.nets.Net.*No module named"),
    ([*SBTM, "--score", "torch.nn.NoNet"], r"'score' must be .*torch.nn.NoNet.*has no attribute"),
    ([*SBTM, "--score", "os.path.join"], r"'score' must name a subclass of torch.nn.Module \(got 'os.path.join'"),
    ([*SBTM, "--score", "my_lab_nets.Flat"], r"'score' must map .*Flat that returned \(8, 1\)"),
    ([*BLOB, "--problem", "graphlandau.problems.Gaussian"], r"must name a .*problems.InitialValueProblem"),
    ([*BLOB, "--score", "mlp"], r"'score' must not be given, blob has a score of its own \(got 'mlp'\)"),
    (
        [*BLOB, "--partcles", "9"],
        r"'partcles' is not a known key \(got '9'\); did you mean 'particles'\? known: backend",
    ),
    (
        [*BLOB, "--problem.strenght", "9"],
        r"'problem.strenght' is not .*did you mean 'problem.strength'\? known: problem",
    ),
    ([*BLOB, "--score.width", "9"], r"'score.width' needs a choice of score"),
    ([*BLOB, "--particles", "1"], r"'particles' must be an integer >= 2 \(got 1\)"),
    ([*BLOB, "--particles", "-5"], r"'particles' must be an integer >= 2 \(got -5\)"),
    ([*BLOB, "--particles", "2.5"], r"'particles' must be an integer \(got '2.5'\)"),
    ([*BLOB, "--dt", "0"], r"'dt' must be positive \(got 0.0\)"),
    ([*BLOB, "--dt", "abc"], r"'dt' must be a number \(got 'abc'\)"),
    ([*BLOB, "--dt"], r"'dt' needs a value"),
    ([*BLOB, "--problem", "bkw_3d", "--t_end", "5"], r"'t_end' must be after the start time 5.5 \(got 5\)"),
    ([*BLOB, "--method.bandwidth", "0"], r"'method.bandwidth' must be .*\(got 0.0\)"),
    ([*BLOB, "--method.bandwidth", "-0.1"], r"'method.bandwidth' must be .*\(got -0.1\)"),
    ([*BLOB, "--backend", "magic"], r"'method.backend' must be one of .*dense.* \(got 'magic'\)"),
    ([*BLOB, "--dtype", "float16"], r"'dtype' must be one of float32, float64 \(got 'float16'\)"),
    ([*BLOB, "--device", "abacus"], r"'device' must be cpu, cuda or cuda:N \(got 'abacus'"),
    ([*BLOB, "--device", "meta"], r"'device' must be cpu, cuda or cuda:N \(got 'meta'"),
    ([*BLOB, "--device", "cuda:99"], r"'device' must be auto, cpu or a device of this machine \(got 'cuda:99'"),
    ([*BLOB, "--threads", "100000"], r"'threads' must be at most \d+, .* \(got 100000\)"),
    ([*BLOB, "--seed", "-1"], r"'seed' must be an integer >= 0 \(got -1\)"),
    ([*BLOB, "--seed", str(2**63)], r"'seed' must be an integer in \[0, 2\*\*63\) \(got 9223372036854775808\)"),
    ([*BLOB, "--metod.bandwidth", "3"], r"not a known key \(got '3'\); did you mean 'method'\? known: control, flow"),
    ([*BLOB, "--out", ""], r"'out' must name a folder \(got ''\)"),
    ([*BLOB, "--threads", "0"], r"'threads' must be an integer >= 1 \(got 0\)"),
    ([*BLOB, "--baselines", "maybe"], r"'baselines' must be true or false \(got 'maybe'\)"),
    ([*BLOB, "--config", "no/such.yaml"], r"'config' must be a YAML file .*\(got 'no/such.yaml'"),
    ([*SBTM, "--score", "torch.nn.Linear"], r"required: .*score.in_features"),
    ([*SBTM, "--flow", "time_mlp"], r"'flow' must not be given, sbtm learns no flow \(got 'time_mlp'\)"),
    ([*BLOB, "--flow", "time_mlp"], r"'flow' must not be given, blob learns no flow \(got 'time_mlp'\)"),
    ([*SBTM, "--score", "time_mlp"], r"'score' must map \(N, 2\) to \(N, 2\) \(got a TimeMLP that failed"),
    ([*PINN, "--flow", "timemlp"], r"'flow' must be .*'timemlp'; did you mean 'time_mlp'\? known: time_mlp"),
    ([*PINN, "--flow", "mlp"], r"'flow' must be .*'mlp'.*known: time_mlp"),
    ([*PINN, "--flow", "torch.nn.Linear"], r"required: .*flow.in_features"),
    ([*PINN, "--flow", "os.path.join"], r"'flow' must name a subclass of torch.nn.Module \(got 'os.path.join'"),
    ([*PINN, "--flow", "my_lab_nets.Plane"], r"'flow' must map velocities .*Plane that failed"),
    ([*PINN, "--flow", "my_lab_nets.Coupled"], r"'flow' must act on each particle alone .*Coupled that"),
    ([*PINN, "--score", "my_lab_nets.Coupled"], r"'score' must act on each particle alone .*Coupled that"),
    ([*PINN, "--score", "mlp"], r"'score' must map velocities \(N, 2\) and times \(N,\) .*MLPScore that failed"),
    ([*PINN, "--score", "gnn"], r"'score' must map velocities \(N, 2\) and times \(N,\) .*GNNScore that failed"),
    (
        [*PINN, "--score", "closed_form"],
        r"'score' must map velocities \(N, 2\) and times .*ClosedFormScore that failed",
    ),
    ([*PINN, "--flow", "time_mlp", "--flow.widht", "9"], r"'flow.widht' is not .*did you mean 'flow.width'"),
    ([*PINN, "--flow", "time_mlp", "--flow.width", "0"], r"'flow.width' must be an integer >= 1 \(got 0\)"),
    ([*PINN, "--method.iterations", "0"], r"'method.iterations' must be an integer >= 1 \(got 0\)"),
    ([*PINN, "--method.collocation_times", "0"], r"'method.collocation_times' must be an integer >= 1 \(got 0\)"),
    ([*PINN, "--method.training_particles", "1"], r"'method.training_particles' must be an integer >= 2 \(got 1\)"),
    ([*PINN, "--method.score_weight", "-1"], r"'method.score_weight' must be positive \(got -1.0\)"),
    ([*PINN, "--method.initial", "penalty", "--method.initial_weight", "0"], r"'method.initial_weight' must be posit"),
    ([*PINN, "--method.transport", "both"], r"'method.transport' must be one of flow, score \(got 'both'\)"),
    ([*PINN, "--log_det", "linear"], r"'method.log_det' must be 'exact' or 'none' with transport 'flow'"),
]


@pytest.mark.parametrize(("argv", "message"), REFUSALS, ids=lambda x: " ".join(x[4:]) if isinstance(x, list) else "")
def test_bad_input_is_refused_in_words(my_lab, argv, message):
    with pytest.raises(ValueError, match=message) as caught:
        composed(*argv).simulation()
    assert "\n" not in str(caught.value)


def test_bad_kernel_exponent_is_refused_under_its_key(tmp_path, monkeypatch):
    (tmp_path / "my_problems.py").write_text(
        "from graphlandau.problems import Gaussian, Problem\n"
        "class Beam(Problem):\n"
        "    def __init__(self, gamma: float = -3.0):\n"
        "        thermal = Gaussian([1.0, 0.0], [[0.2, 0.0], [0.0, 1.0]])\n"
        "        super().__init__(thermal, gamma=gamma, strength=0.1, t_end=1.0, dt=0.1, particles=30)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert composed("--problem", "my_problems.Beam", "--method", "blob").problem.gamma == -3
    with pytest.raises(ValueError, match=r"'problem.gamma' must be .*\(got -9"):
        composed("--problem", "my_problems.Beam", "--method", "blob", "--problem.gamma", "-9")


def test_module_that_fails_on_import_is_named(tmp_path, monkeypatch):
    Path(tmp_path / "my_broken.py").write_text("def net(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match=r"'score' must be .*my_broken.Net.*SyntaxError"):
        choose("score", "my_broken.Net")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("StepDecay --method.schedule.times [2.5,1]", "'method.schedule.times' must increase (got [2.5, 1])"),
        ("StepDecay --method.schedule.times 2.5", "'method.schedule.times' must be a list of numbers (got 2.5)"),
        ("StepDecay --method.schedule.time [2.5]", "'method.schedule.time' is not a known key (got '[2.5]')"),
        ("StepDecay", "'method.schedule.times' must be given for StepDecay (got none)"),
        ("graphlandau.training.Step", "known: graphlandau.training.CosineDecay, "),
        ("graphlandau.problems.BKW", "'method.schedule' must be the import path of a Schedule (got 'graphlandau.p"),
        ("null --method.schedule.times [2.5]", "'method.schedule' must be given with 'method.schedule.times'"),
        (
            "graphlandau.training.CosineDecay --method.schedule.duration -1",
            "'method.schedule.duration' must be positive",
        ),
    ],
)
def test_a_schedule_is_refused_under_the_key_that_is_wrong(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        composed(*SBTM, "--score", "mlp", "--method.schedule", *options.split())


def test_a_schedule_is_written_as_it_is_read(tmp_path):
    """From the command line, and from the config.yaml that this writes."""
    given = ["--method.schedule", "StepDecay", "--method.schedule.times", "[2.5, 4]", "--method.schedule.factor", "0.1"]
    first = composed(*SBTM, "--score", "mlp", *given)
    (tmp_path / "config.yaml").write_text(first.to_yaml())
    again = composed("--config", str(tmp_path / "config.yaml"))
    assert again.to_yaml() == first.to_yaml()
    assert again.simulation().method.fit.schedule(3.0) == pytest.approx(0.1)


def test_both_kinds_of_neighbourhood_are_refused_in_words():
    config = composed(*SBTM, "--score", "gnn", "--score.k", "8", "--log_det", "none")
    with pytest.raises(
        ValueError, match=r"'score\.k' or 'radius' must be given, and the other be null \(got k=8, radius=0"
    ):
        config.simulation()
    assert (
        composed(*SBTM, "--score", "gnn", "--score.k", "8", "--score.radius", "null").simulation().method.model.k == 8
    )


def test_a_group_that_is_misspelt_is_named():
    with pytest.raises(ValueError, match=r"'problm' is not a known key \(got 'bkw_2d'\); did you mean 'problem'\?"):
        composed("--problm", "bkw_2d", "--method", "blob")


def test_a_schedule_that_breaks_is_refused_in_one_line(tmp_path, monkeypatch):
    """A constructor, or a module, of the user's may raise anything."""
    (tmp_path / "my_schedules.py").write_text(
        "from graphlandau.training.schedules import Schedule\n"
        "class Mine(Schedule):\n"
        "    def __init__(self):\n"
        "        raise TypeError('odd')\n"
        "    def __call__(self, elapsed):\n"
        "        return 1.0\n"
    )
    (tmp_path / "broken_schedules.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match=r"'method\.schedule' Mine cannot be built: TypeError: odd"):
        composed(*SBTM, "--score", "mlp", "--method.schedule", "my_schedules.Mine")
    with pytest.raises(ValueError, match=r"'method\.schedule' must be the import path of a Schedule"):
        composed(*SBTM, "--score", "mlp", "--method.schedule", "broken_schedules.Mine")


# An option of a run, and ways to write its value.
WRITTEN = {
    "seed": ["0755", "12:30", "1_0", "0x1F", "0o17", "0b11", "+3", "on", "2031-02-03", "2e1", "3.0"],
    "dt": ["0755", "1:30", "0_1", ".5", "5.e-1", "+.5", "yes", "2031-02-03", ".inf", "1e999"],
    "figures": ["on", "no", "True", "false", "y", "tRuE"],
    "method.bandwidth": ["010", "1:00", "1_0", "0b1", ".3", "on", "silverman", "1e400"],
    "out": ["0755", "1:30", "1e3", "True", "2031-02-03", "on"],
    "compile": ["never", "on", "null"],
}


def outcome(*argv):
    try:
        config = composed(*argv)
    except ValueError as error:
        return str(error)
    return config.to_yaml(), config.options.out


@pytest.mark.parametrize(("key", "text"), [(key, text) for key, texts in WRITTEN.items() for text in texts])
def test_a_file_says_what_the_command_line_says(tmp_path, key, text):
    (tmp_path / "run.yaml").write_text(f"problem: bkw_2d\nmethod: blob\n{key}: {text}\n")
    assert outcome("--config", str(tmp_path / "run.yaml")) == outcome(*BLOB, f"--{key}", text)


@pytest.mark.parametrize(
    ("key", "text", "value"), [("seed", "0755", 755), ("dt", "010", 10.0), ("seed", "0x1F", 31), ("threads", "01", 1)]
)
def test_numbers_of_a_file_are_decimal(tmp_path, key, text, value):
    (tmp_path / "run.yaml").write_text(f"{key}: {text}\n")
    assert getattr(composed(*BLOB, "--config", str(tmp_path / "run.yaml")).options, key) == value


@pytest.mark.parametrize(
    ("key", "text"),
    [("seed", "12:30"), ("dt", "0_1"), ("figures", "off"), ("method.bandwidth", "1:00"), ("t_end", "2031-02-03")],
)
def test_no_number_and_no_truth_of_yaml_1_1_is_taken(key, text):
    with pytest.raises(ValueError, match=rf"'{key}' must be .* \(got '{text}'\)"):
        composed(*BLOB, f"--{key}", text)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("dt: 0.5\nseed: 1\ndt: 0.25\n", "'dt' in line 1 and in line 3"),
        ("method:\n  init_args:\n    cutoff: 1\n    cutoff: 2\n", "'cutoff' in line 3 and in line 4"),
        ("problem: {strength: 1}\nproblem.strength: 2\n", "'problem.strength' must be given once"),
        ("method: {cutoff: 1, init_args: {cutoff: 2}}\n", "'method.cutoff' must be given once"),
        ("integrator: euler\nmethod.integrator: rk4\n", "'method.integrator' must be given once"),
    ],
)
def test_a_key_that_stands_twice_in_a_file_is_refused_by_name(tmp_path, text, named):
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ValueError, match=re.escape(named)):
        composed(*BLOB, "--config", str(tmp_path / "run.yaml"))


def test_a_text_that_looks_like_a_number_is_written_as_text(tmp_path):
    """A run folder is read as it was written, by this package and by readers of YAML 1.1."""
    config = composed(*PINN, "--method.trained", "1e3")
    assert config.choices["method"].init_args["trained"] == "1e3"
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert composed("--config", str(tmp_path / "config.yaml")).to_yaml() == config.to_yaml()
    assert yaml.safe_load(config.to_yaml())["method"]["init_args"]["trained"] == "1e3"


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "run.yaml").write_bytes("\ufeffseed: 3\n".encode())
    assert composed(*BLOB, "--config", str(tmp_path / "run.yaml")).options.seed == 3


ENDLESS = {
    "sbtm --score mlp": ["method.steps", "method.initial_steps", "method.max_steps", "score.depth"],
    "sbtm --score gnn --log_det none": ["score.layers", "score.depth"],
    "sbtm --score residual": ["score.depth"],
    "jko --score mlp": ["method.epochs", "method.inner_steps", "initial_steps"],
    "jko": ["inner_steps"],
    "pinn_pm": ["iterations", "score.depth", "flow.velocity_depth", "flow.time_depth"],
}
KINETIC = ["steps", "initial_steps", "control.depth", "control.harmonics"]
COUNTS = [("bkw_2d", method, key) for method, keys in ENDLESS.items() for key in keys]
COUNTS += [("vfp_periodic_1d", "kinetic_jko --control mlp", key) for key in KINETIC]


@pytest.mark.parametrize("count", ["7000000000", "31415926535897932384626433832795"])
@pytest.mark.parametrize(("problem", "method", "key"), COUNTS)
def test_a_count_without_an_end_is_refused_with_its_cost(problem, method, key, count):
    line = ["--problem", problem, "--method", *method.split(), f"--{key}", count]
    with pytest.raises(ValueError, match=rf"'[a-z]+\.{key.rpartition('.')[2]}' must be at most .* more than .*\)"):
        composed(*line).simulation()


def test_more_steps_than_can_be_taken_are_refused():
    with pytest.raises(ValueError, match=r"'dt' must divide t_end - t_start = 5 into at most 1,000,000,000 steps"):
        composed(*BLOB, "--dt", "1e-12").simulation()


@pytest.mark.parametrize(
    ("problem", "lines"),
    [
        ("anisotropic_coulomb_3d", {"problem.gamma": "-3", "problem.d": "3", "dt": "1.0", "t_end": "300.0"}),
        ("bkw_3d", {"problem.d": "3", "problem.strength": str(1 / 24), "particles": "64000"}),
        ("vfp_gaussian_3d", {"problem.d": "3", "dt": "0.1"}),
    ],
)
def test_help_shows_the_defaults_of_the_problem(problem, lines):
    shown = help_text(read_arguments(["--problem", problem, "--help"])).splitlines()
    for key, default in lines.items():
        (line,) = [line for line in shown if line.startswith(f"  --{key} ")]
        assert re.search(rf"default {re.escape(default)}(\.0)?\)", line), line


def test_help_shows_the_values_of_a_preset():
    """Of every problem: what a run would take is what its help says."""
    for problem in preset_names("problem"):
        config = composed("--problem", problem, "--method", problem_method(problem))
        shown = help_text(read_arguments(["--problem", problem, "--help"]))
        for key, value in config.choices["problem"].init_args.items():
            line = next(line for line in shown.splitlines() if line.startswith(f"  --problem.{key} "))
            assert value is None or f"default {value})" in line, (problem, line)


def problem_method(problem):
    kinetic = issubclass(import_class("problem", load_preset("problem", problem).class_path), KineticProblem)
    return "langevin" if kinetic else "blob"


def test_every_option_of_a_method_has_a_short_key():
    for method in preset_names("method"):
        options = known_options("method", method)
        # None of them is the name of something else.
        assert not {*options} & {*OPTIONS, *GROUPS}
        assert all(full_key(option) == f"method.{option}" for option in options)
    assert composed(*SBTM, "--steps", "3", "--objective", "hutchinson").choices["method"].init_args["steps"] == 3
    schedule = ["--schedule", "graphlandau.training.CosineDecay", "--schedule.duration", "2"]
    assert composed(*SBTM, "--score", "mlp", *schedule).simulation().method.fit.schedule.duration == 2


def test_a_method_of_ones_own_has_short_keys_too(my_lab):
    (my_lab / "my_methods.py").write_text(
        "from graphlandau.methods import Blob\n"
        "class Wide(Blob):\n"
        "    def __init__(self, factor: float = 2.0):\n"
        "        super().__init__(bandwidth=0.1 * factor)\n"
    )
    line = ["--problem", "bkw_2d", "--method", "my_methods.Wide", "--factor", "3"]
    refuse_typos(read_arguments(line))
    assert composed(*line).simulation().method.blob.bandwidth == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--method sbtm --form joint", "'form' is not a known key (got 'joint'); it is an option of kinetic_jko"),
        ("--method blob --epochs 3", "it is an option of jko"),
        ("--method sbtm --objectve implicit", "did you mean 'objective'?"),
        ("--method sbtm --score mlp --width 3", "did you mean 'score.width'?"),
        ("--method jko --inner_step 3", "did you mean 'inner_steps'?"),
    ],
)
def test_a_near_miss_suggests_the_right_key(line, said):
    for check in (refuse_typos, compose):
        with pytest.raises(ValueError, match=r"is not a known key") as caught:
            check(read_arguments(["--problem", "bkw_2d", *line.split()]))
        if check is refuse_typos:
            assert said in str(caught.value)
