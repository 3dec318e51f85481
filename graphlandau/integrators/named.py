"""The integrators that have a name, and how a stranger's is found."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, TypeVar

from graphlandau.base.errors import InvalidArgument
from graphlandau.integrators.integrator import Integrator
from graphlandau.integrators.midpoint import Midpoint
from graphlandau.integrators.runge_kutta import RUNGE_KUTTA, RungeKutta

__all__ = ["INTEGRATORS", "explicit_integrator", "integrator_of"]

KindT = TypeVar("KindT", bound=Integrator)

INTEGRATORS: dict[str, Integrator] = dict(sorted({**RUNGE_KUTTA, "midpoint": Midpoint()}.items()))


def integrator_of(given: str | Integrator) -> Integrator:
    """Return the integrator of this name, or at this import path (``my_lab.schemes.heun``), or the one given.

    Raises:
        ValueError: If there is none.
    """
    return _found(given, Integrator, INTEGRATORS)


def explicit_integrator(given: str | Integrator) -> RungeKutta:
    """Return the explicit integrator of this name, or at this import path, or the one given.

    Raises:
        ValueError: If there is none.
    """
    return _found(given, RungeKutta, RUNGE_KUTTA)


def _found(given: str | Integrator, kind: type[KindT], known: Mapping[str, KindT]) -> KindT:
    allowed = f"must be one of {', '.join(known)}, or a {kind.__name__} by its import path"
    found: Any = known.get(given, given) if isinstance(given, str) else given
    if isinstance(found, str) and "." in found:
        module, _, name = found.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), name)
        except Exception as error:  # whatever a user's module does when it is imported
            reason = f"{given!r}: {type(error).__name__}: {error}"
            raise InvalidArgument("integrator", allowed, reason) from error
    if not isinstance(found, kind):
        raise InvalidArgument("integrator", allowed, repr(given))
    return found
