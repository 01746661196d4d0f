"""Text: documents with digests, splits that never mix, tokens in shards, batches that resume anywhere."""

from saint.data._base_text import (
    TextPlan as TextPlan,
    clean_raw as clean_raw,
    finalize_text as finalize_text,
    prepare_text as prepare_text,
)
from saint.data._canaries import as_corpus as as_corpus, controls_of as controls_of
from saint.data._classes import TOKEN_CLASSES as TOKEN_CLASSES, token_classes as token_classes
from saint.data._contamination import (
    Contamination as Contamination,
    Hit as Hit,
    find_contamination as find_contamination,
)
from saint.data._corpus import Batches as Batches, Corpus as Corpus, TextWindows as TextWindows, Tokens as Tokens
from saint.data._documents import (
    Document as Document,
    read_documents as read_documents,
    read_json_objects as read_json_objects,
)
from saint.data._duplicates import Duplicates as Duplicates, find_duplicates as find_duplicates
from saint.data._prepared import (
    DataPlan as DataPlan,
    open_corpus as open_corpus,
    open_splits as open_splits,
    read_splits as read_splits,
    save_splits as save_splits,
)
from saint.data._shards import TokenShards as TokenShards, open_shards as open_shards
from saint.data._splits import (
    SHARES as SHARES,
    Domain as Domain,
    Splits as Splits,
    read_corpus as read_corpus,
    split_documents as split_documents,
)
from saint.data._streams import NICKNAMES as NICKNAMES
from saint.data._subset import CopyMode as CopyMode, derive_subset as derive_subset
from saint.data._suites import (
    PART_SHARES as PART_SHARES,
    Item as Item,
    SafetySuite as SafetySuite,
    SuiteItems as SuiteItems,
    SuiteSort as SuiteSort,
    describe_suites as describe_suites,
    read_suites as read_suites,
)
from saint.data._tokenizer import (
    TokenizerSort as TokenizerSort,
    encode as encode,
    load_tokenizer as load_tokenizer,
    start_token as start_token,
    train_tokenizer as train_tokenizer,
)
