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
    embedding: dict[str, nn.Parameter]

    @property
    def together(self) -> dict[str, nn.Parameter]:
        """All of it."""
        return {**self.blocks, **self.head, **self.embedding}


def learns(model: Any, *, num_newest: int, with_head: bool, with_interface: bool = False) -> Learns:
    """The newest blocks of a decoder and its output head; everything else stops requiring gradients.

    Args:
        with_interface: Whether the table that tokens come in through learns too.

    Raises:
        ConfigError: The model is no decoder with one stack of blocks, its head is no linear map of its own, or its
            token interface has nothing that could learn.
    """
    stacks = block_stacks(model)
    if len(stacks) != 1 or getattr(model.config, "is_encoder_decoder", False):
        raise ConfigError(
            f"{type(model).__name__} has {len(stacks)} stacks of blocks, and growth by layers puts blocks on one; take "
            "a decoder"
        )
    [blocks] = stacks.values()
    parts: dict[str, list[nn.Module]] = {
        "blocks": list(blocks)[len(blocks) - num_newest :],
        "head": [head_of(model)] if with_head else [],
        "embedding": [model.get_input_embeddings()] if with_interface else [],
    }
    model.requires_grad_(requires_grad=False)
    found: dict[str, dict[str, nn.Parameter]] = {}
    for where, modules in parts.items():
        own = {id(parameter) for module in modules for parameter in module.parameters()}
        found[where] = {name: parameter for name, parameter in model.named_parameters() if id(parameter) in own}
    if with_interface and not found["embedding"]:
        raise ConfigError(
            f"the token interface of {type(model).__name__} has no parameters, so it cannot learn in the first stage; "
            "take model.interface = 'learned', or leave interface_learns out"
        )
    active = Learns(**found)
    for parameter in active.together.values():
        parameter.requires_grad = True
    return active


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
    config: Any,
    *,
    name: str,
    num_blocks: int,
    num_newest: int,
    with_head: bool,
    schedule: Schedule,
    with_interface: bool = False,
) -> ActiveStage:
    """What a stage takes whose newest blocks, and the head, learn on top of frozen ones.

    Nothing is allocated, so any size can be asked about. Operations are those of a step that computes the frozen blocks
    too; the activations are those of one of its passes.

    Args:
        config: Of the model; its own number of blocks does not matter.
        num_blocks: That are there in the stage, the newest included.
        with_interface: Whether the table that tokens come in through learns too.

    Raises:
        ConfigError: The model cannot grow so.
    """
    model = _on_meta(config, num_blocks)
    with FakeTensorMode():
        _put_on_paper(model)
        active = learns(model, num_newest=num_newest, with_head=with_head, with_interface=with_interface)
        counted = _count(model.eval(), schedule)
    params = {where: sum(p.numel() for p in there.values()) for where, there in active._asdict().items()}
    size = next(iter(active.blocks.values())).element_size()
    return _stage(name, num_blocks, counted, schedule, size, **params)


def lora_stage(
    config: Any, *, name: str, num_blocks: int, rank: int, with_head: bool, schedule: Schedule
) -> ActiveStage:
    """What a phase takes in which low-rank adapters at all matrices of all blocks, and the head, learn.

    The adapters are computed as part of the weights, as those of kind `readjust` are: W + B A once a pass.

    Args:
        config, num_blocks: As for `active_stage`.
        rank: Of the adapters.

    Raises:
        ConfigError: The model cannot grow so.
    """
    model = _on_meta(config, num_blocks)
    with FakeTensorMode():
        _put_on_paper(model)
        active = learns(model, num_newest=num_blocks, with_head=with_head)
        matrices = [parameter for parameter in active.blocks.values() if parameter.ndim == 2]
        for parameter in active.blocks.values():
            parameter.requires_grad = parameter.ndim == 2
        forward, backward, kept = _count(model.eval(), schedule)
    product = schedule.accumulate * rank * sum(matrix.numel() for matrix in matrices)
    size = matrices[0].element_size()
    kept += size * sum(
        matrix.numel() + rank * matrix.shape[0] for matrix in matrices
    )  # W + B A, and what B is scaled to
    return _stage(
        name,
        num_blocks,
        (forward + 2 * product, backward + 4 * product, kept),
        schedule,
        size,
        head=sum(parameter.numel() for parameter in active.head.values()),
        adapters=rank * sum(sum(matrix.shape) for matrix in matrices),
    )


def lora_rank(block: nn.Module, *, num_newest: int, num_blocks: int) -> int:
    """The largest rank at which adapters at all matrices of all blocks have no more parameters than those of some.

    For the architecture of arXiv:2507.07129, four maps of d by d and two of d by 4 d, that is 2 k d / 3 L, rounded
    down, with k of L blocks learning in a stage. At least 1.

    Args:
        block: One of them, which are all alike.
        num_newest: Blocks that learn in a stage of blocks.
        num_blocks: That are there and are to be readjusted.
    """
    shapes = [parameter.shape for parameter in block.parameters() if parameter.ndim == 2]
    return max(1, num_newest * sum(a * b for a, b in shapes) // (num_blocks * sum(a + b for a, b in shapes)))


def _on_meta(config: Any, num_blocks: int) -> Any:
    with torch.device("meta"):
        return family_of(config).from_config(deepened(config, num_blocks))


def _stage(
    name: str,
    num_blocks: int,
    counted: tuple[int, int, int],
    schedule: Schedule,
    size: int,
    *,
    blocks: int = 0,
    head: int = 0,
    embedding: int = 0,
    adapters: int = 0,
) -> ActiveStage:
    """A line of the ledger; numbers by part are parameters that learn, and each takes `size` bytes."""
    forward, backward, kept = counted
    return ActiveStage(
        name=name,
        num_blocks=num_blocks,
        block_params=blocks,
        head_params=head,
        embedding_params=embedding,
        adapter_params=adapters,
        optimizer_bytes=_MOMENTS * size * (blocks + head + embedding + adapters),
        activation_bytes=kept,
        forward_flops=forward,
        backward_flops=backward,
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


def _count(model: nn.Module, schedule: Schedule) -> tuple[int, int, int]:
    """(operations forward, operations backward) of a step, and bytes kept between them in one of its passes."""
    tokens = torch.zeros((schedule.batch_size // schedule.accumulate, schedule.seq_len + 1), dtype=torch.long)
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
        backward = int(counter.get_total_flops()) - forward
    return schedule.accumulate * forward, schedule.accumulate * backward, num_bytes
