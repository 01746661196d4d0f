"""The active budget of growth by layers, as a table: a column for each stage."""

from collections.abc import Callable, Sequence

from rich.table import Table
from rich.text import Text

from saint.records import ActiveStage

_ROWS: tuple[tuple[str, Callable[[ActiveStage], int]], ...] = (
    ("blocks that are there", lambda stage: stage.num_blocks),
    ("active parameters", lambda stage: stage.params),
    ("  in the newest blocks", lambda stage: stage.block_params),
    ("  in the head", lambda stage: stage.head_params),
    ("  in the token interface", lambda stage: stage.embedding_params),
    ("  in adapters", lambda stage: stage.adapter_params),
    ("bytes of the optimiser", lambda stage: stage.optimizer_bytes),
    ("bytes of activations", lambda stage: stage.activation_bytes),
    ("FLOPs of a step, forward", lambda stage: stage.forward_flops),
    ("FLOPs of a step, backward", lambda stage: stage.backward_flops),
    ("tokens, at most", lambda stage: stage.num_tokens),
    ("FLOPs, at most", lambda stage: stage.train_flops),
)


def active_rows(stages: Sequence[ActiveStage]) -> list[list[str]]:
    """The table as text: a heading, then a line for each count."""
    heading = ["", *(f"{number}: {stage.name}" for number, stage in enumerate(stages, 1))]
    return [heading, *([label, *(f"{count(stage):,}" for stage in stages)] for label, count in _ROWS)]


def active_table(stages: Sequence[ActiveStage]) -> Table:
    """What each stage takes, for a terminal; counts of what is computed anew, the frozen blocks included."""
    [heading, *rows] = active_rows(stages)
    table = Table(title="Active budget, by stage", title_justify="left")
    for index, column in enumerate(heading):
        table.add_column(Text(column), justify="right" if index else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
