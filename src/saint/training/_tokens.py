from saint.data import Splits
from saint.errors import BaseChangedError, DataError
from saint.models import FrozenBase


def check_tokenizer(base: FrozenBase, data: Splits) -> None:
    """Refuse text that was cut by another tokenizer than the base's.

    Raises:
        BaseChangedError: The base came with a tokenizer, and it is another one.
        DataError: The text has tokens that the base does not know.
    """
    if base.tokenizer is not None and data.tokenizer_digest != base.identity.tokenizer:
        raise BaseChangedError(
            f"the prepared text was cut by tokenizer {(data.tokenizer_digest or 'none')[:12]}, the base's is "
            f"{(base.identity.tokenizer or 'none')[:12]}; prepare the text again with the base's tokenizer"
        )
    if len(data.tokenizer) > base.model.config.vocab_size:
        raise DataError(
            f"the tokenizer has {len(data.tokenizer)} tokens, the base knows {base.model.config.vocab_size}; "
            "use the base's own tokenizer"
        )
