"""Images of the servers that the tests run inside a cluster, built once and named after what they are made from."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from forebay_cli.local.downloads import choose_cache_folder, fill_once, locked
from forebay_cli.local.kafka_jars import LOG_SETTINGS, POM, fetch_kafka_jars
from forebay_cli.local.kafka_settings import KafkaOptions, build_properties, write_properties
from forebay_cli.local.process import create_guarded_folder, run_step
from support.debian_image import debian_image
from support.docker_engine import Engine

SERVERS = Path(__file__).parents[1] / "e2e" / "servers"
BUILD_S = 600.0
DOWNLOAD_S = 300.0
"""Deadline of the download of Patroni, 0.2 MB."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """packages: Debian's, for the base. ingredients: what else counts for the tag. add: fills the build's folder."""

    name: str
    packages: tuple[str, ...]
    ingredients: str
    add: Callable[[Path], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerImages:
    """Tags."""

    kafka: str
    patroni: str
    haproxy: str

    @property
    def all(self) -> tuple[str, ...]:
        """Every tag, to be loaded into a cluster."""
        return (self.kafka, self.patroni, self.haproxy)


def build_server_images(engine: Engine) -> ServerImages:
    """Return the tags; builds what the engine does not have. Raises ServerError."""
    return ServerImages(**{name: _build(engine, recipe) for name, recipe in RECIPES.items()})


def choose_tag(recipe: Recipe) -> str:
    """The image's name: changes with everything that it is made from."""
    folder = SERVERS / recipe.name
    digest = hashlib.sha256(repr((recipe.packages, recipe.ingredients)).encode())
    for file in sorted(folder.rglob("*")):
        digest.update(file.relative_to(folder).as_posix().encode() + (file.read_bytes() if file.is_file() else b""))
    return f"forebay-tests/{recipe.name}:{digest.hexdigest()[:12]}"


def _build(engine: Engine, recipe: Recipe) -> str:
    tag = choose_tag(recipe)
    with locked(choose_cache_folder(os.environ) / "server-images" / recipe.name):
        if not engine.has_image(tag):
            base = f"forebay-tests/{recipe.name}-base:{hashlib.sha256(repr(recipe.packages).encode()).hexdigest()[:12]}"
            debian_image(base, recipe.packages)
            folder = create_guarded_folder()
            try:
                shutil.copytree(SERVERS / recipe.name, folder, dirs_exist_ok=True)
                recipe.add(folder)
                engine.docker(
                    "build", "--quiet", "--build-arg", f"BASE={base}", "--tag", tag, str(folder), timeout_s=BUILD_S
                )
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    return tag


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
    requirements = SERVERS / "patroni" / "requirements.txt"
    cache = choose_cache_folder(os.environ) / f"patroni-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]}"

    def download(draft: Path) -> None:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        argv = [*pip, "--only-binary", ":all:", "--requirement", requirements, "--dest", draft]
        run_step("the download of Patroni", argv, draft / "download.log", DOWNLOAD_S)

    (wheel,) = fill_once(cache, download).glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if name.startswith("patroni/")])


def _add_nothing(folder: Path) -> None:
    del folder


PATRONI_IMPORTS = ("psycopg2", "urllib3", "yaml", "dateutil", "click", "psutil")
RECIPES = {
    "kafka": Recipe(
        name="kafka",
        packages=("openjdk-17-jre-headless", "kcat"),
        ingredients=POM + LOG_SETTINGS + repr(_kafka_properties()),
        add=_add_kafka,
    ),
    "patroni": Recipe(
        name="patroni",
        packages=("openssl", "postgresql-15", "python3", *(f"python3-{name}" for name in PATRONI_IMPORTS)),
        ingredients="",
        add=_add_patroni,
    ),
    "haproxy": Recipe(name="haproxy", packages=("haproxy",), ingredients="", add=_add_nothing),
}
