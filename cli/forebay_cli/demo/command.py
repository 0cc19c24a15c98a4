"""`forebay demo`: servers up, the wave, the audit, one JSON object as the last line."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from forebay_api.v1alpha1 import Pipeline
from forebay_consumer.sql import quote_identifier, split_table
from rich.console import Console

from forebay_cli.demo.audit import AuditFacts, Spoil, judge_facts
from forebay_cli.demo.audit_database import gather_facts, open_connection, spoil_row
from forebay_cli.demo.director import Director
from forebay_cli.demo.ha_servers import run_ha_servers
from forebay_cli.demo.play import Play, Stage
from forebay_cli.demo.screen import describe_wave
from forebay_cli.demo.verdict_table import build_last_line, list_problems, print_verdict
from forebay_cli.demo.wave import HA_CAP, Wave
from forebay_cli.errors import UsageProblem
from forebay_cli.local.commands import say_to
from forebay_cli.local.embedded import Embedded, EmbeddedOptions, run_embedded
from forebay_cli.local.files import hold_pid_file
from forebay_cli.local.process import create_guarded_folder
from forebay_cli.local.runtime import RuntimeOptions
from forebay_cli.local.secrets import SecretPlaces
from forebay_cli.local.state_folders import make_state_folder
from forebay_cli.pipeline_file import read_pipeline_file

SAMPLES = Path("manifests") / "samples"
GRACE_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """keep: an empty folder for data and logs, None = a temporary one. pipeline, table_sql: None = the sample's.

    ha: the database has three members, of which the first is lost.
    """

    ha: bool
    records: int
    seconds: float
    spoil: Spoil | None
    plain: bool
    keep: Path | None
    pipeline: Path | None
    table_sql: Path | None


def run_demo(options: DemoOptions, console: Console) -> int:
    """The exit code: 0 if every record is there exactly once, and consumers rose and fell."""
    file = options.pipeline or find_sample("payments.yaml")
    table_sql = options.table_sql or file.with_suffix(".sql")
    pipeline = read_pipeline_file(file)
    folder = _choose_folder(options.keep)
    wave = Wave(records=options.records, seconds=options.seconds)
    say = say_to(console)
    say("starting Kafka, etcd, three members of Patroni and HAProxy" if options.ha else "starting Kafka and PostgreSQL")
    state = make_state_folder(folder / "state", pipeline)
    with hold_pid_file(state), _run_servers(options, pipeline, folder, wave, table_sql) as (servers, director):
        say(f"{'all' if options.ha else 'both'} run; {describe_wave(wave)}")
        stage = Stage(
            runtime=RuntimeOptions(
                file=file,
                folder=state,
                places=SecretPlaces(folders=(servers.secret.parent,), overrides={}, written_to=state / "secrets"),
                grace_s=GRACE_S,
                redirect=_choose_redirect(options, servers),
            ),
            ledger=folder / "ledger",
            logs=folder,
            plain=options.plain or not console.is_terminal,
        )
        play = Play(stage, wave, console, director)
        asyncio.run(play.perform())
        say("auditing")
        facts = asyncio.run(_audit(servers, play.group_topic_table, stage.ledger, options.spoil))
    verdict = judge_facts(facts)
    print_verdict(console, facts, verdict, play.story)
    if options.keep is not None:
        say(f"data, ledger and logs are kept in {folder}")
    sys.stdout.write(build_last_line(verdict, play.story) + "\n")
    return 1 if list_problems(verdict, play.story) else 0


@contextmanager
def _run_servers(
    options: DemoOptions, pipeline: Pipeline, folder: Path, wave: Wave, table_sql: Path
) -> Iterator[tuple[Embedded, Director | None]]:
    topic = pipeline.spec.source.topic
    if options.ha:
        with run_ha_servers(topic, folder / "servers", table_sql, wave) as (servers, director):
            yield servers, director
        return
    keep = None if options.keep is None else folder / "servers"
    with run_embedded(topic, EmbeddedOptions(keep=keep, init_sql=table_sql)) as servers:
        yield servers, None


def _choose_redirect(options: DemoOptions, servers: Embedded) -> Callable[[Pipeline], Pipeline]:
    """Between these servers; the sample's consumers with a cap that fits the smaller flood."""
    if not options.ha or options.pipeline is not None:
        return servers.redirect

    def redirect(pipeline: Pipeline) -> Pipeline:
        consumer = replace(pipeline.spec.consumer, max_rows_per_second=HA_CAP)
        return servers.redirect(replace(pipeline, spec=replace(pipeline.spec, consumer=consumer)))

    return redirect


def find_sample(name: str) -> Path:
    """A file of manifests/samples: in the working directory, in the checkout, or beside this module in the wheel."""
    here = Path(__file__).resolve()
    places = (Path.cwd() / SAMPLES / name, here.parents[3] / SAMPLES / name, here.parent / name)
    for place in places:
        if place.is_file():
            return place
    raise UsageProblem(f"{name} was not found: run this in the checkout, or give --pipeline and --table-sql")


def _choose_folder(keep: Path | None) -> Path:
    if keep is None:
        return create_guarded_folder(prefix="forebay-demo-")
    if keep.exists() and any(keep.iterdir()):
        raise UsageProblem(f"--keep {keep}: the folder is not empty, and what is in it would fail the audit")
    keep.mkdir(parents=True, exist_ok=True)
    return keep.resolve()


async def _audit(servers: Embedded, names: tuple[str, str, str], ledger: Path, spoil: Spoil | None) -> AuditFacts:
    group, topic, table = names
    quoted = ".".join(quote_identifier(part) for part in split_table(table))
    async with open_connection(servers.database.dsn) as connection:
        if spoil is not None:
            await spoil_row(connection, quoted, spoil)
        return await gather_facts(connection, ledger=ledger, table=quoted, group=group, topic=topic)
