"""Published benchmarks load as they are, and a published model, which knows children's stories only, is measured."""

from itertools import pairwise
from pathlib import Path

import pytest

from saint.data import read_documents
from saint.evaluation import measure_task
from saint.models import FrozenBase, freeze
from saint.records import to_plain
from saint.report import against_chance
from saint.tasks import Question, Questions, read_questions, task_of

DATA = Path(__file__).parents[3].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(
    not (DATA / "eval_arc").is_dir(), reason="the published benchmarks and weights lie outside the repository"
)
FILES = {
    "arc:easy": ("eval_arc/arc_easy_test.test.jsonl.gz", 1156, 1 / 4),
    "arc:challenge": ("eval_arc/arc_challenge_test.test.jsonl.gz", 592, 1 / 4),
    "blimp": ("eval_blimp/blimp.test.jsonl.gz", 27043, 1 / 2),
    "boolq": ("eval_boolq/boolq_val.test.jsonl.gz", 1657, 1 / 2),
    "copa": ("eval_mc_more/copa.test.jsonl.gz", 58, 1 / 2),
    "csqa": ("eval_mc_more/csqa.test.jsonl.gz", 634, 1 / 5),
    "choice:medmcqa": ("eval_mc_more/medmcqa.test.jsonl.gz", 2061, 1 / 4),
    "openbookqa": ("eval_mc_more/openbookqa_test.test.jsonl.gz", 252, 1 / 4),
    "wsc": ("eval_mc_more/wsc273.test.jsonl.gz", 132, 1 / 2),
    "hellaswag": ("eval_hellaswag_sample/hellaswag_val1000.test.jsonl.gz", 515, 1 / 4),
    "lambada": ("eval_lambada/lambada_test.test.jsonl.gz", 2614, None),
    "mmlu": ("eval_mmlu/mmlu.test.jsonl.gz", 7015, 1 / 4),
    "mmlu_cloze": ("eval_mmlu/mmlu.test.jsonl.gz", 7015, 1 / 4),
    "piqa": ("eval_piqa/piqa_val.test.jsonl.gz", 891, 1 / 2),
    "squad": ("eval_squad_sample/squad11_dev1000.test.jsonl.gz", 430, None),
    "squad:x": ("eval_xquad/xquad.test.jsonl.gz", 1494, None),
    "squad:pt": ("eval_faquad_pt/faquad.train.jsonl.gz", 837, None),
    "winogrande": ("eval_winogrande/winogrande_val.test.jsonl.gz", 596, 1 / 2),
}


@pytest.mark.parametrize("name", FILES)
def test_a_published_file_is_read_whole(name: str) -> None:
    file, num, chance = FILES[name]
    found = read_questions(name, DATA / file)
    assert (len(found.questions), found.chance) == (num, chance if chance is None else pytest.approx(chance))
    contexts = {context for question in found.questions for context in question.contexts}
    assert not any("Question: Question:" in context or context != context.rstrip() for context in contexts)


@pytest.fixture(scope="module")
def stories() -> FrozenBase:
    return freeze(str(DATA / "model_stories260k" / "hf"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mmlu_cloze", "csqa"])
def test_a_model_of_stories_is_at_chance_on_what_it_cannot_know(stories: FrozenBase, name: str) -> None:
    found = measure_task(read_questions(name, DATA / FILES[name][0], limit=120), (stories.model, stories.tokenizer))
    accuracy = to_plain(found.measures["accuracy"].value)
    assert against_chance(accuracy, found.chance) == "at chance"
    assert accuracy["high"] - accuracy["low"] < 0.2


@pytest.mark.slow
def test_a_model_of_stories_knows_how_stories_go_on(stories: FrozenBase) -> None:
    """Its own story's next words against another's: the scores can say yes."""
    texts = [one.text for one in read_documents(str(DATA / "tinystories_sample" / "val.jsonl.gz"))][:40]
    questions = [
        Question(contexts=(mine[:300].rstrip(),), options=(f" {mine[300:400].strip()}", f" {other[300:400].strip()}"))
        for mine, other in pairwise(texts)
    ]
    asked = Questions(name="choice", task=task_of("choice"), questions=tuple(questions), num_available=len(questions))
    found = measure_task(asked, (stories.model, stories.tokenizer))
    assert against_chance(to_plain(found.measures["accuracy"].value), found.chance) == "above"
