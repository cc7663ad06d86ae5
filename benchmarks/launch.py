"""Starts processes as the launcher of each backend would."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

import numpy as np

HOST = "127.0.0.1"


def launch(arguments, backend, processes=1):
    """Runs Python in processes that know of each other, and waits for them.

    Args:
        arguments: List of str, what follows `python`.
        backend: Name of the backend; `jax` or `torch` for several processes.
        processes: int; 1 is without a launcher's environment.

    Returns:
        List of what each process printed.

    Raises:
        RuntimeError: If one of them fails, with what it printed.
    """
    environments = [{}]
    if processes > 1:
        environments = _ENVIRONMENTS[backend](processes)
    running = [
        subprocess.Popen(
            [sys.executable, *arguments],
            env={**os.environ, "KERAS_BACKEND": backend, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for environment in environments
    ]
    try:
        printed = [process.communicate()[0] for process in running]
    finally:
        for process in running:
            process.kill()
    for process, text in zip(running, printed, strict=True):
        if process.returncode:
            raise RuntimeError(f"{arguments} failed:\n{text}")
    return printed


def launch_replica(backend, *arguments, devices=None, processes=1):
    """Trains by `benchmarks.replica`, in processes of its own.

    Args:
        backend: As in `launch`.
        *arguments: str, further ones of the module.
        devices: int, simulated devices of each process; `None` for one.
        processes: int.

    Returns:
        The variables of both networks and optimizers, a list of arrays, and
        the report, a dict.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "replica"
        command = ["-m", "benchmarks.replica", f"--output={path}", *arguments]
        if devices:
            command.append(f"--devices={devices}")
        if processes > 1:
            command.append("--distribute")
        launch(command, backend, processes)
        with np.load(path.with_suffix(".npz")) as file:
            state = list(file.values())
        return state, json.loads(path.with_suffix(".json").read_text())


def _jax_environments(processes):
    port = _free_port()
    return [
        {
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"{HOST}:{port}",
            "KERAS_DISTRIBUTION_NUM_PROCESSES": str(processes),
            "KERAS_DISTRIBUTION_PROCESS_ID": str(i),
        }
        for i in range(processes)
    ]


def _torch_environments(processes):
    port = _free_port()
    return [
        {
            "MASTER_ADDR": HOST,
            "MASTER_PORT": str(port),
            "WORLD_SIZE": str(processes),
            "RANK": str(i),
            "LOCAL_RANK": str(i),
            # As many threads as there are cores, in each process, would wait
            # for each other.
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        }
        for i in range(processes)
    ]


_ENVIRONMENTS = {
    "jax": _jax_environments,
    "torch": _torch_environments,
}


def _free_port():
    with socket.socket() as free:
        free.bind((HOST, 0))
        return free.getsockname()[1]
