"""IngestPipelines through kubectl, as a user would handle them, and what the operator made of them."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.programs import program

KUBECTL_S = 60.0

OWNED_KINDS = "serviceaccount,configmap,service,poddisruptionbudget,deployment"

QUICK_TIMING = {"sampleSeconds": 1, "fastWindowSeconds": 5, "settleSeconds": 5}


class KubectlFailed(Exception):
    """With what it said."""


@dataclass(frozen=True, slots=True)
class PipelineResources:
    """Those of one namespace. topic: of all of them."""

    kubeconfig: Path
    namespace: str
    brokers: str
    topic: str

    def create_namespace(self) -> None:
        """And nothing in it."""
        self._kubectl("create", "namespace", self.namespace)

    def delete_all(self) -> None:
        """Every pipeline; the namespace itself stays, since there may be nobody who empties it."""
        self._kubectl("delete", "ingestpipelines", "--all", "--wait=false")

    def apply(self, name: str, **scaling: Any) -> None:
        """Create or change one. scaling: fields of spec.scaling, as the YAML spells them."""
        body = {
            "apiVersion": "forebay.dev/v1alpha1",
            "kind": "IngestPipeline",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "source": {"bootstrapServers": self.brokers, "topic": self.topic},
                "sink": {"connectionSecretRef": {"name": "db"}, "table": "public.payments"},
                "scaling": {"timing": QUICK_TIMING, **scaling},
            },
        }
        self._kubectl("apply", "--filename", "-", stdin=json.dumps(body))

    def delete(self, name: str) -> None:
        """Without waiting for what it owns."""
        self._kubectl("delete", "ingestpipeline", name)

    def owned(self, name: str) -> set[str]:
        """Kinds of the objects that exist for it, in lower case."""
        return {item["kind"].lower() for item in self._list_owned(name)}

    def owner_uids(self, name: str) -> set[str]:
        """Of the controllers of these objects."""
        return {item["metadata"]["ownerReferences"][0]["uid"] for item in self._list_owned(name)}

    def delete_owned(self, name: str) -> None:
        """What Kubernetes' garbage collector does when the pipeline is gone."""
        self._kubectl("delete", OWNED_KINDS, "--selector", f"forebay.dev/pipeline={name}")

    def uid(self, name: str) -> str:
        """Of the pipeline."""
        return str(self._get(name)["metadata"]["uid"])

    def status(self, name: str) -> dict[str, Any]:
        """{} before the first one."""
        return dict(self._get(name).get("status") or {})

    def is_observed(self, name: str) -> bool:
        """The status is about the present spec."""
        body = self._get(name)
        return bool(body.get("status", {}).get("observedGeneration") == body["metadata"]["generation"])

    def events(self, name: str) -> set[str]:
        """Reasons."""
        found = self._read("events", "--field-selector", f"involvedObject.name={name}")
        return {item["reason"] for item in found["items"]}

    def take_lease(self, name: str, holder: str) -> None:
        """As if another had taken it just now."""
        patch = {"spec": {"holderIdentity": holder, "leaseTransitions": 99}}
        self._kubectl("patch", "lease", name, "--type=merge", "--patch", json.dumps(patch))

    def _get(self, name: str) -> dict[str, Any]:
        return self._read("ingestpipeline", name)

    def _list_owned(self, name: str) -> list[dict[str, Any]]:
        return list(self._read(OWNED_KINDS, "--selector", f"forebay.dev/pipeline={name}")["items"])

    def _read(self, *args: str) -> dict[str, Any]:
        return dict(json.loads(self._kubectl("get", *args, "--output", "json")))

    def _kubectl(self, *args: str, stdin: str = "") -> str:
        """Its output. Raises KubectlFailed."""
        argv = [str(program("kubectl")), f"--kubeconfig={self.kubeconfig}", "--namespace", self.namespace, *args]
        env = {"HOME": str(self.kubeconfig.parent), "NO_PROXY": "*"}
        done = subprocess.run(
            argv, input=stdin, env=env, capture_output=True, text=True, timeout=KUBECTL_S, check=False
        )
        if done.returncode:
            raise KubectlFailed(f"kubectl {' '.join(args)}: {done.stderr.strip()}")
        return done.stdout
