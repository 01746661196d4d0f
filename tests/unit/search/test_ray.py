"""Workers of a Ray cluster of two nodes on this machine, killed for real. Most of its time is Ray's start."""

import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import made_up_workers
from made_up_workers import reading, refusing_anywhere, with_a_gpu_anywhere
from saint.errors import ConfigError, MissingPackageError, StorageError, UnfitWorkerError
from saint.search import Crew, Job, Parcel, RayActors, RayCluster, Share, _cluster, _places
from saint.search._parcel import node_root

pytestmark = pytest.mark.distributed
TESTS = Path(made_up_workers.__file__).parent
SOME = "what workers need"


class Answers:
    def __init__(self) -> None:
        self.found: dict[str, tuple[str, bytes]] = {}

    def __call__(self, job: Job, worker: str, answer: bytes) -> None:
        assert job.name not in self.found
        self.found[job.name] = worker, answer


def job(name: str, **body: Any) -> Job:
    return Job(name=name, body={"to": 3, **body}, at_most_bytes=100)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Two nodes with a CPU each, and a GPU in one; each has processes of its own, as two machines would."""
    pytest.importorskip("ray", reason="needs the extra ray: pip install 'saint-g[ray]'")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(TESTS), prepend=os.pathsep)  # where workers find what these tests send
        cluster = Cluster()
        try:
            for num_gpus in (0, 1):  # the second is a promise that nobody can keep here
                cluster.add_node(num_cpus=1, num_gpus=num_gpus, object_store_memory=80 << 20, include_dashboard=False)
            yield cluster.address
        finally:
            cluster.shutdown()


@pytest.mark.parametrize(
    ("running", "last", "said", "expected"),
    [
        (["here:1"], None, "", "here:1"),
        (["here:1"], "here:1", "there:3", "there:3"),
        (["here:1", "here:2"], "here:2", "auto", "here:2"),
        (["here:1"], "here:9", "", "here:1"),
        ([], "here:9", "", "here:9"),
        (["here:1", "here:2"], None, "", None),
        ([], None, "", None),
    ],
)
def test_auto_is_the_one_cluster_of_this_machine(
    running: list[str], last: str | None, said: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = pytest.importorskip("ray._private.services", reason="needs the extra ray: pip install 'saint-g[ray]'")
    monkeypatch.setattr(services, "find_gcs_addresses", lambda: running)
    monkeypatch.setattr(services, "find_bootstrap_address", lambda _: last)
    monkeypatch.setenv("RAY_ADDRESS", said)
    if expected is not None:
        assert _cluster.found_here() == expected
        return
    with pytest.raises(ConfigError, match=f"there is {'several, here:1 and here:2' if running else 'none'}; give"):
        _cluster.found_here()


@pytest.mark.parametrize(
    ("number", "share", "waiting", "said"),
    [
        (2, Share(), 0, ""),
        (5, Share(), 3, ""),
        (7, Share(), 0, r"room for 2, and for 6 on all that its autoscaler may start; give fewer"),
        (2, Share(gpus=0.5), 0, r"room for 0; give fewer"),
    ],
)
def test_what_an_autoscaler_may_start_counts(
    number: int, share: Share, waiting: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="needs the extra ray: pip install 'saint-g[ray]'")
    from ray._private.state import state
    from ray.core.generated.autoscaler_pb2 import ClusterConfig, NodeGroupConfig

    class Joined:
        """Two machines with a CPU each."""

        def nodes(self) -> list[dict[str, Any]]:
            return [{"Alive": True, "Resources": {"CPU": 1.0}}] * 2

    group = NodeGroupConfig(name="small", resources={"CPU": 2}, max_count=3)
    monkeypatch.setattr(state, "get_cluster_config", lambda: ClusterConfig(node_group_configs=[group]))
    monkeypatch.setattr(_places, "_is_scaled", lambda: False)
    if not said:
        assert _cluster._must_fit(Joined(), number, share) == waiting
        return
    with pytest.raises(ConfigError, match=said):
        _cluster._must_fit(Joined(), number, share)


def test_without_ray_it_says_how_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cluster, "find_spec", lambda _: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'saint-g\[ray\]'"):
        RayCluster(number=1)


@pytest.mark.slow
def test_what_cannot_be_is_refused_before_any_work(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def refused(error: str, *, number: int = 1, at: str | None = address, share: Share | None = None) -> None:
        with pytest.raises(ConfigError, match=error):
            RayCluster(number=number, address=at, share=share)
        assert not ray.is_initialized()

    refused(r"10000 workers with 1 CPU each do not fit on this machine", number=10_000, at=None)
    refused(r"3 workers with 1 CPU each do not fit into the cluster, which has 2 CPUs", number=3)
    refused(r"has 2 CPUs, 1 GPUs and .* GiB of memory on 2 machines, room for 1;", number=2, share=Share(gpus=0.5))
    refused(r"1 CPU and 10000 GiB of memory each do not fit", share=Share(memory_bytes=10_000 << 30))
    refused(r"with 2 CPU each do not fit", share=Share(cpus=2))
    refused(r"no Ray cluster answers at 127\.0\.0\.1:1 .*ray start --head --port=1", at="127.0.0.1:1")
    refused(r"expected --address HOST:PORT or auto, got ray://here:1", at="ray://here:1")
    with socket.create_server(("127.0.0.1", 0)) as silent, monkeypatch.context() as patch:
        patch.setattr(_cluster, "_ANSWER_S", 2.0)
        refused("something answers at .* and is no Ray cluster", at=f"127.0.0.1:{silent.getsockname()[1]}")
    with monkeypatch.context() as patch:
        patch.setattr(ray, "__version__", "0.0.1")
        refused("is of another version .*0.0.1.*install the same Ray and Python")


@pytest.mark.slow
def test_nodes_are_looked_at_before_any_work(
    address: str, parcel: Parcel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    cluster = RayCluster(number=2, address="auto")
    assert cluster.look([parcel], tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(_cluster, "own_version", lambda: "saint-g 9")
        with pytest.raises(ConfigError, match=r"has saint-g .*, this one saint-g 9; install"):
            cluster.look([parcel], tmp_path)
    huge = Parcel("", tuple(file._replace(num_bytes=1 << 50) for file in parcel.files))
    with pytest.raises(StorageError, match=r"machine .*: expected room for .* make room"):
        cluster.look([huge], tmp_path)
    with Crew(RayActors(cluster, refusing_anywhere), 1) as crew, pytest.raises(ConfigError, match="another base"):
        crew.run([job("never")], check=Answers())


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_promised_and_cannot_be_seen_is_said(address: str) -> None:
    cluster = RayCluster(number=1, address=address, share=Share(gpus=0.5))
    with (
        Crew(RayActors(cluster, with_a_gpu_anywhere), 1) as crew,
        pytest.raises(UnfitWorkerError, match=r"promised 0\.5 of a GPU, and PyTorch finds none on its machine"),
    ):
        crew.run([job("never")], check=Answers())


@pytest.fixture(scope="module")
def parcel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parcel]:
    folder = tmp_path_factory.mktemp("files")
    (folder / "some").write_text(f"{SOME} {folder}")
    parcel = Parcel.of(folder, ["some"])
    yield parcel
    shutil.rmtree(node_root() / parcel.digest, ignore_errors=True)


@pytest.fixture(scope="module")
def crew(address: str, parcel: Parcel) -> Iterator[Crew]:
    executor = RayActors(RayCluster(number=2, address=address), reading, [parcel], copied=True)
    with Crew(executor, 2) as crew:
        yield crew


@pytest.mark.slow
class TestTwoNodes:
    def test_they_do_jobs_and_tell_how_far_they_are(self, crew: Crew) -> None:
        answers, units = Answers(), 0

        def tell(_job: Job | None, more: int) -> None:
            nonlocal units
            units += more

        crew.run([job(f"job {index}") for index in range(6)], check=answers, tell=tell)
        assert {answer for _, answer in answers.found.values()} == {b"x"}
        assert units == 18

    def test_the_job_of_one_that_is_killed_is_done_by_another(
        self, crew: Crew, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        answers, lost = Answers(), crew.num_lost
        crew.run([job("dies", die_once=str(tmp_path / "mark"))], check=answers)
        assert answers.found["dies"][1] == b"x"
        assert crew.num_lost == lost + 1
        assert "it died (" in crew.said[-1]
        assert capfd.readouterr().out == ""

    def test_an_answer_that_is_too_long_is_refused_unread(self, crew: Crew, tmp_path: Path) -> None:
        answers, refused = Answers(), crew.num_refused
        crew.run([job("long", long_once=str(tmp_path / "mark"))], check=answers)
        assert answers.found["long"][1] == b"x"
        assert crew.num_refused == refused + 1
        assert "at most 1,048,676 were expected" in crew.said[-1]

    def test_files_are_brought_to_a_node_once(self, crew: Crew, parcel: Parcel) -> None:
        answers = Answers()
        crew.run([replace(job(f"read {index}", read="some"), at_most_bytes=1000) for index in range(4)], check=answers)
        here = Path(parcel.folder, "some").read_bytes()
        assert {answer for _, answer in answers.found.values()} == {here}
        assert (node_root() / parcel.digest / "some").read_bytes() == here
