"""The fast forms against every difference written out, and the published mode against its description."""

from typing import Any

import pytest
import torch
from torch import Tensor

from saint.backbones import DrmConfig, DrmForCausalLM, Evaluation, Metric, by_features, by_tiles
from saint.testing import by_differences, published_logits

TOKENS, HEADS, RANK, HEAD_DIM = 150, 2, 4, 8  # more tokens than a tile has queries


def a_problem(dim: int, dtype: torch.dtype, *, num_flat: int = 0, seed: int = 0) -> dict[str, Tensor]:
    """Coordinates all over the cube, and a metric that is far from Euclidean but for the flat ones."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, HEADS, TOKENS)

    def drawn(*last: int) -> Tensor:
        return torch.randn(*shape, *last, generator=generator, dtype=torch.float64)

    found = {
        "query": 0.5 * torch.tanh(drawn(dim + num_flat)),
        "key": 0.5 * torch.tanh(drawn(dim + num_flat)),
        "value": drawn(HEAD_DIM),
        "factor": drawn(dim, RANK),
        "sharpness": 4 * drawn(1).exp(),
    }
    return {name: tensor.to(dtype).requires_grad_() for name, tensor in found.items()}


def answer(evaluate: Evaluation, problem: dict[str, Tensor], mask: Tensor | None = None) -> Tensor:
    metric = Metric(problem["factor"], problem["sharpness"])
    return evaluate(problem["query"], problem["key"], problem["value"], metric, mask=mask, dropout=0.0)


def off(found: Tensor, right: Tensor) -> float:
    found, right = found.detach().double(), right.detach().double()
    return float((found - right).norm() / right.norm())


@pytest.mark.parametrize("num_flat", [0, 4])
@pytest.mark.parametrize("dim", [6, 14, 30])
@pytest.mark.parametrize("evaluate", [by_features, by_tiles])
def test_values_and_gradients_are_those_of_the_distances(evaluate: Any, dim: int, num_flat: int) -> None:
    ours, theirs = (a_problem(dim, torch.float64, num_flat=num_flat) for _ in range(2))
    found, right = answer(evaluate, ours), answer(by_differences, theirs)
    assert off(found, right) <= 1e-12
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (found * weights).sum().backward()
    (right * weights).sum().backward()
    for name in ours:
        assert off(ours[name].grad, theirs[name].grad) <= 1e-10, name  # type: ignore[arg-type]


def as_trained(dim: int, spread: float, dtype: torch.dtype) -> dict[str, Tensor]:
    """Coordinates that spread as those of trained models do, scores of some nats, and a metric of the size of I."""
    problem = {name: tensor.detach() for name, tensor in a_problem(dim, torch.float64).items()}
    smaller = spread / float(problem["query"].std())
    problem["query"], problem["key"] = problem["query"] * smaller, problem["key"] * smaller
    problem["factor"], problem["sharpness"] = 0.3 * problem["factor"], problem["sharpness"] / (4 * smaller**2)
    return {name: tensor.to(dtype) for name, tensor in problem.items()}


@pytest.mark.parametrize("spread", [0.05, 0.2])
@pytest.mark.parametrize("dim", [6, 14, 30])
def test_in_bfloat16_it_is_nearer_to_the_truth_than_the_distances_are(dim: int, spread: float) -> None:
    exact = answer(by_differences, as_trained(dim, spread, torch.float64))
    wide, narrow = as_trained(dim, spread, torch.float32), as_trained(dim, spread, torch.bfloat16)
    about_the_middle = off(answer(by_differences, narrow), exact)
    published = as_trained(dim, spread, torch.float64)
    published = {name: (t + 0.5 * (name in ("query", "key"))).to(torch.bfloat16) for name, t in published.items()}
    as_published = off(answer(by_differences, published), exact)
    features = off(answer(by_features, {**wide, "value": narrow["value"]}), exact)
    assert features <= about_the_middle <= 1.1 * as_published
    assert off(answer(by_features, wide), exact) <= 1e-5


@pytest.mark.parametrize("evaluate", [by_features, by_tiles])
def test_a_mask_hides_what_it_says(evaluate: Any) -> None:
    problem = a_problem(6, torch.float64)
    mask = torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril().repeat(2, 1, 1, 1)
    mask[1, :, :, :3] = False
    mask[1, :, :3] = torch.eye(TOKENS, dtype=torch.bool)[:3]  # a row of padding sees itself, and nobody reads it
    assert off(answer(evaluate, problem, mask), answer(by_differences, problem, mask)) <= 1e-12


def published(**changes: Any) -> Any:
    config = {"vocab_size": 61, "d_model": 24, "n_layers": 2, "n_heads": 2, "d_ff": 40, "max_seq_len": 64}
    config |= {"d_manifold": 6, "metric_hidden": 24, "gamma_alpha": 1.0, "gamma_c": 2.0, "mode": "parity"}
    with pytest.warns(UserWarning, match="sees the future"):
        model = DrmForCausalLM(DrmConfig(**{**config, **changes})).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():  # all over the cube, and a metric that is far from Euclidean
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64), alpha=0.5)
    return model


@pytest.mark.parametrize(
    "changes",
    [{}, {"gamma_enabled": False}, {"gravity_enabled": False}, {"variable_dim": False}, {"d_manifold": 24}],
    ids=lambda changes: next(iter(changes), "all"),
)
def test_parity_gives_what_is_published(changes: dict[str, Any]) -> None:
    model = published(**changes)
    tokens = torch.randint(61, (2, 40), generator=torch.Generator().manual_seed(2))
    found, right = model(input_ids=tokens).logits, published_logits(model, tokens)
    assert off(found, right) <= 1e-12
    parameters = list(model.parameters())
    gradients = [torch.autograd.grad(logits.square().sum(), parameters, allow_unused=True) for logits in (found, right)]
    for mine, theirs, (name, _) in zip(*gradients, model.named_parameters(), strict=True):
        if theirs is not None and theirs.norm() > 0:
            assert off(mine, theirs) <= 1e-9, name


def test_parity_sees_the_future_and_says_so() -> None:
    model = published()
    tokens = torch.randint(61, (1, 40), generator=torch.Generator().manual_seed(2))
    other = tokens.clone()
    other[0, -1] = (other[0, -1] + 1) % 61
    assert off(model(input_ids=other).logits[:, :20], model(input_ids=tokens).logits[:, :20]) > 1e-6
