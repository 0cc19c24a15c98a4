"""The thread that owns Kafka's client: polls, obeys commands, hands chunks over; makes a new client of a spent one."""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, KafkaException
from forebay_api.v1alpha1 import SourceSpec

from forebay_consumer.errors import BadConfig
from forebay_consumer.kafka_config import (
    GroupProtocol,
    build_admin_config,
    build_consumer_config,
    choose_protocol,
)
from forebay_consumer.kafka_source.budget import Budget
from forebay_consumer.kafka_source.chunks import Failure
from forebay_consumer.kafka_source.codes import CLASSED
from forebay_consumer.kafka_source.intake import PythonIntake
from forebay_consumer.kafka_source.lookups import Lookups
from forebay_consumer.kafka_source.mailbox import Mailbox
from forebay_consumer.kafka_source.mirror import Mirror
from forebay_consumer.kafka_source.native_intake import make_native_intake
from forebay_consumer.kafka_source.session import Session
from forebay_consumer.kafka_source.trouble import Trouble, TroubleKind, is_protocol_refused
from forebay_consumer.kafka_source.watch import Watch
from forebay_consumer.ports import Assigned, Records, Revoked, SourceEvent, Wanted

POLL_RECORDS = 1500
"""Most records of one poll of PythonIntake: consume() builds their objects without letting the event loop run, 1 ms."""

NATIVE_POLL_RECORDS = 8192
"""The same for NativeIntake, which lets the loop run: large enough that the cost of a poll does not count."""

POLL_WAIT_S = 0.02
"""Longest wait for a first record; a command waits so long at most."""

LINGER_S = 0.003
"""Wait for more after the first record: bounds the number of events to some 300 a second, and costs no more latency."""

ROOM_WAIT_S = 0.1
"""Wait for budget before pausing: a pause throws away what librdkafka has fetched ahead; no hiccup is worth that."""

REBUILD_FIRST_S, REBUILD_MOST_S = 0.5, 20.0
"""Pause before a new client, doubled each time."""

SETTLED_S = 30.0
"""A client that lived so long was good: the next pause is short again."""

ASIDE_S = 0.2
"""How often a client that is no member looks whether it shall be one."""

RELOAD_EVERY_S = 5.0
"""How often the Secret's folder is looked at while credentials are refused."""

log = logging.getLogger(__name__)
client_log = logging.getLogger("forebay_consumer.librdkafka")


class ClientSpent(Exception):  # a reason to make a new client, never seen outside this file
    """This client will not work any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the thread needs to know. config_dir: folder of librdkafka properties, one file a key; None: none."""

    spec: SourceSpec
    consumer_id: str
    config_dir: Path | None
    buffer_bytes: int


def read_properties(folder: Path | None) -> Mapping[str, str]:
    """The properties in a mounted Secret's folder; names with a leading dot are Kubernetes' own. Raises OSError."""
    if folder is None:
        return {}
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    return {path.name: path.read_text(encoding="utf-8").rstrip("\r\n") for path in sorted(files)}


