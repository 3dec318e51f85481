"""Whether a tile is compiled: by the run where its calls are known, else by what it has cost so far."""

from __future__ import annotations

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlandau.base.errors import InvalidArgument
from graphlandau.nn import BlobScore, JKOAction, LandauDrift
from graphlandau.nn.pairs import compile_mode, compiled, expected_calls

RATE = compiled.History().rates["cpu"]


def total_seconds(pairs: int, calls: int, eager: float, fused: float, compiling: float) -> float:
    """Time of so many calls of one tile by the rule, on a machine with such rates and such a compiler."""
    history, spent, ready = compiled.History(), 0.0, False
    for _ in range(calls):
        if history.pays("tile", pairs, "cpu"):
            if not ready:
                spent, ready = spent + compiling, True
                history.took(compiling)
            spent += pairs / fused
        else:
            spent += pairs / eager
            history.evaluated("tile", pairs, pairs / eager, "cpu")
    return spent


@settings(max_examples=200, deadline=None)
@given(
    pairs=st.integers(10**3, 10**9),
    calls=st.integers(1, 400),
    eager=st.floats(RATE, 4 * RATE),
    compiling=st.floats(3.0, 8.0),
)
def test_never_much_more_than_the_better_of_the_two(pairs, calls, eager, compiling):
    """Whatever a loop does, the rule costs at most 3 times the better choice, and 1.5 times compiling at once + 4 s.

    Half of what compiling costs is spent before it, hence 1 + 2 where the loop ends at once after it. The guess of
    8 s before the first compilation lets it spend 4 s where half of ``compiling`` would have been less.
    """
    fused = 20 * eager
    spent = total_seconds(pairs, calls, eager, fused, compiling)
    always, never = compiling + calls * pairs / fused, calls * pairs / eager
    # The call that is not made eagerly was expected to take as long as at the guessed rate.
    assert spent <= 1.5 * always + 4.0
    assert spent <= max(3 * min(always, never), compiling + never) + 4.0


@pytest.mark.parametrize(("n", "calls"), [(5_000, 30), (20_000, 10)])
def test_bare_loops_of_the_usual_sizes_reach_one_and_a_half(n, calls):
    """30 calls of 5,000 particles and 10 of 20,000, at 1e8 eager and 1.8e9 compiled pairs a second, 8 s to compile."""
    always = 8.0 + calls * n * n / 1.8e9
    assert total_seconds(n * n, calls, 1e8, 1.8e9, 8.0) <= 1.5 * always


def test_a_few_small_sums_are_never_compiled():
    """Ten thousand calls of a hundred particles take a second: no compiler for that."""
    history = compiled.History()
    for _ in range(10_000):
        assert not history.pays("tile", 10**4, "cpu")
        history.evaluated("tile", 10**4, 1e-4, "cpu")


def test_what_compiling_costs_is_learned():
    """The guess gives way to the mean of what was measured."""
    history = compiled.History()
    history.took(2.0)
    history.took(4.0)
    assert history.compiling == pytest.approx(3.0)


def test_a_compiled_tile_stays_compiled():
    history = compiled.History()
    assert history.pays("tile", 10**12, "cpu")
    assert history.pays("tile", 1, "cpu")
    assert not history.pays("another", 1, "cpu")


def test_inside_a_run_only_the_run_decides():
    """Pairs times expected calls, whatever was evaluated before: a resumed run decides the same."""
    for _ in range(3):
        with expected_calls(10_000):
            assert compiled.pays(10**6)
            assert not compiled.pays(10**3)
        compiled._history.evaluated(None, 10**12, 10**6, "cpu")
    with expected_calls(10_000):
        assert not compiled.pays(10**3)


def test_expected_calls_multiply_when_nested():
    """So many times at each of so many steps: 1,000 pairs in 1,000 calls at 1,000 steps are worth a compiler."""
    with expected_calls(1000):
        assert not compiled.pays(1000)
        with expected_calls(1000):
            assert compiled.pays(1000)
        assert not compiled.pays(1000)


