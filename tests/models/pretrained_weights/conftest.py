"""Weights as the code of MAE saves them, and images to compare outputs on."""

import argparse

import pytest
import torch
from reference_mae import GRID, SIDE, ReferenceMae


@pytest.fixture(scope="module")
def reference():
    torch.manual_seed(0)
    return ReferenceMae().eval()


@pytest.fixture(scope="module")
def mae_file(reference, tmp_path_factory):
    """As the training code of MAE writes it: with the arguments of the command line."""
    path = tmp_path_factory.mktemp("mae") / "checkpoint-799.pth"
    content = {"model": reference.state_dict(), "epoch": 799, "args": argparse.Namespace(lr=1.0)}
    torch.save(content, path)
    return path


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2, 1, SIDE, SIDE, generator=generator)
    return images, torch.rand(2, GRID**2, generator=generator)