class Worker:
    """run() is the thread. submit() may be called from anywhere; everything else is the thread's."""

    def __init__(self, *, settings: Settings, lookups: Lookups, mailbox: Mailbox, budget: Budget) -> None:
        self.wanted = Wanted()
        self.mirror = Mirror()
        self.session: Session | None = None
        self.is_aside = False
        """Be no member of the group for now."""
        self._settings = settings
        self._lookups = lookups
        self._mailbox = mailbox
        self._budget = budget
        self._watch = Watch(spec=settings.spec, lookups=lookups, post=mailbox.post)
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._errors: deque[KafkaError] = deque()
        self._protocol: GroupProtocol | None = None
        self._properties: Mapping[str, str] = {}
        self._reload_at = 0.0
        self._poll_records = POLL_RECORDS
        self._leave_by: float | None = None
        self.ended = threading.Event()

    def submit(self, command: Callable[[], None]) -> None:
        """Have the thread run this soon."""
        self._commands.put(command)

    def leave(self, deadline_s: float) -> None:
        """Command: commit the mirror, leave the group, end."""
        self._leave_by = time.monotonic() + deadline_s

    def run(self) -> None:
        """Until leave()."""
        pause_s = REBUILD_FIRST_S
        try:
            while self._leave_by is None:
                if self.is_aside:
                    self._rest(ASIDE_S)
                    continue
                started = time.monotonic()
                try:
                    self._live()
                except ClientSpent as e:
                    log.warning("kafka client spent, making a new one", extra={"because": str(e), "pause_s": pause_s})
                except Exception as e:
                    log.exception("kafka client failed")
                    self._report(f"Kafka's client failed: {e}; a new one is made")
                if time.monotonic() - started > SETTLED_S:
                    pause_s = REBUILD_FIRST_S
                self._rest(pause_s * (0.5 + random.random()))  # noqa: S311  spreads reconnects, no secret
                pause_s = min(REBUILD_MOST_S, pause_s * 2)
        finally:
            self.ended.set()  # first: a command submitted after it is nobody's, one submitted before is run below
            self._run_commands()

    # ---- one client

    def _live(self) -> None:
        session = self._make_session()
        if session is None:
            return
        self.session = session
        try:
            session.join()
            while self._leave_by is None and not self.is_aside:
                self._step(session)
            self._commit_last(session)
        finally:
            self.session = None
            session.close()

    def _make_session(self) -> Session | None:
        """A client ready to join; None (and reported) when its configuration is bad."""
        settings = self._settings
        try:
            self._properties = read_properties(settings.config_dir)
            protocol = choose_protocol(self._properties) or self._protocol or GroupProtocol.CONSUMER
            self._protocol = protocol
            config = build_consumer_config(
                settings.spec,
                self._properties,
                consumer_id=settings.consumer_id,
                buffer_bytes=settings.buffer_bytes,
                protocol=protocol,
            )
            self._lookups.connect(build_admin_config(settings.spec, self._properties, consumer_id=settings.consumer_id))
            self._watch.on_new_client()
            callbacks = {"error_cb": self._errors.append, "on_commit": self._on_commit}
            consumer = Consumer({**config, **callbacks}, logger=client_log)
        except (BadConfig, OSError, UnicodeDecodeError, KafkaException, ValueError) as e:
            self._report(f"spec.source.configSecretRef cannot be used: {e}")
            return None
        self._errors.clear()
        self.mirror.reset()
        native = make_native_intake(consumer, settings.consumer_id, settings.spec.topic)
        self._poll_records = NATIVE_POLL_RECORDS if native else POLL_RECORDS
        return Session(
            topic=settings.spec.topic,
            consumer=consumer,
            intake=native or PythonIntake(consumer),
            lookups=self._lookups,
            mirror=self.mirror,
            post=self._post,
        )

    def _step(self, session: Session) -> None:
        now = time.monotonic()
        self._run_commands()
        session.seek_pending()
        session.settle_suspects(now)
        session.send_mirror(now)
        self._watch.step(now)
        self._mind_budget(session)
        try:
            polled = session.poll(self._budget.poll_records(self._poll_records), POLL_WAIT_S, LINGER_S, self.wanted)
            chunks, failures = session.take(polled) if polled else ((), ())
        except KafkaException as e:
            self._on_fatal(session, e.args[0])
            return
        if chunks:
            session.pulse.beat(now)
            self._budget.take(sum(c.size_bytes for c in chunks), sum(len(c.offsets) for c in chunks))
            self._post(Records(chunks=tuple(chunks)))
        elif session.pulse.is_dead(now):
            raise ClientSpent("it reaches no broker, and others do")
        for failure in failures:
            self._on_failure(session, failure, now)
        while self._errors:
            self._on_error(session, self._errors.popleft())
        self._reload_if_refused(now)

    def _mind_budget(self, session: Session) -> None:
        if session.is_throttled:
            if self._budget.has_half:
                session.unthrottle()
        elif self._budget.is_full and not self._budget.wait_for_room(ROOM_WAIT_S):
            session.throttle()

    def _commit_last(self, session: Session) -> None:
        """The mirror's last word, for half of the time that is left. What arrives meanwhile is nobody's."""
        now = time.monotonic()
        give_up = now + max(0.0, (self._leave_by or now) - now) / 2
        while time.monotonic() < give_up:
            if not self.mirror.is_sending:
                session.send_mirror(time.monotonic(), at_once=True)
                if not self.mirror.is_sending:
                    return
            try:
                session.poll(self._poll_records, POLL_WAIT_S, 0.0, self.wanted)
            except KafkaException:
                return

    # ---- errors

    def _on_failure(self, session: Session, failure: Failure, now: float) -> None:
        partition = failure.partition
        if partition is None or not session.suspect(partition, failure.error, now):
            self._on_error(session, failure.error)

    def _on_error(self, session: Session, error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError._FATAL:
            self._on_fatal(session, error)
        level = logging.DEBUG if error.code() in CLASSED else logging.WARNING
        log.log(level, "kafka client says", extra={"error": error.str(), "code": error.name()})
        self._watch.on_error(error)

    def _on_fatal(self, session: Session, error: KafkaError) -> None:
        """Raises ClientSpent, always."""
        asked = choose_protocol(self._properties)
        refused = self._protocol is GroupProtocol.CONSUMER and is_protocol_refused(error)
        if refused and asked is None and not session.was_assigned:
            self._protocol = GroupProtocol.CLASSIC
            raise ClientSpent("the broker does not take the new group protocol; using the classic one")
        remedy = " remove group.protocol from spec.source.configSecretRef;" if refused and asked is not None else ""
        self._report(f"Kafka's client stopped: {error.str()};{remedy} a new one is made")
        raise ClientSpent(error.str())

    def _report(self, message: str) -> None:
        self._watch.report(Trouble(kind=TroubleKind.CLIENT, message=message))

    def _reload_if_refused(self, now: float) -> None:
        """A rotated password lies in the same folder: take it as soon as it is there."""
        if self._watch.kind is not TroubleKind.CREDENTIALS or now < self._reload_at:
            return
        self._reload_at = now + RELOAD_EVERY_S
        try:
            changed = read_properties(self._settings.config_dir) != self._properties
        except (OSError, UnicodeDecodeError):
            return
        if changed:
            raise ClientSpent("spec.source.configSecretRef has changed")

    # ---- small things

    def _post(self, event: SourceEvent) -> None:
        match event:
            case Assigned(partitions=()):
                self._watch.on_nothing_assigned()
                return
            case Assigned() | Records():
                self._watch.on_success()
            case Revoked():
                self._watch.on_revoked()
        self._mailbox.post(event)

    def _on_commit(self, error: KafkaError | None, partitions: object) -> None:
        if error is None:
            self.mirror.confirm()
        else:
            log.debug("mirror failed", extra={"error": error.str()})
            self.mirror.refuse()

    def _run_commands(self) -> None:
        while True:
            try:
                command = self._commands.get_nowait()
            except queue.Empty:
                return
            command()

    def _rest(self, seconds: float) -> None:
        """Between two clients commands are still obeyed: nobody may wait for a client that does not come."""
        until = time.monotonic() + seconds
        while self._leave_by is None and (left := until - time.monotonic()) > 0:
            try:
                self._commands.get(timeout=left)()
            except queue.Empty:
                return
