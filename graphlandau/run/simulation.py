"""The time loop: a problem's particles, moved by a method, watched by observers."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, cast

import torch
from torch import Tensor
from torch_geometric.data import Data

import graphlandau
from graphlandau.base import distributed
from graphlandau.base.errors import Diverged, InvalidArgument, NonFinite, out_of_memory
from graphlandau.base.state import particle_state
from graphlandau.base.validation import all_finite, require_integer, require_number, require_one_of, require_positive
from graphlandau.methods.method import FrameT, Method, ProblemT
from graphlandau.nn.pairs import COMPILE_MODES, compile_mode, expected_calls
from graphlandau.problems.samples import samples_of
from graphlandau.run.arguments import count_steps, require_device, require_seed, require_work_for_all
from graphlandau.run.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, tensors_of
from graphlandau.run.folder import RunFolder
from graphlandau.run.observers import Observer
from graphlandau.run.observers.choice import observers_of
from graphlandau.run.summary import class_names, machine_facts, summarise

log = logging.getLogger(__name__)

__all__ = ["Result", "Simulation"]


@dataclass(frozen=True)
class Result:
    """What a run leaves: the final ``state``, the ``summary``, and the rows of ``metrics``."""

    state: Data
    summary: dict[str, Any]
    metrics: list[dict[str, Any]]
    folder: Path | None


class Simulation(Generic[ProblemT, FrameT]):
    r"""Moves the particles of ``problem`` by ``method`` from ``t_start`` to ``t_end`` in steps of ``dt``.

    At every time :math:`t_n = t_{\text{start}} + n \, dt` score and drift (or the field) are evaluated, the observers
    look, and the method advances. The particles are drawn in float64 from ``seed`` alone, then cast: every method,
    dtype and device starts from the same ones. From a ``folder`` that holds a checkpoint, :meth:`run` goes on
    to the same bits. Several processes (:mod:`graphlandau.base.distributed`) share the work of one
    run: all hold all particles, the first one writes. Dimensionless.

    Args:
        problem: What is solved.
        method: How; a network in it has been initialised by the caller.
        particles: Number of particles; ``particles``, ``dt`` and ``t_end`` default to the problem's values.
        dt: Time step; must divide the interval.
        t_end: Final time.
        seed: Seed of the initial particles, of the fresh samples of the baseline, and of torch's own generator.
        device: Where the tensors live.
        dtype: ``torch.float32`` or ``torch.float64``.
        snapshots: Number of snapshots, at equal steps, the first and last time included.
        metrics_every: Steps between two rows of metrics (the snapshots and the last step have one too).
        checkpoint_every: Steps between two checkpoints.
        baselines: Whether to measure the error that remains with the exact score, and with fresh exact samples.
        compile: Whether pair sums are compiled: ``"auto"``, ``"never"``, ``"always"``, or as the environment says, see
            :func:`graphlandau.nn.pairs.compile_mode`.
        folder: Run folder to write; ``None`` keeps everything in memory.
        progress: Whether to show a progress bar on stderr.
        observers: Further observers, which look after the built-in ones.
        labels: Names of ``problem``, ``method`` and ``score`` for the summary; the classes' unless given.
        state: Particles to start from instead of those of the problem: a ``Data`` with ``v``, and optionally ``pos``,
            ``weight`` and ``log_f``. The equation is the problem's; its density and what is known of its solution are
            not those of the particles, and are left out, as for :class:`~graphlandau.problems.Samples`.

    Raises:
        ValueError: If a number is out of range, ``dt`` does not divide the interval, ``method`` is for another kind
            of problem, or there is no particle (no block) for some process.

    Example:
        >>> from graphlandau.methods import Blob
        >>> from graphlandau.problems import BKW
        >>> result = Simulation(BKW(d=2), Blob(), particles=200, dt=0.1, t_end=0.2, baselines=False).run()
        >>> result.summary["steps"], result.state.v.shape
        (2, torch.Size([200, 2]))
    """

    def __init__(
        self,
        problem: ProblemT,
        method: Method[ProblemT, FrameT],
        *,
        particles: int | None = None,
        dt: float | None = None,
        t_end: float | None = None,
        seed: int = 0,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        snapshots: int = 11,
        metrics_every: int = 1,
        checkpoint_every: int = 25,
        baselines: bool = True,
        compile: str | None = None,
        folder: RunFolder | None = None,
        progress: bool = False,
        observers: Sequence[Observer] = (),
        labels: Mapping[str, str | None] | None = None,
        state: Data | None = None,
    ) -> None:
        if not isinstance(problem, method.solves):
            what = f"a problem of the class {method.solves.__name__} for {type(method).__name__}"
            raise InvalidArgument("problem", f"must be {what}", repr(problem))
        if state is not None:
            problem = cast(ProblemT, samples_of(problem, state))
        self.problem, self.method = problem, method
        self.particles = require_integer("particles", problem.particles if particles is None else particles, minimum=2)
        require_work_for_all(self.particles, method.facts(problem, self.particles).batch_size)
        self.dt = require_positive("dt", problem.dt if dt is None else dt)
        self.t_end = problem.t_end if t_end is None else require_number("t_end", t_end)
        self.steps = count_steps(problem.t_start, self.t_end, self.dt)
        self.seed = require_seed(seed)
        self.compile = compile if compile is None else require_one_of("compile", compile, COMPILE_MODES)
        self.device, self.dtype = require_device(device), dtype
        if dtype not in (torch.float32, torch.float64):
            raise InvalidArgument("dtype", "must be torch.float32 or torch.float64", dtype)
        intervals = min(require_integer("snapshots", snapshots, minimum=2) - 1, self.steps)
        self.snapshot_steps = {round(k * self.steps / intervals) for k in range(intervals + 1)}
        self.metrics_every = require_integer("metrics_every", metrics_every, minimum=1)
        every = require_integer("checkpoint_every", checkpoint_every, minimum=1)
        self.observers = observers_of(
            problem, method, baselines=baselines, seed=self.seed, every=every, progress=progress, further=observers
        )
        self.labels = class_names(problem, method) | dict(labels or {})
        self.folder = folder
        self.step, self.wall_seconds, self.setup_seconds = 0, 0.0, 0.0
        self.rows: list[dict[str, Any]] = []
        self.row: dict[str, Any] = {}
        self.state: Data
        self.frame: FrameT

    @property
    def t(self) -> float:
        """Time of the current step; computed from the step, so that it does not drift, and rounded to print well."""
        t_start = self.problem.t_start
        # 12 digits of the length of the run, whose unit may be any.
        decimals = 12 - min(0, math.floor(math.log10(self.t_end - t_start)))
        return round(t_start + self.step * self.dt, decimals) if self.step else t_start

    @property
    def row_due(self) -> bool:
        """Whether the metrics of this step are recorded."""
        return self.step % self.metrics_every == 0 or self.step in self.snapshot_steps or self.step == self.steps

    def run(self) -> Result:
        """Run to the last step, from the checkpoint of the folder if it has one.

        Raises:
            Diverged: If particles, score or drift become non-finite; the last checkpoint stays as it is.
            MemoryError: If there is not enough memory.
        """
        self._clock = time.perf_counter()
        # How often a kernel will be called decides whether it is compiled: the same number after a resume.
        compiling = compile_mode(self.compile)
        with compiling, expected_calls(self.steps), self._closing_observers(), self._memory_named():
            checkpoint = distributed.by_first(self._checkpoint)
            self.method.foresee(self.t_end, None if self.folder is None else self.folder.training)
            if checkpoint is None:
                self._start()
            else:
                self.restore(checkpoint)
            for observer in self.observers:
                observer.begin(self)
            if machine_facts(self)["backend"] == "dense":
                log.info("step %d of %d: kernels are compiled where that pays", self.step, self.steps)
            self._evaluate()
            while self.step < self.steps:
                self._advance()
                self._evaluate()
            self.tick()
            for observer in self.observers:
                observer.end(self)
        observed: dict[str, Any] = {}
        for observer in self.observers:
            observed |= observer.summary(self)
        summary = summarise(self, observed)
        if self.folder is not None:
            self.folder.write_summary(summary)
        return Result(self.state, summary, self.rows, self.folder.path if self.folder else None)

    def _checkpoint(self) -> Checkpoint | None:
        if self.folder is None or not self.folder.checkpoint.exists():
            return None
        return load_checkpoint(self.folder.checkpoint)

    def _initial_state(self) -> Data:
        generator = torch.Generator().manual_seed(self.seed)
        drawn = self.problem.draw(self.particles, generator=generator)
        tensors = {key: x.to(self.device, self.dtype) for key, x in drawn.items()}
        return particle_state(**tensors, t=self.problem.t_start, checked=True)

    def _start(self) -> None:
        if self.folder is not None:
            self.folder.rewind(0)
        log.info("preparing %s: %s particles", self.labels["method"], f"{self.particles:,}")
        state = self._initial_state()
        if not self.problem.log_density_known:
            log.info("the density of the particles is not known: no log-density, entropy or KL")
        torch.manual_seed(self.seed)
        with self._failures_named(), self._particles_named(state):
            self.state = _settled(self.method.initialise(state, self.problem))
        self.tick()
        self.setup_seconds = self.wall_seconds

    @contextmanager
    def _closing_observers(self) -> Iterator[None]:
        try:
            yield
        finally:
            for observer in self.observers:
                observer.close()

    def _evaluate(self) -> None:
        """What moves the current state, seen by every observer."""
        for observer in self.observers:
            observer.before_evaluate(self)
        with self._failures_named(), self._particles_named(self.state):
            self.frame = self.method.evaluate(self.state, self.dt)
        self._require_finite(self.frame.computed())
        self.tick()
        seconds = round(self.wall_seconds, 3)
        self.row = {"step": self.step, "t": self.t, "wall_seconds": seconds} if self.row_due else {}
        with self._failures_named():
            for observer in self.observers:
                observer.after_evaluate(self)
        if self.row:
            self.rows.append(self.row)
            if self.folder is not None:
                self.folder.write_row(self.row)

    def _advance(self) -> None:
        with self._failures_named():
            state = self.method.advance(self.state, self.frame, self.dt)
        self.step += 1
        state.t = self.t
        self.state = _settled(state)
        self._require_finite(tensors_of(self.state))

    @contextmanager
    def _failures_named(self) -> Iterator[None]:
        """Say at which step a layer met non-finite numbers, or a linear solve failed."""
        try:
            yield
        except NonFinite as error:
            raise Diverged(f"'{error.argument}' became non-finite {self._where()}") from error
        except (ArithmeticError, torch.linalg.LinAlgError) as error:  # pyright: ignore[reportPrivateImportUsage]
            raise Diverged(f"the run failed {self._where()}: {error}") from error

    @contextmanager
    def _particles_named(self, state: Data) -> Iterator[None]:
        """Say that it is the initial particles that a method refuses; what names an option speaks for itself."""
        try:
            yield
        except ValueError as error:
            particles = not isinstance(error, InvalidArgument) or error.argument in {"s", *state.keys()}
            if self.step or self.rows or isinstance(error, NonFinite) or not particles:
                raise
            hint = "more --particles may be needed"
            raise ValueError(f"the initial particles cannot be used: {error}; {hint}") from error

    @contextmanager
    def _memory_named(self) -> Iterator[None]:
        """Say what needs too much memory, and what would need less."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            facts = self.method.facts(self.problem, self.particles)
            who = f"{self.particles:,} particles" + (f" with the backend {facts.backend}" if facts.backend else "")
            cures = " or ".join(["fewer --particles", *facts.savings])
            raise MemoryError(f"{who} need more memory than there is; take {cures}") from error

    def _require_finite(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not all_finite(tensor):
                bad = int((~torch.isfinite(tensor)).sum())
                raise Diverged(f"'{name}' became non-finite {self._where()}: {bad} of {tensor.numel()} entries")

    def _where(self) -> str:
        return f"at step {self.step} of {self.steps} (t = {self.t:g})"

    def save_checkpoint(self) -> None:
        """Write a checkpoint to the folder: what a continuation from this step needs; of several processes one."""
        if self.folder is not None and distributed.rank() == 0:
            self.folder.checkpoint.parent.mkdir(exist_ok=True)
            save_checkpoint(self.folder.checkpoint, self._taken_down())
            self.method.checkpointed()

    def _taken_down(self) -> Checkpoint:
        self.tick()
        seconds = {"wall_seconds": self.wall_seconds, "setup_seconds": self.setup_seconds}
        checkpoint = Checkpoint(record={"step": self.step, **seconds, **machine_facts(self)})
        checkpoint.add("state", tensors_of(self.state))
        checkpoint.add("method", self.method.state_dict())
        checkpoint.add("rng", {"cpu": torch.get_rng_state()})
        if self.device.type == "cuda":
            checkpoint.add("rng", {"cuda": torch.cuda.get_rng_state(self.device)})
        for index, observer in enumerate(self.observers):
            checkpoint.add(f"observer_{index}", observer.state_dict())
        return checkpoint

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to ``checkpoint``, and drop from the folder what was written after it.

        Raises:
            ValueError: If it is of another run, or of a version whose checkpoints this one cannot read.
        """
        assert self.folder is not None
        self._require_own(checkpoint, self.folder.path)
        for key, now in machine_facts(self).items():
            before = checkpoint.record.get(key, now)  # older checkpoints know less
            if before != now:
                log.warning("%s was %s and is %s: the last digits may differ", key, before, now)
        self.step = checkpoint.record["step"]
        self.wall_seconds, self.setup_seconds = checkpoint.record["wall_seconds"], checkpoint.record["setup_seconds"]
        state = {key: tensor.to(self.device) for key, tensor in checkpoint.part("state").items()}
        self.state = particle_state(**state, t=self.t, checked=False)
        self.method.prepare(self.state, self.problem)
        with self._reading(checkpoint):
            self.method.load_state_dict(checkpoint.part("method"))
            for index, observer in enumerate(self.observers):
                # Up to version 0.1.0 observers were called callbacks.
                tensors = checkpoint.part(f"observer_{index}") or checkpoint.part(f"callback_{index}")
                observer.load_state_dict(tensors)
        torch.set_rng_state(checkpoint.tensors["rng.cpu"])
        if "rng.cuda" in checkpoint.tensors:
            torch.cuda.set_rng_state(checkpoint.tensors["rng.cuda"], self.device)
        log.info("continuing from step %d of %d", self.step, self.steps)
        self.folder.rewind(self.step)
        self.rows = distributed.by_first(self.folder.read_rows)
        # A longer run has other snapshots to come; one that is there already is kept.
        self.snapshot_steps |= {self.step} & set(distributed.by_first(self.folder.snapshot_steps))

    @contextmanager
    def _reading(self, checkpoint: Checkpoint) -> Iterator[None]:
        """Say which version has written a checkpoint that does not have what is looked for."""
        try:
            yield
        except (KeyError, RuntimeError) as error:
            if out_of_memory(error):
                raise
            assert self.folder is not None
            version, now = checkpoint.record["graphlandau_version"], graphlandau.__version__
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            written = f"{self.folder.path}, written by graphlandau {version}; {reason}"
            raise InvalidArgument("folder", f"must hold a checkpoint that version {now} can read", written) from error

    def _require_own(self, checkpoint: Checkpoint, path: Path) -> None:
        """Refuse the checkpoint of another run."""
        now, before = str(self.dtype).removeprefix("torch."), checkpoint.record["dtype"]
        if now != before:
            where = f"in which the checkpoint of {path} is written"
            raise InvalidArgument("dtype", f"must be {before}, {where}", now)
        found = tuple(checkpoint.tensors["state.v"].shape)
        if found != (self.particles, self.problem.d) or checkpoint.record["step"] > self.steps:
            at = f"{found} particles at step {checkpoint.record['step']}"
            raise InvalidArgument("folder", "must hold a checkpoint of this run", f"{path}, with {at}")

    def tick(self) -> None:
        """Bring ``wall_seconds`` up to now."""
        now = time.perf_counter()
        self.wall_seconds += now - self._clock
        self._clock = now


def _settled(state: Data) -> Data:
    """The state in one memory layout, that of a restored checkpoint, and with the same bits in all processes."""
    return state.apply(lambda x: distributed.of_first(x.contiguous()))
