"""Reading from a cluster's API server over HTTP, with the client certificate of a kubeconfig."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from forebay_cli.local.server_errors import ServerError

READ_S = 30.0


class ReadRefused(ServerError):
    """The API server did not answer, or not with what was asked for; the message has its words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiAccess:
    """server: URL without a path."""

    server: str
    opener: urllib.request.OpenerDirector

    @classmethod
    def from_kubeconfig(cls, file: Path) -> ApiAccess:
        """file: with one cluster and one user, both with their certificates inside, as kind writes it."""
        config = yaml.safe_load(file.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        context = ssl.create_default_context(cadata=_decode(cluster, "certificate-authority-data"))
        pair = file.with_suffix(".pem")
        pair.write_text(_decode(user, "client-certificate-data") + _decode(user, "client-key-data"))
        context.load_cert_chain(pair)
        no_proxy = urllib.request.ProxyHandler({})
        opener = urllib.request.build_opener(no_proxy, urllib.request.HTTPSHandler(context=context))
        return cls(server=cluster["server"], opener=opener)

    def read(self, path: str) -> Any:
        """The answer to a GET, parsed if it is JSON, else as text. Raises ReadRefused."""
        try:
            with self.opener.open(self.server + path, timeout=READ_S) as answer:
                text = answer.read().decode()
                is_json = answer.headers.get_content_type() == "application/json"
        except urllib.error.HTTPError as refused:
            with refused:
                raise ReadRefused(f"GET {path}: {refused.read().decode()}") from refused
        except OSError as error:
            raise ReadRefused(f"GET {path}: {error}") from error
        return json.loads(text) if is_json else text


def _decode(section: Mapping[str, str], key: str) -> str:
    return base64.b64decode(section[key]).decode()
