"""The harness asks a composition through its own interface; where it is not installed, that is one sentence.

It is no dependency of the tests: these run wherever `pip install 'saint-g[lm-eval]'` was done.
"""

import json
from math import log
from pathlib import Path

import pytest

import warm
from saint.composition import compose, newborn
from saint.evaluation import measure_task
from saint.models import FrozenBase
from saint.records import Candidate
from saint.tasks import read_questions
from saint.testing import GraftSuite


@pytest.mark.slow
def test_where_it_is_not_installed_that_is_said(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import sys\nsys.modules['lm_eval'] = None\nimport saint.harness", encoding="utf-8")
    done = warm.run(program)
    said = done.stderr.strip().splitlines()[-1]
    assert said.endswith("MissingPackageError: saint.harness needs the package lm-eval: pip install 'saint-g[lm-eval]'")


QUESTIONS = [
    {"query": f"The {one} of the", "choices": [two, "file is open", "module"], "gold": i % 3}
    for i, (one, two) in enumerate([("name", "value"), ("end", "text file"), ("class", "x"), ("type", "import")] * 5)
]
TASKS = {
    "my_choice": """
output_type: multiple_choice
doc_to_text: "{{query}}"
doc_to_target: gold
doc_to_choice: "{{choices}}"
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}, {metric: acc_norm, aggregation: mean,
  higher_is_better: true}]
""",
    "my_text": """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{query}}"
metric_list: [{metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}]
""",
    "my_writing": """
output_type: generate_until
doc_to_text: "{{query}}"
doc_to_target: "{{choices[0]}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 4, do_sample: false}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
""",
}


@pytest.fixture
def tasks_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Task files as a user writes them, about a file of items."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "tasks"
    folder.mkdir()
    items = tmp_path / "items.jsonl"
    items.write_text("".join(f"{json.dumps(line)}\n" for line in QUESTIONS), encoding="utf-8")
    for name, settings in TASKS.items():
        data = f"dataset_path: json\ndataset_kwargs: {{data_files: {{test: '{items}'}}}}\ntest_split: test\n"
        version = "metadata: {version: 1.0}\n"
        (folder / f"{name}.yaml").write_text(f"task: {name}\n{data}{version}{settings}", encoding="utf-8")
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_harness_and_the_benchmarks_agree(base: FrozenBase, tasks_in: Path) -> None:
    pytest.importorskip("lm_eval", reason="the extra `lm-eval` is not installed")
    from saint.harness import run_harness

    site = base.sites()[1]
    graft = newborn(base, Candidate(sites=(site,), kind="lora", options={"rank": 2}))
    model = compose(base, [GraftSuite().moved(graft)])
    found = run_harness(model, base.tokenizer, list(TASKS), tasks_in=tasks_in)
    asked = read_questions("choice", tasks_in.parent / "items.jsonl")
    ours = measure_task(asked, (model, base.tokenizer))
    theirs = found["my_choice"]["measures"]
    assert found["my_choice"]["num_items"] == len(QUESTIONS)
    assert theirs["acc,none"] == ours.measures["accuracy"].value.estimate
    assert theirs["acc_norm,none"] == ours.measures["accuracy_per_byte"].value.estimate
    assert 0 < theirs["acc,none"] < 1
    assert 1 < found["my_text"]["measures"]["bits_per_byte,none"] < log(300, 2) * 2
    assert 0 <= found["my_writing"]["measures"]["exact_match,none"] <= 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_what_the_harness_asks_is_answered_in_order(base: FrozenBase) -> None:
    pytest.importorskip("lm_eval", reason="the extra `lm-eval` is not installed")
    from lm_eval.api.instance import Instance

    from saint.errors import ConfigError
    from saint.harness import HarnessModel

    model = HarnessModel(base.model, base.tokenizer)

    def of(kind: str, *arguments: object) -> "Instance":
        return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)

    long = "the file is open and the module is imported " * 20
    texts = [of("loglikelihood_rolling", text) for text in ("it is", long)]
    both = model.loglikelihood_rolling(texts)
    assert both == pytest.approx([model.loglikelihood_rolling([one])[0] for one in texts], rel=1e-5)
    assert both[0] == pytest.approx(model.loglikelihood([of("loglikelihood", "", "it is")])[0][0], rel=1e-5)
    assert both[1] < both[0] * 20, "all windows of a long text are paid for"
    drawn = of("generate_until", "it", {"do_sample": True, "temperature": 0.7, "until": []})
    with pytest.raises(ConfigError, match="only greedy tasks"):
        model.generate_until([drawn])
    settings = {"until": ["\n"], "max_gen_toks": 5}
    written = model.generate_until([of("generate_until", text, settings) for text in ("it", "the file")])
    assert written == [model.generate_until([of("generate_until", t, settings)])[0] for t in ("it", "the file")]
    assert not any("\n" in text for text in written)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_task_that_the_harness_does_not_have_is_refused(base: FrozenBase, tasks_in: Path) -> None:
    pytest.importorskip("lm_eval", reason="the extra `lm-eval` is not installed")
    from saint.errors import ConfigError
    from saint.harness import run_harness

    with pytest.raises(ConfigError, match="no task 'no_such_task_at_all'"):
        run_harness(base.model, base.tokenizer, ["no_such_task_at_all"], tasks_in=tasks_in)
