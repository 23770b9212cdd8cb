"""Start the MLflow UI and Kedro-Viz together: `python -m miram.integrations.ui`."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from miram.errors import MiramError
from miram.integrations.mlflow.hook import MlflowConfig, resolve_paths

HOST = "127.0.0.1"
MLFLOW_PORT = 5000
VIZ_PORT = 4141
_START_LIMIT = 120.0  # seconds

Server = tuple[str, subprocess.Popen[bytes] | None]  # address, and process where it is our own


def main() -> None:
    """Start both servers, print their addresses, and stop them with Ctrl-C."""
    # Ending in any way must end the servers as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with ExitStack() as stack:
        servers = start(Path.cwd(), stack)
        own = [(address, process) for address, process in servers if process]
        for address, process in own:
            wait_for(address, process)
        (mlflow, _), (kedro_viz, _) = servers
        print(f"MLflow    {runs_page(mlflow, read_config(Path.cwd()))}", flush=True)
        print(f"Kedro-Viz {kedro_viz}", flush=True)
        print(f"Ctrl-C stops {'both' if len(own) == 2 else 'Kedro-Viz'}", flush=True)
        try:
            while all(process.poll() is None for _, process in own):
                time.sleep(0.5)
        except KeyboardInterrupt:
            print("stopped")


def start_mlflow(project: Path) -> Server:
    """Start MLflow on the project's own store; nothing where a tracking server runs elsewhere."""
    config = read_config(project)
    if not config.database:
        return config.tracking_uri, None
    port = free_port(MLFLOW_PORT)
    # One reader needs one process, and none of the jobs that judge the traces of language models.
    options = ["--backend-store-uri", config.tracking_uri, "--workers", "1"]
    options += ["--host", HOST, "--port", str(port)]
    process = _run(project, "-m", "mlflow", "ui", *options, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="0")
    return f"http://{HOST}:{port}", process


def read_config(project: Path) -> MlflowConfig:
    """Where the runs of a project are recorded."""
    bootstrap_project(project)
    loader = KedroSession.create(project).load_context().config_loader
    return resolve_paths(MlflowConfig(**loader["mlflow"]), project)


def runs_page(address: str, config: MlflowConfig) -> str:
    """Address of the list of runs; of the front page while there are none.

    MLflow shows the tools for language models unless the address asks for those for training.
    """
    from mlflow import MlflowClient

    found = MlflowClient(address).get_experiment_by_name(config.experiment)
    if not found:
        return address
    return f"{address}/#/experiments/{found.experiment_id}?workflowType=machine_learning"


def start_kedro_viz(project: Path) -> Server:
    """Start Kedro-Viz on the project."""
    port = free_port(VIZ_PORT)
    options = ["--no-browser", "--host", HOST, "--port", str(port)]
    process = _run(project, "-m", "kedro", "viz", "run", *options)
    return f"http://{HOST}:{port}", process


def start(
    project: Path,
    stack: ExitStack,
    servers: Sequence[Callable[[Path], Server]] = (start_mlflow, start_kedro_viz),
) -> list[Server]:
    """Start the servers of a project.

    Args:
        project: Folder of the Kedro project.
        stack: Ends, when it is closed, whatever was started, even if a later server cannot start.
        servers: Functions that start one each.

    Returns:
        The servers, in that order.
    """
    started = []
    for begin in servers:
        address, process = begin(project)
        if process:
            stack.callback(process.wait)
            stack.callback(process.terminate)
        started.append((address, process))
    return started


def _run(project: Path, *command: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *command], cwd=project, env={**os.environ, **environment}
    )


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
