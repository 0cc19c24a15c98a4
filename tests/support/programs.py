"""The programs of Kubernetes and its surroundings, built from pinned Go modules where no recent one is installed.

On the command line, to have them built before tests with deadlines need them: `python -m support.programs NAME ...`
(with tests/ on the path); without names it lists what there is.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from forebay_cli.local.downloads import choose_cache_folder, fill_once, locked
from forebay_cli.local.process import run_step
from forebay_cli.local.server_errors import ServerError

MODULES = Path(__file__).parents[1] / "e2e" / "node_image" / "go"
KUBERNETES_VERSION = re.findall(r"k8s\.io/kubernetes (v\S+)", (MODULES / "kubernetes" / "go.mod").read_text())[0]
BUILD_S = 3600.0
"""Deadline of one build: the longest takes five minutes on two free cores, several may be under way elsewhere."""
LOOK_S = 30.0
"""Deadline of an installed program's answer about its version; the first call of a big one reads it from the disk."""
OPTIONS = ("CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-trimpath -buildvcs=false -mod=readonly")
"""Static, because images FROM scratch have no C library; the same bytes wherever it is built."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """module: folder of go.mod and go.sum. package: what to build in it; one that begins with a dot is our own."""

    module: str
    package: str
    link: str = ""


def _describe_kubernetes(name: str) -> Recipe:
    major, minor, _ = KUBERNETES_VERSION.removeprefix("v").split(".")
    facts = {"gitVersion": KUBERNETES_VERSION, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    link = "".join(f" -X k8s.io/component-base/version.{key}={value}" for key, value in facts.items())
    return Recipe(module="kubernetes", package=f"k8s.io/kubernetes/cmd/{name}", link=link)


KUBERNETES = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubeadm",
    "kubectl",
    "kubelet",
)
RECIPES = {name: _describe_kubernetes(name) for name in KUBERNETES} | {
    "coredns": Recipe(module="coredns", package="."),
    "crictl": Recipe(module="crictl", package="sigs.k8s.io/cri-tools/cmd/crictl"),
    "etcd": Recipe(module="etcd", package="go.etcd.io/etcd/server/v3"),
    "helm": Recipe(module="helm", package="helm.sh/helm/v4/cmd/helm"),
    "kind": Recipe(module="kind", package="sigs.k8s.io/kind"),
    "pause": Recipe(module="pause", package="."),
    "podnet": Recipe(module="kubernetes", package="./podnet"),
    "probe": Recipe(module="probe", package="."),
}

RECENT = {
    "helm": ((3, 16), ("version", "--template", "{{.Version}}")),
    "kind": ((0, 33), ("version",)),
    "kubectl": ((1, 36), ("version", "--client", "--output", "yaml")),
}
"""What may come from PATH: from which version on, and how to ask for it. kubectl: one minor version below ours."""


class MissingGo(ServerError):
    """Debian's own Go may be older than go.mod asks for, hence no package name."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"go was not found, which builds {name}: install Go 1.26 or later (https://go.dev/doc/install)"
        )


def program(name: str) -> Path:
    """Return the program's path, built into the cache if need be; parallel callers wait for the first.

    helm, kind and kubectl are taken from PATH when they are recent enough. KeyError when there is no such program;
    MissingGo; ServerNotReady with the compiler's words when the build fails.
    """
    recipe = RECIPES[name]
    return find_installed(name) or _build(name, recipe)


def find_installed(name: str) -> Path | None:
    """The program on PATH; None when there is none that is recent enough, or only ours would do."""
    found = shutil.which(name)
    if name not in RECENT or found is None:
        return None
    least, question = RECENT[name]
    try:
        said = subprocess.run([found, *question], capture_output=True, text=True, timeout=LOOK_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(r"v(\d+)\.(\d+)", said)
    recent = version is not None and (int(version[1]), int(version[2])) >= least
    return Path(found) if recent else None


def hash_recipe(recipe: Recipe) -> str:
    """Changes with everything that the program is made from."""
    module = MODULES / recipe.module
    own = sorted((module / recipe.package).glob("*.go")) if recipe.package.startswith(".") else []
    digest = hashlib.sha256(repr((recipe, OPTIONS)).encode())
    for file in (module / "go.mod", module / "go.sum", *own):
        digest.update(file.read_bytes() if file.exists() else b"")
    return digest.hexdigest()[:12]


def _build(name: str, recipe: Recipe) -> Path:
    folder = choose_cache_folder(os.environ) / "programs"

    def fill(draft: Path) -> None:
        go = shutil.which("go")
        if go is None:
            raise MissingGo(name)
        flags = ["-ldflags", f"-s -w{recipe.link}", "-o", draft / name]
        argv = ["env", *OPTIONS, go, "build", *flags, recipe.package]
        with locked(folder / "build"):  # one compiler takes all cores and 3 GB; two would only be in each other's way
            run_step(f"the build of {name}", argv, draft / "build.log", BUILD_S, cwd=MODULES / recipe.module)

    return fill_once(folder / f"{name}-{hash_recipe(recipe)}", fill) / name


if __name__ == "__main__":
    for wanted in sys.argv[1:] or sorted(RECIPES):
        print(wanted, program(wanted) if sys.argv[1:] else "", flush=True)  # noqa: T201 - its answer
