"""The database's door: nothing outside this folder imports asyncpg.

connection.py a session with deadlines; schema.py makes the schema `forebay`; catalog.py describes the table;
claims.py takes partitions over; predecessors.py ends frozen ones; transaction.py writes; isolation.py finds bad rows;
admin.py positions by hand; sink.py puts them together as a `ports.Sink`; refused.py converts what asyncpg raises.
"""

from forebay_consumer.postgres_sink.sink import PostgresSink

__all__ = ["PostgresSink"]
