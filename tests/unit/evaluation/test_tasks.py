"""Scores of a model on questions, held against asking it one option at a time."""

from collections.abc import Sequence
from math import log

import numpy as np
import pytest
import torch
from torch import nn

from saint.composition import compose, newborn
from saint.data import Splits, encode
from saint.errors import DataError
from saint.evaluation import (
    TaskScores,
    completion_costs,
    measure_task,
    measure_text,
    normal_answer,
    score_task,
    split_pairs,
    word_f1,
)
from saint.models import FrozenBase
from saint.records import Candidate
from saint.tasks import Question, Questions, task_of
from saint.testing import GraftSuite, tiny_base

WORDS = ["water", "a light", "the file is open", "return", "import of a module", "it"]


def asked(task: str, questions: Sequence[Question]) -> Questions:
    return Questions(name=task, task=task_of(task), questions=tuple(questions), num_available=len(questions))


def some_choices(num: int = 30, *, cluster_size: int = 1) -> Questions:
    chance = np.random.default_rng(0)
    drawn = [chance.permutation(WORDS)[:4].tolist() for _ in range(num)]
    return asked(
        "choice",
        [
            Question(
                contexts=(f"{first} and",),
                options=tuple(f" {word}" for word in options),
                right=int(chance.integers(3)),
                cluster=f"{i // cluster_size}" if cluster_size > 1 else "",
            )
            for i, (first, *options) in enumerate(drawn)
        ],
    )


@pytest.fixture
def moved(base: FrozenBase) -> nn.Module:
    """A base with a graft that moves it."""
    sites = tuple(site for site in base.sites() if site.role == "up")
    return compose(base, [GraftSuite().moved(newborn(base, Candidate(sites=sites, kind="phi", options={"rank": 3})))])


def plainly(model: nn.Module, tokenizer: object, context: str, option: str) -> tuple[float, bool]:
    """The definition: one option, all logits."""
    before, whole = encode(tokenizer, [context, context + option])
    logits = model(input_ids=torch.tensor([whole.tolist()[:-1]])).logits[0].detach().double()
    places = range(len(before), len(whole))
    nats = -sum(float(logits[place - 1].log_softmax(-1)[int(whole[place])]) for place in places)
    return nats, all(int(logits[place - 1].argmax()) == int(whole[place]) for place in places)


def test_the_likeliest_option_is_the_answer_with_and_without_its_length(moved: nn.Module, base: FrozenBase) -> None:
    questions = some_choices()
    found = score_task(moved, base.tokenizer, questions)
    for place, question in enumerate(questions.questions):
        nats = [plainly(moved, base.tokenizer, *pair)[0] for pair in question.pairs]
        per_byte = [paid / len(option.strip().encode()) for paid, option in zip(nats, question.options, strict=True)]
        assert found.scores["accuracy"][place] == float(np.argmin(nats) == question.right)
        assert found.scores["accuracy_per_byte"][place] == float(np.argmin(per_byte) == question.right)
        assert found.right_nats[place] == pytest.approx(nats[question.right], abs=1e-4)
    assert 0 < found.scores["accuracy"].mean() < 1
    assert (found.scores["accuracy"] != found.scores["accuracy_per_byte"]).any()


def test_options_that_are_equally_likely_share_the_point(base: FrozenBase) -> None:
    same = Question(contexts=("water",), options=(" is", " is", " is", " is"), right=2)
    found = score_task(base.model, base.tokenizer, asked("choice", [same, same]))
    assert found.scores["accuracy"].tolist() == [0.25, 0.25], "whoever knows nothing is at chance, whatever its order"


def test_contexts_may_differ_instead_of_options(moved: nn.Module, base: FrozenBase) -> None:
    schema = Question(contexts=("the water", "the module"), options=(" is open",) * 2, right=1)
    found = score_task(moved, base.tokenizer, asked("winogrande", [schema, schema]))
    costs = [plainly(moved, base.tokenizer, *pair)[0] for pair in schema.pairs]
    assert found.scores["accuracy"][0] == float(costs[1] < costs[0])
    assert found.right_nats[0] == pytest.approx(costs[1], abs=1e-4)


