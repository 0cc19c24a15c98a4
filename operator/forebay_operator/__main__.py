"""`python -m forebay_operator`: environment in, exit code out."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys

from forebay_operator.app import run_operator
from forebay_operator.config import config_from_env
from forebay_operator.errors import BadConfig, Fatal
from forebay_operator.logs import configure_logs

log = logging.getLogger(__name__)

STOPPED, FAILED, BAD_CONFIG = 0, 1, 2
"""Exit codes. FAILED: also a lost Lease; Kubernetes starts the process anew."""


def main() -> int:
    """Run one operator."""
    try:
        config = config_from_env(os.environ, default_id=f"{socket.gethostname()}-{os.getpid()}")
    except BadConfig as e:
        for problem in e.problems:
            sys.stderr.write(f"{problem}\n")
        return BAD_CONFIG
    configure_logs(config.log_level)
    try:
        asyncio.run(run_operator(config))
    except Fatal as e:
        log.error("operator ended", extra={"because": str(e)})
        return FAILED
    except Exception:
        log.exception("operator failed")
        return FAILED
    return STOPPED


if __name__ == "__main__":
    sys.exit(main())
