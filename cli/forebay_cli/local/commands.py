"""`forebay local up|status|logs|down`: what each does; the words of the command line are in __main__.py."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from forebay_api.v1alpha1 import Pipeline
from rich.console import Console
from rich.text import Text

from forebay_cli.errors import Refused
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.embedded import EmbeddedOptions, run_embedded
from forebay_cli.local.files import hold_pid_file
from forebay_cli.local.log_tail import follow_logs, read_last_lines
from forebay_cli.local.runtime import LocalRuntime, RuntimeOptions
from forebay_cli.local.secrets import SecretPlaces
from forebay_cli.local.state_folders import PipelineState, find_state, make_state_folder, read_states
from forebay_cli.local.tables import build_status
from forebay_cli.pipeline_file import read_pipeline_file

DOWN_MARGIN_S = 15.0
"""Beyond the grace period: killing stragglers and stopping embedded servers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """Of `local up`. embedded None: the servers that the pipeline names."""

    file: Path
    state_root: Path
    secrets: dict[str, Path]
    grace_s: float
    log_level: str
    embedded: EmbeddedOptions | None
    keep: bool = False


def say_to(console: Console) -> Callable[[str], None]:
    """Lines with the time of day."""

    def say(message: str) -> None:
        now = datetime.now().astimezone().strftime("%H:%M:%S")
        console.print(Text(f"{now}  {message}"), soft_wrap=True)

    return say


def secret_places(file: Path, overrides: dict[str, Path], folder: Path) -> SecretPlaces:
    """Where Secrets of this pipeline are looked for."""
    folders = dict.fromkeys((file.absolute().parent / "secrets", Path.cwd() / "secrets"))
    return SecretPlaces(folders=tuple(folders), overrides=overrides, written_to=folder / "secrets")


def run_up(options: UpOptions, console: Console) -> None:
    """Run the pipeline until SIGINT or SIGTERM. Raises UsageProblem, Refused, ServerError."""
    pipeline = read_pipeline_file(options.file)
    folder = make_state_folder(options.state_root, pipeline)
    say = say_to(console)
    with hold_pid_file(folder), _servers(options, pipeline, folder, say) as runtime_options:
        asyncio.run(_run_until_signal(runtime_options, say))


@contextmanager
def _servers(
    options: UpOptions, pipeline: Pipeline, folder: Path, say: Callable[[str], None]
) -> Iterator[RuntimeOptions]:
    runtime_options = RuntimeOptions(
        file=options.file,
        folder=folder,
        places=secret_places(options.file, options.secrets, folder),
        grace_s=options.grace_s,
        log_level=options.log_level,
    )
    if options.embedded is None:
        yield runtime_options
        return
    say("starting Kafka and PostgreSQL")
    embedded_options = replace(options.embedded, keep=folder / "embedded" if options.keep else None)
    with run_embedded(pipeline.spec.source.topic, embedded_options) as servers:
        say(f"Kafka listens at {servers.bootstrap}, topic {pipeline.spec.source.topic}")
        db = servers.database
        say(f"PostgreSQL listens at {db.host}:{db.port}; to look into it:")
        say(f"  PGPASSWORD=$(cat {servers.secret}/password) psql -h {db.host} -p {db.port} -U {db.user} {db.dbname}")
        places = replace(runtime_options.places, folders=(servers.secret.parent, *runtime_options.places.folders))
        yield replace(runtime_options, places=places, redirect=servers.redirect)


async def _run_until_signal(options: RuntimeOptions, say: Callable[[str], None]) -> None:
    runtime = LocalRuntime(options, say=say)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, runtime.stop)
    spec = runtime.pipeline.spec
    say(f"{runtime.pipeline.key}: topic {spec.source.topic} at {spec.source.bootstrap_servers} -> {spec.sink.table}")
    say(f"state and logs: {options.folder}; Ctrl-C drains and ends")
    await runtime.run()


def show_status(root: Path, name: str | None, console: Console) -> bool:
    """Print what is known; False when nothing of it runs."""
    states = [find_state(root, name)] if name is not None else read_states(root)
    if not states:
        raise Refused(f"no pipeline has run here (looked in {root})")
    for state in states:
        console.print(_headline(state))
        if state.status is not None and state.status.view is not None:
            console.print(build_status(state.status.view))
        if state.status is not None and state.status.problem is not None:
            console.print(Text(state.status.problem, style="red"))
    return any(state.pid is not None for state in states)


def _headline(state: PipelineState) -> Text:
    where = ("not running", "yellow") if state.pid is None else (f"runs as pid {state.pid}", "green")
    headline = Text.assemble((state.name, "bold"), "  ", where)
    if state.status is not None and state.status.view is not None:
        seen_at = datetime.fromisoformat(state.status.view.taken_at)
        seen_s = (datetime.now(seen_at.tzinfo) - seen_at).total_seconds()
        headline.append(f"  seen {max(seen_s, 0):.0f} s ago", style="dim")
    return headline


def show_logs(root: Path, name: str | None, *, follow: bool, lines: int, console: Console) -> None:
    """Print the ends of the consumers' logs, then, if asked to, what is added."""
    folder = find_state(root, name).folder / "logs"
    positions = {}
    for log in sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime_ns):
        text, positions[log] = read_last_lines(log, lines)
        for line in text:
            console.print(Text(f"{log.stem}  {line}"), soft_wrap=True)
    if follow:
        follow_logs(folder, positions, lambda log, line: console.print(Text(f"{log.stem}  {line}"), soft_wrap=True))


def stop_pipeline(root: Path, name: str | None, *, timeout_s: float, console: Console) -> None:
    """SIGTERM to the runtime, and wait for its end. Raises Refused when it takes longer."""
    state = find_state(root, name)
    if state.pid is None:
        console.print(f"{state.name} does not run")
        return
    started = time.monotonic()
    os.kill(state.pid, signal.SIGTERM)
    console.print(f"{state.name} (pid {state.pid}) is draining")
    if not wait_until(lambda: find_state(root, state.name).pid != state.pid, timeout_s):
        raise Refused(f"{state.name} (pid {state.pid}) has not ended within {timeout_s:.0f} s")
    console.print(f"{state.name} has ended after {time.monotonic() - started:.1f} s")
