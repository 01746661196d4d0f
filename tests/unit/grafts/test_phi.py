"""Every form of phi is the matrix it claims to be, every basis its subspace, every start its step; or it is refused."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from saint.composition import compose, measure_signals, newborn, place_of, probe_logits, wanted_signals
from saint.consolidation import merge
from saint.errors import ConfigError, GraftFileError, SiteError
from saint.grafts import Graft, Place, Signals, grow_from
from saint.grafts._bases import busiest_coordinates
from saint.grafts.phi import Phi
from saint.models import FrozenBase, token_nats
from saint.records import Candidate, Site
from saint.testing import GraftSuite, tiny_base
from small_bases import moved

TOKENS = torch.arange(8 * 33).view(8, 33) * 7919 % 300
LINEAR: list[dict[str, Any]] = [
    {"rank": 4},
    {"rank": 4, "form": "diagonal"},
    {"rank": 4, "form": "upper"},
    {"rank": 4, "form": "block_diagonal", "block_size": 2},
    {"rank": 4, "form": "walsh", "basis": "walsh"},
    {"rank": 3, "form": "hadamard"},
    {"rank": 3, "terms": 2},
    {"rank": 2, "terms": 3, "form": "upper", "basis": "random"},
    {"rank": 2, "terms": 2, "form": "hadamard", "basis": "walsh"},
]
PRODUCTS: list[dict[str, Any]] = [
    {"rank": 6, "form": "low_rank", "terms": 2},
    {"rank": 6, "form": "kronecker"},
    {"rank": 8, "form": "kronecker", "factor": 2, "terms": 2},
]


@pytest.fixture(scope="module")
def base() -> FrozenBase:
    return tiny_base()


def site_of(base: FrozenBase, role: str) -> Site:
    return next(site for site in base.sites() if site.role == role)


def born(
    base: FrozenBase, options: dict[str, Any], *, role: str = "up", stack: Sequence[Graft] = (), seed: int = 3
) -> tuple[Graft, Any]:
    """A newborn at one site and its part, which has seen the base."""
    site = site_of(base, role)
    candidate = Candidate(sites=(site,), kind="phi", options=options, seed=seed)
    signals = measure_signals(base, stack, wanted_signals(candidate), [TOKENS])
    graft = newborn(base, candidate, stack=stack, signals=signals)
    graft.parts[site.key].attach(place_of(base, site))
    return graft, graft.parts[site.key]


def weight_at(base: FrozenBase, role: str) -> Tensor:
    weight = place_of(base, site_of(base, role)).weight
    assert weight is not None
    return weight


def signals_at(base: FrozenBase, role: str, tokens: Sequence[Tensor] = (TOKENS,)) -> Signals:
    site = site_of(base, role)
    return measure_signals(base, (), {site: frozenset(("xx", "yy", "gg", "gx"))}, tokens)[site.key]


def sylvester(side: int) -> Tensor:
    matrix, step = torch.ones(1, 1), torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    while len(matrix) < side:
        matrix = torch.kron(step, matrix)
    return matrix


def upper_by_hand(phi: Tensor, rank: int) -> Tensor:
    full, numbers = torch.zeros(rank, rank), iter(phi)
    for i in range(rank):
        for j in range(i, rank):
            full[i, j] = next(numbers)
    return full


BY_HAND: dict[str, Callable[[Any, int, int], Tensor]] = {
    "dense": lambda part, term, _: part.phi[term],
    "hadamard": lambda part, term, _: part.phi[term],
    "diagonal": lambda part, term, _: torch.diag(part.phi[term]),
    "upper": lambda part, term, rank: upper_by_hand(part.phi[term], rank),
    "block_diagonal": lambda part, term, _: torch.block_diag(*part.phi[term]),
    "low_rank": lambda part, term, _: part.u[term] @ part.v[term],
    "kronecker": lambda part, term, _: torch.kron(part.p[term], part.q[term]),
    "walsh": lambda part, term, rank: sylvester(rank) @ torch.diag(part.phi[term]) @ sylvester(rank).T / rank,
}
"""Form -> Phi of one term, built without the code under test."""


def change_by_hand(base: FrozenBase, options: dict[str, Any], part: Any, *, role: str = "up") -> Tensor:
    rank, total = options["rank"], torch.zeros(part.a.shape[0], part.b.shape[1])
    for term in range(options.get("terms", 1)):
        vectors = slice(term * rank, (term + 1) * rank)
        total = total + part.a[:, vectors] @ BY_HAND[options.get("form", "dense")](part, term, rank) @ part.b[vectors]
    if options.get("form") == "hadamard":
        total = total * weight_at(base, role)
    for place, value in zip(part.index.tolist(), part.values, strict=True) if options.get("residual") else ():
        total[place // total.shape[1], place % total.shape[1]] += value
    return total.detach()


@pytest.mark.parametrize("residual", [0, 7])
@pytest.mark.parametrize("options", [*LINEAR, *PRODUCTS], ids=str)
def test_forward_fold_and_factors_are_the_matrix_built_by_hand(
    options: dict[str, Any], residual: int, base: FrozenBase
) -> None:
    options = options | {"residual": residual}
    graft, part = born(base, options)
    moved(graft)
    graft.set_strength(0.7)
    wanted = change_by_hand(base, options, part)
    assert float(wanted.abs().max()) > 1e-3
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(part(x, torch.zeros(2, 5, 24)), 0.7 * x @ wanted.T)
    torch.testing.assert_close(part.fold(torch.zeros(24, 16), None)[0], 0.7 * wanted)
    factors = part.factors()
    assert (factors is None) == (residual > 0 or options.get("form") == "hadamard")
    if factors is not None:
        torch.testing.assert_close(factors.up @ factors.down, 0.7 * wanted)


def test_a_product_with_the_weight_is_of_higher_rank_and_survives_merging(base: FrozenBase) -> None:
    graft, part = born(base, {"rank": 1, "form": "hadamard"})
    moved(graft)
    assert int(torch.linalg.matrix_rank(part.fold(torch.zeros(24, 16), None)[0])) > 8
    stored = grow_from(graft.candidate, weights=graft.to_bytes())  # has not seen the base yet
    merged = probe_logits(merge(base, [stored]).model)
    torch.testing.assert_close(merged, probe_logits(compose(base, [graft])), rtol=1e-4, atol=1e-5)


def tokens_by_hooks(base: FrozenBase, role: str) -> tuple[Tensor, Tensor]:
    """Each token's input at a site, and the gradient of its own share of the loss as if that were the whole."""
    model, seen = compose(base, []), {}

    def see(_module: object, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        seen["x"], seen["y"] = args[0].detach().flatten(0, -2), output.detach().requires_grad_()
        return seen["y"]

    model.model.get_submodule(site_of(base, role).module).register_forward_hook(see)
    token_nats(model, TOKENS).mean().backward()
    gradient = seen["y"].grad.flatten(0, -2)
    return seen["x"].double(), gradient.double() * len(gradient)


def begun(base: FrozenBase, options: dict[str, Any], *, role: str = "up", tokens: Sequence[Tensor] = (TOKENS,)) -> Any:
    _, part = born(base, options | {"start": "least_squares"}, role=role)
    part.begin(place_of(base, site_of(base, role), signals=signals_at(base, role, tokens)))
    return part


@pytest.mark.parametrize("options", LINEAR, ids=str)
def test_the_start_is_the_least_squares_solution_over_raw_tokens(options: dict[str, Any], base: FrozenBase) -> None:
    part = begun(base, options | {"eta": 0.03})
    found, phi = part.phi.detach().clone().flatten(), part.phi.detach().view(-1)
    x, g = tokens_by_hooks(base, "up")
    columns = []
    for number in range(len(phi)):
        phi.copy_(torch.eye(len(phi))[number])
        columns.append((x @ change_by_hand(base, options, part).double().T).flatten())
    design = torch.stack(columns, dim=1)
    solution = torch.linalg.lstsq(design, -g.flatten()[:, None], driver="gelsd").solution[:, 0]
    scale = 0.03 * (x @ weight_at(base, "up").double().T).norm() / (design @ solution).norm()
    torch.testing.assert_close(found.double(), scale * solution, rtol=2e-3, atol=2e-3 * float(found.abs().max()))


def test_the_start_does_not_depend_on_how_often_the_text_is_read(base: FrozenBase) -> None:
    once, thrice = begun(base, {"rank": 4}), begun(base, {"rank": 4}, tokens=[TOKENS] * 3)
    torch.testing.assert_close(once.phi, thrice.phi, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("options", [{"rank": 8}, {"rank": 8, "basis": "gradient", "form": "diagonal"}], ids=str)
def test_the_start_lowers_the_loss_as_its_gradient_says(options: dict[str, Any], base: FrozenBase) -> None:
    options = options | {"start": "least_squares", "eta": 0.01}
    graft, part = born(base, options)
    signals = signals_at(base, "up")
    part.begin(place_of(base, site_of(base, "up"), signals=signals))
    promised = float((part.fold(torch.zeros(24, 16), None)[0].detach() * signals.gx).sum())

    def loss(stack: list[Graft]) -> float:
        with torch.no_grad():
            return float(token_nats(compose(base, stack), TOKENS).double().mean())

    assert promised < 0
    assert loss([graft]) - loss([]) == pytest.approx(promised, rel=0.2)


def test_eta_is_the_share_of_the_output_that_changes(base: FrozenBase) -> None:
    for role in ("up", "down"):
        part = begun(base, {"rank": 3, "eta": 0.05}, role=role)
        x, _ = tokens_by_hooks(base, role)
        change = x.float() @ change_by_hand(base, {"rank": 3}, part, role=role).T
        output = x.float() @ weight_at(base, role).T
        assert float(change.norm() / output.norm()) == pytest.approx(0.05, rel=1e-3)


def test_a_start_from_zero_stays_there_and_one_from_too_little_text_is_refused(base: FrozenBase) -> None:
    place = place_of(base, site_of(base, "up"), signals=signals_at(base, "up", [TOKENS[:1, :16]]))
    _, part = born(base, {"rank": 4})
    part.begin(place)
    assert not part.phi.any()
    _, part = born(base, {"rank": 4, "start": "least_squares"})
    with pytest.raises(ConfigError, match="4 tokens to each of 4 ranks, 16 in all, got 15"):
        part.begin(place)


@pytest.mark.slow
def test_two_processes_make_the_same_walsh_bases_and_the_file_does_not_hold_them(
    base: FrozenBase, tmp_path: Path
) -> None:
    graft, part = born(base, {"rank": 4, "basis": "walsh"})
    moved(graft)
    assert load(graft.to_bytes()).keys() == {"strength", "phi", "seed"}
    (tmp_path / "graft").write_bytes(graft.to_bytes())
    program = (
        "import sys, hashlib; from pathlib import Path; from saint.grafts import grow_from\n"
        "from saint.records import Candidate, Site\n"
        "site = Site(sort='linear', module='m', role='up', depth=0, d_in=16, d_out=24)\n"
        "candidate = Candidate(sites=(site,), kind='phi', options={'rank': 4, 'basis': 'walsh'})\n"
        "part = grow_from(candidate, weights=Path(sys.argv[1]).read_bytes()).parts['m']\n"
        "print(*(hashlib.sha256(side.numpy().tobytes()).hexdigest() for side in (part.a, part.b)))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "graft")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [sha256(side.numpy().tobytes()).hexdigest() for side in (part.a, part.b)]


@pytest.mark.parametrize(
    "options", [{"rank": 4}, {"rank": 8, "form": "diagonal"}, {"rank": 8, "form": "kronecker", "factor": 2}], ids=str
)
def test_a_file_with_walsh_bases_is_as_small_as_its_parameters(options: dict[str, Any], base: FrozenBase) -> None:
    sites = tuple(site for site in base.sites() if site.sort == "linear" and site.role != "head")
    graft = newborn(base, Candidate(sites=sites, kind="phi", options=options | {"basis": "walsh"}))
    assert len(graft.to_bytes()) <= 4 * graft.num_params + 200 * len(sites) + 500


def walsh_part(d_out: int, d_in: int, rank: int, seed: int = 0) -> Any:
    site = Site(sort="linear", module="m", role="up", depth=0, d_in=d_in, d_out=d_out)
    candidate = Candidate(sites=(site,), kind="phi", options={"rank": rank, "basis": "walsh"}, seed=seed)
    place = Place(module=torch.nn.Linear(1, 1), read_weight=lambda: torch.zeros(d_out, d_in))
    return grow_from(candidate, places={"m": place}).parts["m"]


def test_walsh_bases_are_orthonormal_at_powers_of_two_and_nearly_so_elsewhere() -> None:
    part = walsh_part(64, 1024, 64)
    torch.testing.assert_close(part.a.T @ part.a, torch.eye(64), atol=1e-5, rtol=0)
    torch.testing.assert_close(part.b @ part.b.T, torch.eye(64), atol=1e-5, rtol=0)
    assert part.b.unique().tolist() == pytest.approx([-(1024**-0.5), 1024**-0.5])
    near = walsh_part(96, 768, 16)
    for gram in (near.a.T @ near.a, near.b @ near.b.T):
        torch.testing.assert_close(gram.diagonal(), torch.ones(16))
        assert float((gram - torch.eye(16)).abs().max()) < 0.5
    assert not torch.equal(walsh_part(64, 64, 8).a, walsh_part(64, 64, 8, seed=1).a)
    assert torch.equal(walsh_part(64, 64, 8).a, walsh_part(64, 64, 8).a)


def assert_orthonormal(part: Any) -> None:
    num = part.a.shape[1]
    torch.testing.assert_close(part.a.T @ part.a, torch.eye(num), atol=1e-5, rtol=0)
    torch.testing.assert_close(part.b @ part.b.T, torch.eye(num), atol=1e-5, rtol=0)


def test_each_basis_holds_the_energy_that_it_names(base: FrozenBase) -> None:
    signals, weight = signals_at(base, "up"), weight_at(base, "up")
    parts = {
        basis: born(base, {"rank": 3, "basis": basis})[1]
        for basis in ("weight", "weight_minor", "gradient", "activation", "activation_gradient")
    }
    for part in parts.values():
        assert_orthonormal(part)

    def within(part: Any, matrix: Tensor) -> Tensor:
        return torch.linalg.svdvals(part.a.T @ matrix @ part.b.T)

    torch.testing.assert_close(within(parts["weight"], weight), torch.linalg.svdvals(weight)[:3])
    torch.testing.assert_close(within(parts["weight_minor"], weight), torch.linalg.svdvals(weight)[-3:])
    assert signals.gx is not None
    torch.testing.assert_close(within(parts["gradient"], signals.gx), torch.linalg.svdvals(signals.gx)[:3])
    captured = {
        "yy": (parts["activation"].a.T, signals.yy),
        "xx": (parts["activation"].b, signals.xx),
        "xx again": (parts["activation_gradient"].b, signals.xx),
        "gg": (parts["activation_gradient"].a.T, signals.gg),
    }
    for vectors, moment in captured.values():
        assert moment is not None
        torch.testing.assert_close((vectors @ moment @ vectors.T).trace(), torch.linalg.eigvalsh(moment)[-3:].sum())


def test_terms_take_the_next_vectors_and_stay_orthogonal(base: FrozenBase) -> None:
    _, one = born(base, {"rank": 6})
    _, three = born(base, {"rank": 2, "terms": 3})
    assert torch.equal(one.a, three.a)
    assert torch.equal(one.b, three.b)
    assert_orthonormal(born(base, {"rank": 2, "terms": 3, "basis": "random"})[1])


@pytest.mark.parametrize("basis", ["weight", "weight_minor", "random", "activation", "gradient", "activation_gradient"])
def test_a_newborn_in_the_complement_is_orthogonal_to_the_stack(basis: str, base: FrozenBase) -> None:
    site = site_of(base, "up")
    stack = [
        moved(newborn(base, Candidate(sites=(site,), kind="lora", options={"rank": 2}))),
        moved(born(base, {"rank": 3})[0]),
    ]
    graft, part = born(base, {"rank": 4, "terms": 2, "basis": basis, "complement": True}, stack=stack)
    assert_orthonormal(part)
    for below in stack:
        factors = below.parts[site.key].factors()
        assert factors is not None
        outs, ins = torch.linalg.qr(factors.up.detach()).Q, torch.linalg.qr(factors.down.detach().T).Q
        assert float(torch.linalg.svdvals(outs.T @ part.a).max()) < 1e-5
        assert float(torch.linalg.svdvals(part.b @ ins).max()) < 1e-5
    _, near = born(base, {"rank": 4, "terms": 2, "basis": basis}, stack=stack)
    assert float((near.a - part.a).abs().max()) > 0.01
    assert graft.num_params == 32


def test_a_complement_without_room_is_refused(base: FrozenBase) -> None:
    site = site_of(base, "k")
    below = moved(newborn(base, Candidate(sites=(site,), kind="lora", options={"rank": 5})))
    born(base, {"rank": 3, "complement": True}, role="k", stack=[below])
    with pytest.raises(
        SiteError, match=r"spans 5 of the 8 dimensions of the outputs of a 8 x 16 weight, and .* needs 4"
    ):
        born(base, {"rank": 4, "complement": True}, role="k", stack=[below])


def test_the_residual_is_where_the_gradient_is_largest(base: FrozenBase) -> None:
    graft, part = born(base, {"rank": 2, "residual": 9})
    gradient = signals_at(base, "up").gx
    assert gradient is not None
    assert part.index.dtype == torch.int16
    assert len(set(part.index.tolist())) == 9
    others = gradient.abs().flatten().clone()
    others[part.index.long()] = 0
    assert float(gradient.abs().flatten()[part.index.long()].min()) >= float(others.max())
    assert load(graft.to_bytes())["index"].dtype == torch.int16


def test_the_residual_of_a_coordinate_basis_lies_outside_of_its_block(base: FrozenBase) -> None:
    _, part = born(base, {"rank": 12, "basis": "coordinate", "residual": 384 - 144})
    rows, columns = part.index.long() // 16, part.index.long() % 16
    assert not bool((torch.isin(rows, part.rows.long()) & torch.isin(columns, part.columns.long())).any())
    with pytest.raises(SiteError, match=r"exceeds the 240 entries of .*up_proj outside the crossings of its rows"):
        born(base, {"rank": 12, "basis": "coordinate", "residual": 241})


def test_the_residual_s_operations_are_counted(base: FrozenBase) -> None:
    assert born(base, {"rank": 2, "residual": 9})[1].uncounted_flops == 18
    assert born(base, {"rank": 2})[1].uncounted_flops == 0


@pytest.mark.parametrize("basis", ["random", "activation", "gradient", "activation_gradient", "walsh", "coordinate"])
def test_a_basis_that_needs_no_weight_reads_none(basis: str, base: FrozenBase) -> None:
    """A quantised one would be put into plain numbers for nothing."""
    graft, part = born(base, {"rank": 2, "basis": basis})
    site = graft.candidate.sites[0]
    signals = measure_signals(base, (), wanted_signals(graft.candidate), [TOKENS]).get(site.key)
    reads: list[None] = []
    place = Place(module=torch.nn.Identity(), read_weight=lambda: reads.append(None), signals=signals)
    again: Any = grow_from(graft.candidate, places={site.key: place}).parts[site.key]
    assert not reads
    assert torch.equal(again.a, part.a)


@pytest.mark.parametrize("index", [[0, 384], [-1, 3], [5, 5], [7, 2]])
def test_a_file_whose_residual_lies_outside_or_double_is_refused(index: list[int], base: FrozenBase) -> None:
    graft, _ = born(base, {"rank": 2, "residual": 2})
    spoilt = load(graft.to_bytes()) | {"index": torch.tensor(index, dtype=torch.int16)}
    with pytest.raises(GraftFileError, match="names entries, of which there are 384, and some are out"):
        grow_from(graft.candidate, weights=save(spoilt))


def test_a_file_with_an_impossible_seed_is_refused(base: FrozenBase) -> None:
    graft, _ = born(base, {"rank": 2, "basis": "walsh"})
    spoilt = load(graft.to_bytes()) | {"seed": torch.tensor([-4], dtype=torch.int32)}
    with pytest.raises(GraftFileError, match="seed of the graft's bases is -4"):
        grow_from(graft.candidate, weights=save(spoilt))


def test_trained_bases_are_parameters_and_start_where_fixed_ones_are(base: FrozenBase) -> None:
    graft, part = born(base, {"rank": 1, "train_bases": True, "max_params": 41})
    assert graft.num_params == 1 + 16 + 24
    assert {name for name, _ in part.named_parameters()} == {"phi", "a", "b"}
    assert torch.equal(part.a, born(base, {"rank": 1})[1].a)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"rank": 0}, "rank is 0; it must be at least 1"),
        ({"rank": 2, "terms": 0}, "terms is 0; it must be at least 1"),
        ({"rank": 2, "residual": -1}, "residual is -1; it must be at least 0"),
        ({"rank": 2, "start": "least_squares", "eta": 0.0}, "eta is 0.0; it must be positive"),
        ({"rank": 2, "eta": 0.1}, "eta has no effect unless start is 'least_squares'; leave it out"),
        ({"rank": 2, "block_size": 2}, "block_size has no effect unless form is 'block_diagonal'"),
        ({"rank": 2, "inner": 1}, "inner has no effect unless form is 'low_rank'"),
        ({"rank": 4, "factor": 2}, "factor has no effect unless form is 'kronecker'"),
        ({"rank": 4, "max_params": 2}, "max_params has no effect unless train_bases is True"),
        ({"rank": 4, "form": "block_diagonal"}, "needs block_size"),
        ({"rank": 4, "form": "block_diagonal", "block_size": 3}, "block_size 3 does not divide rank 4"),
        ({"rank": 4, "form": "low_rank", "inner": 5}, "inner 5 exceeds rank 4"),
        ({"rank": 6, "form": "walsh"}, "a rank that is a power of two, got 6"),
        ({"rank": 7, "form": "kronecker"}, "factor 1 does not split rank 7 into two sides above 1"),
        ({"rank": 8, "form": "kronecker", "factor": 3}, "factor 3 does not split rank 8"),
        ({"rank": 6, "form": "kronecker", "start": "least_squares"}, "form kronecker is a product"),
        ({"rank": 6, "form": "low_rank", "start": "least_squares"}, "form low_rank is a product"),
        ({"rank": 1, "train_bases": True}, "give max_params"),
        ({"rank": 1, "train_bases": True, "max_params": 40}, "takes 41 parameters at .*up_proj, and max_params is 40"),
        ({"rank": 2, "basis": "walsh", "complement": True}, "cannot keep to the complement"),
        ({"rank": 1, "train_bases": True, "max_params": 99, "complement": True}, "train_bases moves A and B"),
        ({"rank": 2, "form": "toeplitz"}, "expected 'dense' or 'diagonal'"),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], complaint: str, base: FrozenBase) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        born(base, options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "nominal", "effective"),
    [
        ({"rank": 4, "form": "kronecker"}, 8, 7),
        ({"rank": 4, "form": "low_rank"}, 8, 7),
        ({"rank": 8, "form": "low_rank", "inner": 3}, 48, 39),
        ({"rank": 3, "train_bases": True, "max_params": 999}, 129, 111),
        ({"rank": 16, "residual": 200}, 456, 384),
    ],
    ids=str,
)
def test_a_configuration_that_is_mostly_redundant_is_refused(
    options: dict[str, Any], nominal: int, effective: int, base: FrozenBase
) -> None:
    with pytest.raises(
        ConfigError, match=f"train {nominal} numbers at .*up_proj, which reach no more than {effective}"
    ):
        born(base, options)


