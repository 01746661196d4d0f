"""What all commands share: errors as one sentence, progress on the terminal, a clean stop on Ctrl-C."""

import json
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import click
from typing_extensions import override

from saint.errors import Interrupted, SaintError
from saint.progress import Progress, Task

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress as RichProgress, TaskID
    from rich.segment import Segment

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
registry_argument = click.argument("registry", type=click.Path())


_TRACEBACK = "SAINT_TRACEBACK"
_COULD_NOT_CHECK = 3
_CONTROLS = (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000))
"""Control characters, those that change the direction of text, and halves of characters, which no terminal can show."""
_COMMANDS = {code: "\N{REPLACEMENT CHARACTER}" for code in _CONTROLS if chr(code) not in "\t\n"}
_TALKATIVE = ("torchao", "torch.utils._pytree", "bitsandbytes")
"""Where they are installed, importing transformers makes them tell of kernels that they did not find."""
for _talkative in _TALKATIVE:  # here, as worker processes import this before they load anything
    logging.getLogger(_talkative).setLevel(logging.ERROR)


@final
class SaintGroup(click.Group):
    """Turns errors that were raised on purpose into one sentence and an exit status."""

    @override
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SaintError as error:
            click.echo(f"saint: {visible(str(error))}", err=True)
            ctx.exit(error.exit_status)
        except BrokenPipeError:
            ctx.exit(0)  # whoever read the output has seen enough
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            click.echo(f"saint: {visible(f'{place}{error.strerror or error}')}", err=True)
            ctx.exit(1)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except Exception as error:
            if os.environ.get(_TRACEBACK):
                raise
            click.echo(f"saint: {visible(_unexpected(error))}", err=True)
            ctx.exit(_COULD_NOT_CHECK)


def _unexpected(error: Exception) -> str:
    """Of a fault of ours, or of a registry that holds what none of ours would: nothing is known then, so it is no 1."""
    *_, last = traceback.extract_tb(error.__traceback__)
    said = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return (
        f"could not go on, as nobody expected this ({said}; {Path(last.filename).name}:{last.lineno}); if REGISTRY was "
        f"written by saint-g alone, report it with what the same command says where {_TRACEBACK}=1 is set"
    )


def visible(text: str) -> str:
    """Text of anybody's for a terminal: what would command it, or turn the order of letters around, is a mark."""
    return text.translate(_COMMANDS)


def share(_context: click.Context, _parameter: click.Parameter, value: str) -> float:
    """A share such as 5%, as a number between 0 and 1."""
    try:
        found = float(value.removesuffix("%")) / 100
    except ValueError:
        found = -1.0
    if not 0 < found <= 1:
        raise click.BadParameter(f"{value!r} is no share; give a percentage above 0 and up to 100, such as 5%")
    return found


def say(parts: Iterable["RenderableType"]) -> None:
    """Print tables and lines to standard output."""
    from rich.console import Console
    from rich.segment import Segments

    console = Console(soft_wrap=False, width=None if sys.stdout.isatty() else 160)
    for part in parts:
        console.print(Segments(shown(console, part)), end="")


def shown(console: "Console", part: "RenderableType") -> "list[Segment]":
    """What is printed of tables and lines, with nobody's commands in it."""
    from rich.segment import Segment

    return [one if one.control else Segment(visible(one.text), one.style) for one in console.render(part)]


def say_json(record: Any) -> None:
    """Print plain data as JSON."""
    click.echo(json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False))


@contextmanager
def watching(*, models: bool = True) -> Iterator["Terminal"]:
    """Show progress on standard error, and let the first Ctrl-C stop the work after the current step.

    Args:
        models: Whether the work is with models, whose libraries have to be kept quiet, and so are loaded.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress as RichProgress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    if models:
        quieten()
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    bars = RichProgress(*columns, console=console, transient=True, disable=not console.is_terminal)
    terminal = Terminal(bars)
    previous = signal.signal(signal.SIGINT, terminal.ask_to_stop)
    try:
        with bars:
            yield terminal
    finally:
        signal.signal(signal.SIGINT, previous)


def quieten() -> None:
    """Keep the libraries' own bars and advice off the terminal; their errors still come through."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells of every retry; the last error says it all
    warnings.filterwarnings("ignore", module="transformers")


@final
class Terminal(Progress):
    """Progress bars with a rate and the time that is left."""

    def __init__(self, bars: "RichProgress") -> None:
        self._bars = bars
        self._stop = False

    def ask_to_stop(self, _signal: int, _frame: Any) -> None:
        """The first Ctrl-C asks, the second one insists."""
        if self._stop:
            raise KeyboardInterrupt
        self._stop = True
        self.note("stopping after the current step; press Ctrl-C again to stop at once")

    @property
    def asked_to_stop(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._stop

    @override
    @contextmanager
    def task(self, description: str, *, total: int | None, unit: str) -> Iterator[Task]:
        task = self._bars.add_task(description, total=total, rate="")
        try:
            yield _Bar(self, self._bars, task, unit)
        finally:
            self._bars.remove_task(task)

    @override
    def note(self, message: str) -> None:
        self._bars.console.print(message, markup=False, highlight=False, soft_wrap=True)


@final
class _Bar:
    def __init__(self, terminal: Terminal, bars: "RichProgress", task: "TaskID", unit: str) -> None:
        self._terminal, self._bars, self._task, self._unit = terminal, bars, task, unit

    def advance(self, amount: int) -> None:
        self._bars.advance(self._task, amount)
        speed = self._bars.tasks[self._bars.task_ids.index(self._task)].speed
        self._bars.update(self._task, rate=f"{speed:,.0f} {self._unit}/s" if speed else "")
        if self._terminal.asked_to_stop:
            raise Interrupted("stopped where it can go on; run the same command again to continue")


def graft_of(grafts: Iterable[Mapping[str, Any]], digest: str) -> Mapping[str, Any]:
    """The last judgement of the graft with that digest."""
    return [graft for graft in grafts if graft["digest"] == digest][-1]
