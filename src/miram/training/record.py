"""What a training leaves beside its weights."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True)
class TrainingRecord:
    """What a training leaves beside its weights.

    Attributes:
        history: One row per logged step; empty for a method that does not train.
        reconstructions: `scale<s>_target`, `_masked`, `_prediction`: (n, H, H) uint8; empty for a
            method without decoders.
        fidelity: One row per crop and scale, with PSNR and SSIM of its reconstruction; likewise.
    """

    history: pd.DataFrame
    reconstructions: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    fidelity: pd.DataFrame = field(default_factory=pd.DataFrame)
