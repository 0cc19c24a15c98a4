"""Kafka Connect as jars and Debezium's JDBC sink as the archive that its documentation names, brought by Maven once."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

from forebay_cli.local.downloads import fill_once
from forebay_cli.local.kafka_jars import COPY_GOAL, JAVA_PACKAGE, LOG_FILE_NAME, LOG_SETTINGS, MAVEN_PACKAGE
from forebay_cli.local.kafka_java import KafkaJava
from forebay_cli.local.process import find_program, run_step
from forebay_cli.local.server_errors import ServerNotReady

CONNECT_VERSION = "4.3.1"
"""Debezium 3.6 was built against Connect 4.3; 4.2 and later read plain JSON by a schema of the settings."""
DEBEZIUM_VERSION = "3.6.0.Final"
PLUGIN = f"io.debezium:debezium-connector-jdbc:{DEBEZIUM_VERSION}:tar.gz:plugin"
"""The archive brings all it needs, PostgreSQL's driver included: nothing is resolved through its parent's POM, which
names a repository that most machines do not reach."""
COPY_ONE_GOAL = COPY_GOAL.replace("copy-dependencies", "copy")
PROVIDED = ("connect-api-", "kafka-clients-", "slf4j-api-", "lz4-java-", "snappy-java-", "zstd-jni-")
"""What the archive holds and Connect has, too, in another version."""
DOWNLOAD_S = 600.0

POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>dev.forebay</groupId>
  <artifactId>kafka-connect</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>connect-runtime</artifactId><version>{CONNECT_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.3</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>2.25.3</version>
    </dependency>
  </dependencies>
</project>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectJava:
    """java: how Connect's programs are called. plugins: for plugin.path."""

    java: KafkaJava
    plugins: Path

    @property
    def driver_version(self) -> str:
        """PostgreSQL's JDBC driver in the archive."""
        (driver,) = self.plugins.rglob("postgresql-*.jar")
        return driver.stem.removeprefix("postgresql-")


def find_connect(cache: Path) -> ConnectJava:
    """Return Connect with the sink, after a download where the cache lacks them.

    Raises MissingProgram, ServerNotReady.
    """
    java = find_program("java", JAVA_PACKAGE)
    content_hash = hashlib.sha256((POM + LOG_SETTINGS + PLUGIN + "".join(PROVIDED)).encode()).hexdigest()[:12]
    folder = fill_once(cache / f"connect-{CONNECT_VERSION}-debezium-{DEBEZIUM_VERSION}-{content_hash}", _download)
    return ConnectJava(java=KafkaJava(java=java, lib=folder / "lib"), plugins=folder / "plugins")


def _download(draft: Path) -> None:
    maven = find_program("mvn", MAVEN_PACKAGE)
    (draft / "pom.xml").write_text(POM)
    (draft / LOG_FILE_NAME).write_text(LOG_SETTINGS)
    log_file = draft / "download.log"
    options = ["-DincludeScope=runtime", f"-DoutputDirectory={draft / 'lib'}"]
    run_step("the download of Connect", [maven, "-B", "-q", COPY_GOAL, *options], log_file, DOWNLOAD_S, cwd=draft)
    options = [f"-Dartifact={PLUGIN}", f"-DoutputDirectory={draft / 'plugins'}"]
    run_step("the download of Debezium", [maven, "-B", "-q", COPY_ONE_GOAL, *options], log_file, DOWNLOAD_S, cwd=draft)
    archives = list((draft / "plugins").glob("*.tar.gz"))
    if len(archives) != 1 or not list((draft / "lib").glob("connect-runtime-*.jar")):
        raise ServerNotReady("the download of Connect and Debezium", "brought too little", log_file)
    with tarfile.open(archives[0]) as archive:
        archive.extractall(draft / "plugins", filter="data")
    archives[0].unlink()
    for jar in (draft / "plugins").rglob("*.jar"):
        if jar.name.startswith(PROVIDED):
            jar.unlink()
    shutil.rmtree(draft / "target", ignore_errors=True)
