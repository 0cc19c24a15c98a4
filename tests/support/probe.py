"""Pods that answer and ask over HTTP: what a test needs to see a cluster's network work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from forebay_cli.local.process import create_guarded_folder
from support.docker_engine import Engine
from support.image_archive import write_layer
from support.kind_cluster import KindCluster
from support.programs import RECIPES, hash_recipe, program

PORT = 8080
READY_S = 90


def probe_image(engine: Engine) -> str:
    """Return the name of the probe's image, made if the engine lacks it."""
    name = f"forebay-probe:{hash_recipe(RECIPES['probe'])}"
    if not engine.has_image(name):
        layer = create_guarded_folder() / "layer.tar"
        write_layer(layer, program("probe"), {})
        engine.docker("import", "--change", 'ENTRYPOINT ["/usr/local/bin/probe"]', str(layer), name)
    return name


@contextmanager
def probe_namespace(cluster: KindCluster, name: str) -> Iterator[str]:
    """Make a namespace with a Deployment `server` of two pods, its Service (port 80), and a pod `client`; remove it."""
    image = probe_image(cluster.engine)
    cluster.load(image)
    cluster.kubectl("create", "namespace", name)
    try:
        cluster.kubectl("apply", "--namespace", name, "--filename", "-", stdin=MANIFEST.replace("IMAGE", image))
        cluster.kubectl("rollout", "status", "deployment/server", "--namespace", name, f"--timeout={READY_S}s")
        cluster.kubectl("wait", "pod/client", "--for=condition=Ready", "--namespace", name, f"--timeout={READY_S}s")
        yield name
    finally:
        cluster.kubectl("delete", "namespace", name)


def ask(cluster: KindCluster, namespace: str, url: str) -> str:
    """What the pod `client` gets from there; ClusterCommandFailed with the reason when it gets nothing."""
    return cluster.kubectl("exec", "client", "--namespace", namespace, "--", "/usr/local/bin/probe", "get", url)


MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: server}
spec:
  replicas: 2
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: probe
          image: IMAGE
          imagePullPolicy: Never
          args: [serve]
          readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
          resources: {limits: {memory: 64Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: server}
spec:
  type: NodePort
  selector: {app: server}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - {name: probe, image: IMAGE, imagePullPolicy: Never, args: [serve]}
"""
