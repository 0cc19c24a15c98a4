"""`forebay dead-letters list|show|replay|purge`: the records that could not become rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from forebay_api.v1alpha1 import Pipeline
from forebay_consumer.errors import ForebayError as ConsumerError
from forebay_consumer.errors import SinkUnavailable
from forebay_consumer.letters import LetterRow, ReasonCount, Selection
from forebay_consumer.postgres_sink.letters_admin import LettersAdmin, open_letters

from forebay_cli.errors import Refused
from forebay_cli.letter_report import describe_letter, describe_replay
from forebay_cli.local.environment import SecretFolders


class LettersCommand:
    """Dead letters of one pipeline. Raises Refused."""

    def __init__(self, pipeline: Pipeline, secrets: SecretFolders) -> None:
        self._pipeline = pipeline
        self._secrets = secrets

    async def find(self, selection: Selection, limit: int) -> tuple[Sequence[ReasonCount], Sequence[LetterRow]]:
        """Counts by reason, and the newest letters."""
        async with self._open() as admin:
            return await admin.count(selection), await admin.find(selection, limit)

    async def show(self, ids: tuple[int, ...]) -> list[str]:
        """Whole letters as lines."""
        async with self._open() as admin:
            letters = await admin.read(ids)
        missing = sorted(set(ids) - {letter.id for letter in letters})
        if missing:
            raise Refused(
                f"no dead letter {', '.join(map(str, missing))} of {self._pipeline.key}: replayed or purged, or of "
                "another pipeline; see `forebay dead-letters list`"
            )
        return "\n\n".join("\n".join(describe_letter(letter)) for letter in letters).split("\n")

    async def purge(self, selection: Selection, *, is_sure: bool) -> str:
        """Delete them, if the user is sure."""
        async with self._open() as admin:
            if not is_sure:
                letters = sum(count.letters for count in await admin.count(selection))
                raise Refused(f"{letters:,} dead letters would be deleted for good; say --yes to do it")
            deleted, unmirrored = await admin.purge(selection)
        has_topic = self._pipeline.spec.sink.dead_letters.topic is not None
        note = f", {unmirrored:,} of which the topic of dead letters did not have" if has_topic and unmirrored else ""
        return f"{deleted:,} dead letters deleted{note}"

    async def replay(self, selection: Selection, *, discard_superseded: bool) -> tuple[bool, list[str]]:
        """Write them again. Returns whether none is left, and what was done, in lines."""
        async with self._open() as admin:
            done, waiting = await admin.replay(selection, discard_superseded=discard_superseded)
            elsewhere = sum(count.elsewhere for count in await admin.count(selection))
        lines = describe_replay(
            written=done.written, discarded=done.discarded, left=done.left, waiting=waiting, elsewhere=elsewhere
        )
        return not (done.left or waiting or elsewhere), lines

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[LettersAdmin]:
        try:
            async with open_letters(
                self._pipeline, secret_dir=self._secrets.sink, ca_file=self._secrets.ca_file
            ) as admin:
                yield admin
        except SinkUnavailable as error:
            raise Refused(f"{error}; nothing was done by halves: run it again") from error
        except ConsumerError as error:
            raise Refused(str(error)) from error
