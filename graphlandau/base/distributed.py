r"""Several processes, one run: ``torchrun --nproc-per-node=K -m graphlandau run ...``.

The state is replicated, the work is sharded: every rank holds all particles and computes the rows of its own shard of
them. What is not sharded is computed by every rank alike, so it stays correct. In one process, inside the transforms of
``torch.func`` (whose tensors cannot be sent) and inside :func:`by_rows` all functions of tensors return what they are
given.

A tensor is *replicated* (the same on every rank, and so is its gradient), *sharded* (each rank has its rows), or
*partial* (the sum over the ranks is what is meant). Derivatives of any order follow from two pairs of transposes:

====================  ================================  =============================
forward               what it does                      its transpose
====================  ================================  =============================
:func:`shard`         replicated to sharded: slice      :func:`replicate`
:func:`sum_partial`   partial to replicated: sum        :func:`partial_gradient`
====================  ================================  =============================

:func:`partial_gradient` changes no number: it says that what follows uses a replicated tensor for the own rows only, so
that its gradient is partial, and has to be summed.

On CPU the ranks talk by gloo; tensors on CUDA by nccl, each rank on the device of its own number on the machine
(``cuda:LOCAL_RANK``). That has not been tried on several GPUs.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from graphlandau.base.errors import InvalidArgument

__all__ = [
    "RankError",
    "across",
    "agree",
    "by_first",
    "by_rows",
    "drawn",
    "gather_objects",
    "in_shards",
    "is_sharded",
    "of_first",
    "own_device",
    "partial_gradient",
    "rank",
    "replicate",
    "shard",
    "shard_rows",
    "shard_sizes",
    "start",
    "stop",
    "sum_gradients",
    "sum_partial",
    "what_to_say",
    "world",
]

T = TypeVar("T")

TIMEOUT = timedelta(minutes=10)
# How long a rank that has failed waits for the others to say that they have failed too.
OTHERS_FAIL_WITHIN = 3.0

# Whether this rank works on its own: its rows are cut already.
_alone: contextvars.ContextVar[bool] = contextvars.ContextVar("alone", default=False)
# Number of rows that are cut into shards, and those of this rank.
_cut: contextvars.ContextVar[tuple[int, slice] | None] = contextvars.ContextVar("cut", default=None)


class RankError(ConnectionError):
    """Another rank has ended, or does not answer any more."""


def world() -> int:
    """Number of processes that share the work of this run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process among them; rank 0 writes and prints."""
    return dist.get_rank() if world() > 1 else 0


def start() -> None:
    """Join the processes that torchrun has started; a process that was started alone stays alone.

    Raises:
        RankError: If they do not all come.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "MASTER_ADDR" not in os.environ or dist.is_initialized():
        return
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise RankError(f"the processes did not find each other ({_first_line(error)})") from error


def stop() -> None:
    """Leave them; the rank goes on alone."""
    if world() > 1:
        dist.destroy_process_group()


def own_device(device: str) -> str:
    """The device of this rank: of several on ``cuda`` each takes another one.

    Raises:
        ValueError: If a rank would have none, or all are sent to the same one.
    """
    if world() == 1 or not device.startswith("cuda"):
        return device
    index = int(os.environ.get("LOCAL_RANK", "0"))
    if device != "cuda":
        raise InvalidArgument("device", "must be auto, cpu or cuda for several processes", repr(device))
    if index >= torch.cuda.device_count():
        raise InvalidArgument(
            "device",
            "must be cpu for more processes than GPUs",
            f"process {index + 1} on a machine with {torch.cuda.device_count()}",
        )
    torch.cuda.set_device(index)
    return f"cuda:{index}"


def is_sharded(n: int) -> bool:
    """Whether ``n`` rows are sharded here: among several ranks, with one for each, outside of ``torch.func``."""
    return n >= world() > 1 and not _alone.get() and not _in_transform()


