"""Every word of the `forebay` command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from forebay_cli.demo.audit import Spoil
from forebay_cli.demo.wave import DEFAULT_HA_RECORDS, DEFAULT_RECORDS, DEFAULT_SECONDS

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def build_parser() -> argparse.ArgumentParser:
    """Every word of the command line."""
    parser = argparse.ArgumentParser(prog="forebay", description="Kafka floods into PostgreSQL, exactly once.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_local(commands.add_parser("local", help="run pipelines on this machine"))
    _add_positions(commands.add_parser("positions", help="where a pipeline stands in its topic, and moving it by hand"))
    _add_dead_letters(commands.add_parser("dead-letters", help="records that could not become rows, and what to do"))
    _add_schema(commands.add_parser("schema", help="what Forebay keeps in the target database"))
    _add_migrate(commands.add_parser("migrate", help="what another autoscaler's settings are here"))
    _add_demo(commands.add_parser("demo", help="a wave of records through a Kafka and a PostgreSQL of its own"))
    return parser


def _add_local(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="run a pipeline in the foreground; Ctrl-C drains and ends")
    _add_pipeline(up)
    up.add_argument("--grace", type=_seconds, default=30.0, metavar="SECONDS", help="for draining (default 30)")
    up.add_argument("--log-level", choices=LOG_LEVELS, default="INFO", help="of the consumers")
    embedded = up.add_argument_group("servers of its own, for trying out")
    embedded.add_argument("--embedded", action="store_true", help="start a Kafka and a PostgreSQL for this pipeline")
    embedded.add_argument("--partitions", type=_positive, default=12, help="of the new topic (default 12)")
    embedded.add_argument("--init-sql", type=Path, metavar="FILE", help="run once in the new database, makes the table")
    embedded.add_argument("--keep", action="store_true", help="keep their data for the next run")
    status = commands.add_parser("status", help="replicas, lag, age, rates and the last decision")
    logs = commands.add_parser("logs", help="what the consumers log")
    logs.add_argument("-f", "--follow", action="store_true", help="go on with what is added")
    logs.add_argument("-n", "--lines", type=_positive, default=20, help="of each consumer (default 20)")
    down = commands.add_parser("down", help="drain all consumers and end")
    down.add_argument("--timeout", type=_seconds, default=60.0, metavar="SECONDS", help="default 60")
    for command in (status, logs, down):
        command.add_argument("name", nargs="?", metavar="NAME", help="payments or bank.payments; default the only one")
        _add_state_dir(command)


def _add_positions(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")
    show = commands.add_parser("show", help="positions, log bounds and who holds them")
    reset = commands.add_parser("reset", help="move positions while no consumer holds them")
    for command in (show, reset):
        _add_pipeline(command)
    reset.add_argument(
        "--to", required=True, metavar="earliest|latest|OFFSET|TIME", help="TIME as 2026-01-31T12:00:00Z"
    )
    reset.add_argument("--partition", type=int, nargs="+", action="extend", default=[], help="default all")


def _add_dead_letters(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="how many by reason, then the newest")
    show = commands.add_parser("show", help="whole ones: key, value, headers, message, remedy")
    replay = commands.add_parser(
        "replay", help="write them again, as the pipeline is now; 3 is returned if any is left"
    )
    purge = commands.add_parser("purge", help="delete them for good")
    for command in (listing, show, replay, purge):
        _add_pipeline(command)
    show.add_argument("ids", nargs="+", metavar="ID", help="as `list` shows them")
    for command in (replay, purge):
        command.add_argument("ids", nargs="*", metavar="ID", help="as `list` shows them")
    for command in (listing, replay, purge):
        command.add_argument("--reason", metavar="REASON", help="only those of this reason")
        command.add_argument("--partition", type=int, metavar="N", help="only those of this partition")
        command.add_argument(
            "--since", metavar="AGE|TIME", help="only newer ones: 90s, 30m, 1h, 7d, 2026-01-31T12:00:00Z"
        )
    for command in (replay, purge):
        command.add_argument("--older-than", metavar="AGE|TIME", help="only older ones")
        command.add_argument("--all", action="store_true", help="all of the pipeline's")
    listing.add_argument("--limit", type=_positive, default=20, metavar="N", help="most of them (default 20)")
    listing.add_argument("--format", choices=("table", "json"), default="table")
    replay.add_argument(
        "--discard-superseded",
        action="store_true",
        help="delete those whose key a later record has written",
    )
    purge.add_argument("--yes", action="store_true", help="do it; without it the command says how many it would delete")


def _add_schema(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")
    sql = commands.add_parser("sql", help="SQL to run once where the consumers may not create a schema")
    sql.add_argument("--owner", metavar="ROLE", help="everything belongs to it (default: whoever runs the SQL)")
    sql.add_argument("--user", metavar="ROLE", help="the consumers' role (default: the owner)")


def _add_migrate(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")
    keda = commands.add_parser(
        "keda", help="from ScaledObjects: the pipeline's part; on standard error what has no equal"
    )
    keda.add_argument("file", type=Path, metavar="SCALEDOBJECT.YAML", help="- for standard input")
    keda.add_argument(
        "--capacity", type=_positive, metavar="RECORDS", help="records/s that one consumer writes, if you know it"
    )


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=_seconds, default=DEFAULT_SECONDS, help="length of the wave (default 90)")
    default = f"default {DEFAULT_RECORDS:,}; with --ha {DEFAULT_HA_RECORDS:,}"
    parser.add_argument("--records", type=_positive, help=default)
    parser.add_argument(
        "--ha", action="store_true", help="into three Patroni members behind HAProxy, the first of which is killed"
    )
    parser.add_argument("--break", dest="spoil", choices=list(Spoil), type=Spoil, help="spoil one row before the audit")
    parser.add_argument("--plain", action="store_true", help="lines instead of a live view, as without a terminal")
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="DIR",
        help="keep the servers' data (with --ha Kafka's only), the ledger and all logs there",
    )
    parser.add_argument(
        "--pipeline", type=Path, metavar="PIPELINE.YAML", help="default manifests/samples/payments.yaml"
    )
    parser.add_argument("--table-sql", type=Path, metavar="FILE", help="default payments.sql beside the pipeline")


def _add_pipeline(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="PIPELINE.YAML")
    parser.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="KEY=VALUE lines for a Secret that the pipeline names (default: folder secrets/NAME/, one file a key)",
    )
    _add_state_dir(parser)


def _add_state_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state-dir",
        type=Path,
        metavar="DIR",
        help="holds a folder for each pipeline (default ~/.local/state/forebay)",
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError("must be seconds from 1 to 3600")
    return seconds


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
