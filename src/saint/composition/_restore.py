from saint.errors import GraftFileError
from saint.grafts import Graft, grow_from
from saint.registry import STANDING, Registry


def restore(registry: Registry, name: str = STANDING) -> list[Graft]:
    """The grafts of a composition, first graft first, ready to compose; by default those that stand.

    Args:
        name: Of the composition, as `Registry.composition` takes it.

    Raises:
        UnknownNameError: Nothing is called so.
        RolledBackError: A graft of it does not stand any more.
        LedgerError: The ledger or a stored graft was changed.
        GraftFileError: A stored graft is not one that its record describes.
    """
    grafts = registry.composition(name).must_stand().grafts
    return [restore_one(registry, one.graft, scale=one.scale) for one in grafts]


def restore_one(registry: Registry, digest: str, *, scale: float = 1.0) -> Graft:
    """One graft that was recorded, whether it stands or not.

    Args:
        scale: What the strength that it was stored with is multiplied by. Where that is not 1, the graft's own digest
            is another than the one that it was recorded under.

    Raises:
        GraftFileError: Its stored weights are not what its record describes.
    """
    entry = registry.entry(digest)
    try:
        graft = grow_from(entry.candidate, weights=registry.payload(entry.digest))
    except GraftFileError as error:
        raise GraftFileError(f"graft {digest[:12]}: {error}") from error
    if scale != 1:
        graft.set_strength(graft.strength * scale)
    return graft.requires_grad_(requires_grad=False).eval()
