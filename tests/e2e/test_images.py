"""The images: small, without tools to build or install, content with /tmp to write to. Needs Docker and no cluster."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from forebay_api.wire import Env, ExitCode
from support.docker_engine import Engine, open_engine
from support.product_images import build_product_images

REPOSITORY = Path(__file__).parents[2]
RUN_S = 180.0
"""Deadline of one container: a second or two on a free machine, half a minute on a busy one."""
LOCKED_DOWN = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
MAX_BYTES = {"operator": 300e6, "consumer": 230e6}
"""Unpacked, with Python's public image below; Debian packages make 20 MB less. The Kubernetes client alone is 76 MB."""

BOTH = pytest.mark.parametrize("image", ["operator", "consumer"], indirect=True)
OPERATOR = pytest.mark.parametrize("image", ["operator"], indirect=True)
CONSUMER = pytest.mark.parametrize("image", ["consumer"], indirect=True)

LIST_TOOLS = """
import importlib.util, json, os, shutil
programs = "pip pip3 gcc cc ld make rustc cargo git curl wget".split()
modules = "pip setuptools ensurepip wheel hatchling pytest".split()
lists = os.listdir("/var/lib/apt/lists") if os.path.isdir("/var/lib/apt/lists") else []
left = "/src /build /wheels /locks /etc/pip.conf".split()
print(json.dumps([each for each in programs if shutil.which(each)]
    + [each for each in modules if importlib.util.find_spec(each)]
    + [each for each in left if os.path.exists(each)] + lists))
"""
LIST_UNSAFE_FILES = """
import json, os, stat
unsafe = []
for folder, folders, files in os.walk("/"):
    folders[:] = [each for each in folders if os.path.join(folder, each) not in ("/proc", "/sys", "/dev", "/tmp")]
    for path in (os.path.join(folder, each) for each in files):
        status = os.lstat(path)
        is_open = not stat.S_ISLNK(status.st_mode) and os.access(path, os.W_OK)
        if status.st_mode & (stat.S_ISUID | stat.S_ISGID) or status.st_uid == os.getuid() or is_open:
            unsafe.append(path)
print(json.dumps(unsafe))
"""
IMPORT_EVERYTHING = """
import importlib, json, os, pkgutil, sys
for name in sys.argv[1:]:
    for module in pkgutil.walk_packages(importlib.import_module(name).__path__, name + "."):
        if not module.name.endswith("._forebay"):  # a library for ctypes, whose name looks like a module's
            importlib.import_module(module.name)
cached = [(each.__name__, each.__cached__) for each in list(sys.modules.values()) if getattr(each, "__cached__", None)]
missing = [name for name, path in cached if not os.path.exists(path) and ".client.models" not in name]
print(json.dumps({"modules": len(cached), "without bytecode": missing}))
"""
ASK_LIBRARY = """
import ctypes, json
from importlib.metadata import version
from forebay_consumer.kafka_source import native_intake
from forebay_consumer.native import library
served = version("confluent-kafka") in native_intake.TESTED_CLIENTS and native_intake.find_librdkafka() is not None
print(json.dumps([ctypes.CDLL(str(library.LIBRARY)).forebay_interface(), library.INTERFACE, served]))
"""
ASK_ROOTS = "import json, ssl; print(json.dumps(len(ssl.create_default_context().get_ca_certs())))"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return open_engine()


@pytest.fixture
def image(engine: Engine, request: pytest.FixtureRequest) -> str:
    built = build_product_images(engine)
    name = {"operator": built.operator_name, "consumer": built.consumer_name}[request.param]
    return f"{name}:{built.tag}"


def _run(
    engine: Engine, image: str, *arguments: str, options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", "run", "--rm", "--network", "none", *LOCKED_DOWN, *options, image, *arguments],
        env={**os.environ, **engine.environment},
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )


def _ask(engine: Engine, image: str, script: str, *arguments: str) -> Any:
    done = _run(engine, image, "-c", script, *arguments, options=("--entrypoint", "/app/bin/python"))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _inspect(engine: Engine, image: str) -> dict[str, Any]:
    (seen,) = json.loads(engine.docker("image", "inspect", image))
    assert isinstance(seen, dict)
    return seen


@BOTH
def test_image_is_small(engine: Engine, image: str) -> None:
    (limit,) = (limit for name, limit in MAX_BYTES.items() if name in image)

    assert _inspect(engine, image)["Size"] < limit


@BOTH
def test_image_says_what_it_is(engine: Engine, image: str) -> None:
    config = _inspect(engine, image)["Config"]
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in config["Labels"].items()}

    assert labels["title"] in image
    assert (labels["version"], labels["licenses"]) == (version, "Apache-2.0")
    assert config["User"] == "65532:65532"
    assert config["Healthcheck"] == {"Test": ["NONE"]}


@BOTH
def test_image_holds_nothing_to_build_or_install_with(engine: Engine, image: str) -> None:
    assert _ask(engine, image, LIST_TOOLS) == []


@BOTH
def test_program_owns_no_file_and_can_become_nobody_else(engine: Engine, image: str) -> None:
    assert _ask(engine, image, LIST_UNSAFE_FILES) == []


@OPERATOR
def test_operator_imports_all_of_itself_from_bytecode(engine: Engine, image: str) -> None:
    seen = _ask(engine, image, IMPORT_EVERYTHING, "forebay_api", "forebay_operator")

    assert seen["without bytecode"] == []


@CONSUMER
def test_consumer_imports_all_of_itself_from_bytecode(engine: Engine, image: str) -> None:
    seen = _ask(engine, image, IMPORT_EVERYTHING, "forebay_api", "forebay_consumer")

    assert seen["without bytecode"] == []


@CONSUMER
def test_consumer_has_the_native_library_of_its_own_sources_and_a_client_that_it_serves(
    engine: Engine, image: str
) -> None:
    found, wanted, is_served = _ask(engine, image, ASK_LIBRARY)

    assert found == wanted
    assert is_served


@BOTH
def test_image_knows_the_usual_certificate_authorities(engine: Engine, image: str) -> None:
    assert _ask(engine, image, ASK_ROOTS) > 50


@CONSUMER
def test_consumer_with_bad_settings_names_each_and_exits(engine: Engine, image: str) -> None:
    bad = {Env.PIPELINE_FILE: "/none.yaml", Env.SINK_SECRET_DIR: "/none", Env.HTTP_PORT: "80x", Env.LOG_LEVEL: "LOUD"}
    options = [word for name, value in bad.items() for word in ("--env", f"{name}={value}")]

    done = _run(engine, image, options=tuple(options))

    assert done.returncode == ExitCode.BAD_CONFIG, done.stderr
    assert sorted({line.split(":")[0] for line in done.stderr.splitlines()}) == sorted(bad)


@OPERATOR
def test_operator_with_a_bad_setting_names_it_and_exits(engine: Engine, image: str) -> None:
    done = _run(engine, image, options=("--env", "FOREBAY_LOG_LEVEL=LOUD"))

    assert done.returncode == 2, done.stderr
    assert "FOREBAY_LOG_LEVEL" in done.stderr
