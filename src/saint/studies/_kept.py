"""Models that a study has trained, on the disk for what stands on them."""

import torch
from safetensors.torch import load, save
from torch import nn
from transformers import PreTrainedModel

from saint.errors import DataError
from saint.search import Store
from saint.training import BasePlan, untrained


def keep_model(store: Store, name: str, model: nn.Module) -> None:
    """Keep the parameters of a model.

    Raises:
        StorageError: The disk refused.
    """
    store.keep_weights(name, save({key: one.detach().clone() for key, one in model.named_parameters()}))


@torch.no_grad()
def read_model(store: Store, name: str, plan: BasePlan, tokenizer: object) -> PreTrainedModel:
    """A model that was kept; what it has beside its parameters follows from its plan.

    Raises:
        DataError: It is not there.
    """
    content = store.weights(name)
    if content is None:
        raise DataError(f"the weights of the model on {plan.domain} are gone; run the study again")
    model, learnt = untrained(plan, tokenizer), load(content)
    for key, parameter in model.named_parameters():
        parameter.copy_(learnt[key])
    return model
