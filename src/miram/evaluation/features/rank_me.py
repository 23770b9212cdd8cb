"""How many dimensions an encoder's features use: a metric of quality that needs no label."""

import numpy as np
import numpy.typing as npt

from miram.errors import MiramError

_EPSILON = 1e-7


def rank_me(features: npt.ArrayLike) -> float:
    """Effective rank: the exponential of the entropy of the singular values.

    RankMe of Garrido, Balestriero, Najman and LeCun, ICML 2023 (arXiv 2210.02885). It is 1 for
    features that all point in one direction and at most min(n, d), for equal singular values.
    Compare it between encoders on the same samples only.

    Args:
        features: (n, d), at least one of them not zero.

    Raises:
        MiramError: There are no features, or they are not finite.
    """
    values = np.asarray(features, np.float64)
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise MiramError(f"features must be finite and of shape (n, d), got {values.shape}")
    singular = np.linalg.svd(values, compute_uv=False)
    total = singular.sum()
    shares = (singular / total if total else np.zeros_like(singular)) + _EPSILON
    return float(np.exp(-(shares * np.log(shares)).sum()))
