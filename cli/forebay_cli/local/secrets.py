"""Finds what a `...SecretRef: {name: X}` of a pipeline file means on one machine: a folder with one file a key.

First `--secret X=FILE` (KEY=VALUE lines, written out as a folder that only this user can read), then the folder
secrets/X/ beside the pipeline file, then secrets/X/ in the working directory.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from forebay_cli.errors import UsageProblem

_QUOTES = ("'", '"')
_FORBIDDEN_IN_KEYS = frozenset("/\\\0")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretPlaces:
    """Where to look. overrides: Secret's name -> file of KEY=VALUE lines. written_to: folder for their folders."""

    folders: tuple[Path, ...]
    overrides: Mapping[str, Path]
    written_to: Path


def parse_secret_options(options: Sequence[str]) -> dict[str, Path]:
    """`X=FILE`, several times. Raises UsageProblem with every option that is not of that form."""
    problems = [f"--secret {option}: expected NAME=FILE" for option in options if not all(option.partition("="))]
    if problems:
        raise UsageProblem(*problems)
    return {name: Path(file) for name, _, file in (option.partition("=") for option in options)}


def parse_env_lines(text: str, *, where: str) -> dict[str, str]:
    """KEY=VALUE lines; blank ones and those that start with # are skipped, a pair of quotes around a value is removed.

    Raises UsageProblem with each wrong line's number (never its text: it may be a password).
    """
    values: dict[str, str] = {}
    problems = []
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        key, equals, value = stripped.partition("=")
        key = key.removeprefix("export ").strip()
        if not equals or not is_key(key):
            problems.append(f"{where}, line {number}: expected KEY=VALUE")
            continue
        values[key] = _unquote(value.strip())
    if problems:
        raise UsageProblem(*problems)
    return values


def is_key(key: str) -> bool:
    """Whether it can be a file name in the Secret's folder."""
    return bool(key) and key not in (".", "..") and not _FORBIDDEN_IN_KEYS.intersection(key)


def _unquote(value: str) -> str:
    if len(value) >= 2 and value[0] in _QUOTES and value[-1] == value[0]:
        return value[1:-1]
    return value


def find_secret(name: str, places: SecretPlaces, *, field: str) -> Path:
    """The folder of the Secret. field: path of the reference, for the message. Raises UsageProblem."""
    override = places.overrides.get(name)
    if override is not None:
        return _write_override(name, override, places.written_to)
    for folder in places.folders:
        if (folder / name).is_dir():
            return folder / name
    looked = ", ".join(f"{folder / name}/" for folder in places.folders)
    raise UsageProblem(
        f"{field}: Secret {name!r} not found: make the folder {looked.replace(', ', ' or ')} with one file a key, "
        f"or give --secret {name}=FILE with KEY=VALUE lines"
    )


def _write_override(name: str, file: Path, into: Path) -> Path:
    try:
        values = parse_env_lines(file.read_text(encoding="utf-8"), where=str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageProblem(f"--secret {name}={file}: cannot be read: {error}") from error
    return write_secret(into / name, values)


def write_secret(folder: Path, values: Mapping[str, str]) -> Path:
    """Make the folder hold exactly these keys, readable by this user only; returns it.

    Each file is replaced at once, because a consumer may be reading it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    for key, value in values.items():
        draft = folder / f".{key}.new"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as target:
            target.write(value)
        draft.replace(folder / key)
    for leftover in folder.iterdir():
        if leftover.name not in values:
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    return folder
