"""A small registry whose entries and contents mean nothing."""

from pathlib import Path

from saint.registry import Registry


def registry_of(folder: Path, num_entries: int = 5, *, word: str = "seed") -> Registry:
    registry = Registry.open(folder)
    for number in range(num_entries):
        registry.write("noted", {"row": number, "word": word}, contents=[f"{word} {number}".encode() * (number + 1)])
    return registry


def contents(folder: Path) -> dict[str, bytes]:
    """What a registry is made of: every file that is not only of use to a process at work."""
    kept = ("registry.json", "log", "blobs", "checkpoints")
    files = (path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: path.read_bytes() for name, path in names.items() if name.split("/")[0] in kept}
