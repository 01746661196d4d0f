"""Looking on at a search and asking things of it, without any: a coordinator's file stands in for one."""

import json
import os
import re
import socket
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from urllib.error import HTTPError

import pytest
from click.testing import CliRunner, Result
from rich.console import Console
from rich.text import Text

from made_up_garden import ROSE, created, judged, made_up_garden, open_vault
from saint.cli._following import follow
from saint.cli._metrics import serve
from saint.cli.main import main
from saint.cli.overseeing import show
from saint.errors import ConfigError, LedgerError
from saint.registry import Registry
from saint.search import Control, RoleStatus, SearchStatus, StatusFile, Word, WorkerStatus

EVIL = 'w1[/x]"\x1b[2J\u202e'


def saint(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def a_status() -> SearchStatus:
    now = time.time()
    busy = WorkerStatus(
        name=EVIL,
        state="busy",
        role="search",
        job="ab" * 32,
        group="b3",
        label="phi at 4 sites",
        since=now - 3630,
        units=7_260_000,
        done=3,
    )
    return SearchStatus(
        pid=os.getpid(),
        host=socket.gethostname(),
        executor="processes",
        started=now - 7500,
        written=now,
        round=1,
        workers=(busy, WorkerStatus(name="w2", state="idle", since=now - 7500)),
        jobs={"proposed": 2, "leased": 1, "failed": 0},
        roles={"search": RoleStatus(done=3, seconds=12.5, units=9000)},
        lost=1,
        refused=4,
        said=("w0 died (killed)",),
    )


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """One graft stands, and two points of a curve were measured; growth is not finished."""
    registry = Registry.open(tmp_path / "garden")
    registry.write("created", created())
    judged(registry, ROSE)
    for number, bpb in ((None, 2.0), (0, 1.75)):
        gain = {"estimate": 2.0 - bpb, "low": 1.9 - bpb, "high": 2.1 - bpb}
        body = {"round": number, "split": "select", "stack": [], "grown_bpb": bpb, "retain_bpb": {}, "num_params": 8}
        spent = {"train_tokens": 100, "train_flops": 1e6, "train_seconds": 1.0}
        registry.write("curve_measured", {**body, **spent, "gain_bpb": None if number is None else gain})
    return registry


def at_work(registry: Registry, status: SearchStatus) -> None:
    assert StatusFile(registry.work).show(lambda: status)


def test_a_screen_shows_who_does_what_and_where_growth_is(registry: Registry) -> None:
    at_work(registry, a_status())
    seen = saint("top", registry.folder)
    assert seen.exit_code == 0, seen.output
    said = re.sub(" +", " ", seen.output)
    for words in (
        "1 grafts stand; judged: 1 stands",
        "round 2, 2 workers (processes) for 2 h 5 min; jobs: 2 proposed, 1 leased; 1 leases lost, 4 answers refused",
        '│ w1[/x]"�[2J� │ busy │ search │ abababababab │ phi at 4 sites │ b3 │ 1 h 0 min │ 7,260,000 │ 2,000 │ 3 │',
        "│ w2 │ idle │ │ │ │ │ 2 h 5 min │ │ │ 0 │",
        "│ search │ 3 │ 12 s │ 9,000 │ 720 │",
        "the bare base 2.0000",
        "round 1 1.7500 +0.2500 [+0.1500, +0.3500] " + 40 * "█",
        "w0 died (killed)",
    ):
        assert words in said, seen.output
    assert "the coordinator measures and judges" not in said
    at_work(registry, replace(a_status(), workers=a_status().workers[1:]))
    assert "4 answers refused; the coordinator measures and judges;" in " ".join(
        saint("top", registry.folder).output.split()
    )


def test_programs_are_told_the_same(registry: Registry) -> None:
    status = a_status()
    at_work(registry, status)
    told = json.loads(saint("top", registry.folder, "--json").stdout)
    assert told["at_work"]
    assert told["search"]["workers"][0]["units"] == 7_260_000
    assert told["tokens_per_second"] == {EVIL: pytest.approx(2000, rel=1e-6), "w2": None}
    assert [point["grown_bpb"] for point in told["growth_curve"]] == [2.0, 1.75]


def test_where_nobody_is_at_work_it_says_since_when(registry: Registry) -> None:
    before = {path: path.read_bytes() for path in registry.folder.rglob("*") if path.is_file()}
    said = saint("top", registry.folder, "--once").output
    last = registry.ledger.events()[-1].time
    assert "nobody is at work: no search with workers was under way here" in said
    assert f"the last entry of the ledger is of {last}" in said
    assert {path: path.read_bytes() for path in registry.folder.rglob("*") if path.is_file()} == before, "it only reads"
    at_work(registry, replace(a_status(), ended=True, written=1_800_000_000.0))
    said = saint("top", registry.folder).output
    assert "nobody is at work: the search ended; last heard of 2027-01-15T08:00:00+00:00" in said
    assert "w2" not in said, "they are not there any more"
    assert "9,000" in said, "but what they took was taken"
    at_work(registry, replace(a_status(), ended=True, written=1e300))
    assert "last heard of second 1e+300" in saint("top", registry.folder).output


def test_nothing_to_look_at(tmp_path: Path) -> None:
    for command in ("top", "pause", "resume", "stop"):
        result = saint(command, tmp_path)
        assert result.exit_code == 2
        assert "is not a registry" in result.stderr
    assert saint("top", made_up_garden(tmp_path / "garden").folder, "--json", "--metrics", 0).exit_code == 2
    assert "nothing was measured yet" in saint("top", tmp_path / "garden").output


def test_the_screen_is_live_until_ctrl_c() -> None:
    screens = iter(("first", "\x1b[2Jsecond"))

    def parts() -> list[Text]:
        try:
            return [Text(next(screens))]
        except StopIteration:
            raise KeyboardInterrupt from None

    console = Console(file=StringIO(), force_terminal=True, width=40, height=5)
    show(parts, console, pause_s=0.0)
    assert isinstance(console.file, StringIO)
    shown = console.file.getvalue()
    assert "first" in shown
    assert "\N{REPLACEMENT CHARACTER}[2Jsecond" in shown


@pytest.mark.parametrize("word", list(Word))
def test_a_search_is_asked(registry: Registry, word: Word) -> None:
    at_work(registry, a_status())
    result = saint(word, registry.folder)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"asked process {os.getpid()} on ")
    assert len(result.stdout.splitlines()) == 1
    assert Control(registry.work).asked() is word


