"""Registries elsewhere: push, pull and bundles. No digest, size or name that comes from there is believed."""

from saint.remotes._bundle import Bundled as Bundled, BundleRemote as BundleRemote, bundle as bundle
from saint.remotes._folder import FolderRemote as FolderRemote
from saint.remotes._hub import HubRemote as HubRemote
from saint.remotes._names import Caps as Caps
from saint.remotes._oci import OciRemote as OciRemote
from saint.remotes._opening import open_remote as open_remote
from saint.remotes._pull import Pulled as Pulled, pull as pull
from saint.remotes._push import Pushed as Pushed, push as push
from saint.remotes._remote import AbsentError as AbsentError, Remote as Remote
from saint.remotes._s3 import S3Remote as S3Remote
