"""Numbers and places that a run is asked for: which are allowed."""

from __future__ import annotations

import re

import torch

from graphlandau.base import distributed
from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import MAX_REPEATS, require_integer, require_number

__all__ = ["count_steps", "require_device", "require_seed", "require_work_for_all"]


def require_work_for_all(particles: int, batch_size: int | None) -> None:
    """Raise ``ValueError`` unless each process has a particle, and a block where there are random batches."""
    count = distributed.world()
    if count > particles:
        raise InvalidArgument("particles", f"must be at least {count}, one for each process", particles)
    if batch_size is not None and count > particles // batch_size > 0:
        most = f"at most {particles // count}, so that each of {count} processes has a block"
        raise InvalidArgument("batch_size", f"must be {most}", batch_size)


def require_seed(seed: int) -> int:
    """Return ``seed``; raise ``ValueError`` unless it is an integer in [0, 2**63), as torch's generators take."""
    seed = require_integer("seed", seed, minimum=0)
    if seed >= 2**63:
        raise InvalidArgument("seed", "must be an integer in [0, 2**63)", seed)
    return seed


def require_device(device: str | torch.device) -> torch.device:
    """Return the device; raise ``ValueError`` unless it is a CPU or CUDA device."""
    if not re.fullmatch(r"cpu|cuda(:\d+)?", str(device)):
        raise InvalidArgument("device", "must be cpu, cuda or cuda:N", repr(str(device)))
    return torch.device(device)


def count_steps(t_start: float, t_end: float, dt: float) -> int:
    """Return the number of steps ``dt`` from ``t_start`` to ``t_end``.

    Raises:
        ValueError: If ``t_end`` is not after ``t_start``, or ``dt`` does not divide the interval to 1e-9, or into more
            steps than can be taken.

    Example:
        >>> count_steps(0.0, 5.0, 0.01)
        500
    """
    interval = require_number("t_end", t_end) - t_start
    if interval <= 0:
        raise InvalidArgument("t_end", f"must be after the start time {t_start:g}", f"{t_end:g}")
    if interval / dt > MAX_REPEATS:
        most = f"into at most {MAX_REPEATS:,} steps"
        raise InvalidArgument("dt", f"must divide t_end - t_start = {interval:.12g} {most}", f"{dt:g}")
    steps = max(1, round(interval / dt))
    if abs(steps * dt - interval) > 1e-9 * interval:
        nearest = f"the nearest that does is {interval / steps:.12g}"
        raise InvalidArgument("dt", f"must divide t_end - t_start = {interval:.12g}", f"{dt:g}; {nearest}")
    return steps
