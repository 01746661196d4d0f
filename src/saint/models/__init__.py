"""The frozen base: any Hugging Face language model, its sites, its identity and its losses."""

from saint.models._cost import (
    BlockCost as BlockCost,
    ForwardCost as ForwardCost,
    forward_cost as forward_cost,
    order_of as order_of,
)
from saint.models._divided import Divided as Divided, divide_weights as divide_weights
from saint.models._frozen import (
    FrozenBase as FrozenBase,
    config_and_tokenizer as config_and_tokenizer,
    family_of as family_of,
    freeze as freeze,
    tensor_digest as tensor_digest,
)
from saint.models._loss import (
    document_nats as document_nats,
    follow_gradients as follow_gradients,
    must_read as must_read,
    nats_and_hits as nats_and_hits,
    row_nats as row_nats,
    rows_together as rows_together,
    token_logits as token_logits,
    token_nats as token_nats,
)
from saint.models._operations import counting_flops as counting_flops
from saint.models._quantised import dequantize as dequantize, float_weight as float_weight
from saint.models._structure import (
    Linear as Linear,
    block_stacks as block_stacks,
    share_weights as share_weights,
    sizes as sizes,
    weight_of as weight_of,
)
