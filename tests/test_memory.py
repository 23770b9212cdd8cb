"""Sizes, free memory, memory in use, and how running out of it looks."""

import os

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from miram.errors import MiramError
from miram.memory import (
    forget_peak,
    free_in_groups,
    free_memory,
    is_out_of_memory,
    parse_size,
    peak_memory,
    show_size,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("12GB", 12 * 10**9),
        ("800 MiB", 800 * 2**20),
        ("1.5 gb", 1_500_000_000),
        (" .5TiB ", 2**39),
        ("24G", 24 * 10**9),
        ("4096b", 4096),
    ],
)
def test_sizes_are_read_as_people_write_them(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "12", "GB", "-3GB", "0GB", "12 GB or so", "twelve GB", "12bit", "nanGB", "1e3MB"]
)
def test_what_is_no_size_is_refused_with_an_example(text):
    with pytest.raises(MiramError, match="write one such as 12GB or 800 MiB"):
        parse_size(text)


@given(st.integers(1, 2**50))
def test_a_size_shown_is_read_as_the_same_to_one_decimal(size):
    shown = parse_size(show_size(size))
    assert abs(shown - size) <= 0.05 * 1000 ** (len(str(size)) // 3)


def test_free_memory_is_within_what_the_machine_has():
    assert 0 < free_memory(CPU) <= psutil.virtual_memory().total


def group(folder, limit, usage, cache, version):
    names = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        2: ("memory.max", "memory.current", "inactive_file"),
    }[version]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {cache}\n")


def test_a_batch_jobs_limit_counts_whichever_group_sets_it(tmp_path):
    group(tmp_path / "slurm" / "job_1" / "task_0", "max", 300, 50, version=2)
    group(tmp_path / "slurm" / "job_1", 1000, 400, 50, version=2)
    group(tmp_path / "slurm", 9000, 7000, 0, version=2)
    free = list(free_in_groups("0::/slurm/job_1/task_0\n", tmp_path))
    assert free == [1000 - 400 + 50, 9000 - 7000]


def test_a_containers_limit_counts_where_only_its_own_group_is_mounted(tmp_path):
    group(tmp_path / "memory", 1000, 700, 100, version=1)
    membership = "5:cpu,cpuacct:/docker/ab\n4:memory:/docker/ab\n0::/\n"
    assert list(free_in_groups(membership, tmp_path)) == [400]


def test_no_groups_mean_no_limit(tmp_path):
    assert list(free_in_groups("", tmp_path)) == []
    assert list(free_in_groups("0::/\n", tmp_path)) == []


def test_the_peak_follows_what_is_taken_and_can_begin_anew():
    block = np.ones(30_000_000)  # 240 MB
    taken = psutil.Process().memory_info().rss
    del block
    before = peak_memory(CPU)
    assert before > taken - 5_000_000  # the kernel counts in steps
    forget_peak(CPU)
    after = peak_memory(CPU)
    if os.access("/proc/self/clear_refs", os.W_OK):
        assert before - after > 200_000_000
    else:
        assert after >= before  # such a system keeps it


def no_tensor():
    return torch.empty(2**50, dtype=torch.uint8)


def no_array():
    return np.empty(2**50, dtype=np.uint8)


def no_product():
    long = torch.ones(2**24)
    return torch.outer(long, long)


@pytest.mark.parametrize("take", [no_tensor, no_array, no_product])
def test_running_out_is_known_from_real_failures_to_allocate(take):
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        take()
    assert is_out_of_memory(caught.value)


def test_running_out_on_a_gpu_is_known():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"))


def other_fault():
    return torch.ones(2, 3) @ torch.ones(2, 3)


def test_other_faults_are_not_taken_for_it():
    with pytest.raises(RuntimeError) as caught:
        other_fault()
    assert not is_out_of_memory(caught.value)
    assert not is_out_of_memory(ValueError("the list is out of memory"))
