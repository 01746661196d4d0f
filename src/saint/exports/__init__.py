"""The ledger in forms that others read: in-toto statements, a bill of materials, a model card, a legal skeleton.

Everything is from the ledger alone. What it does not hold is said to be not recorded.
"""

from saint.exports._annex_iv import (
    annex_iv as annex_iv,
    annex_iv_markdown as annex_iv_markdown,
    annex_iv_text as annex_iv_text,
)
from saint.exports._facts import Facts as Facts, gather as gather, not_recorded as not_recorded
from saint.exports._ml_bom import check_ml_bom as check_ml_bom, ml_bom as ml_bom, ml_bom_text as ml_bom_text
from saint.exports._model_card import (
    check_model_card as check_model_card,
    front_matter as front_matter,
    model_card as model_card,
)
from saint.exports._statements import statements as statements, statements_text as statements_text
