"""Grafts as one, and a graft at some of its sites: the same trained parts, under another record."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from math import exp, log, sqrt
from typing import Any

from torch import Tensor

from saint import records
from saint.errors import ConfigError, SiteError
from saint.grafts._graft import Graft, History, assemble, kind_and_options
from saint.records import Candidate, Site


def part_of(graft: Graft, keys: Collection[str]) -> Graft:
    """The same trained parts and strength at some of the graft's sites, as a graft of its own.

    The learning rate of its candidate is what the graft's comes to at fewer sites (see `default_lr`).

    Args:
        keys: Of the sites that are kept, whatever their order.

    Raises:
        SiteError: None of these is kept, or the graft has no such site.
    """
    known = {site.key: site for site in graft.candidate.sites}
    if unknown := sorted(set(keys) - known.keys()):
        raise SiteError(f"the graft has no site {unknown[0]}; its sites are {', '.join(known)}")
    if not keys:
        raise SiteError("a graft is at one site at least, and none is kept; name one of its sites")
    kept = tuple(site for key, site in known.items() if key in keys)
    candidate = replace(
        graft.candidate,
        sites=kept,
        options=_options_at(graft.candidate.options, kept),
        lr=graft.candidate.lr * sqrt(len(known) / len(kept)),
    )
    return _taken_over(candidate, [graft])


def joined(grafts: Sequence[Graft]) -> Graft:
    """Grafts of one kind at different sites as one graft: composed, it is what they are as a stack, to the bit.

    Its candidate has the first one's seed, and the learning rate that theirs come to at all the sites together (see
    `default_lr`). Its history says how many tokens they have learnt from, if it is known.

    Raises:
        ConfigError: They are of several kinds or strengths, which one graft cannot have.
        SiteError: Two of them are at one site, or there are none.
    """
    sites = tuple(site for graft in grafts for site in graft.candidate.sites)
    keys = [site.key for site in sites]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise SiteError(f"two of the grafts are at {twice}, where one graft has one part; leave one of them out")
    if not grafts:
        raise SiteError("one graft is made of at least one, and there are none")
    for what, all_ in (
        ("kind", {graft.candidate.kind for graft in grafts}),
        ("strength", {graft.strength for graft in grafts}),
    ):
        if len(all_) > 1:
            raise ConfigError(
                f"one graft has one {what}, and these have {' and '.join(str(one) for one in sorted(all_))}; join "
                f"grafts of one {what}"
            )
    first = grafts[0].candidate
    return _taken_over(
        replace(first, sites=sites, options=_options_of([graft.candidate for graft in grafts]), lr=_joint_lr(grafts)),
        grafts,
    )


def _taken_over(candidate: Candidate, grafts: Sequence[Graft]) -> Graft:
    """The graft of `candidate` with the parts that these have at its sites."""
    state: dict[str, dict[str, Tensor]] = {}
    for graft in grafts:
        for key, part in graft.parts.items():
            state[key] = {name: tensor.detach().cpu() for name, tensor in part.state_dict().items()}
    wanted = {site.key: state[site.key] for site in candidate.sites}
    made = assemble(candidate, wanted, strength=grafts[0].strength).eval()
    made.requires_grad_(requires_grad=False)
    if all(graft.history is not None for graft in grafts):
        made.history = _history_of([graft.history for graft in grafts if graft.history is not None])
    return made


def _history_of(histories: Sequence[History]) -> History:
    """What went before, and nothing that was measured of what came of it."""
    return History(
        train_tokens=0,
        earlier_tokens=sum(one.all_tokens for one in histories),
        select_bpb=(),
        best_tokens=0,
        time_s=0.0,
        strength=histories[0].strength,
    )


def _joint_lr(grafts: Sequence[Graft]) -> float:
    """The geometric mean of what each would be at one site, over the root of the number of all sites."""
    number = sum(len(graft.candidate.sites) for graft in grafts)
    logs = [len(one.sites) * log(one.lr * sqrt(len(one.sites))) for one in (graft.candidate for graft in grafts)]
    return exp(sum(logs) / number) / sqrt(number)


def _options_at(options: Mapping[str, Any], sites: Sequence[Site]) -> dict[str, Any]:
    """The options less what they choose otherwise for places that none of `sites` is."""
    places = {name for site in sites for name in (site.role, site.key)}
    there = {name: chosen for name, chosen in options.get("at", {}).items() if name in places}
    rest = {name: value for name, value in options.items() if name != "at"}
    return rest | ({"at": there} if there else {})


def _options_of(candidates: Sequence[Candidate]) -> Mapping[str, Any]:
    """Options with which one candidate is at every site what these are there: theirs if they are alike.

    Otherwise the first one's, and by the key of a site what is different there.
    """
    if len({records.digest(candidate.options) for candidate in candidates}) == 1:
        return candidates[0].options
    found = [(site, _chosen(candidate, site)) for candidate in candidates for site in candidate.sites]
    common = found[0][1]
    at = {
        site.key: {name: value for name, value in here.items() if value != common[name]}
        for site, here in found
        if here != common
    }
    return common | ({"at": at} if at else {})


def _chosen(candidate: Candidate, site: Site) -> dict[str, Any]:
    """Every option as it is at a site."""
    plain: dict[str, Any] = records.to_plain(kind_and_options(candidate.kind, candidate.options, site)[1])
    return plain
