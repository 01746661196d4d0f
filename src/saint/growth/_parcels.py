"""What workers on other machines need of a registry, and how they open it there."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import final

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from saint.errors import BaseModelError
from saint.growth._orders import Brief
from saint.growth._worker import open_bench
from saint.search import OpenBench, Parcel, RayActors, RayCluster

_OF_A_MODEL = (".safetensors", ".json", ".txt", ".model", ".jinja")


def parcels_for(brief: Brief) -> list[Parcel]:
    """The base's files, and those of the text that workers may see: nothing sealed is among them.

    Raises:
        BaseModelError: The base came from the hub and is not kept on this machine.
        StorageError: A file cannot be read.
    """
    folder = _folder_of(brief)
    base = [file.name for file in folder.iterdir() if file.is_file() and file.suffix in _OF_A_MODEL]
    root = Path(brief.text)
    text = [file.relative_to(root).as_posix() for name in brief.digests for file in (root / name).iterdir()]
    return [Parcel.of(folder, base), Parcel.of(root, text)]


@final
class OpeningAnywhere:
    """Opens the bench of a worker from the folders that its machine has the parcels in."""

    def __init__(self, brief: Brief, prepare: Callable[[], None] | None) -> None:
        """Describe it.

        Args:
            prepare: A function of a module, called first.
        """
        self._brief, self._prepare = brief, prepare

    def __call__(self, folders: Sequence[Path]) -> OpenBench:
        base, text = folders
        return partial(open_bench, replace(self._brief, base=str(base), revision=None, text=str(text)), self._prepare)


def on_cluster(brief: Brief, cluster: RayCluster, prepare: Callable[[], None] | None = None) -> tuple[Brief, RayActors]:
    """Workers on a cluster whose machines were found to be in order, and what they are told.

    Where a machine does not see the folder for work in progress, no worker keeps anything there: what a lost one had
    under way begins anew, and the whole base is trained further, as a control, by the coordinator itself.

    Args:
        prepare: A function of a module, called first in each worker.

    Raises:
        ConfigError: A machine has another version of this package, or none.
        StorageError: One has no room for base and text.
        WorkerError: One does not answer.
    """
    parcels = parcels_for(brief)
    if not cluster.look(parcels, Path(brief.work)):
        brief = replace(brief, work="")
    return brief, RayActors(cluster, OpeningAnywhere(brief, prepare), parcels)


def _folder_of(brief: Brief) -> Path:
    if (folder := Path(brief.base)).is_dir():
        return folder
    try:
        return Path(snapshot_download(brief.base, revision=brief.revision, local_files_only=True))
    except (LocalEntryNotFoundError, HfHubHTTPError, ValueError) as error:
        raise BaseModelError(
            f"{brief.base} is not kept on this machine ({error}); give its folder with --base"
        ) from error
