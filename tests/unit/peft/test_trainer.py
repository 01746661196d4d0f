"""The tools that people train adapters with train grafts."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

import saint
from saint.adapters import read_adapter, to_graft
from saint.composition import compose, probe_logits
from small_bases import small_model

peft = pytest.importorskip("peft", reason="grafts are added to its methods")

from saint.peft import GraftConfig  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")  # by torch, without an accelerator


def trainer(model: Any, folder: Path, num_steps: int) -> Trainer:
    rows = [{"input_ids": row, "labels": row} for row in torch.arange(16 * 12).view(16, 12) * 7919 % 96]
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=num_steps,
        per_device_train_batch_size=4,
        learning_rate=0.05,
        save_steps=3,
        logging_steps=1,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        seed=0,
    )
    return Trainer(model=model, args=arguments, train_dataset=rows)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "options"), [("phi", {"rank": 4}), ("block", {"width": 4})])
def test_trainer_trains_saves_and_resumes(kind: str, options: Any, tmp_path: Path) -> None:
    small_model("llama").save_pretrained(tmp_path / "base")
    base = saint.freeze(tmp_path / "base")

    def newborn() -> Any:
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
        return peft.get_peft_model(model, GraftConfig(task_type="CAUSAL_LM", kind=kind, options=options))

    model = newborn()
    run = trainer(model, tmp_path / "run", 6)
    run.train()
    losses = [line["loss"] for line in run.state.log_history if "loss" in line]
    assert losses[-1] < losses[0]

    resumed = newborn()
    trainer(resumed, tmp_path / "run", 6).train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-3"))
    expected = probe_logits(model.eval())
    assert torch.equal(probe_logits(resumed.eval()), expected)

    loaded = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "run" / "checkpoint-6").eval()
    assert torch.equal(probe_logits(loaded), expected)
    graft = to_graft(base, read_adapter(tmp_path / "run" / "checkpoint-6"))
    assert torch.equal(probe_logits(compose(base, [graft])), expected)
    with model.disable_adapter():
        assert torch.equal(probe_logits(model), probe_logits(base.model))
