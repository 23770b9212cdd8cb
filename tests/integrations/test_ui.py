import socket
import subprocess
import sys

import pytest

from miram.errors import MiramError
from miram.integrations.ui import HOST, free_port, wait_for


def test_a_taken_port_is_passed_over():
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) > port


def test_a_server_that_stopped_is_named():
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    with pytest.raises(MiramError, match="stopped"):
        wait_for(f"http://{HOST}:9", process)
