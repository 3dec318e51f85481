"""Names that users have typed and that have changed: read for one version more, with a notice of one line."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

log = logging.getLogger(__name__)

__all__ = ["KEYS", "MODULES", "current_keys", "current_path"]

# Modules whose classes are named in configurations, by where these are now.
MODULES = {
    "graphlandau.schedules": "graphlandau.training",
    "graphlandau.methods.kinetic": "graphlandau.methods",
    "graphlandau.problems.kinetic": "graphlandau.problems",
}
# Options of a run.
KEYS = {"floors": "baselines"}

_noticed: set[str] = set()


def current_path(path: str) -> str:
    """Return the import path under which the class at ``path`` is known now.

    Example:
        >>> current_path("graphlandau.schedules.StepDecay"), current_path("my_lab.nets.MyNet")
        ('graphlandau.training.StepDecay', 'my_lab.nets.MyNet')
    """
    for old, new in MODULES.items():
        if path.startswith(f"{old}."):
            # The class may have stood in a module of its own there.
            found = f"{new}.{path.rpartition('.')[2]}"
            _notice(path, found)
            return found
    return path


def current_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` by the keys that are known now.

    Raises:
        ValueError: If the old and the new name of one key are both given.

    Example:
        >>> current_keys({"floors": "false", "dt": "0.1"})
        {'baselines': 'false', 'dt': '0.1'}
    """
    found = {}
    for key, value in values.items():
        now = KEYS.get(key, key)
        if now != key:
            if now in values:
                raise ValueError(f"'{key}' is the old name of '{now}' (got both)")
            _notice(f"--{key}", f"--{now}")
        found[now] = value
    return found


def _notice(old: str, new: str) -> None:
    """Say once in a process that a name has changed."""
    if old not in _noticed:
        _noticed.add(old)
        log.warning("note: %s is now %s; the old name goes with the next version", old, new)