def test_where_nobody_is_at_work_nobody_is_asked(registry: Registry) -> None:
    at_work(registry, replace(a_status(), ended=True))
    result = saint("stop", registry.folder)
    assert result.exit_code == 1
    said = f"saint: nobody is at work with workers on {registry.folder}, so nobody can stop: the search ended\n"
    assert result.stderr == said
    assert Control(registry.work).asked() is None


def fetched(text: Callable[[], str], path: str) -> str:
    """What a server answers, which ends with the thread of this test."""
    address: list[str] = []
    is_up = threading.Event()

    def told(url: str) -> None:
        address.append(url)
        is_up.set()

    threading.Thread(target=lambda: serve(text, "127.0.0.1", 0, told=told), daemon=True).start()
    assert is_up.wait(30)
    with urllib.request.urlopen(address[0].replace("/metrics", path), timeout=30) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return str(answer.read().decode())


def test_metrics_are_served(registry: Registry) -> None:
    from saint.cli.overseeing import _View

    at_work(registry, a_status())
    lines = fetched(_View(str(registry.folder)).metrics, "/metrics").splitlines()
    for line in (
        "saint_search_up 1.0",
        'saint_workers{state="busy"} 1.0',
        'saint_jobs{stage="proposed"} 2.0',
        'saint_worker_seconds_total{role="search"} 12.5',
        "saint_answers_refused_total 4.0",
        'saint_grafts_judged{outcome="stands"} 1.0',
        "saint_development_bits_per_byte 1.75",
    ):
        assert line in lines
    sample = re.compile(r'[a-z_]+(\{[a-z]+="([^"\\\n]|\\["\\n])*"(,[a-z]+="([^"\\\n]|\\["\\n])*")*\})? [-+0-9.e]+')
    comment = re.compile(r"# (HELP [a-z_]+ .+|TYPE [a-z_]+ (gauge|counter))")
    assert all(sample.fullmatch(line) or comment.fullmatch(line) for line in lines), lines
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names)), "a family is described once"


def test_what_cannot_be_served_is_said() -> None:
    def damaged() -> str:
        raise LedgerError("the chain breaks")

    with pytest.raises(HTTPError, match="404"):
        fetched(lambda: "", "/other")
    with pytest.raises(HTTPError, match="500") as refused:
        fetched(damaged, "/metrics")
    assert refused.value.read() == b"the chain breaks\n"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port} cannot be served at"):
            serve(lambda: "", "127.0.0.1", port, told=lambda _: None)


def test_a_page_is_written_anew_until_growth_is_finished(registry: Registry, tmp_path: Path) -> None:
    page, refresh = tmp_path / "page.html", '<meta http-equiv="refresh" content="5">'
    pages, said = [], list[str]()

    def wait(_: float) -> None:
        pages.append(page.stat().st_ino)
        assert refresh in page.read_text()
        if len(pages) == 2:
            open_vault(registry)

    follow(Registry.open(registry.folder), page, told=said.append, wait=wait)
    assert len(pages) == 2
    assert pages[0] == pages[1], "where nothing came, nothing is written"
    assert refresh not in page.read_text()
    assert "Growth is finished" in page.read_text()
    assert len(said) == 2
    assert said[-1].endswith("growth is finished")


def test_a_page_that_is_not_followed_any_more_says_so(registry: Registry, tmp_path: Path) -> None:
    def wait(_: float) -> None:
        raise KeyboardInterrupt

    said = list[str]()
    follow(registry, tmp_path / "page.html", told=said.append, wait=wait)
    assert 'http-equiv="refresh"' not in (tmp_path / "page.html").read_text()
    assert said[-1].endswith("growth is not finished, and it is followed no more")
    assert saint("report", registry.folder, "--follow").exit_code == 2
