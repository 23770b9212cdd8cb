"""Start the MLflow UI and Kedro-Viz together: `python -m miram.integrations.ui`."""

import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from miram.errors import MiramError
from miram.integrations.mlflow_hook import MlflowConfig, resolve_paths

HOST = "127.0.0.1"
MLFLOW_PORT = 5000
VIZ_PORT = 4141
_START_LIMIT = 120.0  # seconds


def main() -> None:
    """Start both servers, print their addresses, and stop them with Ctrl-C."""
    # Ending in any way must end the servers as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with ExitStack() as stack:
        servers = start(Path.cwd())
        for _, process in servers:
            stack.callback(process.wait)
            stack.callback(process.terminate)
        for address, process in servers:
            wait_for(address, process)
        for name, (address, _) in zip(("MLflow", "Kedro-Viz"), servers, strict=True):
            print(f"{name:<9} {address}", flush=True)
        print("Ctrl-C stops both", flush=True)
        try:
            while all(process.poll() is None for _, process in servers):
                time.sleep(0.5)
        except KeyboardInterrupt:
            print("stopped")


def start(project: Path) -> list[tuple[str, subprocess.Popen[bytes]]]:
    """Start both servers of a project.

    Args:
        project: Folder of the Kedro project.

    Returns:
        Address and process of MLflow, then of Kedro-Viz.
    """
    bootstrap_project(project)
    loader = KedroSession.create(project).load_context().config_loader
    config = resolve_paths(MlflowConfig(**loader["mlflow"]), project)
    if not config.tracking_uri.startswith("sqlite:"):
        mlflow = ["-c", "import time; time.sleep(1e9)"]
        mlflow_address = config.tracking_uri
    else:
        mlflow = ["-m", "mlflow", "ui", "--backend-store-uri", config.tracking_uri]
        port = free_port(MLFLOW_PORT)
        mlflow += ["--host", HOST, "--port", str(port)]
        mlflow_address = f"http://{HOST}:{port}"
    viz_port = free_port(VIZ_PORT)
    viz = ["-m", "kedro", "viz", "run", "--no-browser", "--host", HOST, "--port", str(viz_port)]
    return [
        (mlflow_address, subprocess.Popen([sys.executable, *mlflow], cwd=project)),
        (f"http://{HOST}:{viz_port}", subprocess.Popen([sys.executable, *viz], cwd=project)),
    ]


def free_port(first: int) -> int:
    """The first port from `first` on that nobody listens on."""
    for port in range(first, first + 100):
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)):
                return port
    raise MiramError(f"no free port from {first} to {first + 99}: stop a server")


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server answers.

    Raises:
        MiramError: It stopped, or does not answer within two minutes.
    """
    started = time.monotonic()
    while time.monotonic() - started < _START_LIMIT:
        if process.poll() is not None:
            raise MiramError(f"the server of {address} stopped: is its port taken?")
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise MiramError(f"{address} does not answer")


if __name__ == "__main__":
    main()
