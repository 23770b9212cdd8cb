"""Start the MLflow UI and Kedro-Viz together, for `miram ui`."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from miram.errors import MiramError
from miram.integrations.parameters import load_mlflow
from miram.serving.registry.tracking import MlflowConfig

HOST = "127.0.0.1"
_START_LIMIT = 120.0  # seconds

Process = subprocess.Popen[bytes]


def serve(
    data_root: Path | None,
    env: str | None,
    ports: tuple[int, int],
    show: Callable[[str, str], None],
) -> None:
    """Start MLflow and Kedro-Viz, show both addresses, and stop them with Ctrl-C or SIGTERM.

    `show` is called once both answer.

    Raises:
        MiramError: There is no such folder, or a server does not start.
    """
    if data_root and not data_root.is_dir():
        raise MiramError(f"there is no study at {data_root}: name the data_root of a run")
    for option, port in zip(("--mlflow-port", "--viz-port"), ports, strict=True):
        _require_free(port, option)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    config, servers = load_mlflow(env, data_root and data_root.resolve()), []
    mlflow, viz = config.tracking_uri, f"http://{HOST}:{ports[1]}"
    options = ["--host", HOST, "--port", str(ports[1])]
    options += ["--env", env] if env else []
    options += ["--params", f"data_root={data_root.resolve()}"] if data_root else []
    try:
        if config.database:  # else a server runs elsewhere
            mlflow = f"http://{HOST}:{ports[0]}"
            servers.append(start_mlflow(config, ports[0]))
            wait_for(mlflow, servers[0])
        servers.append(_start("kedro viz run --no-browser", *options))
        wait_for(viz, servers[-1])
        show(runs_page(mlflow, config), viz)
        servers[-1].wait()
    except KeyboardInterrupt:
        pass
    finally:
        for server in servers:
            server.terminate()
            server.wait()


def _require_free(port: int, option: str) -> None:
    """Check that no server answers already: its pages would be taken for those of the study."""
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        raise MiramError(
            f"port {port} of {HOST} is taken ({error.strerror}): stop its server, or name another "
            f"port by {option}"
        ) from error


def start_mlflow(config: MlflowConfig, port: int) -> Process:
    """Start MLflow on a local store."""
    store = ["--backend-store-uri", config.tracking_uri, "--host", HOST, "--port", str(port)]
    # One reader needs one process, and none of the jobs that evaluate traces.
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "0"
    return _start("mlflow ui --workers 1", *store)


def runs_page(address: str, config: MlflowConfig) -> str:
    """Address of the list of runs; of the front page while there are none."""
    from mlflow import MlflowClient

    found = MlflowClient(address).get_experiment_by_name(config.experiment)
    if not found:
        return address
    # Otherwise MLflow shows the tools for language models.
    return f"{address}/#/experiments/{found.experiment_id}?workflowType=machine_learning"


def wait_for(address: str, process: Process) -> None:
    """Wait until a server answers.

    Raises:
        MiramError: It stopped, or does not answer within two minutes.
    """
    started = time.monotonic()
    while time.monotonic() - started < _START_LIMIT:
        if process.poll() is not None:
            raise MiramError(f"the server of {address} stopped: is its port taken?")
        try:
            # An http address of this machine, made above.
            with urllib.request.urlopen(address, timeout=5):  # nosec B310
                return
        except OSError:
            time.sleep(0.5)
    raise MiramError(f"{address} does not answer")


def _start(command: str, *options: str) -> Process:
    # What they print hides the addresses; what they warn of is their own code.
    return subprocess.Popen(
        [sys.executable, "-m", *command.split(), *options],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
