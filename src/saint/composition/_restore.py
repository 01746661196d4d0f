from saint.errors import GraftFileError
from saint.grafts import Graft, grow_from
from saint.registry import Registry


def restore(registry: Registry) -> list[Graft]:
    """The grafts that stand in `registry`, oldest first, ready to compose.

    Raises:
        LedgerError: The ledger or a stored graft was changed.
        GraftFileError: A stored graft is not one that its record describes.
    """
    return [restore_one(registry, entry.digest) for entry in registry.accepted()]


def restore_one(registry: Registry, digest: str) -> Graft:
    """One graft that was recorded, whether it stands or not.

    Raises:
        GraftFileError: Its stored weights are not what its record describes.
    """
    entry = registry.entry(digest)
    try:
        graft = grow_from(entry.candidate, weights=registry.payload(entry.digest))
    except GraftFileError as error:
        raise GraftFileError(f"graft {digest[:12]}: {error}") from error
    return graft.requires_grad_(requires_grad=False).eval()
