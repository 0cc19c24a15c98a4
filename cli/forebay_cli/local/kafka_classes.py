"""Kafka's classes as an archive that the JVM maps (AppCDS): the broker starts in half the time. Made once."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.downloads import locked
from forebay_cli.local.free_ports import find_free_port
from forebay_cli.local.kafka_java import KafkaJava
from forebay_cli.local.kafka_settings import KafkaOptions, build_properties, format_storage, write_properties
from forebay_cli.local.process import create_guarded_folder, start_child
from forebay_cli.local.server_errors import ServerError

STARTED = b"Kafka Server started"
"""What the broker logs when it serves clients."""
START_S = 60.0
DUMP_S = 60.0
"""Writing the archive takes a few seconds after the broker's own shutdown."""


def use_class_archive(java: KafkaJava) -> KafkaJava:
    """Return the call with the archive, made now if the cache lacks it; unchanged where none can be made."""
    program = Path(java.java).resolve()
    stat = program.stat()
    identity = f"{program} {stat.st_mtime_ns} {stat.st_size}"
    archive = java.lib.parent / f"classes-{hashlib.sha256(identity.encode()).hexdigest()[:12]}.jsa"
    if not archive.exists():
        with locked(archive):
            if not archive.exists():
                _train(java, archive)
    return replace(java, archive=archive) if archive.stat().st_size else java


def _train(java: KafkaJava, archive: Path) -> None:
    """Run a broker once to see which classes it loads; an empty file says that it failed: nobody tries again."""
    folder = create_guarded_folder(archive.parent, prefix=".classes-")
    draft = folder / "classes.jsa"
    with suppress(ServerError):  # a broker that cannot start says why when it is started in earnest
        _run_broker(java, folder, draft)
    if not draft.exists():
        draft.touch()
    os.replace(draft, archive)
    shutil.rmtree(folder, ignore_errors=True)


def _run_broker(java: KafkaJava, folder: Path, draft: Path) -> None:
    log_file = folder / "kafka.log"
    properties_file = folder / "server.properties"
    ports = (find_free_port(), find_free_port())
    write_properties(properties_file, build_properties(KafkaOptions(), ports, folder / "data"))
    format_storage(java, properties_file, folder / "format.log")
    flags = (f"-XX:ArchiveClassesAtExit={draft}",)
    child = start_child(java.command("kafka.Kafka", properties_file, heap_mb=512, flags=flags), log_file)
    wait_until(lambda: STARTED in log_file.read_bytes() or not child.is_running(), START_S)
    child.send(signal.SIGTERM)
    if child.wait(DUMP_S) is None:
        child.kill_family()
        draft.unlink(missing_ok=True)
