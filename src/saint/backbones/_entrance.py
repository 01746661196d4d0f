"""How tokens come into a decoder of ours, as ids or as vectors."""

from collections.abc import Callable

from torch import Tensor

from saint.errors import ConfigError, DataError


def embedded(
    table: Callable[[Tensor], Tensor], input_ids: Tensor | None, inputs_embeds: Tensor | None, *, vocab_size: int
) -> Tensor:
    """The rows of a table for ids (B, T), or the vectors that were given instead.

    Raises:
        ConfigError: Both or neither are given.
        DataError: A token id is not in the vocabulary.
    """
    if (input_ids is None) == (inputs_embeds is None):
        raise ConfigError("expected either input_ids or inputs_embeds, got both or neither; give one of them")
    if input_ids is None:
        assert inputs_embeds is not None  # one of the two is given
        return inputs_embeds
    try:
        return table(input_ids)
    except IndexError as error:
        raise DataError(
            f"token {int(input_ids.max())} came to a model whose vocabulary has {vocab_size} tokens, from 0 on; take "
            "the tokenizer that it was trained with"
        ) from error
