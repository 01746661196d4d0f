"""The nouns: what is written to disk, sent between workers and judged. Standard library only."""

from saint.records._canonical import (
    LARGEST_EXACT_INT as LARGEST_EXACT_INT,
    digest as digest,
    file_digest as file_digest,
    to_canonical as to_canonical,
    to_plain as to_plain,
    tokenizer_digest as tokenizer_digest,
)
from saint.records._nouns import (
    Arm as Arm,
    BaseIdentity as BaseIdentity,
    Budget as Budget,
    Candidate as Candidate,
    Cost as Cost,
    Decision as Decision,
    Evidence as Evidence,
    Interval as Interval,
    Outcome as Outcome,
    Overlap as Overlap,
    Quantization as Quantization,
    Removal as Removal,
    RepeatedInterval as RepeatedInterval,
    SensitivityMap as SensitivityMap,
    Site as Site,
    SiteSort as SiteSort,
    Stream as Stream,
    Verdict as Verdict,
)
