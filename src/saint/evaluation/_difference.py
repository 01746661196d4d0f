"""How far two compositions of one base are apart on a text."""

from collections.abc import Sequence

import torch

from saint.composition import compose
from saint.data import Corpus
from saint.errors import DivergedError
from saint.evaluation._losses import Losses
from saint.grafts import Graft
from saint.models import FrozenBase, token_logits
from saint.progress import Progress, Silent
from saint.records import TextDifference


@torch.inference_mode()
def text_difference(
    base: FrozenBase,
    one: Sequence[Graft],
    other: Sequence[Graft],
    corpus: Corpus,
    *,
    losses: Losses | None = None,
    progress: Progress | None = None,
) -> TextDifference:
    """What changes on a text when `other` takes the place of `one`, both on the same base in memory.

    The losses are those that everything else is measured by; both models then read the text once more, side by side,
    for their logits.

    Args:
        corpus: Development text, or whatever else may be looked at.
        losses: Says how the text is cut, and remembers what documents cost.

    Raises:
        DataError: The text has fewer than two documents, or a loss is not a number.
        DivergedError: Logits are infinite in one and not in the other.
    """
    losses = losses or Losses()
    saved = losses.saved(base, one, other, corpus)
    models, device = [compose(base, stack) for stack in (one, other)], base.model.device
    largest, num_changed, num_tokens = 0.0, 0, 0
    with (progress or Silent()).task(
        "comparing", total=corpus.num_tokens - corpus.num_documents, unit="tokens"
    ) as task:
        for window in losses.windows_for_two(base.model, corpus):
            tokens, lengths = window.tokens.to(device), window.lengths.to(device)
            before, after = (token_logits(model, tokens, lengths) for model in models)
            paid = torch.arange(before.shape[1], device=device)[None] < lengths[:, None]  # (B, T)
            before, after = before[paid], after[paid]  # (tokens, V)
            apart = torch.where(
                before == after, 0.0, (before.float() - after.float()).abs()
            )  # also where both are -inf
            if not torch.isfinite(apart).all():
                raise DivergedError(
                    f"on {corpus.name} a logit is infinite or no number with one of the two alone; leave out the graft "
                    "that does that, or lower its scale"
                )
            largest = max(largest, float(apart.max()))
            num_changed += int((before.argmax(-1) != after.argmax(-1)).sum())
            num_tokens += len(before)
            task.advance(len(before))
    return TextDifference(saved_bpb=saved, max_logit=largest, changed=num_changed / num_tokens, num_tokens=num_tokens)
