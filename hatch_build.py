"""Build hook: puts the samples beside the demo, and compiles the consumer's native library where there is a rustc.

The library is optional (plain Python then does its work), so a missing compiler is no error, unless the environment
variable FOREBAY_NATIVE says `require`; `off` leaves the library out in any case.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("consumer/forebay_consumer/native")
SOURCE = FOLDER / "library.rs"
LIBRARY = FOLDER / "_forebay.so"
WHEEL_PATH = "forebay_consumer/native/_forebay.so"
SAMPLES = {f"manifests/samples/{name}": f"forebay_cli/demo/{name}" for name in ("payments.yaml", "payments.sql")}
"""Beside the demo's code, which looks there where it finds no checkout."""
FLAGS = ("--edition", "2021", "--crate-type", "cdylib", "--crate-name", "forebay", "-C", "opt-level=3")


class NativeLibraryHook(BuildHookInterface):  # type: ignore[type-arg]  # its parameter is not part of the documented interface
    """Puts the compiled library into wheels, and beside its source for editable installs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects files; version is "standard" or "editable"."""
        if version != "editable":
            build_data["force_include"].update(SAMPLES)
        library = self._compile()
        if library is None:
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
        if version != "editable":
            build_data["force_include"][str(library)] = WHEEL_PATH

    def _compile(self) -> Path | None:
        mode = os.environ.get("FOREBAY_NATIVE", "auto")
        if mode not in ("auto", "require", "off"):
            raise SystemExit(f"FOREBAY_NATIVE={mode}: one of auto, require, off")
        rustc = shutil.which("rustc")
        if mode == "off" or (rustc is None and mode == "auto"):
            self.app.display_warning(
                "the native library is left out (no rustc, or FOREBAY_NATIVE=off): the consumer is slower"
            )
            return None
        if rustc is None:
            raise SystemExit("FOREBAY_NATIVE=require, but there is no rustc on the PATH")
        return self._run(rustc, is_required=mode == "require")

    def _run(self, rustc: str, *, is_required: bool) -> Path | None:
        """Into a new file, then in one step into place: a running program may have the old one open."""
        root = Path(self.root)
        library = root / LIBRARY
        with tempfile.TemporaryDirectory(dir=library.parent, prefix=".build-") as folder:
            fresh = Path(folder) / LIBRARY.name
            command = [rustc, *FLAGS, "-C", "strip=symbols", "-o", str(fresh), str(root / SOURCE)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)  # noqa: S603 - no input from outside
            if done.returncode == 0:
                fresh.replace(library)
                return library
        if is_required:
            raise SystemExit(f"rustc failed:\n{done.stderr}")
        self.app.display_warning(f"the native library is left out, rustc failed:\n{done.stderr}")
        return None