@pytest.mark.parametrize(
    "options",
    [
        {"rank": 2, "form": "diagonal", "train_bases": True, "max_params": 999},
        {"rank": 2, "form": "hadamard", "train_bases": True, "max_params": 999},
        {"rank": 1, "terms": 2, "train_bases": True, "max_params": 999, "residual": 9},
        {"rank": 6, "form": "low_rank", "terms": 3, "residual": 9},
        {"rank": 12, "form": "kronecker", "terms": 2},
        {"rank": 8, "form": "walsh", "terms": 4, "basis": "walsh", "residual": 9},
        {"rank": 5, "form": "hadamard", "terms": 3, "basis": "random"},
    ],
    ids=str,
)
def test_effective_parameters_are_the_rank_of_the_jacobian_at_a_larger_site(options: dict[str, Any]) -> None:
    site = Site(sort="linear", module="m", role="up", depth=0, d_in=40, d_out=48)
    generator = torch.Generator().manual_seed(0)
    weight, gradient = torch.randn(2, 48, 40, generator=generator, dtype=torch.float64)
    place = Place(
        module=torch.nn.Linear(1, 1), read_weight=lambda: weight, signals=Signals(num_tokens=9, gx=gradient.float())
    )
    graft = grow_from(Candidate(sites=(site,), kind="phi", options=options), places={"m": place})
    part: Any = moved(graft).double().parts["m"]
    part.attach(place)
    columns = []
    for parameter in part.parameters():
        for number in range(parameter.numel()):
            way = torch.zeros_like(parameter).view(-1)
            way[number] = 1.0
            columns.append(slope_of_fold(part, parameter, way.view_as(parameter)))
    rank = int(torch.linalg.matrix_rank(torch.stack(columns, dim=1), rtol=1e-9))
    assert rank == Phi.num_effective(site, Phi.Options(**options))
    assert len(columns) == Phi.num_params(site, Phi.Options(**options))


