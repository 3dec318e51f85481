"""What works on this machine, and the cure for what does not."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import platform
import shutil
import subprocess
import sysconfig
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import torch

import graphlandau
from graphlandau.base.threads import SLOW, thread_speedup
from graphlandau.nn.pairs import MESH_FROM, choose_backend, compile_available, keops_available

__all__ = ["report"]

_NO_COMPILER = "Cure: apt-get install g++ python3-dev"


def report() -> str:
    """Return one line per part: what works here, the cure for what does not, and what ``auto`` will choose.

    Compiles two tiny functions, which takes up to a minute the first time; nothing raises.
    """
    logging.getLogger(__name__).info("trying the compilers, up to a minute the first time ...")
    lines = {
        "graphlandau": lambda: graphlandau.__version__,
        "python": lambda: f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "torch": lambda: torch.__version__,
        "torch-geometric": lambda: metadata.version("torch-geometric"),
        "threads": _threads,
        "cuda": _cuda,
        "compiler": _compiler,
        "torch.compile": _compile,
        "keops": _keops,
        "torch-cluster": _torch_cluster,
        "backend auto": _auto,
    }
    width = max(map(len, lines))
    return "\n".join(f"{name:<{width}}  {_answer(ask)}" for name, ask in lines.items())


def _answer(ask: Callable[[], str]) -> str:
    """Return what a probe says, in one line, even when it fails in a way nobody has thought of."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return " ".join(ask().split())
    except Exception as error:
        return " ".join(f"not found out ({type(error).__name__}: {error})".split())


def _threads() -> str:
    count = f"{torch.get_num_threads()} of {os.cpu_count()} cores"
    if torch.get_num_threads() == 1:
        return count
    speedup = thread_speedup()
    if speedup >= 1:
        return f"{count}, {speedup:.2g} times as fast as one"
    cure = ". Cure while others compute here: --threads 1" if speedup * SLOW < 1 else ""
    return f"{count}, {1 / speedup:.2g} times as slow as one{cure}"


def _cuda() -> str:
    if not torch.cuda.is_available():
        why = "this torch is a CPU build" if torch.version.cuda is None else "no device or driver"
        return f"none, {why}: runs use the CPU. Cure, with an NVIDIA GPU: TORCH_INDEX_URL=... sh setup.sh demo"
    devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return ", ".join(f"{device.name} ({device.total_memory / 2**30:.0f} GiB)" for device in devices)


def _cxx() -> str:
    return os.environ.get("CXX", "g++")


def _compiler() -> str:
    compiler = _cxx()
    if shutil.which(compiler) is None:
        return f"no {compiler}: the compiled and KeOps backends are off. {_NO_COMPILER}"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return f"{compiler}, but no Python.h. {_NO_COMPILER}"
    return subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


def _compile() -> str:
    works, reason, seconds = _timed(compile_available)
    if works:
        return f"works ({seconds:.1f} s)"
    return f"fails, pair sums stay eager and slower ({reason}). {_NO_COMPILER}"


def _keops() -> str:
    if importlib.util.find_spec("pykeops") is None:
        return "not installed (optional). Cure: pip install 'graphlandau[keops]'"
    works, reason, seconds = _timed(keops_available)
    if not works:
        return f"fails, backend 'keops' is off ({reason}). {_NO_COMPILER}, or a writable KEOPS_CACHE_FOLDER"
    if shutil.which(_cxx()) is None:
        return f"works only for what it compiled before, there is no {_cxx()}. {_NO_COMPILER}"
    return f"pykeops {metadata.version('pykeops')} works ({seconds:.1f} s)"


def _torch_cluster() -> str:
    if importlib.util.find_spec("torch_cluster") is None:
        return (
            "not installed (optional: neighbour graphs of CUDA tensors; others never need it). "
            "Cure: pip install --no-build-isolation torch-cluster, which compiles for 10 to 30 minutes"
        )
    importlib.import_module("torch_cluster")
    return f"{metadata.version('torch-cluster')} works"


def _auto() -> str:
    compiled = "compiled where it pays" if compile_available()[0] else "eager"
    choices = []
    for gamma, particles in ((0.0, 2), (-3.0, 2), (-3.0, MESH_FROM)):
        backend = choose_backend(gamma, 3, particles)
        size = f" from {particles:,} particles" if backend == "mesh" else ""
        choices.append(f"gamma = {gamma:g}{size}: {backend}{f' ({compiled})' if backend == 'dense' else ''}")
    devices = "CPU and CUDA" if torch.cuda.is_available() else "CPU"
    return f"{'; '.join(choices)} on {devices}"


def _timed(probe: Callable[[], tuple[bool, str]]) -> tuple[bool, str, float]:
    start = time.perf_counter()
    return *probe(), time.perf_counter() - start
