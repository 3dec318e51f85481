"""When a tile of pairs is compiled, and what happens where no compiler works.

Compiling a tile takes some seconds, after which it is ten times faster. Inside a run (:func:`expected_calls`) the
number of calls is known, and whether to compile is a function of the run alone, so that a resumed run has the same
bits. Outside of one it follows what a tile has done so far: it is compiled as soon as the seconds that were spent on it
eagerly, with those that the next call would take, reach half of what compiling costs. Whoever calls a tile often then
pays at most one and a half times what he would have paid by compiling at once. How fast a tile is eagerly is measured
on a few of its pairs before the first large call: it differs by a factor of ten between a drift and its gradient.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import os
import time
import types
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from graphlandau.base.validation import require_one_of

__all__ = [
    "COMPILE_MODES",
    "Evaluation",
    "History",
    "compile_available",
    "compile_mode",
    "expected_calls",
    "pays",
    "plan",
]

Mode = Literal["never", "auto", "always"]
COMPILE_MODES: tuple[Mode, ...] = ("never", "auto", "always")
# The environment variable that chooses the mode where nothing else does.
VARIABLE = "GRAPHLANDAU_COMPILE"

# Inside a run. Compiling one tile takes 2 to 20 s; eager tiles do some 1e8 pairs/s on two cores, compiled ones 1e9 and
# more.
COMPILE_PAYS = 5e8

# A tile is one loop over pairs: the compiler must never write an intermediate of one number per pair to memory.
FUSE_EVERYTHING: dict[str, str | int | bool | Callable[..., Any]] = {
    "realize_opcount_threshold": 100_000,
    "realize_reads_threshold": 100_000,
    "realize_acc_reads_threshold": 100_000,
}

# Tiles that are remembered.
MAX_TILES = 4096

_expected_calls: contextvars.ContextVar[int | None] = contextvars.ContextVar("expected_calls", default=None)
_mode: contextvars.ContextVar[str | None] = contextvars.ContextVar("compile_mode", default=None)
_failure: list[str] = []


@dataclass
class History:
    """What tiles have cost in this process, outside of runs.

    Args:
        compiling: Seconds that compiling a tile takes: a guess, then the mean of what was measured.
        rates: Eager pairs in a second by the type of device, before anything is known about a tile.
        spent: Pairs and seconds of each tile that were evaluated eagerly.
        compiled: Tiles that have been compiled: they stay so.
        measured: Number of compilations in the mean.
    """

    compiling: float = 8.0
    rates: dict[str, float] = field(default_factory=lambda: {"cpu": 5e7, "cuda": 1e10})
    spent: dict[Hashable, tuple[float, float]] = field(default_factory=dict)
    compiled: set[Hashable] = field(default_factory=set)
    measured: int = 0

    def pays(self, key: Hashable, pairs: int, device: str) -> bool:
        """Whether a tile is to be compiled before it is evaluated for ``pairs`` pairs once more."""
        if key in self.compiled:
            return True
        before, seconds = self.spent.get(key, (0.0, 0.0))
        rate = before / seconds if seconds > 0 else self.rates.get(device, self.rates["cuda"])
        if seconds + pairs / rate < 0.5 * self.compiling:
            return False
        self.compiled.add(key)
        return True

    def evaluated(self, key: Hashable, pairs: int, seconds: float | None, device: str) -> None:
        """Note an eager evaluation; without a clock (``None``, a device that works behind it) by the guessed rate."""
        before, spent = self.spent.get(key, (0.0, 0.0))
        seconds = pairs / self.rates.get(device, self.rates["cuda"]) if seconds is None else seconds
        if len(self.spent) >= MAX_TILES:  # of layers that are built anew for every call
            self.spent.clear()
        self.spent[key] = (before + pairs, spent + seconds)

    def took(self, seconds: float) -> None:
        """Note what a compilation has cost."""
        self.measured += 1
        self.compiling += (seconds - self.compiling) / self.measured


_history = History()


@contextlib.contextmanager
def expected_calls(count: int) -> Iterator[None]:
    """Tell the pair sums inside that each will be asked for about ``count`` times (a run: its number of steps).

    Nested, the counts multiply: so many times at each of so many steps.
    """
    token = _expected_calls.set((_expected_calls.get() or 1) * max(1, count))
    try:
        yield
    finally:
        _expected_calls.reset(token)


@contextlib.contextmanager
def compile_mode(mode: str | None) -> Iterator[None]:
    """Choose for the pair sums inside whether they are compiled.

    Args:
        mode: ``"auto"`` (where it pays), ``"never"`` or ``"always"``. ``None`` leaves it to the environment variable
            ``GRAPHLANDAU_COMPILE``, which is ``auto`` unless set.

    Raises:
        InvalidArgument: If it is none of these.

    Example:
        >>> from graphlandau.nn import LandauDrift
        >>> v = torch.randn(100, 3)
        >>> with compile_mode("never"):
        ...     LandauDrift(gamma=-3.0)(v, s=-v).shape
        torch.Size([100, 3])
    """
    token = _mode.set(None if mode is None else require_one_of("compile", mode, COMPILE_MODES))
    try:
        yield
    finally:
        _mode.reset(token)


def chosen_mode() -> Mode:
    """The mode that holds here.

    Raises:
        InvalidArgument: If the environment variable has another value.
    """
    mode = _mode.get()
    if mode is None:
        mode = require_one_of(VARIABLE, os.environ.get(VARIABLE) or "auto", COMPILE_MODES)
    return next(each for each in COMPILE_MODES if each == mode)


def pays(pairs: int, key: Hashable = None, device: str = "cpu") -> bool:
    """Whether a sum over ``pairs`` pairs, in the present context, is worth compiling."""
    mode = chosen_mode()
    if mode == "never" or _failure:
        return False
    if mode == "always":
        return True
    calls = _expected_calls.get()
    return _history.pays(key, pairs, device) if calls is None else pairs * calls >= COMPILE_PAYS


def compile_available() -> tuple[bool, str]:
    """Whether ``torch.compile`` works here, found out by compiling a small function, and why not if not."""
    if not _failure:
        reason = _why_not(_compile(_probe), torch.ones(8, 8))
        if reason is not None:
            _failure.append(reason)
    return (not _failure, _failure[0] if _failure else "works")


@dataclass(frozen=True)
class Evaluation:
    """How a tile is evaluated once: by ``function``, which is compiled or not; :meth:`done` tells what it has taken."""

    function: Callable[..., Any]
    is_compiled: bool
    key: Hashable = None
    pairs: int = 0
    device: str = "cpu"
    start: float | None = None

    @property
    def is_guess(self) -> bool:
        """Whether nothing is known yet of how long an eager evaluation takes, and a clock can tell."""
        return self.start is not None and self.key is not None and self.key not in _history.spent

    def try_on(self, tensors: Sequence[Tensor], pairs: int) -> None:
        """Find out on a few pairs how long an eager evaluation takes; the second time, when all is warm."""
        self.function(*tensors)
        start = time.perf_counter()
        self.function(*tensors)
        _history.evaluated(self.key, pairs, time.perf_counter() - start, self.device)

    def done(self) -> None:
        """The tile has been evaluated for all of its pairs."""
        if self.key is not None:
            seconds = None if self.start is None else time.perf_counter() - self.start
            _history.evaluated(self.key, self.pairs, seconds, self.device)


def plan(tile: Callable[..., Any], pairs: int, like: Tensor) -> Evaluation:
    """How to evaluate ``tile`` for ``pairs`` pairs of the kind of ``like``."""
    functorch = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
    if functorch.peek_interpreter_stack() is not None or torch.compiler.is_compiling():
        return Evaluation(tile, False)
    device, key = like.device.type, (tile, like.dtype, like.device.type)
    if tile in _refused or not pays(pairs, key, device):
        outside = _expected_calls.get() is None
        start = time.perf_counter() if device == "cpu" else None
        return Evaluation(tile, False, key if outside else None, pairs, device, start)
    return Evaluation(functools.partial(_evaluate, tile, key), True)


# Tiles that do not compile though others do: their messages do something that the compiler does not know.
_refused: set[Hashable] = set()
_ready: set[Hashable] = set()


def _evaluate(tile: Callable[..., Any], key: Hashable, *tensors: Tensor) -> Any:
    if _failure or tile in _refused:
        return tile(*tensors)
    start = time.perf_counter()
    found = _attempt(_compile(tile), *tensors)
    if isinstance(found, str):
        _give_up(tile, found)
        return tile(*tensors)
    if key not in _ready:
        _ready.add(key)
        _history.took(time.perf_counter() - start)
    return found


def _give_up(tile: Callable[..., Any], reason: str) -> None:
    """Find out whether it is the compiler that does not work here, or this tile that it does not take."""
    if compile_available()[0]:
        _refused.add(tile)
        warnings.warn(f"torch.compile refused the message of a layer, which stays eager ({reason})", stacklevel=2)
    else:
        warnings.warn(f"torch.compile failed, pair sums stay eager ({_failure[0]})", stacklevel=2)


@functools.cache
def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    def evaluate(*tensors: Tensor) -> Any:
        return function(*tensors)

    # Dynamo counts recompilations per code object: every tile gets its own, so that many kernels and
    # dimensions in one process do not push each other out.
    own = types.FunctionType(
        evaluate.__code__.replace(co_name=f"tile_{id(function):x}"),
        evaluate.__globals__,
        closure=evaluate.__closure__,
    )
    return torch.compile(own, dynamic=True, fullgraph=True, options=FUSE_EVERYTHING)


def _probe(x: Tensor) -> Tensor:
    return (x * x).sum(-1)


def _attempt(compiled: Callable[..., Any], *tensors: Tensor) -> Any:
    """What ``compiled`` gives, or in words why it gives nothing."""
    try:
        with torch.no_grad():
            return compiled(*(x.detach() for x in tensors))
    # What a missing compiler or an unwritable cache raises differs by version and is rarely exported:
    # BackendCompilerFailed, InductorError, FileNotFoundError, ...
    except Exception as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"


def _why_not(compiled: Callable[..., Any], x: Tensor) -> str | None:
    found = _attempt(compiled, x)
    return found if isinstance(found, str) else None
