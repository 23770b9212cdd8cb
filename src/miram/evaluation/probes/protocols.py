"""Which classifiers read the frozen features: the protocols of the literature side by side.

`linear` is the main one: the leaderboard, the comparisons and the subgroups are its. The others
are beside it in `metrics.json`, for comparison with what others publish.
"""

from collections.abc import Iterable
from importlib import import_module
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from miram.configuration import Config, listed
from miram.evaluation.probes.knn import KnnConfig, knn_scores
from miram.evaluation.probes.linear import LinearProbeConfig

Protocol = Literal["linear", "mae_probe", "knn"]
PROTOCOLS: tuple[Protocol, ...] = ("linear", "mae_probe", "knn")
MAIN: Protocol = "linear"


class MaeProbeConfig(Config):
    """The linear probe of masked autoencoders: batch normalization and one layer, trained.

    The defaults follow He et al., CVPR 2022, appendix A.1, at a batch size that suits thousands
    of lesions instead of a million images.
    """

    optimizer: Literal["sgd", "adam"] = "sgd"
    epochs: int = Field(90, ge=1)
    warmup_epochs: int = Field(10, ge=0, description="linear rise, then half a cosine")
    batch_size: int = Field(256, ge=2)
    base_lr: float = Field(0.1, gt=0, description="learning rate per 256 lesions of a batch")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    weight_decay: float = Field(0.0, ge=0)
    seed: int = Field(0, ge=0, description="of the order of lesions and the initial weights")


class ProtocolConfig(Config):
    """Which protocols read the features, and how."""

    protocols: tuple[Protocol, ...] = Field(
        (MAIN,), description="linear, mae_probe, knn, joined by + in one text; or all"
    )
    linear_probe: LinearProbeConfig = LinearProbeConfig()
    mae_probe: MaeProbeConfig = MaeProbeConfig()
    knn: KnnConfig = KnnConfig()

    @field_validator("protocols", mode="before")
    @classmethod
    def _protocol_names(cls, given: Any) -> Any:
        return split_names(given, PROTOCOLS)

    @field_validator("protocols")
    @classmethod
    def _main_first(cls, names: tuple[Protocol, ...]) -> tuple[Protocol, ...]:
        if MAIN not in names:
            raise ValueError(f"{MAIN} has to be among them: methods are compared by it")
        return tuple(name for name in PROTOCOLS if name in names)


def split_names(given: Any, known: Iterable[str]) -> Any:
    """Names as a list, from a text such as `pathology+density` or `all`; else as they are."""
    return tuple(known) if given == "all" else listed(given)


def protocol_scores(
    protocol: Protocol,
    train: tuple[npt.NDArray, npt.NDArray[np.int64]],
    features: npt.NDArray,
    *,
    classes: int,
    config: ProtocolConfig,
) -> npt.NDArray[np.float64]:
    """Score lesions by a protocol other than the linear probe.

    Args:
        protocol: `mae_probe` or `knn`.
        train: Features (n, d) and labels of the training lesions: (n,) classes from 0, or (n, K)
            of 0 and 1.
        features: (m, d) of the lesions to be scored.
        classes: Number of classes.
        config: How.

    Returns:
        (m,) probabilities of class 1 for two classes in (n,) labels, otherwise (m, K).
    """
    if protocol == "knn":
        k, temperature = config.knn.neighbors, config.knn.temperature
        return knn_scores(*train, features, k=k, temperature=temperature, classes=classes)
    # By name: this module is imported where torch must not be.
    trained = import_module("miram.evaluation.probes.mae")
    scores: npt.NDArray[np.float64] = trained.mae_probe_scores(
        *train, features, classes=classes, config=config.mae_probe
    )
    return scores
