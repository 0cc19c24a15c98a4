"""The database's door: nothing outside this folder imports asyncpg.

connection.py a session with deadlines; schema.py makes the schema `forebay`; catalog.py describes the table, rights.py
says what may not be done to it; claims.py takes partitions over; predecessors.py ends frozen ones; transaction.py
writes, by way of writers.py or upsert_writer.py; isolation.py finds bad rows; admin.py positions by hand; sink.py puts
them together as a `ports.Sink`; refused.py converts what asyncpg raises. Of dead letters: letters_admin.py looks at
them and deletes them by hand, replay.py and replay_writer.py write them again, letter_store.py is ports.LetterStore.
"""

from forebay_consumer.postgres_sink.letter_store import PostgresLetterStore
from forebay_consumer.postgres_sink.sink import PostgresSink

__all__ = ["PostgresLetterStore", "PostgresSink"]
