"""The state of a training on a disk that is full."""

import resource
import signal

import pytest
import torch

from miram.errors import CannotWrite
from miram.training.checkpointing.folder import TrainingFolder, read_state, write_state

ROOM = 200_000  # bytes of a file


@pytest.fixture
def full_disk():
    """Files cannot grow beyond `ROOM`, as on a disk without room for more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("numbers", [49_000, 49_900, 1_000_000])
def test_a_full_disk_is_named_wherever_in_the_file_it_is_met(numbers, tmp_path, full_disk):
    """Torch's writer hides the system's words where it is met at the end of a tensor."""
    path = tmp_path / "state.pt"
    write_state(path, {"step": 1})
    state = {"step": 2, "long": torch.zeros(numbers), "short": torch.zeros(5_000)}
    with pytest.raises(CannotWrite, match=r"cannot write .*state\.pt: .*; make room there"):
        write_state(path, state)
    assert read_state(path)["step"] == 1
    assert [one.name for one in tmp_path.glob("*.pt")] == ["state.pt"]


def test_a_state_that_cannot_be_kept_costs_a_warning(tmp_path, full_disk, caplog):
    folder = TrainingFolder(tmp_path)
    assert folder.save({"step": 1})
    assert not folder.save({"step": 2, "weights": torch.zeros(49_900)})
    assert "the state after step 2 could not be kept (cannot write" in caplog.text
    assert folder.latest()["step"] == 1
