"""What a model pays for text, in nats, per token and per document."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor, nn
from torch.nn import functional as F

from saint.errors import ConfigError
from saint.progress import Progress, Silent

_TOGETHER = {"cpu": 2048}
_TOGETHER_ELSEWHERE = 16384


def must_read(config: Any, seq_len: int) -> None:
    """Refuse windows of `seq_len` tokens that a model cannot read.

    Args:
        config: The model's Hugging Face configuration.

    Raises:
        ConfigError: The windows are longer than its positions.
    """
    longest = getattr(config, "max_position_embeddings", None) or seq_len
    if seq_len > longest:
        raise ConfigError(f"seq_len is {seq_len}, the model reads at most {longest} tokens; lower schedule.seq_len")


def rows_together(seq_len: int, device: torch.device) -> int:
    """How many windows of `seq_len` tokens are best scored in one pass.

    As many as make 2,048 tokens on a processor, whose caches hold no more: at twice as many a pass was measured to take
    a tenth to a quarter longer; 16,384 tokens elsewhere.
    """
    return max(1, _TOGETHER.get(device.type, _TOGETHER_ELSEWHERE) // seq_len)


def follow_gradients(model: nn.Module) -> None:
    """Make autograd follow all values of a model in which nothing requires a gradient, from its embeddings on."""
    for module in model.modules():
        if isinstance(module, nn.Embedding):  # an encoder and a decoder look tokens up each by itself
            module.register_forward_hook(lambda _module, _args, output: output.requires_grad_())


def token_nats(
    model: nn.Module, tokens: Int[Tensor, "batch seq"], lengths: Int[Tensor, " batch"] | None = None
) -> Float[Tensor, "batch seq-1"]:
    """-ln p(token | the tokens before it in its row), in float32 or wider, for every token but its row's first.

    An encoder-decoder pays for a row in two calls, so that each token is paid for once, knowing only what is before
    it, and encoder, decoder and cross-attention all take part. With h half of the row's length: the encoder reads the
    first token and the decoder pays for tokens 1 .. h; then the encoder reads tokens 0 .. h and the decoder pays for
    the rest.

    Args:
        lengths: In row b the tokens 1 .. lengths[b] are paid for and what is given for the rest means nothing; all of
            them by default.
    """
    return _scored(model, tokens, lengths, _nats)


def nats_and_hits(
    logits: Float[Tensor, "batch seq vocab"], targets: Int[Tensor, "batch seq"]
) -> Float[Tensor, "batch seq 2"]:
    """Of each token that came: -ln of its probability, and whether it is the likeliest."""
    nats = _nats(logits, targets)
    return torch.stack([nats, (logits.argmax(-1) == targets).to(nats.dtype)], dim=-1)


def token_logits(
    model: nn.Module, tokens: Int[Tensor, "batch seq"], lengths: Int[Tensor, " batch"] | None = None
) -> Float[Tensor, "batch seq-1 vocab"]:
    """What `token_nats` takes each token's cost from: the logits of all tokens that could stand in its place."""
    return _scored(model, tokens, lengths, lambda logits, _: logits)


Score = Callable[[Tensor, Tensor], Tensor]
"""(logits (B, S, V), the tokens that came (B, S)) -> what is wanted of each, (B, S) or (B, S, more)."""


def _scored(model: nn.Module, tokens: Tensor, lengths: Tensor | None, score: Score) -> Tensor:
    if getattr(model.config, "is_encoder_decoder", False):
        return _scored_in_halves(model, tokens, lengths, score)
    logits = model(input_ids=tokens[:, :-1], use_cache=False).logits  # (B, T, V)
    return score(logits, tokens[:, 1:])


def _nats(logits: Float[Tensor, "batch seq vocab"], targets: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq"]:
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return F.cross_entropy(wide.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)


def _scored_in_halves(
    model: nn.Module, tokens: Int[Tensor, "batch seq"], lengths: Int[Tensor, " batch"] | None, score: Score
) -> Tensor:
    """What an encoder-decoder pays; each row is cut at half of its own length, however wide the batch is."""
    places = torch.arange(tokens.shape[1] - 1, device=tokens.device)[None]  # of what is read: (1, T)
    if not places.numel():
        config: Any = model.config
        return score(torch.zeros(len(tokens), 0, config.vocab_size, device=tokens.device), tokens[:, 1:])
    ends = torch.full_like(tokens[:, :1], places.numel()) if lengths is None else lengths[:, None]  # (B, 1)
    cuts = ends // 2
    widest, most_left = int(cuts.max()), int((ends - cuts).max())
    known = torch.arange(widest + 1, device=tokens.device)[None] <= cuts
    left = (cuts + places[:, :most_left]).clamp(max=places.numel() - 1)  # what is read of the second halves
    second = model(
        input_ids=tokens[:, : widest + 1],
        attention_mask=known.long(),
        decoder_input_ids=tokens.gather(1, left),
        use_cache=False,
    )
    scored = _at(score(second.logits, tokens.gather(1, left + 1)), (places - cuts).clamp(0, most_left - 1))
    if widest:
        first = model(input_ids=tokens[:, :1], decoder_input_ids=tokens[:, :widest], use_cache=False)
        paid = _at(score(first.logits, tokens[:, 1 : widest + 1]), places.clamp(max=widest - 1))
        is_first = (places < cuts).view(*paid.shape[:2], *[1] * (paid.dim() - 2))
        scored = torch.where(is_first, paid, scored)
    return scored


def _at(scored: Tensor, places: Int[Tensor, "rows seq"]) -> Tensor:
    """Of each row what is at these places, which may be the same for all rows."""
    rows = torch.arange(len(scored), device=scored.device)[:, None]
    found: Tensor = scored[rows, places]
    return found


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
    batches = list(windows)
    totals = np.zeros(num_documents)
    num_tokens = sum(int(lengths.sum()) for _, lengths, _ in batches)
    with (progress or Silent()).task("scoring", total=num_tokens, unit="tokens") as task:
        for tokens, lengths, owners in batches:
            np.add.at(totals, owners.numpy(), row_nats(model, tokens, lengths))
            task.advance(int(lengths.sum()))
    return totals


@torch.inference_mode()
def row_nats(
    model: nn.Module, tokens: Int[Tensor, "batch seq"], lengths: Int[Tensor, " batch"]
) -> Float64[np.ndarray, " batch"]:
    """What the tokens 1 .. lengths[b] of each row cost together, in nats, summed in float64."""
    device = next(model.parameters()).device
    nats = token_nats(model, tokens.to(device), lengths.to(device)).cpu().double()  # (B, T)
    paid = torch.arange(nats.shape[1])[None] < lengths[:, None]
    summed: Float64[np.ndarray, " batch"] = torch.where(paid, nats, 0.0).sum(1).numpy()
    return summed
