"""The Lease: one leader at a time, whatever clocks, networks and processes do. In virtual time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from forebay_operator.config import LeaseTiming
from forebay_operator.kubernetes_cluster.lease import LeaseElection
from support.fake_transport import FakeClient, FakeTransport
from support.pipeline_builders import START
from support.virtual_time import in_virtual_time, until

TIMING = LeaseTiming(lease_duration_s=15, renew_deadline_s=10, retry_period_s=2)
PATH = "/apis/coordination.k8s.io/v1/namespaces/forebay/leases/forebay-operator"
SLACK_S = 0.1


def loop_s() -> float:
    return asyncio.get_running_loop().time()


@dataclass(slots=True, kw_only=True)
class Candidate:
    """A process that takes part. log: (second, word) of what it was told."""

    name: str
    client: FakeClient
    election: LeaseElection
    log: list[tuple[float, str]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    async def _on_started(self) -> None:
        self.log.append((loop_s(), "started"))

    async def _on_lost(self) -> None:
        self.log.append((loop_s(), "lost"))

    def start(self) -> Candidate:
        self.task = asyncio.create_task(self.election.run(self._on_started, self._on_lost))
        return self

    async def kill(self) -> None:
        """Without a word to the server."""
        assert self.task is not None
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task

    async def stop(self) -> None:
        """As at SIGTERM."""
        await self.kill()
        await self.election.release()

    def words(self) -> list[str]:
        return [word for _, word in self.log]

    def at(self, word: str) -> float:
        return next(second for second, said in self.log if said == word)


def join(server: FakeTransport, name: str, *, skew: timedelta = timedelta()) -> Candidate:
    client = server.client()

    def now() -> datetime:
        return START + skew + timedelta(seconds=loop_s())

    election = LeaseElection(
        client, namespace="forebay", name="forebay-operator", identity=name, timing=TIMING, now=now
    )
    return Candidate(name=name, client=client, election=election).start()


async def lead(server: FakeTransport, *names: str) -> list[Candidate]:
    """Candidates, of which the first leads, some renewals later."""
    first = join(server, names[0])
    await asyncio.sleep(1)
    others = [join(server, name) for name in names[1:]]
    await asyncio.sleep(10)
    assert first.words() == ["started"]
    assert all(other.words() == [] for other in others)
    return [first, *others]


def spec(server: FakeTransport) -> dict[str, object]:
    found = server.objects[PATH]["spec"]
    assert isinstance(found, dict)
    return found


@in_virtual_time
async def test_first_candidate_creates_the_lease_and_leads() -> None:
    server = FakeTransport()

    (leader,) = await lead(server, "a")

    assert leader.at("started") < SLACK_S
    assert spec(server) | {"acquireTime": "", "renewTime": ""} == {
        "holderIdentity": "a",
        "leaseDurationSeconds": 15,
        "acquireTime": "",
        "renewTime": "",
        "leaseTransitions": 0,
    }
    assert spec(server)["acquireTime"] != spec(server)["renewTime"]
    await leader.kill()


@in_virtual_time
async def test_leader_renews_with_one_request_a_retry_period() -> None:
    (leader,) = await lead(FakeTransport(), "a")
    before = len(leader.client.sent)

    await asyncio.sleep(20)

    assert [sent.method for sent in leader.client.sent[before:]] == ["PUT"] * 10
    await leader.kill()


@in_virtual_time
async def test_killed_leader_is_followed_after_the_duration_and_not_before() -> None:
    server = FakeTransport()
    leader, other = await lead(server, "a", "b")
    await leader.kill()
    died = loop_s()

    await asyncio.sleep(20)

    assert 15 - 2 - SLACK_S < other.at("started") - died < 15 + 2 + SLACK_S
    assert spec(server)["leaseTransitions"] == 1
    await other.kill()


@in_virtual_time
async def test_released_lease_is_taken_within_the_retry_period() -> None:
    leader, other = await lead(FakeTransport(), "a", "b")
    await leader.stop()
    released = loop_s()

    await asyncio.sleep(3)

    assert other.at("started") - released <= TIMING.retry_period_s + SLACK_S
    await other.kill()


@in_virtual_time
async def test_renewal_cut_off_by_the_stop_does_not_keep_the_lease() -> None:
    server = FakeTransport(took_s=0.3)
    leader, other = await lead(server, "a", "b")
    seen = len(leader.client.writes())
    await until(lambda: len(leader.client.writes()) > seen)
    await asyncio.sleep(0.4)  # carried out, its answer on its way
    await leader.stop()
    released = loop_s()

    await asyncio.sleep(4)

    assert spec(server)["holderIdentity"] == "b"
    assert other.at("started") - released <= TIMING.retry_period_s + 2
    await other.kill()


@in_virtual_time
async def test_release_by_who_does_not_hold_it_changes_nothing() -> None:
    server = FakeTransport()
    leader, other = await lead(server, "a", "b")

    await other.stop()

    assert spec(server)["holderIdentity"] == "a"
    assert other.client.writes() == []
    await leader.kill()


@in_virtual_time
async def test_leader_without_an_api_server_gives_up_at_the_deadline_before_another_may_lead() -> None:
    for hangs in (False, True):
        server = FakeTransport()
        leader, other = await lead(server, "a", "b")
        leader.client.is_away, leader.client.hangs = True, hangs
        cut = loop_s()

        await asyncio.sleep(20)

        assert leader.words() == ["started", "lost"]
        assert 8 - SLACK_S < leader.at("lost") - cut <= 10 + SLACK_S
        assert other.at("started") > leader.at("lost") + 3
        await other.kill()


@in_virtual_time
async def test_leadership_ends_by_itself_when_the_deadline_has_passed() -> None:
    (leader,) = await lead(FakeTransport(), "a")
    was_leader = leader.election.is_leader
    await leader.kill()  # as if stopped by a signal: nobody tells it

    await asyncio.sleep(10.1)

    assert (was_leader, leader.election.is_leader) == (True, False)


@in_virtual_time
async def test_outage_shorter_than_the_deadline_is_survived() -> None:
    leader, other = await lead(FakeTransport(), "a", "b")
    for client in (leader.client, other.client):
        client.is_away = True
    await asyncio.sleep(7.5)
    for client in (leader.client, other.client):
        client.is_away = False

    await asyncio.sleep(60)

    assert (leader.words(), other.words()) == (["started"], [])
    await leader.kill()
    await other.kill()


@in_virtual_time
async def test_lost_answers_do_not_lose_the_lease() -> None:
    leader, other = await lead(FakeTransport(), "a", "b")
    leader.client.loses_answers = True
    await asyncio.sleep(5)
    leader.client.loses_answers = False

    await asyncio.sleep(30)

    assert (leader.words(), other.words()) == (["started"], [])
    await leader.kill()
    await other.kill()


@in_virtual_time
async def test_wall_clocks_that_disagree_do_not_matter() -> None:
    for skew in (timedelta(hours=-3), timedelta(hours=3)):
        server = FakeTransport()
        leader = join(server, "a")
        await asyncio.sleep(1)
        other = join(server, "b", skew=skew)
        await asyncio.sleep(60)
        assert (leader.words(), other.words()) == (["started"], [])
        await leader.kill()
        await asyncio.sleep(18)
        assert other.words() == ["started"]
        await other.kill()


@in_virtual_time
async def test_candidate_that_begins_late_still_waits_for_the_whole_duration() -> None:
    server = FakeTransport()
    (leader,) = await lead(server, "a")
    await leader.kill()
    await asyncio.sleep(14)
    late = join(server, "b")
    began = loop_s()

    await asyncio.sleep(20)

    assert 15 - SLACK_S < late.at("started") - began < 17 + SLACK_S
    await late.kill()


@in_virtual_time
async def test_conflict_at_the_write_is_not_leadership() -> None:
    server = FakeTransport()
    racing = [join(server, name) for name in "abcd"]
    await asyncio.sleep(5)
    (first,) = [one for one in racing if one.words()]
    await first.kill()

    await asyncio.sleep(20)

    second = [one for one in racing if one is not first and one.words()]
    assert [one.words() for one in second] == [["started"]]
    for one in racing:
        await one.kill()


@in_virtual_time
async def test_lease_taken_by_another_is_lost_at_once() -> None:
    server = FakeTransport()
    (leader,) = await lead(server, "a")
    taken = server.objects[PATH]
    server.put(PATH, {**taken, "spec": {**taken["spec"], "holderIdentity": "z"}})

    await asyncio.sleep(2.1)

    assert leader.words() == ["started", "lost"]


@in_virtual_time
async def test_others_changes_of_the_object_are_kept_and_do_not_end_leadership() -> None:
    server = FakeTransport()
    (leader,) = await lead(server, "a")
    lease = server.objects[PATH]
    server.put(PATH, {**lease, "metadata": {**lease["metadata"], "annotations": {"note": "mine"}}})

    await asyncio.sleep(30)

    assert leader.words() == ["started"]
    assert server.objects[PATH]["metadata"]["annotations"] == {"note": "mine"}
    await leader.kill()


@in_virtual_time
async def test_deleted_lease_is_made_again_by_its_holder() -> None:
    server = FakeTransport()
    (leader,) = await lead(server, "a")
    del server.objects[PATH]

    await asyncio.sleep(20)

    assert leader.words() == ["started"]
    assert spec(server)["holderIdentity"] == "a"
    await leader.kill()


@in_virtual_time
async def test_candidate_outlives_an_outage_before_its_first_look() -> None:
    server = FakeTransport()
    one = join(server, "a")
    one.client.is_away = True
    await asyncio.sleep(100)
    one.client.is_away = False

    await asyncio.sleep(3)

    assert one.words() == ["started"]
    await one.kill()


@in_virtual_time
async def test_two_never_lead_at_once_through_random_cuts() -> None:
    server = FakeTransport(took_s=0.2)
    both = [join(server, "a"), join(server, "b")]
    everyone = list(both)

    for step in range(400):
        for i, one in enumerate(both):
            one.client.is_away = (step * (7 + 4 * i)) % 23 < 9
            one.client.hangs = step % 2 == 0
            if one.words()[-1:] == ["lost"]:
                both[i] = join(server, f"{one.name}'")
                everyone.append(both[i])
        assert sum(one.election.is_leader for one in both) <= 1
        await asyncio.sleep(1.3)

    assert sum(one.words().count("started") for one in everyone) > 3
    for one in both:
        await one.kill()
