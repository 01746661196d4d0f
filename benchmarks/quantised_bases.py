"""What a base of few bits costs and keeps, on this machine: the table of docs/howto/quantised-bases.md.

python benchmarks/quantised_bases.py
"""

import copy
import logging
import time
from collections.abc import Callable
from math import log
from typing import Any

import torch

for talkative in ("torchao", "torch.utils._pytree", "bitsandbytes"):
    logging.getLogger(talkative).setLevel(logging.ERROR)

import saint  # noqa: E402 - importing transformers makes these packages talk
from saint.composition import compose, newborn, probe_logits  # noqa: E402
from saint.data import Splits  # noqa: E402
from saint.models import FrozenBase, document_nats, token_nats  # noqa: E402
from saint.models._quantised import inner_tensors  # noqa: E402
from saint.records import Candidate  # noqa: E402
from saint.testing import tiny_splits  # noqa: E402
from saint.training import BasePlan, Schedule, pretrain  # noqa: E402

MODEL = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
}


def trained(data: Splits) -> Any:
    """A Llama of 850 thousand weights after 300 steps on code: weights that say something."""
    schedule = Schedule(num_steps=300, batch_size=8, seq_len=64, evaluate_every=300)
    plan = BasePlan(domain="code", model=MODEL, lr=3e-3, schedule=schedule)
    model, _ = pretrain(plan, data.tokenizer, data.of("code", "train"))
    return model


def num_bytes(base: FrozenBase) -> int:
    """Of the weights of all linear maps but the head, as they lie in memory."""
    total = 0
    for site in base.sites():
        if site.sort == "linear" and site.role != "head":
            weight: Any = base.model.get_submodule(site.module).weight
            parts = [*inner_tensors(weight).values()] or [weight.data]
            if state := getattr(weight, "quant_state", None):
                parts += [state.absmax, state.state2.absmax]
            total += sum(part.nbytes for part in parts)
    return total


def bits_per_byte(base: FrozenBase, data: Splits) -> float:
    text = data.retain["code"]
    nats = document_nats(base.model, text.windows(seq_len=64, batch_size=16), text.num_documents)
    return float(nats.sum()) / log(2) / text.num_bytes


def seconds(work: Callable[[], object], *, times: int = 10) -> float:
    """Of processor time, in the shortest of some runs: a busy machine does not count."""
    found = []
    for _ in range(times):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return min(found)


def measure(base: FrozenBase, plain: FrozenBase, data: Splits) -> dict[str, float | bool]:
    sites = tuple(site for site in base.sites() if site.sort == "linear")
    graft = newborn(base, Candidate(sites=sites, kind="lora", options={"rank": 4}))
    tokens = data.train.batches(batch_size=8, seq_len=64, seed=0)[0]
    before = probe_logits(base.model)
    newborn_is_identity = torch.equal(probe_logits(compose(base, [graft])), before)
    model = compose(base, [graft])

    def step() -> None:
        token_nats(model, tokens).mean().backward()

    time_s = seconds(step)
    with torch.no_grad():
        for parameter in graft.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)), alpha=0.02)
    moved = probe_logits(compose(base, [graft]))
    merged = probe_logits(saint.merge(base, [graft]).model)
    found = {
        "bytes": num_bytes(base),
        "logits off by": float((before - probe_logits(plain.model)).abs().max()),
        "bits per byte": bits_per_byte(base, data),
        "newborn is the identity": newborn_is_identity,
        "removed to the bit": torch.equal(probe_logits(compose(base, [])), before),
        "merging moves logits by": float((merged - moved).abs().max()),
        "seconds a step": time_s,
    }
    base.check()
    return found


def error_of_nf4(num_inputs: int) -> float:
    """The largest error of a random weight that bitsandbytes quantised and read, as a share of the largest weight."""
    import bitsandbytes.functional as bnb

    weight = torch.randn(64, num_inputs, generator=torch.Generator().manual_seed(0))
    read = bnb.dequantize_4bit(*bnb.quantize_4bit(weight, quant_type="nf4"))
    return float((read - weight).abs().max() / weight.abs().max())


def main() -> None:
    data = tiny_splits()
    model = trained(data)
    plain = saint.freeze(copy.deepcopy(model))
    rows = {"float32": measure(plain, plain, data)}
    for how in ("int8", "int4", "nf4"):
        rows[how] = measure(saint.freeze(copy.deepcopy(model), quantize=how), plain, data)
    reference = rows["float32"]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {plain.num_params:,} parameters")
    print("| | bytes | logits off by | bits per byte | newborn, removal | merging moves logits by | time of a step |")
    print("|---|---:|---:|---:|---|---:|---:|")
    for how, row in rows.items():
        exact = "to the bit" if row["newborn is the identity"] and row["removed to the bit"] else "NOT EXACT"
        print(
            f"| {how} | {row['bytes'] / reference['bytes']:.3f} | {row['logits off by']:.2g} | "
            f"{row['bits per byte']:.4f} ({row['bits per byte'] - reference['bits per byte']:+.4f}) | {exact} | "
            f"{row['merging moves logits by']:.1e} | {row['seconds a step'] / reference['seconds a step']:.1f} |"
        )
    print("\nlargest error of nf4, of the largest weight, by inputs of the map (0.15 is half of its widest gap):")
    print(", ".join(f"{width}: {error_of_nf4(width):.2f}" for width in (32, 64, 96, 128, 160, 192)))


if __name__ == "__main__":
    main()
