"""Finding a graft kind, a gate or a sensitivity map by name: the folder is the registry of kinds.

A module `saint/<room>/<name>.py` whose name has no leading underscore provides the thing called
`<name>`. Third-party packages provide more through the entry-point group `saint.<room>`.
"""

import difflib
import inspect
import pkgutil
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from saint.errors import UnknownNameError

T = TypeVar("T")


def names(room: str) -> list[str]:
    """The names that `room` provides, built in and installed, sorted.

    Raises:
        UnknownNameError: A plug-in uses a name that is taken.
    """
    package = import_module(f"saint.{room}")
    built_in = [module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_")]
    installed = [point.name for point in _plug_ins(entry_points, f"saint.{room}")]
    there = sorted([*built_in, *installed])
    if twice := sorted({name for name in there if there.count(name) > 1}):
        raise UnknownNameError(f"saint.{room}: {twice} are provided twice; rename the plug-in's")
    return there


def find(room: str, name: str, kind: type[T]) -> type[T]:
    """The one final subclass of `kind` that the module called `name` defines.

    Raises:
        UnknownNameError: Nothing in `room` has that name; the message lists what does.
    """
    there = names(room)
    if name not in there:
        near = difflib.get_close_matches(name, there, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(there)}"
        raise UnknownNameError(f"saint.{room} has nothing called {name!r}; {hint}")
    for point in _plug_ins(entry_points, f"saint.{room}"):
        if point.name != name:
            continue
        loaded = point.load()
        if not (inspect.isclass(loaded) and issubclass(loaded, kind)):
            raise UnknownNameError(f"the plug-in {point.value} is no {kind.__name__}; correct or remove its package")
        return loaded
    module = import_module(f"saint.{room}.{name}")
    found = [
        thing
        for thing in vars(module).values()
        if inspect.isclass(thing) and issubclass(thing, kind) and thing.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise UnknownNameError(
            f"saint/{room}/{name}.py defines {len(found)} subclasses of {kind.__name__}; there must be exactly one"
        )
    return found[0]


@lru_cache(maxsize=64)
def _plug_ins(look_up: Callable[..., Iterable[EntryPoint]], group: str) -> tuple[EntryPoint, ...]:
    """What is installed for `group`; a process reads the metadata of all packages once, for that takes milliseconds."""
    return tuple(look_up(group=group))
