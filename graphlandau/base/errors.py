"""What can go wrong, by type: no code has to read what an error says."""

from __future__ import annotations

from typing import Any, TypeVar

__all__ = ["Diverged", "InvalidArgument", "NonFinite", "NotInvertible", "out_of_memory"]

SelfT = TypeVar("SelfT", bound="InvalidArgument")


class InvalidArgument(ValueError):
    """An argument that is not what is allowed: which one, what is allowed, and what came.

    Args:
        argument: Name of the argument.
        allowed: What is allowed, beginning with a verb: ``"must be positive"``.
        got: What came.
        hint: Continues the sentence, such as ``"; known: euler, midpoint"``.

    Example:
        >>> error = InvalidArgument("strength", "must be positive", -1.0)
        >>> print(error)
        'strength' must be positive (got -1.0)
        >>> print(error.renamed("problem.strength"))
        'problem.strength' must be positive (got -1.0)
    """

    def __init__(self, argument: str, allowed: str, got: Any, hint: str = "") -> None:
        super().__init__(argument, allowed, got, hint)  # all of them, so that the error can be pickled
        self.argument, self.allowed, self.got, self.hint = argument, allowed, got, hint

    def __str__(self) -> str:
        return f"'{self.argument}' {self.allowed} (got {self.got}){self.hint}"

    def renamed(self: SelfT, argument: str) -> SelfT:
        """The same error for another name of the argument, such as the key that set it."""
        return type(self)(argument, self.allowed, self.got, self.hint)


class NonFinite(InvalidArgument):
    """An argument with infinite entries, or entries that are not a number."""


class NotInvertible(ArithmeticError):
    r"""A map that is not invertible: on the way of a step :math:`\det \partial v' / \partial v \le 0` for a particle.

    Args:
        failing: Number of such particles.
        particles: Number of all particles.
        dt: The time step, if the map is that of a step.
        passing: The largest time step that would have passed, 0 if none was found.
        cure: What helps where that is not known.
    """

    def __init__(
        self,
        failing: int,
        particles: int,
        dt: float | None = None,
        passing: float = 0.0,
        cure: str = "take a smaller time step",
    ) -> None:
        super().__init__(failing, particles, dt, passing, cure)
        self.failing, self.particles, self.dt, self.passing, self.cure = failing, particles, dt, passing, cure

    def __str__(self) -> str:
        where = f"{self.failing} of {self.particles} particles ({self.failing / self.particles:.2%})"
        if self.dt is None:
            return f"the map is not invertible: det J <= 0 for {where}, which have no density; {self.cure}"
        cure = f"with this field a dt below {self.passing:.3g} would have passed (got {self.dt:g})"
        return f"the map of the step is not invertible: on its way det dv'/dv <= 0 for {where}; {cure}"


class Diverged(ArithmeticError):
    """A quantity became infinite or not a number, or a solve failed; the message says which and when."""


def out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that there is not enough memory.

    On a CPU torch says so in words only, by a plain ``RuntimeError``; nowhere else is the text of an error read.
    """
    import torch  # not on top: the command line refuses what is typed without it

    words = "can't allocate memory"
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or words in str(error)
