"""The portions of a training's steps, made ready while the device still works on the last one."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from miram.memory import free_memory
from miram.training.data.batches import Needs, Portion, Samples, draw_portion
from miram.training.data.sampling import Step

_FREE_SHARE = 0.5  # of the device's free memory that crops may take


@dataclass(frozen=True)
class Served:
    """A step and what this process takes of it.

    Attributes:
        step: The step.
        portion: This process's share of its samples.
        waited: Seconds that the loop waited for it.
    """

    step: Step
    portion: Portion
    waited: float


def serve(
    steps: Iterator[Step],
    samples: Samples,
    needs: Needs,
    seed: int,
    rank: int = 0,
    processes: int = 1,
) -> Iterator[Served]:
    """Make each step's portion ready one step ahead.

    Args:
        steps: The steps, in order.
        samples: All samples.
        needs: What the model declares.
        seed: Of the run.
        rank: Of this process.
        processes: How many share a step; each takes every so many-th sample.
    """

    def draw(step: Step) -> Portion:
        return draw_portion(samples, step.indices[rank::processes], step.epoch, needs, seed)

    with ThreadPoolExecutor(1, thread_name_prefix="miram-feed") as worker:
        ahead: tuple[Step, Future[Portion]] | None = None
        for step in steps:
            following = (step, worker.submit(draw, step))
            if ahead:
                yield _wait(*ahead)
            ahead = following
        if ahead:
            yield _wait(*ahead)


def _wait(step: Step, portion: "Future[Portion]") -> Served:
    started = time.perf_counter()
    ready = portion.result()
    return Served(step, ready, time.perf_counter() - started)


def place_samples(
    crops: NDArray[np.uint16],
    rows: NDArray[np.int64],
    labels: NDArray[np.int64] | None,
    lesion: NDArray[np.uint8] | None,
    device: torch.device,
    where: str,
) -> Samples:
    """Put the samples where they wait to be trained on.

    Args:
        crops: (N, H, H), perhaps an array in a file.
        rows: (n,) positions of the samples among the crops.
        labels: (n,) or (n, K).
        lesion: (n, h, h).
        device: Where batches are made.
        where: `device`, `host`, or `auto`: on the device if they fit, which on a CPU they do.
    """

    def move(values: NDArray | None) -> torch.Tensor | None:
        if values is None:
            return None
        return torch.from_numpy(np.ascontiguousarray(values)).to(device)

    if resident_bytes(crops, rows, device, where):
        kept = torch.from_numpy(np.ascontiguousarray(crops[rows])).to(device)
        return Samples(kept, np.arange(len(rows)), move(labels), move(lesion), device)
    return Samples(crops, rows, move(labels), move(lesion), device)


def resident_bytes(
    crops: NDArray[np.uint16], rows: NDArray[np.int64], device: torch.device, where: str
) -> int:
    """Bytes that the crops of the samples take on the device; 0 if they wait on the host.

    Args: As `place_samples`.
    """
    size = len(rows) * crops[0].nbytes
    fits = where == "auto" and size <= _FREE_SHARE * free_memory(device)
    return size if where == "device" or fits else 0
