# SPDX-License-Identifier: Apache-2.0
"""How tutti and its peers are started, each in processes of its own. Every call runs one of them once, to its end, and returns the
lines it printed as dictionaries."""
import json
import os
import pathlib
import socket
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = ROOT / "build/release/bin"
PEERS = ROOT / "tests/perf/peers"
PYTHON = ROOT / ".cache/perf/venv/bin/python3"
SECONDS_MAX = 300
SKIPPED = 77

# A quarter of a training step of the mlp is the C library handing memory back and asking for it again: with these it keeps it.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(2 << 30)}


class NotMeasured(Exception):
    """The text says why."""


def environment(added):
    env = {name: value for name, value in os.environ.items() if name != "OMPI_MCA_btl" and not name.startswith("TUTTI_")}
    # MPI stays on loopback, may be root's, and takes what it takes by default between processes of one host.
    env |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_btl_tcp_if_include": "lo", "OMPI_MCA_oob_tcp_if_include": "lo"}
    return env | added


def lines(output):
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def first_line(text):
    told = [line for line in text.splitlines() if line.strip() and not line.startswith("tutti: exchange")]
    return told[0] if told else "it said nothing"


def last_error(text):
    told = [line for line in text.splitlines() if "Error" in line]
    return told[-1] if told else first_line(text)


def run(commands, env):
    """Runs one process for each (command, variables of its own); the first one's lines."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = [(open(f"{folder}/out{i}", "w+"), open(f"{folder}/err{i}", "w+")) for i in range(len(commands))]
        processes = [subprocess.Popen([str(word) for word in command], cwd=folder, env=environment(env | own), stdout=out, stderr=err)
                     for (command, own), (out, err) in zip(commands, outputs)]
        try:
            codes = [process.wait(timeout=SECONDS_MAX) for process in processes]
        except subprocess.TimeoutExpired:
            raise NotMeasured(f"no end within {SECONDS_MAX} s") from None
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        texts = [(pathlib.Path(out.name).read_text(), pathlib.Path(err.name).read_text()) for out, err in outputs]
        for pair in outputs:
            for file in pair:
                file.close()
    for code, (out, err) in zip(codes, texts):
        if code == SKIPPED:
            raise NotMeasured(first_line(err))
        if code != 0:
            raise NotMeasured(f"exit code {code}: {last_error(err + out)}")
    return lines(texts[0][0])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def need(path):
    if not pathlib.Path(path).exists():
        raise NotMeasured(f"{pathlib.Path(path).name} is not built")


def tutti(arguments, ranks, env=None):
    need(BIN / "tutti-bench")
    return run([([BIN / "tutti", "bench", *arguments, "--ranks", ranks, "--json"], {})], env or {})


def mpi(program, arguments, ranks, env=None):
    need(program[0])
    return run([(["mpirun", "-np", ranks, "--bind-to", "none", "--oversubscribe", *program, *arguments], {})], env or {})


def torch(program, arguments, ranks, env=None):
    """Ranks that meet the way torch.distributed's do."""
    need(program[0])
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(ranks)}
    return run([([*program, *arguments], meeting | {"RANK": str(rank)}) for rank in range(ranks)], env or {})


def ddp(arguments, ranks, env=None):
    return torch([PYTHON, PEERS / "ddp.py"], arguments, ranks, env)


def reducer(arguments, ranks, env=None):
    return torch([BIN / "peer_reducer"], arguments, ranks, env)


def horovod(arguments, ranks, env=None):
    need(PYTHON)
    if not list((PYTHON.parents[1] / "lib").glob("python3*/site-packages/horovod/torch")):
        raise NotMeasured("Horovod is not built")
    return mpi([PYTHON, PEERS / "horovod_bench.py"], arguments, ranks, env)


def mpi_allreduce(arguments, ranks, env=None):
    return mpi([BIN / "peer_mpi_allreduce"], arguments, ranks, env)


def mpi_step(arguments, ranks, env=None):
    return mpi([BIN / "peer_mpi_step"], arguments, ranks, env)


def four_hosts(what, rounds):
    return run([([ROOT / "tests/perf/four_hosts.sh", what, rounds, BIN, PYTHON], {})], {})
