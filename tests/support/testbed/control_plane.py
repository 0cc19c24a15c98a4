"""A bare control plane: etcd and kube-apiserver with RBAC and an audit log, and the definition of IngestPipelines.

There is no node, no kubelet and, until it is asked for, no controller: nothing becomes of what is written, unless the
test makes it so. For everything that has pods, there is kind (tests/e2e).
"""

from __future__ import annotations

import json
import secrets
import shutil
import ssl
import urllib.request
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.free_ports import LOOPBACK, find_free_port, is_listening
from forebay_cli.local.process import Child, create_guarded_folder, find_program, run_step, start_child
from forebay_cli.local.server_errors import ServerNotReady
from support.programs import program
from support.testbed.audit_log import POLICY, AuditRecord, read_audit_log

DEFINITION = Path(__file__).parents[3] / "crds" / "ingestpipelines.yaml"

ETCD_S, API_S, DEFINITION_S = 60.0, 120.0, 60.0
"""Until each serves: one, six and one seconds on free cores."""

ANSWER_S = 30.0

TOKEN_LIFE_S = 7200
"""Of a ServiceAccount's token: longer than any run of the tests."""

SERVICES = "10.0.0.0/24"
"""Addresses of Services; nobody can reach them."""

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


class Refused(Exception):
    """The API server's answer was an error."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__(f"{code}: {said}")
        self.code = code


class ControlPlane:
    """start() before use, remove() in the end; both happen to it in the fixture."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kubeconfig = folder / "admin.kubeconfig"
        self._port = find_free_port()
        self._etcd_port = find_free_port()
        self._token = secrets.token_urlsafe(16)
        self._etcd: Child | None = None
        self._api: Child | None = None
        self._controllers: Child | None = None

    @property
    def url(self) -> str:
        """Of the API server; the same after a restart."""
        return f"https://{LOOPBACK}:{self._port}"

    def start(self) -> None:
        """Until the API server serves IngestPipelines. Raises ServerNotReady, MissingProgram."""
        self._write_files()
        self._start_etcd()
        self.start_api_server()
        self._write_kubeconfig(self.kubeconfig, self._token)
        self._install_definition()

    def remove(self) -> None:
        """Kill everything, and remove the folder."""
        for child in (self._controllers, self._api, self._etcd):
            if child is not None and child.is_running():
                child.kill_family()
        shutil.rmtree(self.folder, ignore_errors=True)

    def restart_api_server(self) -> None:
        """Kill it and start it again: connections and watches break, what was written stays."""
        self.stop_api_server()
        self.start_api_server()

    def stop_api_server(self) -> None:
        """By force: told to end, it would wait for its watches."""
        if self._api is not None:
            self._api.kill_family()

    def start_controllers(self, *names: str) -> None:
        """kube-controller-manager with these alone, e.g. garbage-collector-controller. At most once."""
        assert self._controllers is None, "already started"
        argv = [program("kube-controller-manager"), f"--kubeconfig={self.kubeconfig}", "--leader-elect=false"]
        argv += [f"--controllers={','.join(names)}", "--secure-port=0", f"--root-ca-file={self._certificate}"]
        self._controllers = start_child(argv, self.folder / "kube-controller-manager.log")

    def kubeconfig_for(self, namespace: str, account: str) -> Path:
        """A file with which one is this ServiceAccount, which must exist."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": TOKEN_LIFE_S},
        }
        file = self.folder / f"{namespace}.{account}.kubeconfig"
        self._write_kubeconfig(file, self.request("POST", path, body)["status"]["token"])
        return file

    def read_audit(self, user: str | None = None, *, since: datetime | None = None) -> list[AuditRecord]:
        """All requests so far that were answered; see read_audit_log."""
        return read_audit_log(self.folder / "audit.log", user=user, since=since)

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | bytes | None = None,
        *,
        content: str = "application/json",
    ) -> dict[str, Any]:
        """As administrator. Raises Refused, and URLError or OSError when the API server is away."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json", "Content-Type": content}
        asked = urllib.request.Request(self.url + path, data, headers, method=method)
        tls = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(self._certificate)))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), tls)
        try:
            with opener.open(asked, timeout=ANSWER_S) as answer:
                return dict(json.loads(answer.read() or b"{}"))
        except HTTPError as e:
            with e:
                raise Refused(e.code, e.read().decode(errors="replace")) from None

    def apply(self, path: str, body: Mapping[str, Any] | bytes, *, manager: str = "tests") -> dict[str, Any]:
        """Server-side apply, as administrator. Raises Refused."""
        return self.request("PATCH", f"{path}?fieldManager={manager}&force=true", body, content=APPLY)

    def create_namespace(self, name: str) -> None:
        """Raises Refused when it exists."""
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        self.request("POST", "/api/v1/namespaces", body)

    # --- starting ---------------------------------------------------------------------------------------------------

    @property
    def _certificate(self) -> Path:
        return self.folder / "certificates" / "apiserver.crt"

    def _write_files(self) -> None:
        (self.folder / "tokens.csv").write_text(f"{self._token},admin,admin,system:masters\n")
        (self.folder / "audit.yaml").write_text(POLICY)
        openssl = find_program("openssl", "openssl")
        argv = [openssl, "genrsa", "-out", self.folder / "accounts.key", "2048"]
        run_step("the key of ServiceAccounts", argv, self.folder / "openssl.log", ANSWER_S)

    def _start_etcd(self) -> None:
        client, peers = (f"http://{LOOPBACK}:{port}" for port in (self._etcd_port, find_free_port()))
        argv = [program("etcd"), "--unsafe-no-fsync", "--data-dir", self.folder / "etcd", "--log-level=warn"]
        argv += [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
        argv += [f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}"]
        argv += [f"--initial-cluster=default={peers}"]
        self._etcd = start_child(argv, self.folder / "etcd.log")
        self._await("etcd", self._etcd, lambda: is_listening(self._etcd_port), ETCD_S)

    def start_api_server(self) -> None:
        """Where it was before. Raises ServerNotReady."""
        self._api = start_child(self._build_command(), self.folder / "kube-apiserver.log")
        self._await("kube-apiserver", self._api, self._is_ready, API_S)

    def _build_command(self) -> list[object]:
        """Authentication by a token file and ServiceAccount tokens; authorization, admission as they are by default."""
        key = self.folder / "accounts.key"
        return [
            program("kube-apiserver"),
            f"--etcd-servers=http://{LOOPBACK}:{self._etcd_port}",
            f"--bind-address={LOOPBACK}",
            f"--advertise-address={LOOPBACK}",
            f"--secure-port={self._port}",
            f"--cert-dir={self._certificate.parent}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-cluster-ip-range={SERVICES}",
            "--endpoint-reconciler-type=none",
            f"--audit-policy-file={self.folder / 'audit.yaml'}",
            f"--audit-log-path={self.folder / 'audit.log'}",
        ]

    def _is_ready(self) -> bool:
        if not self._certificate.exists():
            return False
        try:
            self.request("GET", "/readyz")
        except ValueError:  # "ok", which is no JSON
            return True
        except (Refused, URLError, OSError):
            return False
        return True

    def _await(self, what: str, child: Child, condition: Callable[[], bool], deadline_s: float) -> None:
        done = wait_until(lambda: not child.is_running() or condition(), deadline_s, poll_s=0.1)
        if not child.is_running():
            raise ServerNotReady(what, f"ended with exit code {child.exit_code}", child.log_file)
        if not done:
            raise ServerNotReady(what, f"was not ready within {deadline_s:.0f} s", child.log_file)

    def _write_kubeconfig(self, file: Path, token: str) -> None:
        cluster = {"server": self.url, "certificate-authority": str(self._certificate)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "bare",
            "clusters": [{"name": "bare", "cluster": cluster}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "bare", "context": {"cluster": "bare", "user": "user"}}],
        }
        file.touch(mode=0o600)
        file.write_text(json.dumps(config))  # YAML, too

    def _install_definition(self) -> None:
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/ingestpipelines.forebay.dev"
        self.apply(path, DEFINITION.read_bytes())
        assert self._api is not None
        self._await("IngestPipelines' definition", self._api, self._serves_pipelines, DEFINITION_S)

    def _serves_pipelines(self) -> bool:
        try:
            self.request("GET", "/apis/forebay.dev/v1alpha1/ingestpipelines")
        except Refused:
            return False
        return True


def start_control_plane() -> ControlPlane:
    """A running one in a folder of its own."""
    plane = ControlPlane(create_guarded_folder())
    try:
        plane.start()
    except BaseException:
        plane.remove()
        raise
    return plane
