"""Whether a graft has learnt the hold-out's canaries."""

from collections.abc import Sequence

from saint.data import Corpus, Splits, as_corpus, controls_of
from saint.evaluation._loss_store import PerDocument
from saint.evaluation._losses import Losses
from saint.grafts import Graft
from saint.models import FrozenBase
from saint.statistics import rank_p_value


def canary_p_value(
    base: FrozenBase, stack: Sequence[Graft], graft: Graft, data: Splits, *, losses: Losses | None = None
) -> float | None:
    """How likely it is by chance that the graft makes canaries so much cheaper than texts that never were anywhere.

    What it saves on each canary is ranked among what it saves on as many controls of the same make: a one-sided test
    of Mann and Whitney. No chance at all means that the graft has learnt from the hold-out's folder, whatever it says
    of its training text. A high value does not mean that it has not: it may have read the documents alone. So this is
    against an accident, such as a folder that was crawled along, and not against somebody who means to hide it.

    Returns:
        None where the hold-out was prepared without canaries.

    Source:
        The BIG-bench canary, Srivastava et al. 2022, arXiv:2206.04615; as a test of ranks.
    """
    if not data.canaries:
        return None
    losses = losses or Losses()
    texts = {"canaries": data.canaries, "controls": controls_of(data.canaries, sealed=data.held_out.digest)}
    corpora = {name: as_corpus(name, listed, data.tokenizer) for name, listed in texts.items()}

    def saved(corpus: Corpus) -> PerDocument:
        before, after = losses.of(base, stack, corpus), losses.of(base, [*stack, graft], corpus)
        per_byte: PerDocument = (before - after) / corpus.num_bytes_each
        return per_byte

    return rank_p_value(saved(corpora["canaries"]), saved(corpora["controls"]))
