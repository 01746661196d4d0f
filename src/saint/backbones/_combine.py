"""How what several experts say of the next token becomes one distribution.

Experts are the first dimension: N of them, over batches of B rows of T tokens and a vocabulary of V.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F


class Evidence(NamedTuple):
    """What a posterior knows of a text so far, to go on from where it stopped."""

    nats: Float[Tensor, "batch experts"]
    """ln p_i of all tokens so far."""
    next_token: Float[Tensor, "experts batch vocab"]
    """Each expert's ln p_i of the token that comes next."""


class Reading(NamedTuple):
    """What a gate has seen of a text so far."""

    total: Float[Tensor, "batch width"]
    num_tokens: Float[Tensor, "batch 1"]


def log_probabilities(logits: Float[Tensor, "*batch vocab"]) -> Float[Tensor, "*batch vocab"]:
    """Natural logarithms of the next token's probabilities, in float32 or wider."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return F.log_softmax(wide, dim=-1)


def log_evidence(
    logits: Float[Tensor, "experts batch seq vocab"],
    tokens: Int[Tensor, "batch seq"],
    counts: Bool[Tensor, "batch seq"] | None,
    before: Evidence | None = None,
) -> Float[Tensor, "batch seq experts"]:
    """Ln p_i of the tokens up to each place, the one at that place included; a row's first token costs nothing.

    The sums run in float64 and from left to right, so that they are the same to the bit in one piece and in several,
    and no token changes what stands before it.

    Args:
        counts: Which tokens are paid for: no padding, nor what comes right after it. None for all.
        before: What was known before the first of these tokens.
    """
    paid = _paid(logits[:, :, :-1], tokens[:, 1:])  # (N, B, T - 1)
    if before is None:
        first = torch.zeros_like(logits[:, :, :1, 0], dtype=torch.float64)
    else:
        first = before.next_token.gather(-1, tokens[None, :, :1].expand(len(logits), -1, -1)).double()
    each = torch.cat((first, paid.double()), dim=-1).permute(1, 2, 0)  # (B, T, N)
    if counts is not None:
        each = each.masked_fill(~counts[..., None], 0.0)
    if before is None:
        return each.cumsum(1)
    return torch.cat((before.nats[:, None], each), dim=1).cumsum(1)[:, 1:]


def _paid(logits: Float[Tensor, "*batch vocab"], tokens: Int[Tensor, "batch seq"]) -> Float[Tensor, "*batch"]:
    """Ln p of given tokens, without a second tensor as large as the logits."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    chosen = wide.gather(-1, tokens[None, ..., None].expand(len(logits), *tokens.shape, 1))[..., 0]
    return chosen - wide.logsumexp(-1)


def posterior_log_weights(
    nats: Float[Tensor, "batch seq experts"], prior: Float[Tensor, " experts"]
) -> Float[Tensor, "batch seq experts"]:
    """Ln p(expert | the tokens so far), by Bayes' rule.

    Source:
        Li et al. 2022, arXiv:2208.03306, section 2 ("cached" prior aside, which `prior` is for).
    """
    return F.log_softmax(nats + prior.to(nats.dtype).log(), dim=-1)


def running_mean(
    hidden: Float[Tensor, "batch seq width"], counts: Bool[Tensor, "batch seq"] | None, before: Reading | None = None
) -> tuple[Float[Tensor, "batch seq width"], Reading]:
    """The mean of all hidden states up to each place, padding left out, and what to go on from."""
    here = torch.ones_like(hidden[..., :1]) if counts is None else counts[..., None].to(hidden.dtype)
    each, number = (hidden * here).double(), here.double()
    if before is not None:
        each = torch.cat((before.total[:, None], each), dim=1)
        number = torch.cat((before.num_tokens[:, None], number), dim=1)
    totals, numbers = each.cumsum(1), number.cumsum(1)
    after = Reading(total=totals[:, -1], num_tokens=numbers[:, -1])
    if before is not None:
        totals, numbers = totals[:, 1:], numbers[:, 1:]
    return (totals / numbers.clamp(min=1)).to(hidden.dtype), after


def pooled_logits(
    logits: Float[Tensor, "experts batch seq vocab"], prior: Float[Tensor, " experts"]
) -> Float[Tensor, "batch seq vocab"]:
    """The mean of the logits, a geometric mean of the distributions up to its normalisation.

    Source:
        Bochkov 2025, arXiv:2507.07129v1, section 3.1.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return torch.einsum("nbtv,n->btv", wide, prior.to(wide.dtype))


def pooled_probabilities(
    logits: Float[Tensor, "experts batch seq vocab"], log_weights: Float[Tensor, "*batch experts"]
) -> Float[Tensor, "batch seq vocab"]:
    """The mean of the distributions, each with its weight, as natural logarithms.

    Args:
        log_weights: For each place, or one for all.

    Source:
        Stone 1961, "The opinion pool", doi:10.1214/aoms/1177704873.
    """
    each = log_probabilities(logits)
    weights = log_weights.to(each.dtype).movedim(-1, 0)
    return (each + weights.reshape(len(weights), *(weights.shape[1:] or (1, 1)), 1)).logsumexp(0)
