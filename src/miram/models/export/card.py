"""The page that goes with exported weights: how to load them, what they came from."""

import json
from pathlib import Path

from miram.files import atomic_path
from miram.models.checkpoints.files import HEADER, EncoderCheckpoint

_PAGE = """---
tags: [mammography, self-supervised, feature-extraction]
library_name: {library}
---

# Encoder of mammographic lesion crops

```python
{loading}
```

Input: (B, {channels}, {side}, {side}), grey levels in [0, 1] (8-bit images divided by 255,
16-bit crops by 65535), minus {mean}, divided by {deviation}; larger crops are brought to this
side by area averages. Research software: not a medical device.

License of the weights: {license}.

What they came from:

```json
{header}
```
"""


def write_card(checkpoint: EncoderCheckpoint, folder: Path, library: str, loading: str) -> None:
    """Write `README.md` in the format of model hubs.

    Args:
        checkpoint: The encoder.
        folder: Where the weights are.
        library: Name of the package that loads them.
        loading: Code that loads them.
    """
    (channels, side, _), (mean, deviation) = checkpoint.input_shape, checkpoint.pixels
    known = {key: checkpoint.metadata[key] for key in HEADER if key in checkpoint.metadata}
    page = _PAGE.format(
        library=library,
        loading=loading,
        channels=channels,
        side=side,
        mean=mean,
        deviation=deviation,
        license=license_of(checkpoint),
        header=json.dumps(known, indent=2),
    )
    with atomic_path(folder / "README.md") as temporary:
        temporary.write_text(page)


def license_of(checkpoint: EncoderCheckpoint) -> str:
    """The terms of the weights, which are those of the data they were trained on."""
    return str(checkpoint.metadata.get("license", "not stated by the checkpoint"))
