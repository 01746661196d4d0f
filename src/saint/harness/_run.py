from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from saint.errors import ConfigError
from saint.harness._internals import TaskManager, simple_evaluate
from saint.harness._model import HarnessModel


def run_harness(
    model: nn.Module,
    tokenizer: Any,
    tasks: Sequence[str],
    *,
    tasks_in: Path | None = None,
    limit: int | None = None,
    num_fewshot: int | None = None,
    seed: int = 0,
    seq_len: int = 1024,
) -> dict[str, Any]:
    """What the harness measures, as plain data: task or group -> its measures, each with the harness's standard error.

    Args:
        tasks: Names of tasks or groups of the harness; most of them fetch their items from the Hugging Face hub.
        tasks_in: A folder of task files of one's own.
        limit: Most items of each task; the harness takes the first ones, not a sample.
        num_fewshot: Examples before each question; as each task says if left out.
        seed: Of all that the harness draws.

    Raises:
        ConfigError: The harness has no such task.
    """
    manager = TaskManager(include_path=None if tasks_in is None else str(tasks_in))
    if unknown := sorted(set(tasks) - set(manager.all_tasks)):
        raise ConfigError(f"the harness has no task {unknown[0]!r}; `lm-eval ls tasks` lists those that it has")
    found = simple_evaluate(
        model=HarnessModel(model, tokenizer, seq_len=seq_len),
        tasks=list(tasks),
        task_manager=manager,
        limit=limit,
        num_fewshot=num_fewshot,
        log_samples=False,
        random_seed=seed,
        numpy_random_seed=seed,
        torch_random_seed=seed,
        fewshot_random_seed=seed,
    )
    return {
        name: {
            "version": found["versions"].get(name),
            "num_fewshot": found["n-shot"].get(name),
            "num_items": found["n-samples"].get(name, {}).get("effective"),
            "measures": {key: value for key, value in measures.items() if isinstance(value, float)},
        }
        for name, measures in found["results"].items()
    }
