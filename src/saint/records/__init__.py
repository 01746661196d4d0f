"""The nouns: what is written to disk, sent between workers and judged. Standard library only."""

from saint.records._active import ActiveBudget as ActiveBudget, ActiveStage as ActiveStage
from saint.records._attribution import (
    Attribution as Attribution,
    DocumentChange as DocumentChange,
    PairGain as PairGain,
    Share as Share,
    SuiteAttribution as SuiteAttribution,
)
from saint.records._canonical import (
    LARGEST_EXACT_INT as LARGEST_EXACT_INT,
    LATER as LATER,
    digest as digest,
    file_digest as file_digest,
    to_canonical as to_canonical,
    to_plain as to_plain,
    tokenizer_digest as tokenizer_digest,
)
from saint.records._composition import (
    Scaled as Scaled,
    TextDifference as TextDifference,
    composition as composition,
    composition_digest as composition_digest,
)
from saint.records._evidence import Evidence as Evidence
from saint.records._judging import (
    Against as Against,
    Claim as Claim,
    Decision as Decision,
    Footprint as Footprint,
    Interaction as Interaction,
    Outcome as Outcome,
    Query as Query,
    SafetyMeasure as SafetyMeasure,
    Spread as Spread,
    SuiteLosses as SuiteLosses,
    Verdict as Verdict,
)
from saint.records._nouns import (
    Arm as Arm,
    BaseIdentity as BaseIdentity,
    Budget as Budget,
    Candidate as Candidate,
    Cost as Cost,
    Interval as Interval,
    Overlap as Overlap,
    Quantization as Quantization,
    Removal as Removal,
    RepeatedInterval as RepeatedInterval,
    SensitivityMap as SensitivityMap,
    Site as Site,
    SiteSort as SiteSort,
    Stream as Stream,
)
