from typing import Any

from saint.errors import DataError

_UNKNOWN = "\ufffd"


def token_texts(tokenizer: Any, vocab_size: int) -> list[str]:
    """What each token stands for, so that no two say the same unless the tokenizer cannot tell them apart itself.

    A token that is no whole text, such as some bytes of a letter, or whose text an earlier token has, is named by its
    spelling in the vocabulary, in angle brackets; an id without a token is <unused_id>.

    Args:
        tokenizer: A Hugging Face tokenizer.
        vocab_size: The model's, which may be larger.

    Raises:
        DataError: There is no tokenizer, or it knows the spelling of no token.
    """
    num_known = 0 if tokenizer is None else min(len(tokenizer), vocab_size)
    spelled = tokenizer.convert_ids_to_tokens(list(range(num_known))) if num_known else []
    if all(spelling is None for spelling in spelled):
        raise DataError(
            f"the tokenizer has no string for any of {vocab_size} tokens, and tokens are drawn from theirs; give one "
            "that spells its tokens, or an interface such as 'binary' that needs none"
        )
    decoded = tokenizer.batch_decode([[token] for token in range(num_known)], clean_up_tokenization_spaces=False)
    seen: set[str] = set()
    texts = []
    for token, (text, spelling) in enumerate(zip(decoded, spelled, strict=True)):
        named = text
        if spelling is None:
            named = f"<unused_{token}>"
        elif text in seen or not text or (_UNKNOWN in text and spelling != _UNKNOWN):
            named = f"<{spelling}>"
        seen.add(named)
        texts.append(named)
    return texts + [f"<unused_{token}>" for token in range(num_known, vocab_size)]
