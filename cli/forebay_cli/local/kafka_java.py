"""How Kafka's programs are called: the Java found on this machine, its flags and the class path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from forebay_cli.local.kafka_jars import JAVA_PACKAGE, LOG_FILE_NAME, fetch_kafka_jars
from forebay_cli.local.process import find_program


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaJava:
    """java: the program. lib: folder with the jars. archive: of classes (kafka_classes.py), None = without."""

    java: str
    lib: Path
    archive: Path | None = None

    def command(self, main_class: str, *arguments: str | Path, heap_mb: int, flags: tuple[str, ...] = ()) -> list[str]:
        """Return the command line of one of Kafka's programs; flags are further ones of the JVM."""
        shared = () if self.archive is None else (f"-XX:SharedArchiveFile={self.archive}", "-Xshare:auto")
        return [
            self.java,
            f"-Xmx{heap_mb}m",
            "-XX:+UseSerialGC",
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={self.lib.parent / LOG_FILE_NAME}",
            *shared,
            *flags,
            "-cp",
            ":".join(str(jar) for jar in sorted(self.lib.glob("*.jar"))),
            main_class,
            *map(str, arguments),
        ]


def find_kafka_java(cache: Path) -> KafkaJava:
    """Return the plain call, after a download where the cache lacks Kafka; MissingProgram names what to install."""
    java = find_program("java", JAVA_PACKAGE)
    return KafkaJava(java=java, lib=fetch_kafka_jars(cache))
