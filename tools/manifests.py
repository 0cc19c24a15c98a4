"""Writes what is generated from the charts: manifests/*.yaml, the tables of values in the charts' READMEs, HAProxy's
configuration for the servers of a single machine, and the chart's copy of the custom resource definition. With --check
it writes nothing, runs `helm lint` and exits with 1 when something is not as it would be written.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from forebay_cli.local.ha.haproxy_config import CHART_VALUES, TEMPLATE
from support.charts import CHARTS, REPOSITORY, helm, render_haproxy_config, render_text

DEFINITION = REPOSITORY / "crds" / "ingestpipelines.yaml"
COPY = CHARTS / "forebay" / "files" / "ingestpipelines.yaml"
TABLE = re.compile(r"(?<=<!-- values: written by `make manifests` -->\n).*?(?=<!-- end of values -->)", re.DOTALL)
NAMESPACE = """\
apiVersion: v1
kind: Namespace
metadata:
  name: forebay-system
  labels:
    pod-security.kubernetes.io/enforce: restricted
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One file of manifests/; preamble: YAML that comes before what the chart renders."""

    file: str
    chart: str
    about: str
    release: str
    namespace: str
    values: dict[str, Any]
    preamble: str = ""


MANIFESTS = (
    Manifest(
        file="forebay.yaml",
        chart="forebay",
        about="The operator for the whole cluster, in the namespace forebay-system.",
        release="forebay",
        namespace="forebay-system",
        values={},
        preamble=NAMESPACE,
    ),
    Manifest(
        file="forebay-namespaced.yaml",
        chart="forebay",
        about="The operator for the namespace bank alone (which must exist): Roles instead of ClusterRoles.",
        release="forebay",
        namespace="forebay-system",
        values={"watchNamespaces": ["bank"]},
        preamble=NAMESPACE,
    ),
    Manifest(
        file="patroni-haproxy.yaml",
        chart="patroni-haproxy",
        about="HAProxy in front of the Patroni cluster acid-payments of the namespace bank.",
        release="acid-payments-haproxy",
        namespace="bank",
        values={"clusterName": "acid-payments"},
    ),
)


def build_manifest(manifest: Manifest) -> str:
    """Return the text of the file; Helm's notes on sources are left out, its comments kept."""
    text = render_text(manifest.chart, manifest.values, release=manifest.release, namespace=manifest.namespace)
    documents = [re.sub(r"^# Source: .*\n", "", each.strip()) for each in re.split(r"^---$", text, flags=re.MULTILINE)]
    parts = [each for each in (manifest.preamble.strip(), *documents) if each]
    header = f"# {manifest.about}\n# Written by `make manifests` from charts/{manifest.chart}: change that, not this.\n"
    return header + "\n---\n".join(parts) + "\n"


def build_readme(chart: str) -> str:
    """Return the chart's README with the table of values as schema and values.yaml have it."""
    folder = CHARTS / chart
    schema = json.loads((folder / "values.schema.json").read_text())
    values = yaml.safe_load((folder / "values.yaml").read_text())
    rows = [f"| `{name}` | {default} | {meaning} |\n" for name, default, meaning in walk_values(schema, values)]
    table = "| value | default | meaning |\n|---|---|---|\n" + "".join(rows)
    return TABLE.sub(lambda _: table, (folder / "README.md").read_text())


def walk_values(schema: dict[str, Any], values: Any, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Each value's dotted name, default and meaning; those without a default are parts of a list's items."""
    for name, child in schema["properties"].items():
        path = f"{prefix}{name}"
        known = isinstance(values, dict) and name in values
        default = values[name] if known else None
        if "properties" in child:
            yield from walk_values(child, default, f"{path}.")
            continue
        yield path, f"`{json.dumps(default)}`" if known else "", child["description"].replace("<", "&lt;")
        if "properties" in child.get("items", {}):
            yield from walk_values(child["items"], None, f"{path}[].")


def build_haproxy_template() -> str:
    """Return HAProxy's configuration with placeholders for what differs between machines."""
    return (
        "# Written by `make manifests` from charts/patroni-haproxy: change that, not this.\n"
        + render_haproxy_config(CHART_VALUES)
    )


def find_stale() -> Iterator[str]:
    """Name what differs from what would be written. Manifests are compared as YAML: Helms differ in blank lines."""
    if COPY.read_text() != DEFINITION.read_text():
        yield str(COPY.relative_to(REPOSITORY))
    if not TEMPLATE.exists() or TEMPLATE.read_text().split() != build_haproxy_template().split():
        yield str(TEMPLATE.relative_to(REPOSITORY))
    for manifest in MANIFESTS:
        file = REPOSITORY / "manifests" / manifest.file
        stored = file.read_text() if file.exists() else ""
        if list(yaml.safe_load_all(stored)) != list(yaml.safe_load_all(build_manifest(manifest))):
            yield f"manifests/{manifest.file}"
    for chart in sorted({manifest.chart for manifest in MANIFESTS}):
        if (CHARTS / chart / "README.md").read_text() != build_readme(chart):
            yield f"charts/{chart}/README.md"


def write_all() -> None:
    """Bring everything up to date."""
    shutil.copyfile(DEFINITION, COPY)
    TEMPLATE.write_text(build_haproxy_template())
    for manifest in MANIFESTS:
        (REPOSITORY / "manifests" / manifest.file).write_text(build_manifest(manifest))
    for chart in sorted({manifest.chart for manifest in MANIFESTS}):
        (CHARTS / chart / "README.md").write_text(build_readme(chart))


def lint() -> None:
    """Let Helm judge each chart with the values of each manifest; HelmRefused says what is wrong."""
    for manifest in MANIFESTS:
        helm("lint", "--strict", str(CHARTS / manifest.chart), "--values", "-", stdin=json.dumps(manifest.values))


def main() -> int:
    """Write or check; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when something is stale")
    if not parser.parse_args().check:
        write_all()
        return 0
    lint()
    stale = list(find_stale())
    for each in stale:
        sys.stderr.write(f"{Path(each)} is stale: run `make manifests`\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
