"""How the comparison is made, in words, for its page."""

from __future__ import annotations

from bench.peers.attendant import NOTICE_S
from bench.peers.mishap_trial import MOST_RESTARTS, POISON_RECORDS
from bench.peers.runners import HEAP_MB
from bench.peers.sinks import QUICK_START, SESSION
from bench.steady_load import LINGER_MS

NOTES = (
    "One machine: broker, sink and PostgreSQL (fsync and synchronous_commit on) share its processors. Same topics, "
    "same records of about 167 bytes of JSON, same tables for all; each trial has a new table, after a CHECKPOINT, and "
    "variants are interleaved. `created_at` is text in the table, because Debezium casts no parameter to a timestamp "
    "where it unnests, and unnest is 5 to 10 times faster by its documentation.",
    "A drain begins when the gate opens: processes run and have their partitions, and none may write until a lock is "
    "given up. Start-up of Java is outside, the warm-up of its compiler inside. It ends with the last commit, by "
    "commit timestamps. Rows are counted in the table, together with the sum of their ids; with repeated keys also the "
    "sum of the amounts, which is right only when the last change of each key won. When the gate opens Debezium has "
    "its first batch ready, while Forebay has yet to claim its partitions and to fetch, and the bare loop to fetch: "
    "the time to the first commit is in the table, and inside rows/s.",
    "CPU: user and system seconds of the sink's processes and of PostgreSQL from the gate's opening until everything "
    "is written and the log has been quiet for a moment; the broker's is not counted. Memory: the sum of the peaks "
    "(resident set) of the sink's processes.",
    f"Debezium is the archive of its documentation in a standalone worker of Kafka Connect, `-Xmx{HEAP_MB}m`, with "
    "`dialect.postgres.unnest.insert.enabled`, plain JSON by a schema of the settings (no envelope), larger fetches, "
    "`reWriteBatchedInserts`. Its best is looked for figure by figure: the best median over all its tasks and batch "
    "sizes, even if rows/s and rows/CPU-s then come from different settings. With repeated keys it needs "
    "`use.reduction.buffer`.",
    "Bare loop: consume, decode, COPY, offsets in the same transaction; no dead letters, no fencing, no retries.",
    "Repeated keys: half of the records, by chance, repeat a key that came before, drawn evenly from all of them.",
    "Latency: from the record's Kafka timestamp to the commit timestamp of its row. The timestamp has milliseconds, "
    f"cut off, so that an age may be up to 1 ms too long; up to {LINGER_MS} ms of it are the producer's wait for a "
    "batch. Counting begins some seconds after the first row. The commit timestamp is taken just before the commit is "
    "flushed to disk. Percentiles are ages that occurred.",
    f"Poison: {POISON_RECORDS:,} records, the one in the middle bad; `merchant` is NOT NULL in the table. Stopped: the "
    "task is FAILED, and Connect leaves it so. An attentive person restarts it "
    f"{NOTICE_S:.0f} s later; after {MOST_RESTARTS} restarts without getting past the record it is said to stay "
    "stopped. Records not written are good ones without a row at that moment; those of a stopped sink come once "
    "somebody has removed the bad one or given it up.",
    f"Where there is a mishap, the worker's JVM runs with `{' '.join(QUICK_START)}`: a quick start matters there.",
    "kill -9: at the moment when a quarter of the rows was seen; a supervisor starts the process again. Members of a "
    f"classic group with {', '.join(f'`{key}={value}`' for key, value in SESSION.items())}, Debezium's offsets "
    "committed every 5 s instead of every minute, so that a crash repeats less. Rows lost are records without a row "
    "although the group's offsets are at the end.",
)
