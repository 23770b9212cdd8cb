import subprocess
import sys

import pytest

from miram.errors import MiramError
from miram.integrations.ui import HOST, wait_for


def test_a_server_that_stopped_is_named():
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    with pytest.raises(MiramError, match="stopped"):
        wait_for(f"http://{HOST}:9", process)
