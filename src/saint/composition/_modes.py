"""Several compositions at once over one base in memory."""

from collections.abc import Iterator, Mapping, Sequence
from typing import final

from saint.composition._compose import Composed, compose
from saint.composition._restore import restore_one
from saint.errors import BaseChangedError, UnknownNameError
from saint.grafts import Graft
from saint.models import FrozenBase
from saint.records import Scaled
from saint.registry import BASE, STANDING, Registry


@final
class Modes:
    """Compositions by name, all live over one base: `modes["code"](input_ids)`, `modes["code"].generate(input_ids)`.

    Each is a module tree of its own over the very tensors of the base, so that nothing is switched: calls of several
    modes may be interleaved, nested in one another, or made by several threads, and each answers as `compose` of its
    stack alone does, to the bit. Threads that call one mode wait for one another.

    What is rolled back after they were made is not taken out of them: make them again then.
    """

    def __init__(self, base: FrozenBase, stacks: Mapping[str, Sequence[Graft]]) -> None:
        """Compose each of `stacks`; a graft may be in several. `base` is the composition of no graft.

        Raises:
            SiteError: The base has no such site.
        """
        self._modes = {name: compose(base, stack) for name, stack in {BASE: (), **stacks}.items()}
        for mode in self._modes.values():
            mode.take_turns()

    @classmethod
    def of(cls, registry: Registry, base: FrozenBase, *names: str) -> "Modes":
        """Compositions that a registry knows; a graft is read and held once for each scale that it has in any of them.

        Args:
            base: The one that the registry is about.
            names: As `Registry.composition` takes them; `standing` if none are given.

        Raises:
            UnknownNameError: Nothing is called so.
            RolledBackError: A graft of one does not stand any more.
            BaseChangedError: The registry is about another base.
            GraftFileError: A stored graft is not one that its record describes.
        """
        if (known := registry.state.base) and known != base.digest:
            raise BaseChangedError(
                f"{registry.folder} is about base {known[:12]}, the base in memory is {base.digest[:12]}; freeze "
                "the registry's"
            )
        found = [registry.composition(name).must_stand() for name in names or (STANDING,)]
        held: dict[Scaled, Graft] = {}
        for one in (one for composition in found for one in composition.grafts):
            if one not in held:
                held[one] = restore_one(registry, one.graft, scale=one.scale)
        return cls(base, {composition.name: [held[one] for one in composition.grafts] for composition in found})

    @property
    def num_bytes(self) -> int:
        """What all modes hold in memory beside the base: each graft once, whatever modes it is in."""
        grafts = {id(graft): graft for mode in self._modes.values() for graft in mode.stack}
        tensors = [one for graft in grafts.values() for one in (*graft.parameters(), *graft.buffers())]
        return sum(tensor.nbytes for tensor in tensors)

    def __getitem__(self, name: str) -> Composed:
        if name not in self._modes:
            raise UnknownNameError(f"there is no mode {name!r}; there are {', '.join(self._modes)}")
        return self._modes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._modes)

    def __len__(self) -> int:
        return len(self._modes)
