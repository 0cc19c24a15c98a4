"""bench/ is no installed package: it is found from the root of the repository."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[3]))  # last, so that it hides nothing