def test_a_run_leaves_no_trace_in_the_history():
    """What happens in a run must not change what a loop after it does, nor the other way round."""
    v = torch.randn(50, 3, dtype=torch.float64)
    with expected_calls(1):
        LandauDrift(-3.0)(v, -v)
    assert not compiled._history.spent
    LandauDrift(-3.0)(v, -v)
    assert len(compiled._history.spent) == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda v: LandauDrift(-3.0, backend="dense")(v, -v * v).square().sum(),
        lambda v: BlobScore(0.5)(v).square().sum(),
        lambda v: JKOAction(-3.0)(v, -v * v, torch.eye(2).to(v).expand(len(v), 2, 2)),
    ],
    ids=["drift", "blob", "action"],
)
def test_layers_built_anew_and_gradients_add_up(call):
    """A layer that is built for every call has one history, and so has each tile of its gradient."""
    for size in (20, 30, 20):
        v = torch.randn(size, 2, dtype=torch.float64, requires_grad=True)
        call(v).backward()
    once = dict(compiled._history.spent)
    v = torch.randn(25, 2, dtype=torch.float64, requires_grad=True)
    call(v).backward()
    assert compiled._history.spent.keys() == once.keys()
    assert all(compiled._history.spent[key][0] > pairs for key, (pairs, _) in once.items())


def test_a_bare_loop_is_compiled_in_time(monkeypatch):
    """400 particles by a clock that says each call takes a second: the fourth reaches half of the guessed 8 s."""
    seconds = iter(range(1000))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(seconds)))
    asked = []
    monkeypatch.setattr(compiled, "_compile", lambda tile: asked.append(tile) or tile)
    v = torch.randn(400, 3, dtype=torch.float64)
    layer, when = LandauDrift(-3.0, backend="dense"), []
    for _ in range(8):
        layer(v, -v)
        when.append(len(asked))
    assert when == [0, 0, 0, 1, 2, 3, 4, 5]


def test_a_slow_tile_is_compiled_before_its_first_large_call(monkeypatch):
    """A few pairs tell that the call would take longer than the compiler: 512^2 pairs took a second each."""
    seconds = iter(range(1000))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(seconds)))
    asked = []
    monkeypatch.setattr(compiled, "_compile", lambda tile: asked.append(tile) or tile)
    v = torch.randn(2000, 2)
    expected = LandauDrift(-3.0, backend="dense")(v[:1500], -v[:1500])
    assert not asked
    assert compiled._history.rates["cpu"] * 4 > 2000**2  # by the guess alone it would not have been
    LandauDrift(-2.0, backend="dense")(v, -v)
    assert len(asked) == 1
    assert expected.shape == (1500, 2)


def test_the_mode_is_chosen_by_context_then_by_the_environment(monkeypatch):
    monkeypatch.setenv("GRAPHLANDAU_COMPILE", "always")
    assert compiled.pays(1)
    with compile_mode("never"):
        assert not compiled.pays(10**15)
        with compile_mode(None), expected_calls(10):
            assert compiled.pays(1)
    monkeypatch.setenv("GRAPHLANDAU_COMPILE", "never")
    assert not compiled.pays(10**15)
    monkeypatch.delenv("GRAPHLANDAU_COMPILE")
    assert compiled.chosen_mode() == "auto"


def test_refuses_another_mode(monkeypatch):
    with (
        pytest.raises(InvalidArgument, match=r"'compile' must be one of never, auto, always \(got 'yes'\)"),
        compile_mode("yes"),
    ):
        pass
    monkeypatch.setenv("GRAPHLANDAU_COMPILE", "on")
    with pytest.raises(InvalidArgument, match=r"'GRAPHLANDAU_COMPILE' must be one of never, auto, always \(got 'on'\)"):
        compiled.pays(1)


def test_a_message_that_does_not_compile_stays_eager_alone(monkeypatch):
    """The compiler goes on to serve the other layers."""

    def compile_some(function):
        if function is compiled._probe:
            return function

        def fails(*tensors):
            raise RuntimeError("not supported")

        return fails

    monkeypatch.setattr(compiled, "_compile", compile_some)
    monkeypatch.setattr(compiled, "_failure", [])
    monkeypatch.setattr(compiled, "_refused", set())
    v = torch.randn(30, 2, dtype=torch.float64)
    expected = LandauDrift(-3.0)(v, -v * v)
    with compile_mode("always"), pytest.warns(UserWarning, match="refused the message of a layer.*not supported"):
        assert torch.equal(LandauDrift(-3.0)(v, -v * v), expected)
    assert not compiled._failure
    assert len(compiled._refused) == 1
