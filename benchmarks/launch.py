"""Starts processes as the launcher of each backend would."""

import os
import socket
import subprocess
import sys

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
