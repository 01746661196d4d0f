import platform
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from saint.search._code import code_digest
from saint.search._parcel import Parcel, ParcelFile, node_root


def own_version() -> str:
    """Of what is installed on this machine, as far as results depend on it."""
    return f"saint-g {version('saint-g')} with code {code_digest(())[:12]} on Python {platform.python_version()}"


def seen_here(plain: Sequence[tuple[str, Sequence[tuple[str, int, str]]]], mark: str) -> dict[str, Any]:
    """What a machine of a cluster says of itself.

    Args:
        plain: Folder and files of each parcel.
        mark: A file of the coordinator's machine.
    """
    root = node_root()
    parcels = [Parcel(folder, tuple(ParcelFile(*file) for file in files)) for folder, files in plain]
    return {
        "version": own_version(),
        "sees": Path(mark).exists(),
        "root": str(root),
        "lacking": sum(parcel.lacking_bytes(root) for parcel in parcels),
        "free": shutil.disk_usage(root).free,
    }
