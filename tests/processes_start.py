"""Runs in processes of their own, also two as one job, and what they leave."""

import contextlib
import os
import random
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import orbax.checkpoint as ocp


def environment(cache, devices=1):
    """Return the environment of a process with so many simulated devices, which keeps what it compiles in a folder."""
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        # The last one of a flag counts; the others are the suite's own, so that both compile alike.
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",  # SIGABRT then shows where every thread is
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),  # of the network
    }


@contextlib.contextmanager
def pair(arguments, logs, slurm=False, folders=(None, None)):
    """Start ``jaxseg.train`` twice as one job, told by flags or by SLURM's variables; end both when this is left.

    ``folders`` are the working directories, this process's by default.
    """
    started = []
    job = free_job()
    try:
        for i in range(2):
            variables, flags = {}, []
            if slurm:
                values = {
                    "JOB_ID": job,
                    "STEP_NODELIST": "127.0.0.1",
                    "NTASKS": 2,
                    "PROCID": i,
                    "LOCALID": i,
                    "STEP_NUM_NODES": 1,
                }
                variables = {f"SLURM_{name}": str(value) for name, value in values.items()}
                flags = ["--distributed"]
            else:
                flags = ["--coordinator", f"127.0.0.1:{port_of(job)}", "--num-processes", "2", "--process-id", str(i)]
            with (logs / f"process{i}.log").open("w") as log:
                command = [sys.executable, "-m", "jaxseg.train", *arguments, *flags]
                env = {**environment(logs / "xla"), **variables}
                started.append(subprocess.Popen(command, env=env, cwd=folders[i], stdout=log, stderr=subprocess.STDOUT))
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def start_single(arguments, logs):
    """Start ``jaxseg.train`` as one process of two devices."""
    command = [sys.executable, "-m", "jaxseg.train", *arguments]
    with (logs / "single.log").open("w") as log:
        return subprocess.Popen(command, env=environment(logs / "xla", devices=2), stdout=log, stderr=subprocess.STDOUT)


def said(logs, i):
    """Return what a process has said, on one line."""
    return " ".join((logs / f"process{i}.log").read_text().split())


def state_of(workdir, step):
    """Read every array of a checkpoint."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it goes onto the devices that it was saved from, as wanted
        return ocp.PyTreeCheckpointer().restore((workdir / "checkpoints" / str(step) / "state").absolute())


def port_of(job):
    """Return the port at which JAX lets the processes of a SLURM job meet."""
    return job % 2**12 + 65535 - 2**12 + 1


def free_job():
    """Return the number of a job whose port is free."""
    while True:
        job = random.SystemRandom().randrange(1, 2**12)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port_of(job)))
            return job