def test_a_word_is_right_where_each_of_its_tokens_is_the_likeliest(moved: nn.Module, base: FrozenBase) -> None:
    contexts = [f"{one} {two}" for one in WORDS for two in WORDS]
    start = encode(base.tokenizer, contexts)
    questions = []
    for context, tokens in zip(contexts, start, strict=True):
        likeliest = moved(input_ids=torch.tensor([tokens.tolist()])).logits[0, -1].argmax()
        word = base.tokenizer.decode([int(likeliest)])
        questions.append(Question(contexts=(context,), options=(word if word.strip() else " x",)))
        questions.append(Question(contexts=(context,), options=(" zq",)))
    found = score_task(moved, base.tokenizer, asked("lambada", questions))
    expected = [float(plainly(moved, base.tokenizer, *question.pairs[0])[1]) for question in questions]
    assert found.scores["accuracy"].tolist() == expected
    assert 0 < sum(expected) < len(expected)


def test_whether_a_completion_is_the_likeliest_is_what_the_model_writes(moved: nn.Module, base: FrozenBase) -> None:
    prompts = encode(base.tokenizer, WORDS)
    first = [int(moved(input_ids=torch.tensor([p.tolist()])).logits[0, -1].argmax()) for p in prompts]
    likeliest = [np.array([token], dtype=prompt.dtype) for token, prompt in zip(first, prompts, strict=True)]
    others = [np.array([(token + 1) % 290], dtype=prompt.dtype) for token, prompt in zip(first, prompts, strict=True)]
    assert completion_costs(moved, prompts, likeliest, seq_len=64).is_likeliest.all()
    assert not completion_costs(moved, prompts, others, seq_len=64).is_likeliest.any()


def test_letters_after_one_question_are_read_in_one_row(moved: nn.Module, base: FrozenBase) -> None:
    read = []
    moved.register_forward_pre_hook(lambda _m, _a, kwargs: read.append(len(kwargs["input_ids"])), with_kwargs=True)
    prompts = [prompt for prompt in encode(base.tokenizer, WORDS) for _ in range(4)]
    letters = [np.array([60 + letter], dtype=prompts[0].dtype) for _ in WORDS for letter in range(4)]
    together = completion_costs(moved, prompts, letters, seq_len=64)
    assert sum(read) == len(WORDS)
    alone = [completion_costs(moved, [p], [c], seq_len=64).nats[0] for p, c in zip(prompts, letters, strict=True)]
    assert together.nats == pytest.approx(np.array(alone), abs=1e-5)
    assert len(set(together.nats.tolist())) == 4 * len(WORDS)


def test_spaces_at_the_end_of_a_context_go_to_what_follows(data: Splits) -> None:
    one, other = (split_pairs(data.tokenizer, [pair]) for pair in (("the file ", "is"), ("the file", " is")))
    assert [tokens.tolist() for part in one for tokens in part] == [
        tokens.tolist() for part in other for tokens in part
    ]
    context, after = other
    whole = encode(data.tokenizer, ["the file is"])[0]
    assert [*context[0], *after[0]] == whole.tolist()


def test_answers_are_compared_as_squad_does() -> None:
    assert normal_answer(" The  Normans, of a kind. ") == "normans of kind"
    assert word_f1("in the year 1066", "1066") == pytest.approx(2 * 1 / (3 + 1))
    assert word_f1("the cat cat", "cat dog") == pytest.approx(2 * 1 / (2 + 2)), "a word counts as often as both have it"
    assert (word_f1("north", "south"), word_f1("", "south"), word_f1("The", "a")) == (0.0, 0.0, 1.0)


