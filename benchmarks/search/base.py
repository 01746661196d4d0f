"""The bases that the search is measured on, and their text: the running Python's own library, byte by byte.

    python -m benchmarks.search.base [--work FOLDER] [--size tiny]

trains the base of nine blocks and 1.8 million parameters once and keeps it; the benchmarks do so too where it is
missing. It takes some minutes on one core.
"""

import argparse
import platform
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

import saint
from benchmarks.search.setting import Setting, Width
from saint import records
from saint.cli._terminal import quieten
from saint.data import DataPlan, Domain, Splits, open_splits, read_splits, save_splits
from saint.folders import write_folder
from saint.models import FrozenBase
from saint.training import BasePlan, Schedule, pretrain
from saint.training._train import untrained

_BYTES = 257  # a token for each byte, and the start token
_MLP_SHARE = 2.6875  # of the width: 344 at 128, which makes nine blocks 1.8 million parameters
_HEAD = 32


def text_plan(setting: Setting) -> DataPlan:
    """Code is what the base learns, prose is what it is grown towards."""
    full = setting.size == "full"

    def at_most(train: int, **others: int) -> dict[str, int]:
        return {name: num if full else num // 8 for name, num in {"train": train, **others}.items()}

    return DataPlan(
        vocab_size=_BYTES,
        domains={
            "code": Domain(
                role="retain",
                sources=("embedded:code",),
                max_tokens=at_most(1_320_000, select=12_000, retain=16_000, vault=32_000),
                max_document_bytes=512 if full else 128,
            ),
            "prose": Domain(
                role="grow",
                sources=("embedded:prose",),
                shares={"train": 0.55, "select": 0.08, "held_out": 0.18, "vault": 0.19},
                max_tokens=at_most(1_000_000, select=12_000, held_out=32_000, vault=48_000),
                max_document_bytes=512 if full else 128,
            ),
        },
    )


def base_plan(setting: Setting, width: Width = "small") -> BasePlan:
    """A Llama whose small size learns from 1.29 million tokens, all different."""
    d_model = setting.d_model(width)
    return BasePlan(
        domain="code",
        model={
            "hidden_size": d_model,
            "intermediate_size": round(_MLP_SHARE * d_model),
            "num_hidden_layers": setting.num_layers,
            "num_attention_heads": max(2, d_model // _HEAD),
            "num_key_value_heads": max(2, d_model // _HEAD),
            "max_position_embeddings": 256,
            "tie_word_embeddings": True,
        },
        schedule=Schedule(
            num_steps=1260 if setting.size == "full" else 40,
            batch_size=setting.batch_size,
            seq_len=setting.seq_len,
            weight_decay=0.1,
            evaluate_every=420 if setting.size == "full" else 20,
        ),
    )


def splits(setting: Setting) -> Splits:
    """The text, read once and kept."""
    plan, folder = text_plan(setting), text_folder(setting)
    if not folder.exists():
        save_splits(read_splits(plan), folder, plan=plan)
    return open_splits(folder)


def text_folder(setting: Setting) -> Path:
    """Where the text is kept; which Python's library it was read from is part of the name."""
    return setting.work / f"text-{setting.size}-python{platform.python_version()}-{_short(text_plan(setting))}"


def trained_base(setting: Setting, data: Splits) -> FrozenBase:
    """The small base after it has learnt code: trained once and kept."""
    plan = base_plan(setting)
    about = [plan.model, plan.lr, plan.schedule.num_tokens, data.of("code", "train").digest]
    folder = setting.work / f"base-{setting.size}-{_short(about)}"
    if not folder.exists():
        checkpoint = folder.with_suffix(".safetensors")
        model, history = pretrain(
            plan, data.tokenizer, data.of("code", "train"), select=data.select["code"], checkpoint=checkpoint
        )

        def write(draft: Path) -> None:
            model.save_pretrained(draft)
            data.tokenizer.save_pretrained(draft)
            (draft / "training.json").write_text(records.to_canonical({"plan": plan, "history": history}))

        write_folder(folder, write)
        checkpoint.unlink(missing_ok=True)
    return saint.freeze(folder)


def random_base(setting: Setting, data: Splits, width: Width, *, dtype: torch.dtype = torch.float32) -> FrozenBase:
    """A base of that width that has learnt nothing: a step takes as long, whatever the weights are."""
    model: Any = random_model(setting, data, width)
    return saint.freeze(model.to(dtype), tokenizer=data.tokenizer)


def random_model(setting: Setting, data: Splits, width: Width) -> PreTrainedModel:
    """The same, not frozen."""
    return untrained(base_plan(setting, width), data.tokenizer)


def _short(plan: Any) -> str:
    return records.digest(plan)[:8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=default_work())
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    arguments = parser.parse_args()
    quieten()
    setting = Setting(work=arguments.work, size=arguments.size)
    data = splits(setting)
    base = trained_base(setting, data)
    print(f"{base.source}: {base.num_params:,} parameters, text {data.train.num_tokens:,} tokens of prose to grow on")


def default_work() -> Path:
    """`benchmarks/.work` of this checkout, which git ignores."""
    return Path(__file__).parents[1] / ".work"


if __name__ == "__main__":
    main()
