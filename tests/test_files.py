"""Files are whole or not there, and what was written is told from what is not."""

import subprocess
import sys

import pytest

from miram.errors import CannotWrite, MiramError
from miram.files import atomic_path, check, recorded_path


def write(path, content):
    with recorded_path(path) as temporary:
        temporary.write_bytes(content)


def flip(path, place=0):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("place", [0, 3, -1])
def test_one_flipped_bit_is_told_with_the_file_and_the_remedy(tmp_path, place):
    path = tmp_path / "features.parquet"
    write(path, b"content")
    check(path)
    flip(path, place)
    with pytest.raises(MiramError, match=r"features\.parquet is damaged.*Delete it and run again"):
        check(path)


def test_a_file_that_is_written_again_is_whole(tmp_path):
    path = tmp_path / "features.parquet"
    for content in (b"one", b"two", b"one"):
        write(path, content)
        check(path)


def test_a_file_from_elsewhere_needs_no_record(tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"from elsewhere")
    check(tmp_path / "weights.safetensors")
    check(tmp_path / "nowhere")


def test_a_damaged_list_of_sums_is_no_crash(tmp_path):
    path = tmp_path / "features.parquet"
    write(path, b"content")
    sums = tmp_path / ".sha256"
    sums.write_bytes(b"\xff" + sums.read_bytes()[1:])
    with pytest.raises(MiramError, match=r"features\.parquet is damaged"):
        check(path)


KILLED = """
import os, signal, sys
from pathlib import Path
from miram.files import recorded_path

calls = int(sys.argv[2])

def killing(event, arguments):
    global calls
    if event in ("open", "os.rename", "os.chmod"):
        calls -= 1
        if not calls:
            os.kill(os.getpid(), signal.SIGKILL)

with recorded_path(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"new")
    sys.addaudithook(killing)
"""


@pytest.mark.parametrize("calls", range(1, 7))
def test_a_process_killed_while_it_saves_leaves_no_false_alarm(tmp_path, calls):
    path = tmp_path / "features.parquet"
    write(path, b"old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), str(calls)])
    assert done.returncode in (-9, 0)
    check(path)
    assert path.read_bytes() in (b"old", b"new")


def test_a_save_onto_a_full_disk_is_one_sentence_and_the_old_file_stays(small_disk):
    path = small_disk / "data.bin"
    write(path, b"old")
    with (
        pytest.raises(CannotWrite, match=rf"cannot write {path}: No space left on device; make"),
        atomic_path(path) as temporary,
    ):
        temporary.write_bytes(bytes(2**21))
    assert path.read_bytes() == b"old"
    check(path)
    assert sorted(p.name for p in small_disk.iterdir()) == [".sha256", "data.bin"]


def test_a_save_into_a_read_only_folder_is_one_sentence(read_only_disk):
    path = read_only_disk / "new" / "data.bin"
    with (
        pytest.raises(CannotWrite, match=rf"cannot write {path}: Read-only.*choose a folder you"),
        atomic_path(path) as temporary,
    ):
        temporary.write_bytes(b"new")
