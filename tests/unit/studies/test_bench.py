"""Trainings of a study: done once, stored as they finish, and a failure that leaves its neighbours alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from made_up_study import plan_of
from saint.composition import compose
from saint.evaluation import Losses
from saint.studies import Materials
from saint.studies._bench import Bench, Cohort
from saint.studies._study import candidates_of
from saint.training import Schedule, train
from workshop import Workshop


def bench_of(workshop: Workshop) -> Bench:
    schedule = Schedule(num_steps=4, batch_size=2, seq_len=16, evaluate_every=2)
    plan = replace(plan_of(short=[]), schedule=schedule, num_batches=1, evaluation_seq_len=32)
    root = workshop.root
    return Bench(Materials(base=str(workshop.base), data=root / "text", cells=root / "cells"), plan)


def cells(workshop: Workshop) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in (workshop.root / "cells").iterdir()}


def test_a_cohort_is_trained_once_and_a_diverging_one_leaves_its_neighbours_alone(workshop: Workshop) -> None:
    bench = bench_of(workshop)
    first, second, third = candidates_of(bench.plan, bench.base.sites())[:3]
    second = replace(second, lr=1e30)
    bench.do(Cohort(candidates=(first,)))
    kept = cells(workshop)
    bench.do(Cohort(candidates=(first, second, third)))
    assert {file: content for file, content in cells(workshop).items() if file in kept} == kept
    results = [bench.result(one) for one in (first, second, third)]
    assert all(results)
    assert ["failure" in result for result in results if result] == [False, True, False]
    assert not list((workshop.root / "cells").glob("*.checkpoint"))
    (workshop.root / "cells" / f"{bench.digest(third)}.json").unlink()
    bench.do(Cohort(candidates=(third,)))
    assert bench.result(third) == results[2], "alone it learns the same"


def test_a_result_is_of_held_out_text_that_the_training_did_not_see(workshop: Workshop) -> None:
    bench = bench_of(workshop)
    candidate = candidates_of(bench.plan, bench.base.sites())[0]
    bench.do(Cohort(candidates=(candidate,)))
    result = bench.result(candidate)
    assert result is not None
    data, plan = bench.data, bench.plan
    graft = train(bench.base, (), candidate, data.train, select=data.select["prose"], schedule=plan.schedule)
    nats = Losses(seq_len=plan.evaluation_seq_len).measure(compose(bench.base, [graft]), data.held_out)
    assert result["held_out"] == nats.tolist()
    assert not {*data.held_out.documents} & {*data.train.documents, *data.select["prose"].documents}
    assert graft.history is not None
    assert result["select_bpb"] == [list(pair) for pair in graft.history.select_bpb]
    assert len(bench.bare()["held_out"]) == data.held_out.num_documents


def test_the_bare_base_is_read_on_select_as_trainings_are(workshop: Workshop) -> None:
    bench = bench_of(workshop)
    candidate = replace(candidates_of(bench.plan, bench.base.sites())[0], lr=1e-12)
    bench.do(Cohort(candidates=(candidate,)))
    result = bench.result(candidate)
    assert result is not None
    assert result["select_bpb"][0][1] == pytest.approx(bench.bare()["select_bpb"], rel=1e-6)


def test_every_map_scores_every_linear_site_once(workshop: Workshop) -> None:
    bench = bench_of(workshop)
    scores = bench.scores()
    assert sorted(scores) == sorted(bench.plan.methods)
    linear = {site.key for site in bench.base.sites() if site.sort == "linear"}
    assert linear <= scores["gradient"].keys()
    assert np.isfinite(list(scores["gradient"].values())).all()
    kept = cells(workshop)
    assert bench_of(workshop).scores() == scores
    assert cells(workshop) == kept
