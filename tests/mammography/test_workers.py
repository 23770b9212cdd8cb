"""Workers of joblib are gone soon after the process that started them is killed."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

DRAW = """
from miram.mammography.phantom import PhantomConfig, phantom_files
for _ in phantom_files(PhantomConfig(patients=40, image_size=512), workers=2):
    print("one", flush=True)
"""


@pytest.mark.slow
def test_no_worker_outlives_the_process_that_started_it():
    """Large results are on their way, so that a worker waits for somebody to take its own."""
    drawing = subprocess.Popen(
        [sys.executable, "-c", DRAW], stdout=subprocess.PIPE, start_new_session=True
    )
    drawing.stdout.readline()
    started = psutil.Process(drawing.pid).children()
    assert len(started) >= 2
    os.kill(drawing.pid, signal.SIGKILL)
    drawing.communicate()
    assert psutil.wait_procs(started, timeout=60)[1] == []
