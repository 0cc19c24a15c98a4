"""Asking servers of this machine over HTTP, whatever proxy the environment names for everybody else."""

from __future__ import annotations

import urllib.error
import urllib.request

from forebay_cli.local.free_ports import LOOPBACK

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(port: int, path: str, timeout_s: float, body: bytes | None = None) -> tuple[int, str]:
    """Return status and body of the answer, whatever the status; body: makes it a POST.

    Raises OSError when there is no answer within timeout_s.
    """
    request = urllib.request.Request(f"http://{LOOPBACK}:{port}{path}", data=body)
    try:
        with _OPENER.open(request, timeout=timeout_s) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()
