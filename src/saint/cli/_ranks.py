"""Growth under torchrun: the first process grows, the others train with it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from saint.growth import Ranks


def are_several() -> bool:
    """Whether torchrun, or what sets the same environment, has started more processes than this one."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_another() -> bool:
    """Whether this is one of several, and not the first."""
    return are_several() and int(os.environ.get("RANK", "0")) > 0


def serve_the_first() -> None:
    """Train with the first process until it ends; whether to stop is for that one to hear."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    from saint.cli._terminal import quieten
    from saint.growth import serve
    from saint.training import together

    quieten()
    with together(torch.device("cpu"), in_words=True) as processes:
        serve(processes)


@contextmanager
def leading() -> "Iterator[Ranks | None]":
    """The others, who end with this process; None where there are none."""
    if not are_several():
        yield None
        return
    import torch

    from saint.growth import Ranks
    from saint.training import together

    with together(torch.device("cpu"), in_words=True) as processes, Ranks(processes) as ranks:
        yield ranks
