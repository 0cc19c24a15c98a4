"""Records that delete their row (mode Upsert): which they are, and the key that they name. Raises only Reject."""

from __future__ import annotations

from collections.abc import Sequence

from forebay_consumer.decode.columns import ColumnEncoder, Part
from forebay_consumer.decode.fields import find_path
from forebay_consumer.decode.json_text import RawObject, read_string, split_record
from forebay_consumer.decode.rejects import Reject
from forebay_consumer.plan import TablePlan
from forebay_consumer.records import RawChunk, Reason

_SPACE = b" \t\r\n"
_COMPOUND = (b"{", b"[")


class Deletions:
    """Finds and encodes the deletions of one plan, which has a key. columns: those of the plan."""

    def __init__(self, plan: TablePlan, columns: Sequence[ColumnEncoder]) -> None:
        self.omitted = plan.not_key
        self._marker = plan.delete_when
        self._key = [(columns[index], plan.columns[index].path) for index in sorted(plan.key)]
        self._is_in_value = any(column.is_in_value for column, _ in self._key)
        names = ", ".join(column.name for column, _ in self._key)
        what = f"a JSON object that holds {names}" + (" or as its bare value" if len(self._key) == 1 else "")
        self._remedy = f"let the producer write the record's key as {what}"

    def is_marked(self, record: RawObject) -> bool:
        """Whether the record's field says that its row is deleted."""
        if self._marker is None:
            return False
        raw = find_path(record, self._marker.path)
        if raw is None or raw == b"null" or raw.startswith(_COMPOUND):
            return False
        text = read_string(raw, "a string") if raw.startswith(b'"') else raw.decode()
        return text in self._marker.values

    def encode(self, record: RawObject, chunk: RawChunk, index: int) -> list[Part]:
        """The key columns, in the plan's order, of a record that is marked."""
        parts = []
        for column, path in self._key:
            try:
                raw = find_path(record, path) if column.is_in_value else None
                part = column.encode(raw, chunk, index)
            except Reject as e:
                e.column = column.name
                raise
            assert part is not None  # key columns are never left to a default
            parts.append(part)
        return parts

    def encode_tombstone(self, chunk: RawChunk, index: int) -> list[Part]:
        """The key columns of a record without value, out of its Kafka key. Raises Reject(TOMBSTONE)."""
        key = None if chunk.keys is None else chunk.keys[index]
        try:
            return self._encode_key(key, chunk, index)
        except Reject as e:
            message = f"the record has no value and its key does not tell which row to delete: {e.message}"
            raise Reject(Reason.TOMBSTONE, f"{message}; {self._remedy}", e.column) from None

    def _encode_key(self, key: bytes | None, chunk: RawChunk, index: int) -> list[Part]:
        if not self._is_in_value:
            return self.encode({}, chunk, index)
        if key is None:
            raise Reject(Reason.TOMBSTONE, "it has none")
        text = key.strip(_SPACE)
        if text.startswith(_COMPOUND):
            return self.encode(split_record(key), chunk, index)
        if len(self._key) > 1:
            raise Reject(Reason.TOMBSTONE, "it is one value, and several columns identify a row")
        ((column, _),) = self._key
        try:
            return [column.encode_bare(text if text.startswith(b'"') or text == b"null" else key)]
        except Reject as e:
            e.column = column.name
            raise
