"""A trained flow map and score, and the file they are kept in."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import graphlandau
from graphlandau.base.errors import InvalidArgument
from graphlandau.base.files import read_tensors, write_tensors
from graphlandau.nn.flow import FlowMap
from graphlandau.nn.score.time_score import TimeScore
from graphlandau.nn.time_field import TimeField
from graphlandau.problems import Problem

__all__ = ["TrainedFlow"]


@dataclass
class TrainedFlow:
    r"""A flow map and a score trained together for one problem.

    ``flow.at(v0, t)`` gives the particles at any time of the interval, ``score.at(t)`` their score model.

    Attributes:
        flow: Flow map.
        score: Score at all times.
        problem: ``name``, ``d``, ``gamma``, ``strength``, ``t_start`` and some initial samples of the problem they were
            trained for.
        training: How they were trained: JSON values.

    Example:
        >>> import tempfile
        >>> from graphlandau.nn import TimeMLP
        >>> from graphlandau.problems import BKW
        >>> pair = (FlowMap(TimeMLP(2), 2, 0.0, 5.0), TimeScore(TimeMLP(2), 2, 0.0, 5.0))
        >>> trained = TrainedFlow.of(*pair, BKW(d=2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     trained.save(Path(folder) / "trained.safetensors")
        ...     again = TrainedFlow.load(Path(folder) / "trained.safetensors")
        >>> v0 = torch.ones(3, 2)
        >>> torch.equal(again.flow.at(v0, 2.5), trained.flow.at(v0, 2.5))
        True
    """

    flow: FlowMap
    score: TimeScore
    problem: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, flow: FlowMap, score: TimeScore, problem: Problem, training: Mapping[str, Any] | None = None
    ) -> TrainedFlow:
        """Pair what was trained with the problem it was trained for."""
        return cls(flow, score, describe(problem), dict(training or {}))

    def save(self, path: str | Path, tensors: Mapping[str, Tensor] | None = None) -> None:
        """Write one safetensors file, atomically: weights (and further ``tensors``), and all else in its header.

        Raises:
            ValueError: If it cannot be written.
        """
        record = {
            "graphlandau_version": graphlandau.__version__,
            "problem": self.problem,
            "t_end": self.flow.t_end,
            "flow": {"network": _describe(self.flow.network), "initial": self.flow.initial},
            "score": {"network": _describe(self.score.network), "base": self.score.base},
            "training": self.training,
        }
        content = {f"flow.{k}": x for k, x in self.flow.state_dict().items()}
        content |= {f"score.{k}": x for k, x in self.score.state_dict().items()} | dict(tensors or {})
        # Copies: tensors of one storage cannot be written, and what is not contiguous neither.
        content = {k: x.detach().cpu().clone().contiguous() for k, x in content.items()}
        try:
            write_tensors(Path(path), content, record)
        except OSError as error:
            raise InvalidArgument("path", "must be a file that can be written", f"{path}: {error.strerror}") from error

    @classmethod
    def load(cls, path: str | Path, *, flow: nn.Module | None = None, score: nn.Module | None = None) -> TrainedFlow:
        """Read what :meth:`save` wrote.

        Args:
            path: The file.
            flow: Network of the flow, of the class and sizes that were trained. Needed, and used, only where it is of
                a class that is not of this package: a file is not trusted to name code.
            score: Network of the score, likewise.

        Raises:
            ValueError: If it is no such file, or a network is needed or does not fit.
        """
        record, tensors = read_trained(path)
        try:
            problem, t_end = record["problem"], record["t_end"]
            flow_record, score_record = record["flow"], record["score"]
            networks = {
                "flow": _rebuild(path, "flow", flow_record["network"], flow),
                "score": _rebuild(path, "score", score_record["network"], score),
            }
            interval = (problem["d"], problem["t_start"], t_end)
            flow_map = FlowMap(networks["flow"], *interval, initial=flow_record["initial"])
            time_score = TimeScore(networks["score"], *interval, base=score_record["base"])
            training = record["training"]
        except (AttributeError, ImportError, KeyError, TypeError) as error:
            raise InvalidArgument("trained", "must be a trained flow of this package", f"{path}: {error}") from error
        for name, module in (("flow", flow_map), ("score", time_score)):
            load_weights(path, name, module, tensors)
        return cls(flow_map, time_score, problem, training)

    def require_problem(self, problem: Problem, t_end: float, path: str | Path) -> None:
        """Refuse a problem, dimension or horizon that this was not trained for.

        Raises:
            ValueError: In one line that names the first difference.
        """
        for key, value in describe(problem).items():
            found = self.problem.get(key)
            if key == "initial_samples":
                if not _close(found, value):
                    raise InvalidArgument("trained", f"must be for the initial density of {problem.name}", path)
            elif found != value:
                key = "problem" if key == "name" else f"problem.{key}"
                raise InvalidArgument("trained", f"must be for {key} = {value!r}", f"{path}, trained for {found!r}")
        if t_end > self.flow.t_end + 1e-9 * (self.flow.t_end - self.flow.t_start):
            reach = f"trained to t = {self.flow.t_end:g}"
            raise InvalidArgument("t_end", f"must be within the times of {path}, {reach}", f"{t_end:g}")


def describe(problem: Problem) -> dict[str, Any]:
    """Return what decides the solution of a problem; a few samples stand for its initial density."""
    keys = ("name", "d", "gamma", "strength", "t_start")
    samples = problem.sample(4, generator=torch.Generator().manual_seed(0))
    # In single precision, so that another machine's rounding makes no difference.
    return {key: getattr(problem, key) for key in keys} | {"initial_samples": samples.float().flatten().tolist()}


def read_trained(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return header and tensors of a file written by :meth:`TrainedFlow.save`.

    Raises:
        ValueError: If it cannot be read.
    """
    try:
        return read_tensors(path)
    except ValueError as error:
        raise InvalidArgument("trained", "must be a file of trained networks", f"{path}: {error}") from error


def load_weights(path: str | Path, name: str, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put the tensors below ``name`` into ``module``.

    Raises:
        ValueError: If they do not fit.
    """
    start = f"{name}."
    weights = {key.removeprefix(start): x for key, x in tensors.items() if key.startswith(start)}
    # In the precision in which each was trained.
    for key, x in (*module.named_parameters(), *module.named_buffers()):
        if key in weights and weights[key].is_complex() == x.is_complex():
            x.data = x.data.to(weights[key].dtype)
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(f"'{name}' must be the network that was trained in {path} ({reason})") from error


def _describe(network: TimeField) -> dict[str, Any]:
    return {"class_path": _class_path(network), "arguments": network.arguments}


def _class_path(network: nn.Module) -> str:
    kind = type(getattr(network, "module", network))  # a user's plain network is wrapped
    return f"{kind.__module__}.{kind.__qualname__}"


def _close(samples: Any, others: list[float]) -> bool:
    """Whether the samples of a file are those of a problem."""
    try:
        return torch.allclose(torch.tensor(samples, dtype=torch.float64), torch.tensor(others).double(), 1e-5, 1e-5)
    except (RuntimeError, TypeError, ValueError):
        return False


def _rebuild(path: str | Path, name: str, record: Mapping[str, Any], given: nn.Module | None) -> nn.Module:
    class_path, arguments = record["class_path"], record["arguments"]
    module, _, kind = class_path.rpartition(".")
    if arguments is None or module.partition(".")[0] != "graphlandau":
        if given is not None:
            if _class_path(given) != class_path:
                own = f"the network that was trained in {path}, a {class_path}"
                raise InvalidArgument(name, f"must be {own}", f"a {_class_path(given)}")
            return given
        raise ValueError(f"'{name}' must be given to load {path}: it holds the weights of a {class_path} only")
    found = getattr(importlib.import_module(module), kind, None)
    if not (isinstance(found, type) and issubclass(found, TimeField)):
        raise InvalidArgument(
            "trained", "must be a trained flow of this package", f"{path}: its {name} is a {class_path}"
        )
    return found(**arguments)
