"""Memory: sizes as people write them, what is free, the peak of use, and how running out looks."""

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch
from pydantic import ByteSize, TypeAdapter

from miram.errors import MiramError

_SIZE = re.compile(r"\s*(\d*\.?\d+)\s*([kmgtpe](?:i?b)?|b)\s*", re.IGNORECASE)
_BYTES = TypeAdapter(ByteSize)

# The CPU's allocator and CUDA's libraries raise plain errors; oneDNN, which multiplies on CPUs,
# only says that it could not begin.
_OUT_OF_MEMORY = re.compile(
    "DefaultCPUAllocator: |out of memory|_ALLOC_FAILED|bad_alloc|could not create a primitive"
)

# Where Linux tells of this process; and a control group's limit, its use, and what of the use
# are files in memory that make room when asked, in both versions of control groups.
_PROCESS, _GROUPS = Path("/proc/self"), Path("/sys/fs/cgroup")
_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_VERSION_2 = ("memory.max", "memory.current", "inactive_file")


def parse_size(text: str) -> int:
    """Bytes of a size such as `12GB`, `800 MiB` or `1.5g`: GB is 1000³ bytes, GiB 1024³.

    Raises:
        MiramError: It is no size.
    """
    found = _SIZE.fullmatch(text)
    size = int(_BYTES.validate_python("".join(found.groups()))) if found else 0
    if size < 1:
        raise MiramError(f"{text!r} is no amount of memory: write one such as 12GB or 800 MiB")
    return size


def show_size(size: float) -> str:
    """Write a size for people, such as `11.9GB`."""
    return ByteSize(size).human_readable(decimal=True)


def free_memory(device: torch.device) -> int:
    """Bytes that this process can still take on a CUDA device or the CPU.

    On a GPU, what PyTorch holds without using it counts as free. On a CPU, a limit of the
    container or batch job counts: who passes it is killed, however much the machine has left.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    membership = _PROCESS / "cgroup"
    groups = membership.read_text() if membership.is_file() else ""
    return min(psutil.virtual_memory().available, *free_in_groups(groups, _GROUPS))


def free_in_groups(membership: str, mounts: Path) -> Iterator[int]:
    """Bytes that each control group with a limit leaves; `membership` is /proc/self/cgroup."""
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = mounts / "memory" if controllers else mounts
        limit, usage, cache = _VERSION_1 if controllers else _VERSION_2
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):  # a limit binds all groups below
            # None where a group is not mounted in this container, or is the root.
            if not folder.is_relative_to(top) or not (folder / limit).is_file():
                continue
            most, used = ((folder / name).read_text().strip() for name in (limit, usage))
            if most != "max":
                stat = dict(line.split() for line in (folder / "memory.stat").open())
                yield max(0, int(most) - int(used) + int(stat.get(cache, 0)))


def peak_memory(device: torch.device) -> int:
    """Bytes at most so far, or since `forget_peak`: of tensors on a GPU, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = _PROCESS / "status"
    if status.is_file():  # on Linux, whose getrusage counts what the process was before as well
        found = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(), re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def forget_peak(device: torch.device) -> None:
    """Let the peak begin anew from what is in use now; of a CPU's memory on Linux alone."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):  # not Linux, or a container that does not allow it
        (_PROCESS / "clear_refs").write_text("5")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(_OUT_OF_MEMORY.search(str(error)))
