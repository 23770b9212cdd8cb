"""Where and with which numbers a training computes, and whether all its processes agree."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import TorchDynamoPlugin, gather_object

from miram.errors import MiramError
from miram.training.config import TrainingConfig


def make_accelerator(config: TrainingConfig) -> Accelerator:
    """Choose device and precision.

    bf16 is chosen where the hardware multiplies in it: recent GPUs, and CPUs with AMX or
    AVX512-BF16; elsewhere it would only be slower. Older GPUs take fp16 with a scaled loss.

    Raises:
        MiramError: The device is not there, cannot be shared by several processes, or does not
            compute in fp16.
    """
    device = find_device(config.device)
    if device.index is not None:
        torch.cuda.set_device(device)
    on_gpu = device.type == "cuda"
    # accelerate keeps its state per process; a notebook may train twice with other settings.
    AcceleratorState._reset_state(reset_partial_state=True)
    precision: str = config.precision
    if precision == "auto":  # what a GPU of Apple gains by bf16 was never measured
        precision = "fp32" if device.type == "mps" else fastest_precision(cpu=not on_gpu)
    if precision == "fp16" and not on_gpu:
        raise MiramError("fp16 scales its loss on a GPU only: set training.precision to auto")
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="no" if precision == "fp32" else precision,
        dynamo_plugin=TorchDynamoPlugin(backend="no"),
    )
    if device.index is not None and accelerator.num_processes > 1:
        raise MiramError(
            f"training.device names one GPU, {device}, but {accelerator.num_processes} processes "
            "share this training: set it to cuda, and CUDA_VISIBLE_DEVICES to the GPUs to use"
        )
    return accelerator


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed what a model draws by itself, on the CPU and on the device of a training."""
    if device.type == "cpu":
        # `torch.manual_seed` formats the call stack once for each kind of GPU that is not there.
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def find_device(asked: str) -> torch.device:
    """The device that `training.device` names.

    Raises:
        MiramError: PyTorch finds no such device on this machine.
    """
    there = {
        "cuda": [f"cuda:{number}" for number in range(torch.cuda.device_count())],
        "mps": ["mps"] * torch.backends.mps.is_available(),
        "cpu": ["cpu"],
    }
    if asked == "auto":
        return torch.device("cuda" if there["cuda"] else "cpu")
    kind = asked.partition(":")[0]
    if not there[kind] or asked not in (kind, *there[kind]):
        found = ", ".join(name for names in there.values() for name in names)
        raise MiramError(
            f"training.device is {asked}, but PyTorch finds only {found} here: name one of these, "
            "or install the driver and the PyTorch of your GPU, see docs/gpu.md"
        )
    return torch.device(asked)


def precision_of(accelerator: Accelerator) -> str:
    """The precision that was settled: bf16, fp16 or fp32."""
    precision = str(accelerator.mixed_precision)
    return "fp32" if precision == "no" else precision


def fastest_precision(cpu: bool) -> str:
    """The precision in which the hardware multiplies matrices fastest: bf16, fp16 or fp32."""
    if not cpu:
        return "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp16"
    capabilities = torch.cpu.get_capabilities()
    names = ("avx512_bf16", "amx_bf16", "bf16")
    return "bf16" if any(capabilities.get(name, False) for name in names) else "fp32"


def autocast(device: str, precision: str) -> torch.autocast:
    """Compute in a precision, bf16 or fp16, on a type of device; in any other as it comes."""
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return torch.autocast(device, half, enabled=half is not None)


def device_facts(config: TrainingConfig) -> dict[str, Any]:
    """What a checkpoint's header says of the machine that trained it."""
    accelerator = make_accelerator(config)
    on_gpu = accelerator.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name() if on_gpu else accelerator.device.type,
        "precision": precision_of(accelerator),
        "threads": torch.get_num_threads(),
        "processes": accelerator.num_processes,
        "deterministic": config.deterministic,
        "compile": config.compile,
    }


def processes_here(accelerator: Accelerator) -> int:
    """How many of the processes run on this machine, as their launcher says."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return min(here, accelerator.num_processes)


def check_ranks_agree(accelerator: Accelerator, step: int, folder: Path | None) -> None:
    """Let all processes resume from the same step, or none.

    Raises:
        MiramError: Another process resumes from another step.
    """
    if accelerator.num_processes == 1:
        return
    steps = gather_object([step])
    if len(set(steps)) > 1:
        found = ", ".join(f"worker {rank} after step {one}" for rank, one in enumerate(steps))
        raise MiramError(
            f"the workers do not resume from the same state in {folder}: {found}. data_root must "
            "be on a disk that all workers share, under the same name"
        )


@contextmanager
def determinism() -> Iterator[None]:
    """Refuse operations whose result varies from run to run, within the block."""
    before = torch.are_deterministic_algorithms_enabled()
    benchmark = torch.backends.cudnn.benchmark
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # asked for by cuBLAS
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = benchmark
