"""Where the project and the shared data are, and which methods its settings have."""

from pathlib import Path

import yaml

PROJECT = Path(__file__).resolve().parents[2]
SHARED_DATA = PROJECT.parent / "shared" / "data"

_BLOCKS = yaml.safe_load((PROJECT / "conf/base/parameters_pretrain.yml").read_text())
STUDIED = tuple(name for name in _BLOCKS if not name.startswith("_"))
"""The methods of `conf/base`, which `methods: all` means but for `conf/attention_sweep`."""
