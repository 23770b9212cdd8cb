"""What every method declares: it is told apart, and can be seen apart."""

import itertools

import numpy as np
import pytest
from project_paths import STUDIED

from miram.models.methods import BASELINES, METHODS

# Machado, Oliveira and Fernandes (2009), severity 1; rows over linear RGB.
VISION = {
    "common": np.eye(3),
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = TO_XYZ.sum(axis=1)


def lab(color, vision):
    srgb = np.array([int(color[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    ratio = TO_XYZ @ np.clip(np.array(vision) @ linear, 0, 1) / WHITE
    x, y, z = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISION.values(), ids=VISION)
def test_colors_of_methods_differ_for_every_kind_of_vision(vision):
    colors = {name: lab(METHODS[name].color, vision) for name in STUDIED}
    for first, second in itertools.combinations(colors, 2):
        distance = np.linalg.norm(colors[first] - colors[second])
        assert distance > 12, (first, second)


def test_every_method_says_what_it_is():
    everyone = METHODS | BASELINES
    assert len({method.label for method in everyone.values()}) == len(everyone)
    assert len({(method.dash, method.symbol) for method in everyone.values()}) == len(everyone)
    for name, method in everyone.items():
        assert method.name == name
        assert method.summary and not method.summary.endswith(".") and ",," not in method.summary
    assert all(method.kind for method in METHODS.values())