def shard_sizes(n: int) -> list[int]:
    """How many of ``n`` rows each rank has; they differ by one at most."""
    count = world()
    return [n * (r + 1) // count - n * r // count for r in range(count)]


def shard_rows(n: int) -> slice:
    """The rows of this rank among ``n``; shards are contiguous."""
    return _slice(shard_sizes(n)) if _active() else slice(0, n)


def shard(x: Tensor, sizes: Sequence[int] | None = None) -> Tensor:
    """The rows of this rank of a replicated ``x``; ``sizes`` of the shards, balanced unless given."""
    return _Shard.apply(x, tuple(sizes or shard_sizes(x.size(0)))) if _active() else x


def replicate(x: Tensor, n: int, sizes: Sequence[int] | None = None) -> Tensor:
    """All ``n`` rows of a sharded ``x``, on every rank; ``sizes`` of the shards, balanced unless given."""
    return _Replicate.apply(x, tuple(sizes or shard_sizes(n))) if _active() else x


def sum_partial(x: Tensor) -> Tensor:
    """The sum of a partial ``x`` over the ranks, the same bits on all."""
    return _SumPartial.apply(x) if _active() else x


def partial_gradient(x: Tensor) -> Tensor:
    """A replicated ``x``, for use in what is computed for own rows only: gradients are summed over the ranks."""
    return _PartialGradient.apply(x) if _active() else x


def by_rows(function: Callable[..., Any], *rows: Tensor) -> Any:
    """``function(*rows)``, each rank for its own rows: for functions that treat every row by itself.

    Where gradients are recorded every rank computes all rows, because the function may depend on what is trained.

    Args:
        function: Maps tensors of n rows to a tensor of n rows, or a tuple of such.
        rows: Its arguments.
    """
    n = rows[0].size(0)
    if torch.is_grad_enabled() or not is_sharded(n):
        return function(*rows)
    here = shard_rows(n)
    token = _alone.set(True)
    try:
        parts = function(*(x[here] for x in rows))
    finally:
        _alone.reset(token)
    return replicate(parts, n) if isinstance(parts, Tensor) else tuple(replicate(x, n) for x in parts)


@contextlib.contextmanager
def in_shards(n: int) -> Iterator[slice]:
    """Inside, each rank works on the rows of the slice alone, and on a loss that is a mean over all ``n``.

    The loss takes its sums through :func:`across` and its random numbers through :func:`drawn`.
    """
    here = shard_rows(n)
    tokens = _alone.set(True), _cut.set((n, here))
    try:
        yield here
    finally:
        _alone.reset(tokens[0])
        _cut.reset(tokens[1])


def across(x: Tensor) -> Tensor:
    """A sum over rows: over those of all ranks where they are cut into shards, see :func:`in_shards`.

    Its gradient is that of the own rows: :func:`sum_gradients` brings them together.
    """
    return _SumPartial.apply(x) if _cut.get() is not None and not _in_transform() else x


def drawn(draw: Callable[[int], Tensor], n: int) -> Tensor:
    """Random rows for ``n`` rows; where these are one rank's shard, its rows of what is drawn for all ranks' alike."""
    cut = _cut.get()
    return draw(n) if cut is None else draw(cut[0])[cut[1]]


def sum_gradients(parameters: Sequence[Tensor]) -> None:
    """Sum the gradients of all ranks; a parameter without one stays without."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if gradients:
        summed = _all_reduce(torch.cat([g.reshape(-1) for g in gradients]))
        for gradient, part in zip(gradients, summed.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))


def of_first(x: Tensor) -> Tensor:
    """The tensor of rank 0, on every rank; nobody's numbers drift away from the others' in the last bit."""
    if world() > 1:
        x = x.contiguous()
        with _heard():
            dist.broadcast(x, 0)
    return x


def agree(value: T) -> T:
    """What rank 0 has, on every rank."""
    values = [value]
    if world() > 1:
        with _heard():
            dist.broadcast_object_list(values, 0, device=torch.device("cpu"))
    return values[0]


def by_first(function: Callable[[], T]) -> T:
    """What rank 0 gets from ``function``, on every rank; so is what it raises."""
    if world() == 1:
        return function()
    result, error = None, None
    if rank() == 0:
        try:
            result = function()
        except Exception as raised:
            error = raised
    result, error = agree((result, error))
    if error is not None:
        raise error
    return result  # pyright: ignore[reportReturnType]


def gather_objects(value: T) -> list[T]:
    """What each rank has, in their order."""
    values: list[Any] = [value] * world()
    if world() > 1:
        with _heard():
            dist.all_gather_object(values, value)
    return values


def what_to_say(message: str, follows: bool = False) -> str | None:
    """The words of this rank for an error that ends it: once if all ranks have it, with the rank if not.

    Args:
        message: What is wrong.
        follows: Whether it only follows from the end of another rank, which is silent if that one has spoken.

    Returns:
        What to print, ``None`` if another rank prints it.
    """
    if world() == 1:
        return message
    heard = _exchange(message, follows)
    if follows:
        causes = [r for r, (_, followed) in heard.items() if not followed]
        return None if causes or rank() != min(heard) else message
    same = [r for r, (said, _) in heard.items() if said == message]
    if rank() != min(same):
        return None
    return message if len(same) == world() else f"{message} (rank {rank()} of {world()})"


def _exchange(message: str, follows: bool) -> dict[int, tuple[str, bool]]:
    """Tell the others what this rank has met; return what they have told so far, or soon will, by the rank."""
    heard = {rank(): (message, follows)}
    # By the store and not by a collective call: another rank may be in the middle of one.
    store = dist.distributed_c10d._get_default_store()
    with contextlib.suppress(RuntimeError):
        store.set(f"graphlandau/said/{rank()}", json.dumps((message, follows)))
        heard |= _posted(store, "said", range(world()), 0 if follows else OTHERS_FAIL_WITHIN)
        store.set(f"graphlandau/heard/{rank()}", "0")
        if rank() == 0:  # which may keep the store: it leaves last
            _posted(store, "heard", heard, OTHERS_FAIL_WITHIN)
    return heard


def _posted(store: Any, topic: str, ranks: Iterable[int], seconds: float) -> dict[int, Any]:
    """What ``ranks`` have posted, by the rank; it is waited for so long."""
    found, until = {}, time.monotonic() + seconds
    while True:
        for other in set(ranks) - found.keys():
            key = f"graphlandau/{topic}/{other}"
            if store.check([key]):
                found[other] = json.loads(store.get(key))
        if found.keys() == set(ranks) or time.monotonic() > until:
            return found
        time.sleep(0.02)


def _in_transform() -> bool:
    functorch = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
    return torch.compiler.is_compiling() or functorch.peek_interpreter_stack() is not None


def _active() -> bool:
    return world() > 1 and not _alone.get() and not _in_transform()


def _slice(sizes: Sequence[int]) -> slice:
    first = sum(sizes[: rank()])
    return slice(first, first + sizes[rank()])


@contextlib.contextmanager
def _heard() -> Iterator[None]:
    """Say in one line that another rank has ended, whatever the library says then."""
    try:
        yield
    except RuntimeError as error:
        other = f"rank {1 - rank()}" if world() == 2 else "another rank"
        minutes = int(TIMEOUT.total_seconds() / 60)
        what = f"{other} of {world()} ended, or has not answered for {minutes} minutes"
        raise RankError(f"{what} ({_first_line(error)})") from error


def _first_line(error: BaseException) -> str:
    said = str(error).strip()
    if said.startswith("["):  # the source file that gloo puts in front
        said = said.partition("]")[2].strip()
    return f"{(said.splitlines() or [type(error).__name__])[0]:.100}"


def _all_reduce(x: Tensor) -> Tensor:
    x = x.detach().clone(memory_format=torch.contiguous_format)
    with _heard():
        dist.all_reduce(x)
    return x


def _all_gather(x: Tensor, sizes: tuple[int, ...]) -> Tensor:
    # All ranks must send equally many rows.
    x, most = x.detach(), max(sizes)
    if x.size(0) < most:
        x = torch.cat([x, x.new_zeros(most - x.size(0), *x.shape[1:])])
    found = x.new_empty(most * len(sizes), *x.shape[1:])
    with _heard():
        dist.all_gather(list(found.split(most)), x.contiguous())
    if min(sizes) == most:
        return found
    return torch.cat([rows[:size] for rows, size in zip(found.split(most), sizes, strict=True)])


class _Shard(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: tuple[int, ...]) -> Tensor:
        ctx.sizes = sizes
        return x[_slice(sizes)].contiguous()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _Replicate.apply(gradient, ctx.sizes), None


class _Replicate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: tuple[int, ...]) -> Tensor:
        ctx.sizes = sizes
        return _all_gather(x, sizes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _Shard.apply(gradient, ctx.sizes), None


class _SumPartial(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _all_reduce(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _PartialGradient.apply(gradient)


class _PartialGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _SumPartial.apply(gradient)
