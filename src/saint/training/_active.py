"""What a stage of growth by layers costs, counted on a model that exists on paper only."""

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from saint.errors import ConfigError
from saint.models import block_stacks, family_of, token_nats
from saint.records import ActiveStage
from saint.training._schedule import Schedule

_MOMENTS = 2  # of AdamW


class Learns(NamedTuple):
    """What of a model learns in a stage, by name."""

    blocks: dict[str, nn.Parameter]
    head: dict[str, nn.Parameter]

    @property
    def together(self) -> dict[str, nn.Parameter]:
        """All of it."""
        return {**self.blocks, **self.head}


def learns(model: Any, *, num_newest: int, with_head: bool) -> Learns:
    """The newest blocks of a decoder and its output head; everything else stops requiring gradients.

    Raises:
        ConfigError: The model is no decoder with one stack of blocks, or its head is no linear map of its own.
    """
    stacks = block_stacks(model)
    if len(stacks) != 1 or getattr(model.config, "is_encoder_decoder", False):
        raise ConfigError(
            f"{type(model).__name__} has {len(stacks)} stacks of blocks, and growth by layers puts blocks on one; take "
            "a decoder"
        )
    [blocks] = stacks.values()
    newest, head = list(blocks)[len(blocks) - num_newest :], head_of(model) if with_head else None
    model.requires_grad_(requires_grad=False)
    for module in [*newest, *([head] if head is not None else [])]:
        module.requires_grad_(requires_grad=True)
    of_head = {id(parameter) for parameter in head.parameters()} if head is not None else set()
    moving = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return Learns(
        blocks={name: parameter for name, parameter in moving.items() if id(parameter) not in of_head},
        head={name: parameter for name, parameter in moving.items() if id(parameter) in of_head},
    )


def head_of(model: Any) -> nn.Linear:
    """The output head of a model, if it can learn apart from the token interface.

    Raises:
        ConfigError: It is no linear map, or has the embeddings' weight.
    """
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    if not isinstance(head, nn.Linear) or head.weight is getattr(table, "weight", None):
        raise ConfigError(
            f"the output head of {type(model).__name__} is tied to the token interface or no single linear map, and a "
            "frozen interface cannot learn with it; take an untied head, or head = 'frozen'"
        )
    return head


def deepened(config: Any, num_blocks: int) -> Any:
    """A configuration with so many blocks, the last one's settings repeated where it lists one for each."""
    config = copy.deepcopy(config)
    before = config.num_hidden_layers
    config.num_hidden_layers = num_blocks
    for name, listed in vars(config).items():
        if isinstance(listed, list) and len(listed) == before and name.endswith(("types", "layers")):
            setattr(config, name, [*listed, *[listed[-1]] * max(0, num_blocks - before)][:num_blocks])
    return config


def active_stage(
    config: Any, *, name: str, num_blocks: int, num_newest: int, with_head: bool, schedule: Schedule
) -> ActiveStage:
    """What a stage takes whose newest blocks, and the head, learn on top of frozen ones.

    Nothing is allocated, so any size can be asked about. Operations are those of a step that computes the frozen blocks
    too; the activations are those of one of its passes.

    Args:
        config: Of the model; its own number of blocks does not matter.
        num_blocks: That are there in the stage, the newest included.

    Raises:
        ConfigError: The model cannot grow so.
    """
    with torch.device("meta"):
        model: Any = family_of(config).from_config(deepened(config, num_blocks))
    tokens_shape = (schedule.batch_size // schedule.accumulate, schedule.seq_len + 1)
    with FakeTensorMode():
        _put_on_paper(model)
        active = learns(model, num_newest=num_newest, with_head=with_head)
        forward, backward, kept = _count(model.eval(), torch.zeros(tokens_shape, dtype=torch.long))
    params = {where: sum(p.numel() for p in there.values()) for where, there in active._asdict().items()}
    size = next(iter(active.blocks.values())).element_size()
    return ActiveStage(
        name=name,
        num_blocks=num_blocks,
        block_params=params["blocks"],
        head_params=params["head"],
        optimizer_bytes=_MOMENTS * size * sum(params.values()),
        activation_bytes=kept,
        forward_flops=schedule.accumulate * forward,
        backward_flops=schedule.accumulate * backward,
        num_steps=schedule.num_steps,
        num_tokens=schedule.num_tokens,
    )


def _put_on_paper(model: nn.Module) -> None:
    """Tensors that have a device, a shape and no memory in place of those that have not even a device.

    A model is not made so to begin with, because what tokens come in through is worked out from numbers.
    """
    made: dict[int, nn.Parameter] = {}  # one that is tied stays one
    for module in model.modules():
        for name, parameter in dict(module._parameters).items():
            if parameter is not None:
                blank = nn.Parameter(torch.empty(parameter.shape, dtype=parameter.dtype))
                module._parameters[name] = made.setdefault(id(parameter), blank)
        for name, buffer in dict(module._buffers).items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


def _count(model: nn.Module, tokens: Tensor) -> tuple[int, int, int]:
    """(operations forward, operations backward, bytes kept between) of one pass."""
    held = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in held:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        token_nats(model, tokens)
    num_bytes = sum(storage.nbytes() for storage in kept.values())
    # attention by its definition, as the counter does not see into what a processor has for it in one piece
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        nats = token_nats(model, tokens)
        forward = int(counter.get_total_flops())
        nats.mean().backward()
        return forward, int(counter.get_total_flops()) - forward, num_bytes
