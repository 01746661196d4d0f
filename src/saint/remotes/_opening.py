import re
from pathlib import Path
from urllib.parse import urlsplit

from saint.errors import ConfigError
from saint.remotes._bundle import BundleRemote
from saint.remotes._folder import FolderRemote
from saint.remotes._hub import HubRemote
from saint.remotes._oci import OciRemote
from saint.remotes._remote import Remote
from saint.remotes._s3 import S3Remote

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def open_remote(address: str) -> Remote:
    """The remote at an address: a folder, the file of a bundle, s3://BUCKET/PREFIX, oci://HOST/NAME:TAG or hf://USER/NAME.

    Raises:
        ConfigError: No remote has such an address, or it holds credentials.
        MissingPackageError: The package that speaks to it is not installed.
        RemoteError: It cannot be reached.
    """
    found = _SCHEME.match(address)
    if found is None:
        return BundleRemote(Path(address)) if Path(address).is_file() else FolderRemote(Path(address))
    if "@" in urlsplit(address).netloc:
        raise ConfigError(
            f"the {found[1]}:// address holds credentials; leave them out and put them into the environment"
        )
    if found[1] == "s3":
        return S3Remote(address)
    if found[1] == "oci":
        return OciRemote(address)
    if found[1] == "hf":
        return HubRemote(address)
    raise ConfigError(
        f"no remote begins with {found[1]}://; give a folder, s3://BUCKET/PREFIX, oci://HOST/NAME:TAG or hf://USER/NAME"
    )
