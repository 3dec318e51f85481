"""When a tile of pairs is compiled, and what happens where no compiler works."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

__all__ = ["compile_available", "expected_calls", "run_tile", "will_compile"]

# Compiling one tile takes 2 to 20 s; eager tiles do some 1e8 pairs/s on two cores, compiled ones 1e9 and more.
COMPILE_PAYS = 5e8

# A tile is one loop over pairs: the compiler must never write an intermediate of one number per pair to memory.
FUSE_EVERYTHING: dict[str, str | int | bool | Callable[..., Any]] = {
    "realize_opcount_threshold": 100_000,
    "realize_reads_threshold": 100_000,
    "realize_acc_reads_threshold": 100_000,
}

_expected_calls: contextvars.ContextVar[int] = contextvars.ContextVar("expected_calls", default=1)
_failure: list[str] = []


@contextlib.contextmanager
def expected_calls(count: int) -> Iterator[None]:
    """Tell the pair sums inside that each will be asked for about ``count`` times (a run: its number of steps).

    Nested, the counts multiply: so many times at each of so many steps.
    """
    token = _expected_calls.set(_expected_calls.get() * max(1, count))
    try:
        yield
    finally:
        _expected_calls.reset(token)


def will_compile(pairs: int) -> bool:
    """Whether a sum over ``pairs`` pairs, in the present context, is worth compiling."""
    return pairs * _expected_calls.get() >= COMPILE_PAYS and not _failure


def compile_available() -> tuple[bool, str]:
    """Whether ``torch.compile`` works here, found out by compiling a small function, and why not if not."""
    if not _failure:
        _attempt(_compile(_probe), torch.ones(8, 8))
    return (not _failure, _failure[0] if _failure else "works")


def run_tile(tile: Callable[..., Any], pairs: int, like: Tensor) -> tuple[Callable[..., Any], bool]:
    """The function that evaluates ``tile``, and whether it is compiled."""
    functorch = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
    in_transform = functorch.peek_interpreter_stack() is not None
    if in_transform or torch.compiler.is_compiling() or not will_compile(pairs):
        return tile, False
    compiled = _compile(tile)
    return (lambda *tensors: _attempt(compiled, *tensors, fallback=tile)), True


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


def _attempt(compiled: Callable[..., Any], *tensors: Tensor, fallback: Callable[..., Any] | None = None) -> Any:
    if not _failure:
        try:
            with torch.no_grad():
                return compiled(*(x.detach() for x in tensors))
        # What a missing compiler or an unwritable cache raises differs by version and is rarely exported:
        # BackendCompilerFailed, InductorError, FileNotFoundError, ...
        except Exception as error:
            _failure.append(f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}")
            warnings.warn(f"torch.compile failed, pair sums stay eager ({_failure[0]})", stacklevel=2)
    return fallback(*tensors) if fallback is not None else None
