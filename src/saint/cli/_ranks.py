"""Growth under torchrun: the first process grows, the others train with it."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, final

import click

if TYPE_CHECKING:
    from saint.growth import Ranks


def are_several() -> bool:
    """Whether torchrun, or what sets the same environment, has started more processes than this one."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_another() -> bool:
    """Whether this is one of several, and not the first."""
    return are_several() and int(os.environ.get("RANK", "0")) > 0


def serve_the_first(device: str) -> None:
    """Train with the first process until it ends; whether to stop is for that one to hear.

    Args:
        device: Of PyTorch's names; `cuda` is one for each process of a machine.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    from saint.cli._terminal import quieten
    from saint.growth import serve
    from saint.training import device_named, together

    quieten()
    place = device_named(device)
    with together(place, in_words=True) as processes:
        serve(processes, place)


@contextmanager
def leading(device: str) -> "Iterator[Ranks | None]":
    """The others, who end with this process; None where there are none.

    Raises:
        ConfigError: The device is not there.
    """
    if not are_several():
        yield None
        return
    from saint.growth import Ranks
    from saint.training import device_named, together

    place = device_named(device)
    with together(place, in_words=True) as processes, Ranks(processes, place) as ranks:
        yield ranks


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Several:
    """What is asked of the processes that torchrun starts."""

    device: str
    """Of PyTorch's names; `cuda` is one for each process of a machine."""
    fsdp: bool
    """Whether the base is divided among them."""

    def must_be_there(self, registry: str) -> None:
        """Refuse what only several processes can be told, and to divide a base that new layers are copied from.

        Raises:
            UsageError: There is one process, or growth is by layers.
        """
        if are_several():
            if self.fsdp and registry.endswith(".toml"):
                raise click.UsageError(
                    "growth by layers copies blocks of its base, which --fsdp divides; leave --fsdp out."
                )
            return
        if self.fsdp:
            raise click.UsageError(
                "--fsdp divides the base among processes, and there is one; start several with torchrun."
            )
        if self.device != "cpu":
            raise click.UsageError("--device is of the processes that torchrun starts; leave it out.")


def several_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of several processes, which the command gets as `several`."""

    @click.option("--device", default="cpu", help="Under torchrun: where each process computes, such as cuda.")
    @click.option("--fsdp", is_flag=True, help="Under torchrun: divide the base among the processes, too.")
    @wraps(command)
    def with_several(*args: Any, device: str, fsdp: bool, **options: Any) -> None:
        command(*args, several=Several(device=device, fsdp=fsdp), **options)

    return with_several
