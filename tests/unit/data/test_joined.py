"""Several texts as one."""

import dataclasses

import pytest
import torch

from saint.data import Splits
from saint.errors import DataError


def test_joined_texts_are_read_one_after_the_other(data: Splits) -> None:
    parts = [data.of(name, "train") for name in ("code", "prose")]
    whole = parts[0].joined(parts[1:], name="all/train")
    assert whole.documents == parts[0].documents + parts[1].documents
    assert whole.num_bytes == parts[0].num_bytes + parts[1].num_bytes
    last = parts[1].beginning(3, num_tokens=20)
    assert (whole.beginning(parts[0].num_documents + 3, num_tokens=20) == last).all()
    seen = torch.cat([window.lengths for window in whole.windows(seq_len=32, batch_size=64)]).sum()
    assert seen == whole.num_tokens - whole.num_documents


def test_texts_of_other_tokenizers_are_not_joined(data: Splits) -> None:
    train = data.of("code", "train")
    other = dataclasses.replace(train, name="other/train", tokenizer="0" * 64)
    with pytest.raises(DataError, match="other/train was cut with the tokenizer 000000000000"):
        train.joined([other], name="all")
