"""Processes of the coordinator's machine that measure for it what others trained."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, final

from saint import records
from saint.data import Corpus
from saint.grafts import Graft
from saint.growth._answers import Answer, PerDocument
from saint.growth._greeting import greeted
from saint.growth._orders import Brief, MeasureGraft, sent
from saint.search import Crew, Executor, Job, Role, unpack
from saint.training import Schedule, Search

_BYTES_PER_LOSS = 32


@final
class CheckingCrew:
    """They are the coordinator's own: what they find is what it would find, and counts as that."""

    def __init__(self, brief: Brief, executor: Executor, number: int) -> None:
        """Describe them; they are hired when there is something to measure.

        Args:
            executor: Of processes on this machine.
        """
        self.crew = Crew(executor, number, greet=self._greet)
        self._brief = brief
        self._found: dict[str, PerDocument] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.crew.__exit__(kind, error, trace)

    def _greet(self, worker: str, hello: bytes) -> None:
        greeted(worker, hello, self._brief)

    def turn(self) -> None:
        """See to them, without waiting; the errors are those of a crew."""
        if not self.crew.queue.is_over:
            self.crew.turn(patience_s=0.0)

    def measuring(
        self, stack: Sequence[Graft], graft: Graft, select: Corpus, schedule: Schedule, search: Search
    ) -> Callable[[], PerDocument | None]:
        """Have a graft on a stack measured as training with a schedule measures it.

        Args:
            search: How what blocks below give is kept, which may round it.

        Returns:
            What says in nats what it costs on each document of *select*, and None as long as that is not known.
        """
        name = records.digest(
            {"graft": graft.digest, "stack": [standing.digest for standing in stack], "schedule": schedule.identity}
        )

        def check(_job: Job, _worker: str, answer: bytes) -> None:
            header, _ = unpack(answer)
            told = Answer(header)
            told.must_be("base", self._brief.digest)
            told.must_be("graft", graft.digest)
            self._found[name] = told.measured(select.num_documents)

        job = Job(
            name=name,
            role=Role.CHECKING,
            group="development text",
            label=f"{graft.candidate.kind} at {len(graft.candidate.sites)} sites",
            body=MeasureGraft(stack=sent(stack), graft=sent([graft])[0], schedule=schedule, search=search),
            at_most_bytes=_BYTES_PER_LOSS * select.num_documents,
        )
        self.crew.submit([job], check=check)
        return lambda: self._found.get(name)
