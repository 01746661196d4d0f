"""Commands in processes of their own that do not each load PyTorch and transformers anew, which takes four seconds.

One process has imported both, and nothing of ours, and forks itself for each command: that imports our modules in its
own order, has its own environment, folder, output and end, and leaves as any other process. What is tested of a start
from nothing, of processes side by side and of being killed wants `subprocess.Popen`: processes that are forked here
also share the seed of their hashes.
"""

import atexit
import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Timer

_LIBRARIES = [
    "safetensors.torch",
    "scipy.optimize",
    "torch.utils.flop_counter",
    "transformers.masking_utils",
    "transformers.modeling_utils",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.gpt2.modeling_gpt2",
    "transformers.models.llama.modeling_llama",
]


def load_libraries() -> None:
    """PyTorch and transformers, with all that our modules load of them."""
    for library in _LIBRARIES:
        import_module(library)


def run(
    *command: object, cwd: Path | None = None, env: Mapping[str, str] | None = None, timeout_s: int | None = None
) -> subprocess.CompletedProcess[str]:
    """As `python -m command`, or as `python command` of a file whose name ends in `.py`, in a process of its own."""
    given = dict(os.environ if env is None else env)
    return _server().run([str(word) for word in command], str(cwd or Path.cwd()), given, timeout_s)


class Server:
    """The process that forks, seen from a test."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="warm-")
        self._said = Path(self._folder.name, "said")
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
            )
        atexit.register(self._close)

    def run(
        self, command: list[str], cwd: str, env: dict[str, str], timeout_s: int | None
    ) -> subprocess.CompletedProcess[str]:
        out, err = Path(self._folder.name, "out"), Path(self._folder.name, "err")
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([command, cwd, env, str(out), str(err)]) + "\n")
        self._process.stdin.flush()
        pid = self._told()
        late = Timer(timeout_s or 0, os.kill, (pid, signal.SIGKILL))
        if timeout_s is not None:
            late.start()
        status = self._told()
        late.cancel()
        return subprocess.CompletedProcess(command, status, out.read_text("utf-8"), err.read_text("utf-8"))

    def _told(self) -> int:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the process that starts commands has ended: {self._said.read_text('utf-8')}"
        return int(line)

    def _close(self) -> None:
        self._process.communicate()
        self._folder.cleanup()


@cache
def _server() -> Server:
    return Server()


def _serve() -> list[str] | None:
    """Fork for each line that is read; what it returns is the command to become, in the fork, or None at the end."""
    with os.fdopen(os.dup(0)) as requests, os.fdopen(os.dup(1), "w") as answers:
        for line in requests:
            pid = os.fork()
            if not pid:
                command, cwd, env, *files = json.loads(line)
                _redirect(os.devnull, *files)
                os.chdir(cwd)
                os.environ.clear()
                os.environ.update(env)
                return list(command)
            print(pid, flush=True, file=answers)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True, file=answers)
    return None


def _redirect(*files: str) -> None:
    for number, file in enumerate(files):
        opened = os.open(file, os.O_RDWR | os.O_CREAT | (os.O_TRUNC if number else 0))
        os.dup2(opened, number)
        os.close(opened)


if __name__ == "__main__":
    load_libraries()
    gc.collect()
    gc.freeze()
    if command := _serve():
        sys.argv = command
        sys.path[0] = str(Path(command[0]).parent if command[0].endswith(".py") else Path.cwd())
        if command[0].endswith(".py"):
            runpy.run_path(command[0], run_name="__main__")
        else:
            runpy.run_module(command[0], run_name="__main__", alter_sys=True)
