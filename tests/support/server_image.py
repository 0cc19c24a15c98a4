"""The image of the servers that the tests run inside a cluster, built once and named after what it is made from."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

from forebay_cli.local.downloads import choose_cache_folder, locked
from forebay_cli.local.ha.patroni_program import REQUIREMENTS, fetch_patroni
from forebay_cli.local.kafka_jars import LOG_SETTINGS, POM, fetch_kafka_jars
from forebay_cli.local.kafka_settings import KafkaOptions, build_properties, write_properties
from forebay_cli.local.process import create_guarded_folder
from support.debian_image import debian_image, hash_packages
from support.docker_engine import Engine

IMAGE = Path(__file__).parents[1] / "e2e" / "servers" / "image"
BUILD_S = 600.0
PATRONI = REQUIREMENTS.read_text()
"""Which one: the same as on a single machine."""

KAFKA_PORTS = (9092, 9093)
KAFKA_SETTINGS = {
    "listeners": "INSIDE://localhost:9091,CLUSTER://:9092,SASL://:9094,NODE://:30092,CONTROLLER://localhost:9093",
    "advertised.listeners": "",
    "listener.security.protocol.map": (
        "INSIDE:PLAINTEXT,CLUSTER:PLAINTEXT,SASL:SASL_PLAINTEXT,NODE:PLAINTEXT,CONTROLLER:PLAINTEXT"
    ),
    "controller.quorum.voters": "1@localhost:9093",
    # The broker speaks to itself without leaving the pod: not every cluster's network brings a pod back to itself.
    "inter.broker.listener.name": "INSIDE",
    "listener.name.sasl.sasl.enabled.mechanisms": "PLAIN",
    "listener.name.sasl.plain.sasl.jaas.config": (
        "org.apache.kafka.common.security.plain.PlainLoginModule required"
        ' user_ingest="only-for-tests-5" user_operator="only-for-tests-6";'
    ),
    # Everybody may do everything until a test adds an ACL.
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
    "allow.everyone.if.no.acl.found": "true",
}
"""What differs from a broker on this machine: the addresses, and a listener with passwords."""


PACKAGES = (
    "haproxy",
    "kcat",
    "openjdk-17-jre-headless",
    "openssl",
    "postgresql-15",
    "python3",
    *(f"python3-{name}" for name in ("psycopg2", "urllib3", "yaml", "dateutil", "click", "psutil")),
)
"""Debian's: the servers, a Kafka client, and what Patroni imports."""


def server_image(engine: Engine) -> str:
    """Return the tag of the image with all servers in it; builds what the engine does not have. Raises ServerError."""
    tag = choose_tag()
    with locked(choose_cache_folder(os.environ) / "server-image"):
        if not engine.has_image(tag):
            base = f"forebay-tests/servers-base:{hash_packages(PACKAGES)}"
            debian_image(base, PACKAGES)
            _build(engine, base, tag)
    return tag


def choose_tag() -> str:
    """The image's name: changes with everything that it is made from."""
    digest = hashlib.sha256(repr((hash_packages(PACKAGES), POM, LOG_SETTINGS, _kafka_properties(), PATRONI)).encode())
    for file in sorted(IMAGE.iterdir()):
        digest.update(file.name.encode() + file.read_bytes())
    return f"forebay-tests/servers:{digest.hexdigest()[:12]}"


def _build(engine: Engine, base: str, tag: str) -> None:
    folder = create_guarded_folder()
    try:
        shutil.copytree(IMAGE, folder, dirs_exist_ok=True)
        _add_kafka(folder / "kafka")
        _add_patroni(folder)
        engine.docker("build", "--quiet", f"--build-arg=BASE={base}", f"--tag={tag}", str(folder), timeout_s=BUILD_S)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _kafka_properties() -> Mapping[str, str]:
    return build_properties(KafkaOptions(properties=KAFKA_SETTINGS), KAFKA_PORTS, Path("/data"))


def _add_kafka(folder: Path) -> None:
    jars = fetch_kafka_jars(choose_cache_folder(os.environ))
    shutil.copytree(jars, folder / "lib")
    shutil.copy(jars.parent / "log4j2.properties", folder)
    # The pod adds what it alone knows; an earlier line of the same name would only confuse a reader.
    own = {name: value for name, value in _kafka_properties().items() if name != "advertised.listeners"}
    write_properties(folder / "server.properties", own)


def _add_patroni(folder: Path) -> None:
    """Patroni is pure Python: its wheel is unpacked here, so that the image needs neither pip nor the network."""
    with zipfile.ZipFile(fetch_patroni(choose_cache_folder(os.environ))) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if name.startswith("patroni/")])
