"""Processes that grow one registry take turns: what each does in its turn it does alone."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from saint.progress import Progress, Task
from saint.registry import Registry


@contextmanager
def in_turn(registry: Registry, progress: Progress) -> Iterator[None]:
    """Hold the registry; while another process does, wait for it, and say so once.

    Raises:
        Interrupted: A stop was asked for meanwhile.
    """
    with ExitStack() as waiting:
        tasks: list[Task] = []

        def wait() -> None:
            if not tasks:
                said = f"another process grows {registry.folder}: waiting for its turn to end"
                progress.note(said)
                tasks.append(waiting.enter_context(progress.task("waiting", total=1, unit="turns")))
            tasks[0].advance(0)

        with registry.alone(wait):
            waiting.close()
            yield
