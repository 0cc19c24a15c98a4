"""Which trials make the comparison of peers, in which order, and which are left when some are stored."""

from __future__ import annotations

from collections import Counter

import pytest

from bench.peers.trial_plan import (
    Kind,
    Trial,
    Wishes,
    choose_warm_ups,
    leave_out_stored,
    list_variants,
    plan_jobs,
)
from bench.peers.variants import DEBEZIUM_BATCH, Engine, Task, Variant, find_unknown_mode, list_drains

SIZES = (DEBEZIUM_BATCH,)
FOREBAY = Variant(engine=Engine.FOREBAY, task=Task.APPEND, members=2)
FOREBAY_UPSERT = Variant(engine=Engine.FOREBAY, task=Task.UPSERT, members=2)
DEBEZIUM_UPSERT = Variant(engine=Engine.DEBEZIUM, task=Task.UPSERT, members=1, batch_size=3000)


def wish(*kinds: Kind, only: tuple[str, ...] = (), repeats: int = 2, batch_sizes: tuple[int, ...] = SIZES) -> Wishes:
    kinds = kinds or tuple(Kind)
    return Wishes(kinds=kinds, only=only, batch_sizes=batch_sizes, repeats=dict.fromkeys(Kind, repeats))


def test_repeats_of_the_drains_are_interleaved() -> None:
    names = [job.variant.name for job in plan_jobs(wish(Kind.DRAIN, repeats=3))]

    round_of_all = [variant.name for variant in list_drains(SIZES)]
    assert names == round_of_all * 3
    assert len(set(round_of_all)) == len(round_of_all)


def test_every_task_is_drained_by_forebay_and_debezium_with_one_and_two() -> None:
    drained = {(v.engine, v.task, v.members) for v in list_drains(SIZES)}

    assert {(e, t, n) for e in (Engine.FOREBAY, Engine.DEBEZIUM) for t in Task for n in (1, 2)} <= drained
    assert {(Engine.POLARS, Task.APPEND, n) for n in (1, 2)} <= drained


def test_no_two_jobs_are_the_same_trial() -> None:
    assert max(Counter(job.key for job in plan_jobs(wish())).values()) == 1


def test_other_batch_sizes_are_drained_and_nothing_else() -> None:
    jobs = plan_jobs(wish(batch_sizes=(3000, 10_000)))

    assert {job.kind for job in jobs if job.variant.batch_size == 10_000} == {Kind.DRAIN}


def test_only_keeps_names_that_begin_so() -> None:
    names = {job.variant.name for job in plan_jobs(wish(Kind.DRAIN, only=("forebay-append", "debezium-upsert-2")))}

    assert names == {"forebay-append-1", "forebay-append-2", "debezium-upsert-2-b3000"}


def test_only_keeps_one_variant_by_its_whole_name() -> None:
    jobs = plan_jobs(wish(Kind.POISON, only=("debezium-append-1-b3000",)))

    assert {job.variant.name for job in jobs} == {"debezium-append-1-b3000"}


def test_word_that_fits_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="--only forbay fits none of"):
        plan_jobs(wish(only=("forbay",)))


def test_schema_that_allows_null_is_a_case_of_debezium_only() -> None:
    jobs = [job for job in plan_jobs(wish(Kind.POISON)) if job.case == "null-by-schema"]

    assert {job.variant.engine for job in jobs} == {Engine.DEBEZIUM}


def test_run_is_whole_only_when_nothing_is_left_out() -> None:
    assert wish().is_whole
    assert not wish(Kind.DRAIN).is_whole
    assert not wish(only=("forebay",)).is_whole


def test_stored_trials_are_not_run_again() -> None:
    jobs = plan_jobs(wish(Kind.KILL))
    stored = [Trial(kind=job.kind.value, variant=job.variant.name, turn=job.turn) for job in jobs[:3]]

    assert leave_out_stored(jobs, stored) == jobs[3:]


def test_each_variant_warms_up_once_and_one_where_a_run_goes_on() -> None:
    jobs = plan_jobs(wish())

    assert choose_warm_ups(jobs, goes_on=False) == list_drains(SIZES)
    assert choose_warm_ups(jobs, goes_on=True) == list_drains(SIZES)[:1]
    assert choose_warm_ups(plan_jobs(wish(Kind.KILL)), goes_on=False) == ()


def test_variants_are_known_by_the_batch_sizes_of_stored_trials() -> None:
    stored = [Trial(kind="drain", variant="debezium-append-2-b500", turn=0)]

    assert list_variants(SIZES, stored)["debezium-append-2-b500"].batch_size == 500


def test_upsert_is_refused_by_name_where_the_api_has_no_such_mode() -> None:
    refusal = find_unknown_mode([FOREBAY, FOREBAY_UPSERT, DEBEZIUM_UPSERT], ["Append"])

    assert refusal is not None
    assert "forebay-upsert-2 need" in refusal
    assert "debezium-upsert-1" not in refusal


def test_nothing_is_refused_without_upsert_or_with_the_mode() -> None:
    assert find_unknown_mode([FOREBAY, DEBEZIUM_UPSERT], ["Append"]) is None
    assert find_unknown_mode([FOREBAY_UPSERT], ["Append", "Upsert"]) is None
