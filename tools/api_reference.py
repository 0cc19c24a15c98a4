"""Writes docs/api.md, the reference of every field, from the custom resource definition.

With --check it writes nothing, and exits with 1 when the file is not as it would be written.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[1]
DEFINITION = REPOSITORY / "crds" / "ingestpipelines.yaml"
REFERENCE = REPOSITORY / "docs" / "api.md"

Schema = dict[str, Any]

KUBERNETES_OWN = frozenset({"spec.consumer.podTemplate.affinity"})
"""Objects that are told no further here: they are Kubernetes' own, field by field."""

INTRODUCTION = """\
# The IngestPipeline API

Every field of `{api}`, kind `{kind}`, short name `{short}`. `kubectl explain {singular}.spec` tells the same;
`kubectl apply` refuses a field that is not listed. Written from `crds/ingestpipelines.yaml` by `make manifests`.

Samples: [payments.yaml](../manifests/samples/payments.yaml), for a cluster of the Zalando operator behind HAProxy
[payments-zalando.yaml](../manifests/samples/payments-zalando.yaml), and for mode Upsert ([upsert.md](upsert.md))
[accounts.yaml](../manifests/samples/accounts.yaml).
"""

SCALE = """
## kubectl scale

`kubectl scale ingestpipeline NAME --replicas N` sets `{spec}`, which is followed in mode Manual only; a
HorizontalPodAutoscaler whose target is the IngestPipeline does the same. The number that runs is `{status}`,
the labels of the pods are in `{selector}`.
"""


def build_reference(definition: Schema) -> str:
    """The page as Markdown."""
    spec, (version,) = definition["spec"], definition["spec"]["versions"]
    names, schema, scale = spec["names"], version["schema"]["openAPIV3Schema"], version["subresources"]["scale"]
    parts = [
        INTRODUCTION.format(
            api=f"{spec['group']}/{version['name']}",
            kind=names["kind"],
            singular=names["singular"],
            short=names["shortNames"][0],
        ),
        *_sections("spec", schema["properties"]["spec"]),
        *_sections("status", schema["properties"]["status"]),
        SCALE.format(
            spec=scale["specReplicasPath"], status=scale["statusReplicasPath"], selector=scale["labelSelectorPath"]
        ),
    ]
    return "\n".join(part.strip("\n") + "\n" for part in parts)


def _sections(path: str, schema: Schema) -> Iterator[str]:
    """The object's own section, then those of the objects in it."""
    fields = schema.get("properties", {})
    if not fields or path in KUBERNETES_OWN:
        return
    rows = [_row(name, field, is_required=name in schema.get("required", ())) for name, field in fields.items()]
    table = ["| field | type | default | meaning |", "|---|---|---|---|", *rows]
    rules = [f"- {_rule(rule)}" for rule in schema.get("x-kubernetes-validations", ())]
    yield "\n".join([f"## {path}", "", schema["description"], "", *table, *(["", "Rules:", *rules] if rules else [])])
    for name, field in fields.items():
        is_list = field.get("type") == "array"
        yield from _sections(f"{path}.{name}" + "[]" * is_list, field["items"] if is_list else field)


def _row(name: str, field: Schema, *, is_required: bool) -> str:
    default = "required" if is_required else _default(field)
    meaning = " ".join(part for part in (field["description"], _limits(field)) if part)
    cells = [f"`{name}`", _type(field), default, meaning]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(field: Schema) -> str:
    return f"`{json.dumps(field['default'])}`" if field.get("default", {}) not in ({}, "") else ""


def _type(field: Schema) -> str:
    if field.get("x-kubernetes-int-or-string"):
        return "quantity"
    match field["type"]:
        case "array":
            return f"list of {_type(field['items'])}s"
        case "object" if "additionalProperties" in field:
            return f"map of {_type(field['additionalProperties']).replace('quantity', 'quantitie')}s"
        case str(plain):
            return plain
    raise ValueError(f"a field without a type: {field}")


def _limits(field: Schema) -> str:
    if "enum" in field:
        return f"One of {', '.join(f'`{choice}`' for choice in field['enum'])}."
    if "minimum" in field and "maximum" in field:
        return f"{field['minimum']} to {field['maximum']}."
    texts = [rule["message"] for rule in field.get("x-kubernetes-validations", ()) if "self.matches(" in rule["rule"]]
    return "".join(f"{text[0].upper()}{text[1:]}." for text in texts)


def _rule(rule: Schema) -> str:
    where = rule.get("fieldPath", "").lstrip(".")
    return f"`{where}`: {rule['message']}" if where else str(rule["message"])


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when the file is out of date")
    check = parser.parse_args().check
    text = build_reference(yaml.safe_load(DEFINITION.read_text(encoding="utf-8")))
    if check:
        if REFERENCE.exists() and REFERENCE.read_text(encoding="utf-8") == text:
            return 0
        sys.stderr.write(f"{REFERENCE.relative_to(REPOSITORY)} is out of date: make manifests\n")
        return 1
    REFERENCE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
