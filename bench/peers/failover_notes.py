"""How the comparison under faults is made, in words, for its page."""

from __future__ import annotations

from bench.peers.attendant import NOTICE_S
from bench.peers.sinks import QUICK_START, SESSION

NOTES = (
    "Three Patroni members behind HAProxy with the chart's configuration, asynchronous replication, fsync off: "
    "processes are killed, not the machine. The leader's lock is given up with the killed node, as the passing of its "
    "time to live would: 20 s of such a failover are left out, for all alike.",
    "The lost tail: the walsenders are stopped, the sink goes on committing, then the node is killed. `rows lost` are "
    "records delivered to Kafka without a row in the end, by the producer's ledger; `rows twice` are rows beyond the "
    "first of an id.",
    "Debezium is installed as its documentation says: the archive `debezium-connector-jdbc-plugin` under `plugin.path` "
    "of a worker, in standalone mode. Retries are set above their defaults. `connection.restart.on.errors` is true, "
    "against the default and with the documentation's warning that data may be lost with asynchronous replicas; the "
    "last variant leaves it false.",
    "It stops even so when the connection is lost inside a transaction: the roll-back fails, and that error hides the "
    "lost connection, which alone would have been retried.",
    f"The worker's JVM runs with `{' '.join(QUICK_START)}`: a quick start matters here, and the load needs no more.",
    "`offset.flush.interval.ms` is 5 s instead of 60 s, so that a crash repeats less.",
    "Stopped for good: the task is FAILED, and Connect leaves it so. A person, attentive and knowing, restarts it "
    f"{NOTICE_S:.0f} s later: `POST /connectors/NAME/restart?includeTasks=true&onlyFailed=true`. A process that has "
    "died is started again at once by its supervisor, for all alike.",
    "All are members of a classic group, the only kind that Connect has, with "
    f"{', '.join(f'`{key}={value}`' for key, value in SESSION.items())}: how long the partitions of a killed sink stay "
    "with it.",
    "Seconds without writes: the longest time between two commits from the fault on, by the rows' commit timestamps. A "
    "worker of Connect needs 7 s to start on a free machine, and much longer where the load average is high (below).",
)
