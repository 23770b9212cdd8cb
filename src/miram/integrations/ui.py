"""Start the MLflow UI and Kedro-Viz together: `python -m miram.integrations.ui`."""

import os
import signal
import subprocess
import sys
import time
import urllib.request

from miram.errors import MiramError
from miram.integrations.parameters import load_mlflow
from miram.serving.registry.tracking import MlflowConfig

HOST = "127.0.0.1"
MLFLOW_PORT, VIZ_PORT = 5000, 4141
_START_LIMIT = 120.0  # seconds

Process = subprocess.Popen[bytes]


def main() -> None:
    """Start both servers, print their addresses, and stop them with Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    config, servers = load_mlflow(), []
    mlflow, viz = config.tracking_uri, f"http://{HOST}:{VIZ_PORT}"
    try:
        if config.database:  # else a server runs elsewhere
            mlflow = f"http://{HOST}:{MLFLOW_PORT}"
            servers.append(start_mlflow(config, MLFLOW_PORT))
            wait_for(mlflow, servers[0])
        servers.append(_start("kedro viz run --no-browser --host", HOST, "--port", str(VIZ_PORT)))
        wait_for(viz, servers[-1])
        print(f"MLflow    {runs_page(mlflow, config)}\nKedro-Viz {viz}\nCtrl-C stops", flush=True)
        servers[-1].wait()
    except KeyboardInterrupt:
        print("stopped")
    finally:
        for server in servers:
            server.terminate()
            server.wait()


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
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise MiramError(f"{address} does not answer")


def _start(command: str, *options: str) -> Process:
    return subprocess.Popen([sys.executable, "-m", *command.split(), *options])


if __name__ == "__main__":
    main()
