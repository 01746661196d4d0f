import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from saint.cli._terminal import json_option, registry_argument, say, say_json, shown, visible
from saint.registry import Registry

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from saint.search import Seen, Word

_EVERY_S = 1.0


@click.command()
@registry_argument
@click.option("--once", is_flag=True, help="Print one screen and end, as where the output is no terminal.")
@click.option("--metrics", "port", type=click.IntRange(0, 65535), help="Serve Prometheus metrics at this port instead.")
@click.option("--host", default="127.0.0.1", show_default=True, help="With --metrics: the address to serve at.")
@json_option
def top(registry: str, port: int | None, host: str, *, once: bool, as_json: bool) -> None:
    """Look on while REGISTRY grows: workers, jobs, what each role took, and the growth curve so far.

    Only reads; Ctrl-C ends the looking on, and nothing else. Workers are shown of `saint grow --workers`; where nobody
    is at work it says since when.
    """
    if port is not None and (once or as_json):
        raise click.UsageError("--metrics serves until Ctrl-C; it goes with neither --once nor --json.")
    view = _View(registry)
    if port is not None:
        from saint.cli._metrics import serve

        serve(view.metrics, host, port, told=lambda url: click.echo(f"metrics at {url}; Ctrl-C ends them"))
    elif as_json:
        say_json(view.record())
    elif once or not sys.stdout.isatty():
        say(view.parts())
    else:
        from rich.console import Console

        show(view.parts, Console())


class _View:
    """What is to be seen of a registry now; the ledger is summed up anew only where it has grown."""

    def __init__(self, folder: str) -> None:
        self._registry = Registry.open(folder, must_exist=True)  # unsealed: who looks on writes nothing
        self._num_entries, self._summary = -1, dict[str, Any]()

    def parts(self) -> "list[RenderableType]":
        from saint.report import top_parts

        return top_parts(self._sum_up(), self._look(), now=time.time())

    def record(self) -> dict[str, Any]:
        from saint.report import top_record

        return top_record(self._sum_up(), self._look())

    def metrics(self) -> str:
        from saint.report import metrics_text

        return metrics_text(self._sum_up(), self._look())

    def _look(self) -> "Seen":
        from saint.search import look

        return look(self._registry.work)

    def _sum_up(self) -> dict[str, Any]:
        from saint.report import summarise

        if (number := len(self._registry.ledger.past())) != self._num_entries:
            self._num_entries, self._summary = number, summarise(self._registry)
        return self._summary


def show(parts: "Callable[[], list[RenderableType]]", console: "Console", *, pause_s: float = _EVERY_S) -> None:
    """Show what `parts` gives until Ctrl-C, anew each time."""
    from rich.console import Group
    from rich.live import Live
    from rich.segment import Segments

    with Live(console=console, screen=True, auto_refresh=False) as live:
        try:
            while True:
                live.update(Segments(shown(console, Group(*parts()))), refresh=True)
                time.sleep(pause_s)
        except KeyboardInterrupt:
            return


@click.command()
@registry_argument
def pause(registry: str) -> None:
    """Let the workers on REGISTRY begin nothing new; what is under way goes on.

    Exit status: 1 where nobody is at work.
    """
    from saint.search import Word

    _ask(registry, Word.PAUSE, f"nothing new is begun until `saint resume {registry}`")


@click.command()
@registry_argument
def resume(registry: str) -> None:
    """Let the workers on REGISTRY go on after `saint pause`.

    Exit status: 1 where nobody is at work.
    """
    from saint.search import Word

    _ask(registry, Word.RESUME, "work is given out again")


@click.command()
@registry_argument
def stop(registry: str) -> None:
    """Stop growing REGISTRY with workers where it can go on later, as one Ctrl-C does.

    Exit status: 1 where nobody is at work.
    """
    from saint.search import Word

    _ask(registry, Word.STOP, f"it ends where `saint grow {registry}` can go on")


def _ask(folder: str, word: "Word", then: str) -> None:
    from saint.errors import NobodyAtWorkError
    from saint.search import Control, look

    work = Registry.open(folder, must_exist=True).work
    status, nobody = look(work)
    if status is None or nobody:
        raise NobodyAtWorkError(f"nobody is at work with workers on {folder}, so nobody can {word}: {nobody}")
    Control(work).ask(word)
    click.echo(f"asked process {status.pid} on {visible(status.host)} to {word}: {then}")
