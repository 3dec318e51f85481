"""What the command says: its usage, its errors in one line, and what the library has to say, on stderr."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from typing import Any

__all__ = ["USAGE", "fail", "messages_on_stderr", "several", "speaks"]

USAGE = """usage: graphlandau run --problem NAME --method NAME [--score NAME | --control NAME] [--KEY VALUE ...]
       graphlandau run --config FILE [--KEY VALUE ...]
       graphlandau run --resume RUN_DIR [--t_end LATER] [--threads NUMBER]
       torchrun --nproc-per-node=K -m graphlandau run ...    the same by K processes
       graphlandau sweep --out DIR --over KEY=V1,V2,... [--case NAME="--KEY VALUE ..."] [--jobs NUMBER] [--commands]
                         [--KEY VALUE ...]
       graphlandau compare RUN_DIR RUN_DIR ... [--out DIR]
       graphlandau list            problems, methods, scores, backends, experiments
       graphlandau plot RUN_DIR [--figures png|pdf|svg]    draw the figures of a run
       graphlandau doctor          what works on this machine
       graphlandau --version

A NAME is one of `graphlandau list`, or the import path of a class of your own (my_lab.nets.MyScore).
`graphlandau run --problem NAME --method NAME --help` lists every KEY; `--print_config` shows the run.

sweep makes a run in DIR for each combination of the values of every --over (KEY=[V1,V2] where a value has a comma)
and each --case, a named set of options that belong together:
  graphlandau sweep --out sweeps/a --problem bkw_2d --over particles=1000,4000 --over seed=0,1 --jobs 2 \\
      --case blob="--method blob" --case mlp="--method sbtm --score mlp"
The same command goes on where it stopped; DIR/sweep.csv has a row for each run. --commands prints the runs that are
left, one `graphlandau run` a line, for a job array. compare draws runs of one problem into one figure and one table
(comparison/comparison.png and .csv unless --out is given); files among the folders are passed over."""


def several() -> bool:
    """Whether torchrun has started several processes, of which this is one."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ


def speaks() -> bool:
    """Whether this process speaks for all."""
    return not several() or os.environ.get("RANK", "0") == "0"


def _one_line(message: str) -> str:
    """Join lines; spaces inside one are kept, for they may be those of a path."""
    return " ".join(line.strip() for line in message.splitlines() if line.strip())


def fail(message: str, status: int, follows: bool = False) -> int:
    """Say what is wrong; of several processes that have one error, one says it, and last of all one it ``follows``."""
    said = _one_line(message)
    if several():
        from graphlandau.base import distributed

        # torchrun ends the others as soon as one has ended: they may finish their sentence.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if distributed.world() > 1:
            said = distributed.what_to_say(said, follows)
        elif not speaks():
            said = None
    if said is not None:
        print(f"error: {said}", file=sys.stderr)
    return status


@contextmanager
def messages_on_stderr() -> Iterator[None]:
    """Show what the library says, and each warning in one line; all but the first process are silent."""

    def show(message: Warning | str, *_: Any) -> None:
        print(f"warning: {_one_line(str(message))}", file=sys.stderr)

    logger = logging.getLogger("graphlandau")
    handler = logging.StreamHandler(sys.stderr) if speaks() else logging.NullHandler()
    with ExitStack() as after, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch_geometric causes some on import
        logger.addHandler(handler)
        after.callback(logger.removeHandler, handler)
        if speaks():
            logger.setLevel(logging.INFO)
            warnings.showwarning = show
        else:
            warnings.simplefilter("ignore")
            after.enter_context(redirect_stdout(after.enter_context(open(os.devnull, "w"))))
        yield
