"""A library in a bucket of a real S3 server, on this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from made_up_library import Seedling, garden, grown, put
from saint.errors import LibraryError, RemoteContentError
from saint.library import fetch, find, read_library
from saint.remotes import S3Remote, blob_name, open_remote

pytest.importorskip("s3fs")
moto_server = pytest.importorskip("moto.server")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    started = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    host, port = started.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "a-secret-that-nobody-may-see",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    import boto3

    boto3.client("s3").create_bucket(Bucket="herbarium")
    yield "herbarium"
    started.stop()


@pytest.mark.slow
def test_publish_list_and_fetch(bucket: str, tmp_path: Path) -> None:
    address = f"s3://{bucket}/grafts"
    registry = garden(tmp_path / "garden")
    rose, lily = grown(registry, "rose"), grown(registry, "lily")
    with pytest.raises(LibraryError, match="is no library"):
        read_library(open_remote(address))
    put(registry, rose, open_remote(address))
    put(registry, lily, open_remote(address), competence="law")
    assert not put(registry, lily, open_remote(address), competence="law").is_new
    catalogue = read_library(open_remote(address))
    assert (len(catalogue.listed), catalogue.problems) == (2, ())
    [law] = read_library(open_remote(address), competence="law").listed
    assert fetch(open_remote(address), law) == lily.to_bytes()
    remote = S3Remote(address)
    remote._files.pipe_file(f"{bucket}/grafts/{blob_name(rose.digest)}", Seedling("fern").to_bytes())
    with pytest.raises(RemoteContentError, match="that hash to"):
        fetch(remote, find(remote, rose.digest))
