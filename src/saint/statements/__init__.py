"""What the ledger says, as statements that others can check: in-toto Statements v1, as plain dicts, not signed here."""

from saint.statements._judged import decision as decision, test_result as test_result
from saint.statements._provenance import composition_provenance as composition_provenance, provenance as provenance
from saint.statements._shape import Shape as Shape
from saint.statements._statement import (
    DECISION as DECISION,
    NOT_RECORDED as NOT_RECORDED,
    PROVENANCE as PROVENANCE,
    STATEMENT as STATEMENT,
    TEST_RESULT as TEST_RESULT,
    must_be_statement as must_be_statement,
    statement as statement,
)
from saint.statements._training import (
    learnt_from as learnt_from,
    trained_where as trained_where,
    training_of as training_of,
)
