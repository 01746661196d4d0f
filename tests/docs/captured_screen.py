"""The screen of `saint top` in the docs: `python tests/docs/captured_screen.py` grows a small registry for it."""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from saint.registry import Registry
from saint.search import look
from workshop import PLAN, build_workshop

_PAGE = Path(__file__).parents[2] / "docs" / "howto" / "look-on.md"
_CHANGES = {
    'name = "tiny"': 'name = "a small one"',
    "rounds = 2": "rounds = 3",
    "candidates_per_round = 3": "candidates_per_round = 6",
    "num_steps = 24": "num_steps = 300",
    "evaluate_every = 12": "evaluate_every = 100",
    "train_tokens = 100_000": "train_tokens = 10_000_000",
    "[controls]": '[controls]\nafter = "never"',
}
_COMMAND = [sys.executable, "-m", "saint.cli"]


def is_worth_showing(registry: Registry) -> bool:
    """Two workers are at work after a round or more."""
    status, nobody = look(registry.work)
    workers = status.workers if status is not None and not nobody else ()
    is_busy = [one.state == "busy" and one.units > 0 for one in workers]
    return len(is_busy) == 2 and all(is_busy) and len(registry.state.curve) > 1


def captured(root: Path) -> str:
    def saint(*arguments: str) -> str:
        return subprocess.run([*_COMMAND, *arguments], cwd=root, capture_output=True, text=True, check=True).stdout

    plan = PLAN
    for old, new in _CHANGES.items():
        assert old in plan, old
        plan = plan.replace(old, new, 1)
    build_workshop(root, plan=plan)
    saint("init", "garden", "--base", "base", "--plan", "plan.toml")
    with subprocess.Popen([*_COMMAND, "grow", "garden", "--workers", "2"], cwd=root) as growing:
        registry = Registry.open(root / "garden")
        while growing.poll() is None and not is_worth_showing(registry):
            time.sleep(1)
        screen = saint("top", "garden", "--once")
        saint("stop", "garden")
    return "\n".join(line.rstrip() for line in screen.splitlines())


def main() -> None:
    with tempfile.TemporaryDirectory() as root:
        screen = captured(Path(root))
    block = f"<!-- captured -->\n```text\n{screen}\n```\n<!-- end -->"
    text = _PAGE.read_text(encoding="utf-8")
    _PAGE.write_text(
        re.sub(r"<!-- captured -->.*<!-- end -->", lambda _: block, text, flags=re.DOTALL), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