@torch.no_grad()
def slope_of_fold(part: Any, parameter: Tensor, way: Tensor) -> Tensor:
    """The change is linear in each single number, so that the difference is its slope."""
    sides = []
    for step in (1, -2):
        parameter.add_(way, alpha=0.5 * step)
        sides.append(part.fold(torch.zeros(48, 40, dtype=torch.float64), None)[0].flatten())
    parameter.add_(way, alpha=0.5)
    slope: Tensor = sides[0] - sides[1]
    return slope


def test_what_the_site_does_not_have_is_refused(base: FrozenBase) -> None:
    with pytest.raises(SiteError, match=r"rank 6 in 3 terms exceeds .*up_proj, which is 24 x 16"):
        born(base, {"rank": 6, "terms": 3})
    with pytest.raises(SiteError, match=r"residual 385 exceeds the 384 entries of .*up_proj"):
        born(base, {"rank": 1, "residual": 385})


def test_a_coordinate_basis_trains_a_block_spread_over_the_weight(base: FrozenBase) -> None:
    graft, part = born(base, {"rank": 3, "basis": "coordinate"})
    with torch.no_grad():
        part.phi.copy_(torch.arange(1.0, 10).view(1, 3, 3))
    [site] = graft.candidate.sites
    change, _ = part.fold(torch.zeros(site.d_out, site.d_in), None)
    by_hand = torch.zeros_like(change)
    for i, row in enumerate(part.rows.tolist()):
        for j, column in enumerate(part.columns.tolist()):
            by_hand[row, column] = part.phi[0, i, j]
    assert torch.equal(change, by_hand)


