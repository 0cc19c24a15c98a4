"""The `forebay` command: runs what the command line says, and gives each error its exit code.

0: done. 1: refused or failed, the message says why. 2: the command line, the pipeline file or a Secret is wrong.
3: dead letters are left after a replay.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from forebay_api.v1alpha1 import Pipeline
from forebay_operator.errors import ForebayError as OperatorError
from rich.console import Console

from forebay_cli.arguments import build_parser
from forebay_cli.dead_letters import LettersCommand
from forebay_cli.demo.command import DemoOptions, run_demo
from forebay_cli.demo.wave import DEFAULT_HA_RECORDS, DEFAULT_RECORDS
from forebay_cli.errors import ForebayError, UsageProblem
from forebay_cli.keda import find_scaled_objects, render, translate
from forebay_cli.letter_report import build_list, list_to_json
from forebay_cli.letter_selection import build_selection, require_choice
from forebay_cli.local.commands import UpOptions, run_up, secret_places, show_logs, show_status, stop_pipeline
from forebay_cli.local.embedded import EmbeddedOptions
from forebay_cli.local.environment import SecretFolders, find_secrets, lead_to_database
from forebay_cli.local.files import choose_state_root
from forebay_cli.local.secrets import parse_secret_options
from forebay_cli.local.server_errors import ServerError
from forebay_cli.local.state_folders import make_state_folder
from forebay_cli.pipeline_file import read_documents, read_pipeline_file
from forebay_cli.position_targets import parse_target
from forebay_cli.positions import PositionsCommand, describe_reset
from forebay_cli.schema import build_schema_sql

LETTERS_LEFT = 3
"""Of `dead-letters replay`: it went through, and some letters cannot be written yet."""

INTERRUPTED = 130
"""What shells say of a program that Ctrl-C ended."""


def main() -> int:
    """Entry point of the `forebay` script."""
    arguments = build_parser().parse_args()
    try:
        return _run(arguments, Console(highlight=False))
    except UsageProblem as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return 2
    except (ForebayError, OperatorError, ServerError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(arguments: argparse.Namespace, console: Console) -> int:
    match arguments.command:
        case "local":
            return _run_local(arguments, console)
        case "positions":
            return _run_positions(arguments, console)
        case "dead-letters":
            return _run_dead_letters(arguments, console)
        case "schema":
            sys.stdout.write(build_schema_sql(owner=arguments.owner, user=arguments.user))
            return 0
        case "migrate":
            return _run_migrate(arguments)
        case "demo":
            return run_demo(_demo_options(arguments), console)
    raise AssertionError(arguments.command)


def _run_migrate(arguments: argparse.Namespace) -> int:
    for scaled in find_scaled_objects(read_documents(arguments.file)):
        translation = translate(scaled, arguments.capacity)
        sys.stdout.write(f"---\n{render(translation)}")
        sys.stderr.write("".join(f"{translation.name}: {warning}\n" for warning in translation.warnings))
    return 0


def _run_local(arguments: argparse.Namespace, console: Console) -> int:
    root = _state_root(arguments)
    match arguments.subcommand:
        case "up":
            run_up(_up_options(arguments, root), console)
        case "status":
            return 0 if show_status(root, arguments.name, console) else 1
        case "logs":
            show_logs(root, arguments.name, follow=arguments.follow, lines=arguments.lines, console=console)
        case "down":
            stop_pipeline(root, arguments.name, timeout_s=arguments.timeout, console=console)
    return 0


def _state_root(arguments: argparse.Namespace) -> Path:
    chosen: Path | None = arguments.state_dir
    return chosen.absolute() if chosen is not None else choose_state_root(os.environ)


def _up_options(arguments: argparse.Namespace, root: Path) -> UpOptions:
    embedded = EmbeddedOptions(partitions=arguments.partitions, init_sql=arguments.init_sql)
    return UpOptions(
        file=arguments.file,
        state_root=root,
        secrets=parse_secret_options(arguments.secret),
        grace_s=arguments.grace,
        log_level=arguments.log_level,
        embedded=embedded if arguments.embedded else None,
        keep=arguments.keep,
    )


def _find_access(arguments: argparse.Namespace) -> tuple[Pipeline, SecretFolders]:
    """The pipeline of the file, led to its database, and its Secrets."""
    pipeline = read_pipeline_file(arguments.file)
    overrides = parse_secret_options(arguments.secret)
    places = secret_places(arguments.file, overrides, make_state_folder(_state_root(arguments), pipeline))
    secrets = find_secrets(pipeline, places)
    return lead_to_database(pipeline, secrets), secrets


def _run_dead_letters(arguments: argparse.Namespace, console: Console) -> int:
    given = vars(arguments)
    selection = build_selection(
        ids=given.get("ids", ()),
        reason=given.get("reason"),
        partition=given.get("partition"),
        since=given.get("since"),
        older_than=given.get("older_than"),
        now=datetime.now(UTC),
    )
    subcommand = arguments.subcommand
    if subcommand in ("replay", "purge"):
        require_choice(selection, wants_all=arguments.all, command=f"dead-letters {subcommand}")
    command = LettersCommand(*_find_access(arguments))
    match subcommand:
        case "list":
            counts, rows = asyncio.run(command.find(selection, arguments.limit))
            if arguments.format == "json":
                sys.stdout.write(f"{list_to_json(counts, rows)}\n")
            else:
                console.print(build_list(counts, rows, arguments.limit))
        case "show":
            _write_lines(asyncio.run(command.show(selection.ids or ())))
        case "purge":
            _write_lines([asyncio.run(command.purge(selection, is_sure=arguments.yes))])
        case "replay":
            is_done, lines = asyncio.run(command.replay(selection, discard_superseded=arguments.discard_superseded))
            _write_lines(lines)
            return 0 if is_done else LETTERS_LEFT
    return 0


def _write_lines(lines: Sequence[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _run_positions(arguments: argparse.Namespace, console: Console) -> int:
    target = parse_target(arguments.to) if arguments.subcommand == "reset" else None
    command = PositionsCommand(*_find_access(arguments))
    if target is None:
        asyncio.run(command.show(console))
        return 0
    result = asyncio.run(command.reset(target, tuple(arguments.partition)))
    _write_lines(describe_reset(result))
    return 0


def _demo_options(arguments: argparse.Namespace) -> DemoOptions:
    default = DEFAULT_HA_RECORDS if arguments.ha else DEFAULT_RECORDS
    return DemoOptions(
        ha=arguments.ha,
        records=default if arguments.records is None else arguments.records,
        seconds=arguments.seconds,
        spoil=arguments.spoil,
        plain=arguments.plain,
        keep=arguments.keep,
        pipeline=arguments.pipeline,
        table_sql=arguments.table_sql,
    )


if __name__ == "__main__":
    sys.exit(main())