def test_what_is_written_on_the_first_line_is_scored(base: FrozenBase, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["\n The water!\nmore", "cold water", "sand"]
    monkeypatch.setattr(
        "saint.evaluation._tasks.continuations",
        lambda *_args, max_tokens, **_kwargs: [[i] * max_tokens for i in range(3)],
    )
    monkeypatch.setattr(base.tokenizer, "batch_decode", lambda tokens, **_: [texts[row[0]] for row in tokens])
    one = Question(contexts=("What is wet?",), options=(" ice", " water"), cluster="a")
    found = score_task(base.model, base.tokenizer, asked("squad", [one, one, one]))
    assert found.scores["exact_match"].tolist() == [1.0, 0.0, 0.0]
    assert found.scores["f1"] == pytest.approx([1.0, 2 / 3, 0.0])
    assert found.right_nats[0] == pytest.approx(
        plainly(base.model, base.tokenizer, "What is wet?", " ice")[0], abs=1e-4
    )


def test_two_models_are_compared_on_the_same_questions(moved: nn.Module, base: FrozenBase) -> None:
    questions = some_choices(60, cluster_size=3)
    mine, other = (moved, base.tokenizer), (base.model, base.tokenizer)
    result = measure_task(questions, mine, other)
    alone = measure_task(questions, other)
    assert (result.num_questions, result.num_clusters, result.chance) == (60, 20, pytest.approx(1 / 3))
    for name, measure in result.measures.items():
        assert measure.difference is not None
        assert alone.measures[name].difference is None
        apart = measure.value.estimate - alone.measures[name].value.estimate
        assert measure.difference.estimate == pytest.approx(apart)
        assert measure.difference.low <= apart <= measure.difference.high
    assert result.right_bpb.difference is not None
    apart = result.right_bpb.value.estimate - alone.right_bpb.value.estimate
    assert result.right_bpb.difference.estimate == pytest.approx(apart)
    same = measure_task(questions, other, other)
    assert all(found.difference and found.difference.estimate == 0 for found in same.measures.values())


def test_what_is_above_another_model_is_positive() -> None:
    def scores(right: Sequence[float]) -> TaskScores:
        return TaskScores(
            scores={"accuracy": np.array(right)},
            right_nats=np.array([2.0 - one for one in right]),
            right_bytes=np.ones(len(right), dtype=np.int64),
            clusters=np.arange(len(right)),
        )

    better, worse = scores([1.0, 1.0, 1.0, 0.0]), scores([0.0, 1.0, 0.0, 0.0])
    assert better.above(worse)["accuracy"].estimate == 0.5
    assert worse.above(better)["accuracy"].estimate == -0.5
    assert better.right_bpb_above(worse).estimate == pytest.approx(-0.5 / log(2)), "fewer bits are better"


def test_bits_per_byte_of_right_options_are_over_their_bytes(base: FrozenBase) -> None:
    questions = some_choices(10)
    result = measure_task(questions, (base.model, base.tokenizer))
    paid = [plainly(base.model, base.tokenizer, *one.pairs[one.right])[0] for one in questions.questions]
    num_bytes = sum(len(one.options[one.right].strip().encode()) for one in questions.questions)
    assert result.right_bpb.value.estimate == pytest.approx(sum(paid) / log(2) / num_bytes, abs=1e-4)


def test_groups_have_their_means(base: FrozenBase) -> None:
    pairs = [("a water", "a a", "x"), ("the file", "file the", "y"), ("it is", "is it", "y")]
    questions = [Question(contexts=("",), options=pair[:2], group=pair[2]) for pair in pairs]
    result = measure_task(asked("blimp", questions), (base.model, base.tokenizer))
    scores = score_task(base.model, base.tokenizer, asked("blimp", questions)).scores["accuracy"]
    assert result.groups["x"]["accuracy"] == scores[0]
    assert result.groups["y"] | {"num_questions": 2, "accuracy": float(scores[1:].mean())} == result.groups["y"]


def test_a_model_whose_numbers_are_none_is_refused(base: FrozenBase) -> None:
    broken = tiny_base(base.tokenizer)
    broken.model.model.norm.weight.data.fill_(torch.nan)
    with pytest.raises(DataError, match="has a likelihood that is not a number"):
        score_task(broken.model, base.tokenizer, some_choices(3))


def test_a_text_costs_what_its_documents_do(moved: nn.Module, base: FrozenBase, data: Splits) -> None:
    corpus = data.of("prose", "select")
    result = measure_text(corpus, moved, (corpus, base.model))
    alone = measure_text(corpus, base.model)
    assert alone.bpb.difference is None
    assert result.num_documents == corpus.num_documents
    assert result.bpb.difference is not None
    apart = result.bpb.value.estimate - alone.bpb.value.estimate
    assert result.bpb.difference.estimate == pytest.approx(apart)
    with pytest.raises(DataError, match="is not the text that"):
        measure_text(corpus, moved, (data.of("code", "select"), base.model))