def test_the_coordinates_cross_where_the_gradient_is() -> None:
    """A block of energy that stands out is found, wherever its rows and columns are."""
    generator = torch.Generator().manual_seed(0)
    gradient = torch.randn(40, 30, generator=generator)
    rows, columns = torch.tensor([3, 17, 39]), torch.tensor([0, 11, 29])
    gradient[rows[:, None], columns] += 50
    found_rows, found_columns = busiest_coordinates(gradient, 3)
    assert set(found_rows.tolist()) == set(rows.tolist())
    assert set(found_columns.tolist()) == set(columns.tolist())


def test_a_file_with_coordinates_holds_its_numbers_and_two_bytes_or_less_a_place(base: FrozenBase) -> None:
    sites = tuple(site for site in base.sites() if site.sort == "linear")
    suite = GraftSuite()
    suite.kind, suite.options = "phi", {"rank": 3, "basis": "coordinate"}
    graft = suite.born(base, Candidate(sites=sites, kind="phi", options=suite.options))
    assert len(graft.to_bytes()) <= 4 * graft.num_params + 2 * 6 * len(sites) + 500


@pytest.mark.parametrize("name", ["rows", "columns"])
def test_coordinates_that_no_newborn_could_have_are_refused(name: str, base: FrozenBase) -> None:
    graft, part = born(base, {"rank": 3, "basis": "coordinate"})
    getattr(part, name)[1] = getattr(part, name)[0]
    with pytest.raises(GraftFileError, match=f"names {name} of a weight .* twice or outside it"):
        grow_from(graft.candidate, weights=graft.to_bytes())


def test_scaled_rows_are_multiplied_whatever_stands_below(base: FrozenBase) -> None:
    _, part = born(base, {"rank": 2, "scale_rows": True})
    with torch.no_grad():
        part.factor.normal_(generator=torch.Generator().manual_seed(0))
    x, y = torch.randn(5, part.b.shape[1]), torch.randn(5, len(part.a))
    torch.testing.assert_close(part(x, y), y * (1 + part.factor))
    assert part.factors() is None
