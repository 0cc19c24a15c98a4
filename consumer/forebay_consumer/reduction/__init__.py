"""Mode Upsert: of a whole batch, what each key comes to. Pure.

A record is the whole row of its key, so only the last one counts: the rows that are written have each key once, in the
order of the keys' bytes, so that consumers lock rows in one order and visit an index's pages one after the other. A key
that any record of the batch deletes is deleted first, whatever follows: columns that no record fills must not survive.
streams.py builds the streams; reference.py defines the reduction, native.py does the same faster.
"""

from forebay_consumer.reduction.reference import Key
from forebay_consumer.reduction.streams import build_key_streams, read_keys

__all__ = ["Key", "build_key_streams", "read_keys"]
