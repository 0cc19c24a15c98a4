"""A Kubernetes cluster by kind that cannot outlive the tests, and from which nothing gets out.

Which one, by environment variables:
    KIND_IMAGE             node image. Without it: in an engine of our own the self-made one (node_image.py), because
                           such machines often cannot pull any; elsewhere kind's default
    KIND_CONFIG            kind's configuration file: nodes, ports. Without it: one node
    FOREBAY_KEEP_CLUSTER   name of a cluster that is used again, and left running, while developing
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from forebay_cli.local.process import Child, create_guarded_folder, run_step, start_child
from forebay_cli.local.server_errors import ServerError
from support.api_access import ApiAccess, ReadRefused
from support.cluster_guard import isolation_rules, remove_cluster
from support.docker_engine import Engine, keep_engine, open_engine
from support.node_image import node_image
from support.programs import program

CREATE_S = 600.0
"""Deadline of a creation: 20 s on two free cores with the image present; pulling one takes minutes."""
READY_S = 180
"""Of these, for the nodes to be ready once the control plane runs."""
COMMAND_S = 200.0


class ClusterCommandFailed(ServerError):
    """kind, kubectl or helm failed; the message has its words."""

    def __init__(self, argv: Sequence[object], said: str) -> None:
        super().__init__(f"{' '.join(map(str, argv))}:\n{said.strip()[-6000:]}")
        self.said = said


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """image, config: for kind; None = kind's own. keep: the cluster to use again; None = make one, remove it.

    is_anothers: the one to use again belongs to another process, which removes it.
    """

    image: str | None = None
    config: Path | None = None
    keep: str | None = None
    is_anothers: bool = False


def choose_settings(environment: Mapping[str, str], engine: Engine) -> ClusterSettings:
    """What the environment asks for; makes the node image if that is the one (raises what node_image() raises)."""
    image = environment.get("KIND_IMAGE") or (node_image() if engine.is_own else None)
    config = environment.get("KIND_CONFIG")
    return ClusterSettings(
        image=image,
        config=Path(config) if config else None,
        keep=environment.get("FOREBAY_KEEP_CLUSTER") or None,
    )


class KindCluster:
    """with KindCluster() as cluster: ... Its kubeconfig is in a folder that goes with this process."""

    def __init__(self, settings: ClusterSettings | None = None) -> None:
        self.engine = open_engine()
        self._settings = choose_settings(os.environ, self.engine) if settings is None else settings
        self.name = self._settings.keep or f"forebay-{os.getpid()}-{os.urandom(2).hex()}"
        self.folder = create_guarded_folder(prefix="forebay-cluster-")
        self.kubeconfig = self.folder / "kubeconfig"
        self._guard: Child | None = None
        self._api: ApiAccess | None = None

    def __enter__(self) -> Self:
        if self._settings.keep is None:
            guard = [sys.executable, "-m", "support.cluster_guard", self.name]
            environment = {**os.environ, **self.engine.environment, "PYTHONPATH": str(Path(__file__).parents[1])}
            log_file = self.folder / "guard.log"
            self._guard = start_child(guard, log_file, env=environment, ask_with=signal.SIGTERM)
        elif self.engine.is_own and not self._settings.is_anothers:
            keep_engine()
        try:
            self._create()
        except BaseException:
            self.delete()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.delete()

    def delete(self) -> None:
        """Remove everything, unless the cluster is to be kept."""
        if self._guard is not None:
            remove_cluster(self.engine, self.name)
            self._guard.kill_family()
            self._guard = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def load(self, *images: str) -> None:
        """Copy images of the engine to all nodes."""
        self._kind("load", "docker-image", *images, "--name", self.name)

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout_s: float = COMMAND_S) -> str:
        """Run kubectl and return its output; ClusterCommandFailed with its words."""
        argv = [program("kubectl"), "--kubeconfig", self.kubeconfig, *arguments]
        return _run(argv, {}, stdin=stdin, timeout_s=timeout_s)

    def read(self, path: str) -> Any:
        """The API server's answer to a GET, parsed if it is JSON, else as text; ClusterCommandFailed with its words.

        For what is asked again and again: each kubectl costs a tenth of a second of a processor.
        """
        if self._api is None:
            self._api = ApiAccess.from_kubeconfig(self.kubeconfig)
        try:
            return self._api.read(path)
        except ReadRefused as refused:
            raise ClusterCommandFailed(["GET", path], str(refused)) from refused

    def helm(self, *arguments: str, stdin: str | None = None, timeout_s: float = COMMAND_S) -> str:
        """Run helm and return its output; ClusterCommandFailed with its words."""
        argv = [program("helm"), "--kubeconfig", self.kubeconfig, *arguments]
        return _run(argv, self._helm_folders(), stdin=stdin, timeout_s=timeout_s)

    @property
    def nodes(self) -> list[str]:
        """Names of the nodes, which are also those of their containers."""
        return self._kind("get", "nodes", "--name", self.name).split()

    @property
    def is_isolated(self) -> bool:
        """Tell whether nothing gets out; only root can see to that."""
        return os.geteuid() == 0 and shutil.which("iptables") is not None

    def _create(self) -> None:
        if not self.engine.docker("network", "ls", "--quiet", "--filter", f"name=^{self.name}$"):
            self.engine.docker("network", "create", self.name)
        if self.is_isolated:  # before anything runs that could send something out
            self._forbid_the_outside()
        if self._settings.keep is not None and self.name in self._kind("get", "clusters").split():
            self._kind("export", "kubeconfig", "--name", self.name, "--kubeconfig", str(self.kubeconfig))
            return
        options = ["--name", self.name, "--kubeconfig", str(self.kubeconfig), "--wait", f"{READY_S}s"]
        if self._settings.image is not None:
            options += ["--image", self._settings.image]
        if self._settings.config is not None:
            options += ["--config", str(self._settings.config)]
        argv = ["env", *(f"{key}={value}" for key, value in self._kind_environment().items()), program("kind")]
        # A child that the reaper knows: it must not go on making a cluster after the guard has removed it.
        run_step("the cluster", [*argv, "create", "cluster", *options], self.folder / "kind.log", CREATE_S)
        # kind has waited for the control plane only, and for no pod
        self.kubectl("wait", "node", "--all", "--for=condition=Ready", f"--timeout={READY_S}s")
        self.kubectl("rollout", "status", "deployment/coredns", "-n", "kube-system", f"--timeout={READY_S}s")

    def _forbid_the_outside(self) -> None:
        """Whatever goes wrong inside, say a Service without kube-proxy's rules, ends at the edge of this network."""
        for rule in reversed(isolation_rules(self.engine, self.name)):
            look = ["iptables", "-C", "DOCKER-USER", *rule]
            if subprocess.run(look, capture_output=True, check=False).returncode != 0:
                _run(["iptables", "-I", "DOCKER-USER", *rule], {})

    def _kind(self, *arguments: str, timeout_s: float = COMMAND_S) -> str:
        return _run([program("kind"), *arguments], self._kind_environment(), timeout_s=timeout_s)

    def _kind_environment(self) -> Mapping[str, str]:
        return {**self.engine.environment, "KIND_EXPERIMENTAL_DOCKER_NETWORK": self.name}

    def _helm_folders(self) -> Mapping[str, str]:
        """Not the user's own: what helm remembers and caches goes with the cluster's folder."""
        return {f"HELM_{what}_HOME": str(self.folder / "helm" / what.lower()) for what in ("CACHE", "CONFIG", "DATA")}


def _run(
    argv: Sequence[object],
    environment: Mapping[str, str],
    *,
    stdin: str | None = None,
    timeout_s: float = COMMAND_S,
) -> str:
    done = subprocess.run(
        [str(word) for word in argv],
        env={**os.environ, **environment},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode != 0:
        raise ClusterCommandFailed(argv, done.stderr + done.stdout)
    return done.stdout
