"""`python -m forebay_consumer`: environment in, exit code out (wire.ExitCode)."""

from __future__ import annotations

import logging
import os
import socket
import sys

import uvloop
from forebay_api.wire import ExitCode

from forebay_consumer.app import run_consumer
from forebay_consumer.config import config_from_env
from forebay_consumer.errors import BadConfig
from forebay_consumer.logs import configure_logs

SWITCH_S = 0.0005
"""How long Kafka's thread may keep the interpreter while the event loop waits for it to send the next piece of a COPY;
Python's 5 ms are longer than a piece takes."""


def main() -> int:
    """Run one consumer."""
    try:
        config = config_from_env(os.environ, default_id=f"{socket.gethostname()}-{os.getpid()}")
        sys.setswitchinterval(SWITCH_S)
        configure_logs(config.log_level, pipeline=config.pipeline.key, consumer=config.consumer_id)
        uvloop.run(run_consumer(config))
    except BadConfig as e:
        for problem in e.problems:
            sys.stderr.write(f"{problem}\n")
        return ExitCode.BAD_CONFIG
    except Exception:
        logging.getLogger(__name__).exception("consumer failed")
        return ExitCode.FATAL
    return ExitCode.DRAINED


if __name__ == "__main__":
    sys.exit(main())
