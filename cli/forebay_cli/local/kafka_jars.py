"""Apache Kafka as jars, brought by Maven from wherever this machine's Maven is told to look."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from forebay_cli.local.downloads import fill_once
from forebay_cli.local.process import find_program, run_step
from forebay_cli.local.server_errors import ServerNotReady

KAFKA_VERSION = "4.4.0"
JAVA_PACKAGE = "openjdk-17-jre-headless"
MAVEN_PACKAGE = "maven"
COPY_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
DOWNLOAD_S = 600.0
"""Deadline of the download: 9 s for 43 MB on a good line, minutes on a poor one."""

POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>dev.forebay</groupId>
  <artifactId>embedded-kafka</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version>
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

LOG_FILE_NAME = "log4j2.properties"
LOG_SETTINGS = """\
appender.stdout.type = Console
appender.stdout.name = STDOUT
appender.stdout.layout.type = PatternLayout
appender.stdout.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = INFO
rootLogger.appenderRefs = stdout
rootLogger.appenderRef.stdout.ref = STDOUT
"""


def fetch_kafka_jars(cache: Path) -> Path:
    """Return the folder with Kafka's jars, downloaded if the cache lacks them; MissingProgram says what to install."""
    content_hash = hashlib.sha256((POM + LOG_SETTINGS).encode()).hexdigest()[:12]
    return fill_once(cache / f"kafka-{KAFKA_VERSION}-{content_hash}", _download) / "lib"


def _download(draft: Path) -> None:
    find_program("java", JAVA_PACKAGE)
    maven = find_program("mvn", MAVEN_PACKAGE)
    (draft / "pom.xml").write_text(POM)
    (draft / LOG_FILE_NAME).write_text(LOG_SETTINGS)
    log_file = draft / "download.log"
    options = ["-DincludeScope=runtime", f"-DoutputDirectory={draft / 'lib'}"]
    run_step("the download of Kafka", [maven, "-B", "-q", COPY_GOAL, *options], log_file, DOWNLOAD_S, cwd=draft)
    if not (draft / "lib" / f"kafka_2.13-{KAFKA_VERSION}.jar").is_file():
        raise ServerNotReady("the download of Kafka", "brought no broker", log_file)
    shutil.rmtree(draft / "target", ignore_errors=True)
