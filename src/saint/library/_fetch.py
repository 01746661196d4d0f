import hashlib

from saint.errors import GraftFileError, RemoteContentError
from saint.library._listed import Listed
from saint.remotes import Remote, blob_name
from saint.weights import Caps, check_weights


def fetch(remote: Remote, listed: Listed, *, caps: Caps | None = None) -> bytes:
    """The file of a graft, when it is what its certificate says, and safetensors that nothing can be hidden in.

    Args:
        caps: The most that it may be or hold.

    Raises:
        GraftFileError: It is not safetensors without a second meaning, or above a cap.
        RemoteContentError: It is another file.
    """
    caps, said = caps or Caps(), listed.certificate.file
    name, graft = blob_name(listed.certificate.graft), listed.certificate.graft
    if caps.num_bytes is not None and said.num_bytes > caps.num_bytes:
        raise GraftFileError(
            f"graft {graft[:12]} takes {said.num_bytes:,} bytes, expected at most {caps.num_bytes:,}; raise the cap"
        )
    content = remote.get(name, said.num_bytes)
    if (found := hashlib.sha256(content).hexdigest()) != graft:
        raise RemoteContentError(
            f"{len(content):,} bytes came from {remote.address} as graft {graft[:12]} that hash to {found[:12]}; use "
            "another copy of the library"
        )
    try:
        weights = check_weights(content, caps=caps)
    except GraftFileError as error:
        raise GraftFileError(f"graft {graft[:12]} of {remote.address}: {error}") from error
    if weights.content_digest != said.content:
        raise RemoteContentError(f"graft {graft[:12]} holds other tensors than its certificate says; ask its publisher")
    return content
