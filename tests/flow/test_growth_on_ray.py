"""Growth on Ray as the command line has it, and a cluster that starts machines when somebody waits for them.

The machines are Ray's own made-up ones: processes of this machine that its autoscaler starts. That takes half a minute.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import made_up_workers
import warm
from made_up_workers import counting_anywhere
from saint import config, freeze
from saint.growth import Plan, start
from saint.registry import Registry
from saint.search import Crew, Job, RayActors, RayCluster
from workshop import PLAN, build_workshop

pytestmark = [
    pytest.mark.slow,
    pytest.mark.distributed,
    pytest.mark.skipif(sys.platform != "linux", reason="finds Ray's processes in /proc"),
]
SHORT = PLAN.replace("rounds = 2", "rounds = 1").replace("[controls]", '[controls]\nafter = "never"')
HEAD = "ray.head.default"  # as Ray's made-up machines call it
TABLES = ("auth", "docker", "file_mounts")
LISTS = (
    *(f"{when}_commands" for when in ("initialization", "setup", "head_setup", "worker_setup")),
    *("head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files", "rsync_exclude", "rsync_filter"),
)


def made_up_machines(address: str) -> dict[str, Any]:
    """A head with one CPU, and up to one more machine like it."""
    kinds = {
        HEAD: {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0},
        "small": {
            "resources": {"CPU": 1, "object_store_memory": 80 << 20},
            "node_config": {},
            "min_workers": 0,
            "max_workers": 1,
        },
    }
    how = ("use_node_id_as_ip", "disable_node_updaters", "disable_launch_config_check")
    return {
        **{name: {} for name in TABLES},
        **{name: [] for name in LISTS},
        "cluster_name": "made-up",
        "max_workers": 1,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 5,
        "file_mounts_sync_continuously": False,
        "provider": {"type": "fake_multinode", "gcs_address": address, **dict.fromkeys(how, True)},
        "head_node_type": HEAD,
        "available_node_types": kinds,
    }


def end(pid: int) -> None:
    """End a process and all that came of it, which is stopped first, lest it starts more."""
    stopped: set[int] = set()
    while more := {pid, *descendants(pid)} - stopped:
        signal_all(more, signal.SIGSTOP)
        stopped |= more
    signal_all(stopped, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Also of those whom another thread than the first has started."""
    found = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += [int(child) for child in thread.read_text(encoding="utf-8").split()]
    return [one for child in found for one in (child, *descendants(child))]


def signal_all(pids: set[int], what: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, what)


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster that may start a machine, and wants a token."""
    services = pytest.importorskip("ray._private.services", reason="needs the extra ray: pip install 'saint-g[ray]'")
    folder = tmp_path_factory.mktemp("scaled")
    (folder / "token").write_text(secrets.token_hex(32))
    with socket.create_server(("", 0)) as free:
        address = f"{services.get_node_ip_address()}:{free.getsockname()[1]}"
    (folder / "machines.yaml").write_text(json.dumps(made_up_machines(address)))
    command = [Path(sys.executable).parent / "ray", "start", "--head", "--block", f"--port={address.split(':')[1]}"]
    options = ("--num-cpus=1", "--object-store-memory=80000000", "--include-dashboard=false")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(folder / "token"))
        patch.setenv("PYTHONPATH", str(Path(made_up_workers.__file__).parent), prepend=os.pathsep)
        settings = {"RAY_AUTH_MODE": "token", "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        with (folder / "said").open("w") as said:
            head = subprocess.Popen(
                [*command, *options, f"--autoscaling-config={folder / 'machines.yaml'}"],
                env={**os.environ, **settings},
                stdout=said,
                stderr=said,
            )
        try:
            until = time.monotonic() + 120
            while "Ray runtime started" not in (folder / "said").read_text(encoding="utf-8"):
                assert head.poll() is None, (folder / "said").read_text(encoding="utf-8")
                assert time.monotonic() < until
                time.sleep(0.2)
            yield address
        finally:
            end(head.pid)
            head.wait()


def test_a_machine_that_has_yet_to_be_started_is_waited_for_while_others_work(scaled: str, tmp_path: Path) -> None:
    cluster = RayCluster(number=2, address=scaled)
    assert cluster.num_waiting == 1
    assert not cluster.look([], tmp_path)
    done: list[str] = []
    with Crew(RayActors(cluster, counting_anywhere), 2) as crew:
        until = time.monotonic() + 60
        while "worker 2" not in done:
            body = {"to": 1, "for_s": 0.2}
            job = Job(name=f"job {len(done)}", body=body, at_most_bytes=100)
            crew.submit([job], check=lambda _job, worker, _answer: done.append(worker))
            crew.submit([Job(name=f"{job.name} too", body=body, at_most_bytes=100)], check=lambda *_: None)
            crew.turn()
            assert time.monotonic() < until, crew.said
        assert crew.num_lost == 0
    assert done[0] == "worker 1"


def grown(root: Path, *options: str) -> Registry:
    """A registry that the command line has grown."""
    workshop = build_workshop(root, plan=SHORT)
    base, plan = freeze(workshop.base), config.load(workshop.plan, Plan)
    start(workshop.registry, base, plan, root=root)
    made = warm.run("saint.cli", "grow", workshop.registry, "--executor", "ray", *options, timeout_s=300)
    assert made.returncode == 0, made.stderr
    return Registry.open(workshop.registry)


def test_the_command_line_grows_the_same_with_two_workers_of_a_cluster_and_with_one(
    scaled: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = grown(tmp_path_factory.mktemp("one"), "--workers", "1")
    monkeypatch.setenv("RAY_ADDRESS", scaled)
    two = grown(tmp_path_factory.mktemp("two"), "--address", "auto", "--workers", "2", "--memory", "0")
    judged = [sorted((entry.digest, entry.status) for entry in registry.state.judged) for registry in (one, two)]
    assert judged[0] == judged[1]
    assert judged[0]
    assert one.state.standing == two.state.standing
    assert {name: trial["graft"] for name, trial in one.state.trained.items()} == {
        name: trial["graft"] for name, trial in two.state.trained.items()
    }
    done = [
        {event.body["workers"] for event in registry.ledger.events() if event.name == "work_done"}
        for registry in (one, two)
    ]
    assert done == [{1}, {2}]
