"""A node image for kind, assembled without pulling one: Go programs, Debian packages and kind's own files.

On the command line, to have it before tests with deadlines need it: `python -m support.node_image` (with tests/ on the
path) prints its name.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

from forebay_cli.local.downloads import choose_cache_folder, fill_once
from forebay_cli.local.process import create_guarded_folder, run_step
from support.debian_image import debian_archive, debian_image, hash_packages
from support.docker_engine import Engine, open_engine
from support.image_archive import Image, write_archive, write_layer
from support.programs import KUBERNETES_VERSION, MODULES, RECIPES, hash_recipe, program

SOURCES = MODULES.parent
REPOSITORY = "forebay-node"
BASE_PACKAGES = (
    "ca-certificates",
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "iproute2",
    "iptables",
    "jq",
    "kmod",
    "pigz",
    "procps",
    "runc",
    "systemd",
)
"""What kind's own base image installs, as far as it is used here."""
PROXY_PACKAGES = ("iptables", "kmod")
"""Only unpacked: kube-proxy calls iptables, which needs its libraries and, for Services, its extensions."""
PROXY_LINKS = {
    f"usr/sbin/{tool}{end}": "xtables-nft-multi"
    for tool in ("iptables", "ip6tables")
    for end in ("", "-save", "-restore")
}
"""What installing would have made; the entrypoint of the node chooses nft, too, where there are no other rules yet."""
NODE_PROGRAMS = {"kubelet": "usr/bin", "kubeadm": "usr/bin", "kubectl": "usr/bin", "crictl": "usr/local/bin"}
POD_PROGRAMS = (
    "coredns",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "pause",
    "podnet",
)
OLDER_PAUSE = "registry.k8s.io/pause:3.10"
"""The one that kind's settings of containerd name, whatever kubeadm would take."""
STEP_S = 900.0
"""Deadline of each step: a minute on two free cores."""


def node_image() -> str:
    """Return the name of the image, which the engine then has; assembled if neither it nor the cache does.

    Raises what program(), debian_image() and open_engine() raise.
    """
    engine = open_engine()
    name = f"{REPOSITORY}:{KUBERNETES_VERSION}-{hash_inputs()}"
    if not engine.has_image(name):
        folder = choose_cache_folder(os.environ) / name.replace(":", "-")
        archive = fill_once(folder, lambda draft: _assemble(engine, name, draft)) / "image.tar.zst"
        if not engine.has_image(name):
            _pipe(engine, f"zstd -dcq '{archive}' | docker load")
    return name


def hash_inputs() -> str:
    """Changes with everything that the image is made from."""
    digest = hashlib.sha256()
    for name in (*NODE_PROGRAMS, *POD_PROGRAMS, "kind"):
        digest.update(hash_recipe(RECIPES[name]).encode())
    digest.update((hash_packages(BASE_PACKAGES) + hash_packages(PROXY_PACKAGES)).encode())
    own = [file for file in SOURCES.rglob("*") if file.is_file() and not file.is_relative_to(MODULES)]
    for file in (*sorted(own), Path(__file__)):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _assemble(engine: Engine, name: str, draft: Path) -> None:
    context = create_guarded_folder(draft.parent, prefix=".context-")
    base = f"{REPOSITORY}-base:{hash_packages(BASE_PACKAGES)}"
    debian_image(base, BASE_PACKAGES)
    for file in SOURCES.iterdir():
        if file.is_file():
            shutil.copy(file, context)
    write_archive(context / "images.tar", _collect_images(context))
    _fill_root(context / "rootfs")
    build = ["docker", "build", "--tag", name, "--build-arg", f"BASE={base}", context]
    environment = [f"{key}={value}" for key, value in engine.environment.items()]
    run_step("the build of the node image", ["env", *environment, *build], draft / "build.log", STEP_S)
    shutil.rmtree(context)
    _pipe(engine, f"docker save '{name}' | zstd -qT0 -o '{draft / 'image.tar.zst'}'")


def _collect_images(context: Path) -> list[Image]:
    layers = context / "layers"
    layers.mkdir()
    official = _read_official_names()
    images = []
    for name in POD_PROGRAMS:
        layer = layers / f"{name}.tar"
        write_layer(layer, program(name), PROXY_LINKS if name == "kube-proxy" else {})
        below = [debian_archive(PROXY_PACKAGES, variant="extract")] if name == "kube-proxy" else []
        names = [official.get(name, f"forebay.dev/{name}:node"), *([OLDER_PAUSE] if name == "pause" else [])]
        images.append(Image(names=names, layers=[*below, layer], program=name))
    return images


def _read_official_names() -> dict[str, str]:
    """The names that kubeadm gives the images, by the last part of the repository."""
    asked = [program("kubeadm"), "config", "images", "list", "--kubernetes-version", KUBERNETES_VERSION]
    listed = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    return {name.rpartition(":")[0].rpartition("/")[2]: name for name in listed}


def _fill_root(root: Path) -> None:
    shutil.copytree(_find_kind_files(), root, copy_function=shutil.copyfile, ignore=shutil.ignore_patterns("LICENSES"))
    for entry in (root, *root.rglob("*")):
        if entry.is_dir():
            entry.chmod(0o755)  # the module cache is read-only
    shutil.copytree(SOURCES / "manifests", root / "kind" / "manifests")
    (root / "kind" / "version").write_text(KUBERNETES_VERSION)
    for script in (*(root / "usr/local/bin").iterdir(), *(root / "kind/bin").iterdir()):
        script.chmod(0o755)
    for name, folder in NODE_PROGRAMS.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(program(name), root / folder)


def _find_kind_files() -> Path:
    """The files that kind's own base image copies; they are part of its Go module, whatever kind is installed."""
    asked = ["go", "mod", "download", "-json", "sigs.k8s.io/kind"]
    answer = subprocess.run(asked, cwd=MODULES / "kind", capture_output=True, timeout=STEP_S, check=True)
    return Path(json.loads(answer.stdout)["Dir"]) / "images" / "base" / "files"


def _pipe(engine: Engine, command: str) -> None:
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        env={**os.environ, **engine.environment},
        stdout=subprocess.DEVNULL,
        timeout=STEP_S,
        check=True,
    )


if __name__ == "__main__":
    print(node_image())  # noqa: T201 - its answer
