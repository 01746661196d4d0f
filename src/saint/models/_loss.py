"""What a model pays for text, in nats, per token and per document."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor, nn
from torch.nn import functional as F

from saint.errors import BaseModelError, ConfigError
from saint.progress import Progress, Silent


def must_read(config: Any, seq_len: int) -> None:
    """Refuse a model that cannot learn from running text in windows of `seq_len` tokens.

    Args:
        config: The model's Hugging Face configuration.

    Raises:
        BaseModelError: It is an encoder-decoder, which pays for answers rather than for running text.
        ConfigError: The windows are longer than its positions.
    """
    if getattr(config, "is_encoder_decoder", False):
        raise BaseModelError(
            f"{config.model_type} is an encoder-decoder; it can be frozen, searched for sites, composed and merged, "
            "but only decoder-only models learn from running text: give one of those"
        )
    longest = getattr(config, "max_position_embeddings", None) or seq_len
    if seq_len > longest:
        raise ConfigError(f"seq_len is {seq_len}, the model reads at most {longest} tokens; lower schedule.seq_len")


def follow_gradients(model: Any) -> None:
    """Make autograd follow all values of a model in which nothing requires a gradient, from its embeddings on."""
    model.get_input_embeddings().register_forward_hook(lambda _module, _args, output: output.requires_grad_())


def token_nats(model: nn.Module, tokens: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq-1"]:
    """-ln p(token | the tokens before it in its row), in float32 or wider, for every token but its row's first."""
    logits = model(input_ids=tokens[:, :-1], use_cache=False).logits  # (B, T, V)
    targets = tokens[:, 1:]
    wide = logits if logits.dtype == torch.float64 else logits.float()
    nats = F.cross_entropy(wide.flatten(0, 1), targets.flatten(), reduction="none")
    return nats.view(targets.shape)


@torch.inference_mode()
def document_nats(
    model: nn.Module,
    windows: Iterable[tuple[Tensor, Tensor, Tensor]],
    num_documents: int,
    *,
    progress: Progress | None = None,
) -> Float64[np.ndarray, " documents"]:
    """The total loss of each document, in nats, summed in float64.

    Args:
        windows: Batches of (tokens (B, T+1), lengths (B,), owners (B,)), as `Corpus.windows` yields them: in row b the
            tokens 1 .. lengths[b] are paid for by document owners[b]. A document may have many rows, in any order.
        progress: Told the number of scored tokens after each batch.
    """
    device = next(model.parameters()).device
    batches = list(windows)
    totals = np.zeros(num_documents)
    num_tokens = sum(int(lengths.sum()) for _, lengths, _ in batches)
    with (progress or Silent()).task("scoring", total=num_tokens, unit="tokens") as task:
        for tokens, lengths, owners in batches:
            nats = token_nats(model, tokens.to(device)).cpu().double()  # (B, T)
            paid = torch.arange(nats.shape[1])[None] < lengths[:, None]
            np.add.at(totals, owners.numpy(), torch.where(paid, nats, 0.0).sum(1).numpy())
            task.advance(int(lengths.sum()))
    return totals
