"""What a graft does to safety suites, item by item: lower is better, whatever the sort."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from jaxtyping import Float64
from torch import nn

from saint.composition import compose
from saint.data import Item, SuiteItems, SuiteSort, Tokens, encode
from saint.errors import ConfigError, DataError, JudgeError
from saint.evaluation._completions import completion_nats, continuations
from saint.grafts import Graft
from saint.judges import answers_of, build_judge
from saint.models import FrozenBase
from saint.records import SafetyMeasure, Spread, SuiteLosses
from saint.statistics import mean_interval, paired_rate_interval, rate_interval

PerItem = Float64[np.ndarray, " items"]

_UNITS: Mapping[SuiteSort, str] = {"preference": "nats per token", "prohibited": "nats per token"}
_RATES = ("violations", "refusals")


@final
class SuiteValues:
    """The value of each item of a suite's part, measured once for each model and part and then remembered.

    - preference: -(log p(chosen | prompt) - log p(rejected | prompt)), each in nats per token of that completion. Sums
      over tokens would let the longer completion decide: whatever makes all text a little less likely would move the
      margin by as much as their lengths differ.
    - prohibited: log p(completion | prompt) in nats per token; what is likelier is worse.
    - violations, refusals: 1 where the suite's judge says yes to what the model writes after the prompt, else 0.

    Prompt and completion are cut into tokens apart, so that a completion is the same tokens whatever it follows.
    """

    def __init__(self, tokenizer: Any, *, seq_len: int = 512) -> None:
        """Fix how items are shown.

        Args:
            tokenizer: The base's, or the one that was trained for it.
            seq_len: Most tokens of an item that a model is shown, if it reads as many.
        """
        self._tokenizer, self._seq_len = tokenizer, seq_len
        self._known: dict[tuple[Any, ...], PerItem] = {}

    def of(self, base: FrozenBase, stack: Sequence[Graft], part: SuiteItems) -> PerItem:
        """What base + stack has on each item, as remembered.

        Raises:
            JudgeError: The judge failed.
            DataError: A value is not a number.
        """
        name = base.digest, tuple((graft.digest, graft.strength) for graft in stack), part.digest
        if name not in self._known:
            self._known[name] = self.measure(compose(base, stack), part)
        return self._known[name]

    def measure(self, model: nn.Module, part: SuiteItems) -> PerItem:
        """What any model has on each item, measured now.

        Raises:
            JudgeError: The judge failed.
            DataError: A value is not a number.
        """
        values = self._judged(model, part) if part.sort in _RATES else self._likelihoods(model, part)
        if not np.isfinite(values).all():
            place = int(np.flatnonzero(~np.isfinite(values))[0])
            raise DataError(
                f"item {place} of {part.name} has a value that is not a number; look at the model's weights"
            )
        return values

    def _likelihoods(self, model: nn.Module, part: SuiteItems) -> PerItem:
        each = len(part.items[0].texts)
        prompts = [prompt for prompt in self._prompts(part.items) for _ in range(each)]
        texts = encode(self._tokenizer, [text for item in part.items for text in item.texts])
        nats = completion_nats(model, prompts, [text[1:] for text in texts], seq_len=self._seq_len)
        values: PerItem = nats[0::2] - nats[1::2] if part.sort == "preference" else -nats
        return values

    def _judged(self, model: nn.Module, part: SuiteItems) -> PerItem:
        judge = build_judge(part.judge, part.judge_settings)
        prompts = self._prompts(part.items)
        written = continuations(model, prompts, max_tokens=part.max_tokens, seq_len=self._seq_len)
        texts = self._tokenizer.batch_decode(written, skip_special_tokens=True)
        return np.array(answers_of(judge, [item.prompt for item in part.items], texts), dtype=np.float64)

    def _prompts(self, items: Sequence[Item]) -> list[Tokens]:
        return encode(self._tokenizer, [item.prompt for item in items])


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SafetyFindings:
    """What was found of all suites, for a graft's evidence."""

    measures: Mapping[str, SafetyMeasure] = field(default_factory=dict)
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    """Suite -> why it could not be measured."""


def measure_safety(
    base: FrozenBase,
    stack: Sequence[Graft],
    graft: Graft,
    suites: Mapping[str, SuiteItems],
    *,
    composed: Sequence[Graft] | None = None,
    values: SuiteValues,
) -> SafetyFindings:
    """How much worse base + stack + graft is than base + stack on each suite.

    Args:
        suites: Suite -> its development items, `Splits.suites_of("select")`.
        composed: The stack with the graft in it; with the graft on top if left out.
        values: Remembers what was measured, so that the stack is not asked again for every graft.
    """
    measures, unmeasured = {}, {}
    for name, part in suites.items():
        try:
            before, after = values.of(base, stack, part), values.of(base, composed or [*stack, graft], part)
            measures[name] = _measure(part.sort, before, after)
        except (JudgeError, DataError, ConfigError) as error:
            unmeasured[name] = str(error)
    return SafetyFindings(measures=measures, unmeasured=unmeasured)


def suite_losses(
    base: FrozenBase,
    before: Sequence[Graft],
    after: Sequence[Graft],
    suites: Mapping[str, SuiteItems],
    *,
    values: SuiteValues,
) -> dict[str, SuiteLosses]:
    """What each sealed item costs the bare base, the stack `before` a graft came in, and the one `after` it.

    To be called once a query about these items is in the ledger.

    Args:
        suites: Suite -> its sealed items, `Splits.suites_of("gate")`.
        values: Remembers what base and stack have.

    Raises:
        JudgeError: A judge failed, so nothing is shown of its suite.
        DataError: A value is not a number, so nothing is shown either.
    """
    return {
        name: SuiteLosses(
            unit=_UNITS.get(part.sort, part.sort),
            documents=part.digest,
            base=_listed(values.of(base, (), part)),
            before=_listed(values.of(base, before, part)),
            after=_listed(values.of(base, after, part)),
        )
        for name, part in suites.items()
    }


def _measure(sort: SuiteSort, before: PerItem, after: PerItem) -> SafetyMeasure:
    saved = before - after
    is_rate = sort in _RATES
    return SafetyMeasure(
        sort=sort,
        rise=paired_rate_interval(before, after) if is_rate else mean_interval(after - before),
        after=float(after.mean()),
        rate=rate_interval(after) if is_rate else None,
        spread=Spread(
            mean=float(saved.mean()),
            deviation=float(saved.std(ddof=1)),
            num_documents=len(saved),
        ),
    )


def _listed(values: PerItem) -> tuple[float, ...]:
    return tuple(values.tolist())
