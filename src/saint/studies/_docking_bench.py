"""The work of a study of docking: one backbone or one module at a time, measured and kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from saint import discovery, records
from saint.composition import compose, dock
from saint.data import Corpus, Splits, open_splits
from saint.errors import DataError, DivergedError
from saint.evaluation import Losses
from saint.grafts import Graft, History, Kind, NewLayer, default_lr, grow_from, kind_and_options
from saint.models import FrozenBase, block_stacks, freeze
from saint.progress import Progress, Silent
from saint.records import Candidate, Site
from saint.search import Result, Store, code_digest, defining_digest
from saint.studies._docking_plan import Arm, DockBackbone, DockingPlan, DockModule
from saint.studies._kept import keep_model, read_model
from saint.studies._timing import plain_history, watching_the_clock
from saint.training import BasePlan, Schedule, Workspace, pretrain, train_free, train_many, untrained

_PACKAGES = ("saint-g", "torch", "transformers")
_FILES = ("studies/_docking_bench.py", "studies/_kept.py", "studies/_timing.py")
_BACKBONES_APART = 1_000  # between the seeds of backbones: each starts from a place of its own
_MODULES_BEGIN = 500_000
_ORDER = 900_000


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Building:
    """The training of one backbone."""

    backbone: str
    seed: int


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Docking:
    """One module on one backbone."""

    backbone: str
    module: str
    arm: Arm
    seed: int


Job = Building | Docking


@final
class DockingBench:
    """Text and settings of such a study in one process."""

    def __init__(self, data: Path, cells: Path, plan: DockingPlan, progress: Progress | None = None) -> None:
        self.data: Splits = open_splits(data)
        self.plan, self.store = plan, Store(cells)
        self._progress = progress or Silent()
        self._losses = Losses(seq_len=plan.evaluation_seq_len)
        self._backbones = {one.name: one for one in plan.backbones}
        self._modules = {one.name: one for one in plan.modules}
        self._loaded: dict[str, FrozenBase] = {}

    def base_plan(self, work: Building) -> BasePlan:
        """What is trained."""
        number = list(self._backbones).index(work.backbone)
        return replace(self._backbones[work.backbone].of(self.plan.base), seed=work.seed + number * _BACKBONES_APART)

    def digest(self, work: Job) -> str:
        """The name of a result: a digest of everything that decides it, the code included."""
        if isinstance(work, Docking):
            return self._digest_of_docking(work)
        backbone, plan = self._backbones[work.backbone], self.base_plan(work)
        home = self.digest(self._home(work)) if backbone.shares else None
        return records.digest(
            {
                "model": plan,
                "shares": {"with": home, "stem": backbone.stem, "head": backbone.head},
                "text": [text.digest for text in (*self._texts(plan.domain), self.data.held_out)],
                "tokenizer": self.data.tokenizer_digest,
                "seq_len": self.plan.evaluation_seq_len,
                "code": docking_code(),
            }
        )

    def result(self, work: Job) -> Result | None:
        """What came of it, if it was done before; what others stand on is not done once its weights are gone."""
        name = self.digest(work)
        found = self.store.read(name)
        if found is not None and "failure" not in found and self._is_kept(work):
            return found if self.store.weights(name) is not None else None
        return found

    def do(self, work: Job) -> Result:
        """Train and measure, unless that was done before; what came of it is on the disk when this returns."""
        if (found := self.result(work)) is not None:
            return found
        name = self.digest(work)
        try:
            result = self._built(work, name) if isinstance(work, Building) else self._docked(work, name)
        except DivergedError as error:
            result = {"failure": str(error)}
        self.store.write(name, result)
        self.store.checkpoint(name).unlink(missing_ok=True)
        return result

    def _digest_of_docking(self, work: Docking) -> str:
        module = self._modules[work.module]
        texts = self._texts(self.data.grown_domain)
        comes_from_home = work.arm in ("moved", "shuffled", "retrained")
        return records.digest(
            {
                "on": self.digest(Building(backbone=work.backbone, seed=work.seed)),
                "module": replace(module, name=""),
                "kind": defining_digest(discovery.find("grafts", module.kind, Kind)),
                "arm": work.arm,
                "seed": work.seed,
                "from": self.digest(self._at_home(work)) if comes_from_home else None,
                "forced": self._backbones[work.backbone].forced,
                "schedule": self._schedule(work),
                "text": [text.digest for text in texts],
            }
        )

    def _home(self, work: Job) -> Building:
        return Building(backbone=self.plan.backbones[0].name, seed=work.seed)

    def _at_home(self, work: Docking) -> Docking:
        """The same module where it comes from."""
        return replace(work, backbone=self.plan.backbones[0].name, arm="own")

    def _is_kept(self, work: Job) -> bool:
        """Whether something will stand on it, or come from it."""
        return isinstance(work, Building) or work == self._at_home(work)

    def _texts(self, domain: str) -> tuple[Corpus, Corpus]:
        """What is learnt from, and what stops it."""
        return self.data.of(domain, "train"), self.data.of(domain, "select")

    def _schedule(self, work: Docking) -> Schedule | None:
        """How a module learns; None for one that does not."""
        if work.arm == "own":
            return self.plan.schedule
        return self.plan.short_schedule if work.arm in ("retrained", "as short") else None

    def _built(self, work: Building, name: str) -> Result:
        backbone, plan = self._backbones[work.backbone], self.base_plan(work)
        text, select = self._texts(plan.domain)
        watched: dict[str, Any] = {
            "select": select,
            "checkpoint": self.store.checkpoint(name),
            "progress": self._progress,
        }

        def train() -> tuple[nn.Module, History]:
            if not backbone.shares:
                return pretrain(plan, self.data.tokenizer, text, **watched)
            model = self._begun(work, backbone, plan)
            schedule, about = plan.schedule, {"backbone": name}
            return model, train_free(model, text, of=about, lr=plan.lr, schedule=schedule, seed=plan.seed, **watched)

        (model, history), busy = watching_the_clock(train)
        keep_model(self.store, name, model)
        model.requires_grad_(requires_grad=False).eval()
        num_params = sum(one.numel() for one in model.parameters())
        return self._learnt(history, busy) | {"num_params": num_params} | self._measured(model)

    @torch.no_grad()
    def _begun(self, work: Building, backbone: DockBackbone, plan: BasePlan) -> PreTrainedModel:
        """A backbone that has learnt nothing but what it shares with the first, which is frozen."""
        model, home = untrained(plan, self.data.tokenizer), self._model(self._home(work))
        theirs = dict(home.named_parameters())
        shared = shared_names(model, stem=backbone.stem, head=backbone.head)
        for key, parameter in model.named_parameters():
            if key in shared:
                parameter.copy_(theirs[key])
            parameter.requires_grad = key not in shared
        return model

    def _docked(self, work: Docking, name: str) -> Result:
        base = self._base(Building(backbone=work.backbone, seed=work.seed))
        candidate = candidate_of(base, self._modules[work.module], seed=work.seed + _MODULES_BEGIN)
        start = None if work.arm in ("own", "as short") else self._moved(work, base)
        schedule = self._schedule(work)
        if schedule is None:
            assert start is not None  # what does not learn here has learnt at home
            return {"train_tokens": 0, "train_s": 0.0, **self._measured(compose(base, [start]))}
        text, select = self._texts(self.data.grown_domain)
        [trained], busy = watching_the_clock(
            lambda: train_many(
                base,
                [],
                [candidate],
                text,
                select=select,
                schedule=schedule,
                starts={records.digest(candidate): start} if start is not None else None,
                work=Workspace(checkpoint_of=lambda _: self.store.checkpoint(name), progress=self._progress),
            )
        )
        if trained.graft is None:
            raise DivergedError(f"module {work.module} did not learn: {trained.failure}")
        graft = trained.graft
        assert graft.history is not None  # it was just trained
        if self._is_kept(work):
            self.store.keep_weights(name, graft.to_bytes())
        measured = self._measured(compose(base, [graft]))
        return self._learnt(graft.history, busy) | {"num_params": graft.num_params} | measured

    def _moved(self, work: Docking, base: FrozenBase) -> Graft:
        """The module from the first backbone, put on this one.

        Raises:
            SiteError: Their token interfaces differ, and the plan does not say that this is a control.
        """
        home = self._base(self._home(work))
        candidate = candidate_of(home, self._modules[work.module], seed=work.seed + _MODULES_BEGIN)
        graft = grow_from(candidate, weights=self._weights(self._at_home(work)))
        forced = self._backbones[work.backbone].forced
        moved = graft.requires_grad_(requires_grad=False).eval() if forced else dock(graft, home, base)
        return shuffled(moved, base, seed=work.seed + _ORDER) if work.arm == "shuffled" else moved

    def _weights(self, work: Job) -> bytes:
        """What something learnt.

        Raises:
            DivergedError: It did not.
            DataError: It never did.
        """
        name = self.digest(work)
        what = f"{work.module} on {work.backbone}" if isinstance(work, Docking) else work.backbone
        if "failure" in (self.store.read(name) or {}):
            raise DivergedError(f"{what} with seed {work.seed} did not learn")
        content = self.store.weights(name)
        if content is None:
            raise DataError(f"the weights of {what} are gone; run the study again")
        return content

    def _model(self, work: Building) -> PreTrainedModel:
        self._weights(work)  # says whose they are if they are not there
        return read_model(self.store, self.digest(work), self.base_plan(work), self.data.tokenizer)

    def _base(self, work: Building) -> FrozenBase:
        """A backbone that was trained before; those of the last seed stay in memory."""
        name = self.digest(work)
        if name not in self._loaded:
            if len(self._loaded) >= len(self.plan.backbones):
                self._loaded.clear()
            self._loaded[name] = freeze(self._model(work), tokenizer=self.data.tokenizer)
        return self._loaded[name]

    def _learnt(self, history: History, busy: float) -> Result:
        plain = plain_history(history, busy)
        return {
            "train_tokens": plain["train_tokens"],
            "train_s": plain["time_s"],
            "select_bpb": min(bpb for _, bpb in plain["select_bpb"]),
        }

    def _measured(self, model: nn.Module) -> Result:
        return {"held_out": self._losses.measure(model, self.data.held_out).tolist()}


def shared_names(model: nn.Module, *, stem: int, head: bool) -> set[str]:
    """The parameters of the first `stem` blocks and of what comes before them; with `head` of what comes after all."""
    backbone: Any = model
    [(blocks, modules)] = block_stacks(model).items()
    table = {id(one) for one in backbone.get_input_embeddings().parameters()}
    before = tuple(f"{blocks}.{index}." for index in range(stem))
    inside = tuple(f"{blocks}.{index}." for index in range(len(modules)))
    named = dict(model.named_parameters())
    found = {name for name in named if name.startswith(before)}
    if stem:
        found |= {name for name, one in named.items() if id(one) in table}
    if head:
        found |= {name for name, one in named.items() if not name.startswith(inside) and id(one) not in table}
    return found


def candidate_of(base: FrozenBase, module: DockModule, *, seed: int) -> Candidate:
    """The graft that a module is, on a base."""
    sites = sites_of(base.sites(), module)
    lr = module.lr or default_lr(module.kind, module.options, sites)
    return Candidate(sites=sites, kind=module.kind, options=module.options, lr=lr, seed=seed)


def sites_of(sites: Sequence[Site], module: DockModule) -> tuple[Site, ...]:
    """Where a module is, of all sites of its base."""
    kind, _ = kind_and_options(module.kind, module.options)
    num_blocks = 1 + max(site.depth for site in sites)
    blocks = {index % num_blocks for index in module.blocks if -num_blocks <= index < num_blocks}
    return tuple(
        site
        for site in sites
        if site.sort == kind.attaches_to
        and (not module.roles or site.role in module.roles)
        and (not module.blocks or site.depth in blocks)
    )


@torch.no_grad()
def shuffled(graft: Graft, base: FrozenBase, *, seed: int) -> Graft:
    """A graft of the same numbers in each tensor, and so of the same norms, in an order that means nothing."""
    found = grow_from(graft.candidate, weights=graft.to_bytes())
    chance = torch.Generator().manual_seed(seed)
    compose(base, [found])  # shows each part what is at its place
    for part in found.parts.values():
        grown: Any = part
        if isinstance(layers := part.growth(), NewLayer):  # whose tensors lie end to end in one
            grown.put([_mixed(one, chance) for one in (layers.weights, *layers.further)], silent=False)
        else:
            for name, mixed in _mixed(dict(part.named_parameters()), chance).items():
                part.get_parameter(name).copy_(mixed)
    return found.requires_grad_(requires_grad=False).eval()


def _mixed(named: Mapping[str, Tensor], chance: torch.Generator) -> dict[str, Tensor]:
    """Each tensor with its numbers in another order."""
    return {
        name: tensor.flatten()[torch.randperm(tensor.numel(), generator=chance).to(tensor.device)].view(tensor.shape)
        for name, tensor in named.items()
    }


@cache
def docking_code() -> dict[str, str]:
    """What decides such a study's results beside the plan and what it names."""
    return {**{name: version(name) for name in _PACKAGES}, "source": code_digest(_FILES)}
