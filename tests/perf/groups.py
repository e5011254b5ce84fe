# SPDX-License-Identifier: Apache-2.0
"""What is measured, in groups. Each group runs tutti and its peers in turns, so that the machine's mood meets all of them, and makes
rows of medians of ratios: the ratio of two tools is taken within a turn."""
import collections
import statistics

import tools

MIB = 1 << 20
SIZES = [4 << 10, 4 * MIB, 32 * MIB, 128 * MIB]
SIZE_NAMES = {4 << 10: "4 KiB", 4 * MIB: "4 MiB", 32 * MIB: "32 MiB", 128 * MIB: "128 MiB"}
WIRE_BYTES_PER_S = 956e6 / 8   # what TCP carries over 1 Gbit/s
PS_LITE_BYTES_PER_S = 0.52e9   # each way a worker, 2 servers x 2 workers, measured on two cores like these

FIGURES = ("p50_us", "p99_us", "bytes_per_s", "exposed_us", "alone_us", "bare_us", "cost", "mean_cost")

# at_least: whether a larger number is the better one. value is None where it could not be measured; why says so.
Row = collections.namedtuple("Row", "what against target at_least value why")


class Turns:
    """The lines of each tool by turn; what a tool failed by is kept, and it is not started again."""

    def __init__(self, count, started):
        self.lines = collections.defaultdict(list)
        self.failed = {}
        for turn in range(count):
            for name, start in started.items():
                if name in self.failed:
                    continue
                print(f"turn {turn + 1}: {name}", flush=True)
                try:
                    self.lines[name].append(start())
                except tools.NotMeasured as why:
                    print(f"  not measured: {why}", flush=True)
                    self.failed[name] = str(why)

    def values(self, name, key, **wanted):
        """One number for each turn; empty where the tool failed."""
        if name in self.failed:
            return []
        return [next(line[key] for line in turn if all(line[k] == v for k, v in wanted.items())) for turn in self.lines[name]]

    def row(self, what, against, target, at_least, names, ratio):
        """`ratio` makes the numbers of one turn of each of `names`' (name, key, wanted) one number."""
        why = "; ".join(f"{name}: {self.failed[name]}" for name, _, _ in names if name in self.failed)
        if why:
            return Row(what, against, target, at_least, None, why)
        columns = [self.values(name, key, **wanted) for name, key, wanted in names]
        ratios = [ratio(*numbers) for numbers in zip(*columns)]
        if any(r is None for r in ratios):
            return Row(what, against, target, at_least, None, "the peer's exposed communication is lost in the noise")
        return Row(what, against, target, at_least, statistics.median(ratios), "")

    def medians(self, group):
        """The figures behind the rows: every line's medians over the turns."""
        figures = []
        for name, turns in self.lines.items():
            for lines in zip(*turns):
                keys = [k for k in FIGURES if lines[0].get(k) is not None]
                figures.append({"group": group, "tool": name} |
                               {k: lines[0][k] for k in ("bench", "exchange", "ranks", "shards", "bytes", "model")} |
                               {"memory": lines[0].get("memory")} |
                               {k: statistics.median(line[k] for line in lines) for k in keys})
        figures += [{"group": group, "tool": name, "failed": why} for name, why in self.failed.items()]
        return figures


def all_reduce(options):
    arguments = ["allreduce", "--bytes", ",".join(map(str, SIZES)), "--rounds", options.rounds]
    ours = [*arguments, "--exchange", options.exchange]
    rows, figures = [], []
    for ranks in (2, 4):
        turns = Turns(options.turns, {
            "tutti": lambda: tools.tutti([*ours, "--vs", "memcpy"], ranks),
            "tutti, anywhere": lambda: tools.tutti([*ours, "--memory", "anywhere"], ranks),
            "Gloo": lambda: tools.reducer(arguments, ranks),
            "Horovod": lambda: tools.horovod(arguments, ranks),
            "OpenMPI": lambda: tools.mpi_allreduce(arguments, ranks)})
        figures += turns.medians("allreduce")
        rows += all_reduce_rows(turns, ranks)
    return rows, figures


def all_reduce_rows(turns, ranks):
    def time(name, size, bench="allreduce"):
        return (name, "p50_us", {"bytes": size, "bench": bench})

    # A peer that could not be built is left out of "the fastest"; its own figures say that it was.
    peers = [name for name in ("Gloo", "Horovod", "OpenMPI") if name not in turns.failed] or ["OpenMPI"]
    rows = []
    for size in (32 * MIB, 128 * MIB):
        title = f"all-reduce {SIZE_NAMES[size]}, {ranks} ranks"
        fastest, against = [time(name, size) for name in peers], "the fastest of " + ", ".join(peers)
        target = 4.5 if (size, ranks) == (128 * MIB, 2) else 5
        rows.append(turns.row(f"{title}, tensors in the exchange's memory", against, target, True, [time("tutti", size), *fastest],
                              lambda own, *others: min(others) / own))
        rows.append(turns.row(f"{title}, tensors in the exchange's memory", "memcpy by every rank at once", 1, True,
                              [time("tutti", size), time("tutti", size, "memcpy")], lambda own, copy: copy / own))
        rows.append(turns.row(f"{title}, tensors anywhere", against, 2, True, [time("tutti, anywhere", size), *fastest],
                              lambda own, *others: min(others) / own))
    for size, against, target in ((4 * MIB, "OpenMPI", 3), (4 << 10, "OpenMPI", 1), (4 << 10, "Gloo", 100)):
        rows.append(turns.row(f"all-reduce {SIZE_NAMES[size]}, {ranks} ranks", against, target, True,
                              [time("tutti", size), time(against, size)], lambda own, other: other / own))
    return rows


def step(options):
    arguments = ["step", "--model", "mlp", "--rounds", options.rounds]
    turns = Turns(options.turns, {
        "tutti": lambda: tools.tutti([*arguments, "--exchange", options.exchange], 2),
        "DDP over Gloo": lambda: tools.ddp(arguments, 2),
        "Horovod": lambda: tools.horovod(arguments, 2),
        "per-tensor MPI_Allreduce": lambda: tools.mpi_step(arguments, 2)})
    rows = [turns.row("step mlp, 2 ranks, each as its users run it", against, target, False,
                      [("tutti", "p50_us", {}), (against, "p50_us", {})], lambda own, other: own / other)
            for against, target in (("DDP over Gloo", 0.65), ("Horovod", 0.55), ("per-tensor MPI_Allreduce", 0.7))]
    return rows, turns.medians("step")


def exposed(options):
    rows, figures = [], []
    for model in ("mlp", "lenet"):
        arguments = ["step", "--model", model, "--rounds", options.rounds]
        turns = Turns(options.turns, {
            "tutti": lambda: tools.tutti([*arguments, "--exchange", options.exchange], 2, tools.KEEP_MEMORY),
            "DDP over Gloo": lambda: tools.ddp(arguments, 2, tools.KEEP_MEMORY),
            "c10d::Reducer over Gloo": lambda: tools.reducer(arguments, 2, tools.KEEP_MEMORY)})
        figures += turns.medians("exposed")
        rows.append(turns.row(f"step {model}, 2 ranks, same malloc settings: exposed communication", "DDP over Gloo", 0.25, False,
                              [("tutti", "exposed_us", {}), ("DDP over Gloo", "exposed_us", {})],
                              lambda own, other: own / other if other > 0 else None))
    return rows, figures


def push_pull(options):
    arguments = ["pushpull", "--rounds", options.rounds]
    forced = [*arguments, "--transport", "tcp"]
    turns = Turns(options.turns, {
        "tutti, 1 x 1, tcp": lambda: tools.tutti([*forced, "--shards", 1, "--vs", "tcp"], 1),
        "tutti, 2 x 2": lambda: tools.tutti([*arguments, "--shards", 2], 2),
        "tutti, 2 x 2, tcp": lambda: tools.tutti([*forced, "--shards", 2], 2)})

    def speed(name, bench="pushpull"):
        return (name, "bytes_per_s", {"bench": bench})

    title = "push-pull 100 MB, 2 shards x 2 workers, same host"
    return [turns.row("push-pull 100 MB, 1 shard x 1 worker, forced TCP, both ways added", "loopback TCP, one stream one way", 0.8, True,
                      [speed("tutti, 1 x 1, tcp"), speed("tutti, 1 x 1, tcp", "tcp")], lambda own, tcp: 2 * own / tcp),
            turns.row(title, "0.52 GB/s each way a worker (ps-lite)", 8, True, [speed("tutti, 2 x 2")],
                      lambda own: own / PS_LITE_BYTES_PER_S),
            turns.row(title, "forced TCP of ours", 3, True, [speed("tutti, 2 x 2"), speed("tutti, 2 x 2, tcp")],
                      lambda own, tcp: own / tcp)], turns.medians("pushpull")


def hosts(options):
    turns = Turns(options.turns, {name: lambda what=what: tools.four_hosts(what, options.host_rounds) for name, what in (
        ("tutti", "tutti"), ("tutti, bfloat16", "tutti-bf16"), ("DDP over Gloo", "ddp"), ("DDP over Gloo, fp16 hook", "ddp-fp16"))})

    def wire(name, target, share, words):
        keys = [(name, key, {}) for key in ("p50_us", "bytes", "ranks", "forward_us", "optimizer_us")]
        return turns.row(f"step mlp on 4 hosts at 1 Gbit/s, {words}", "the wire, forward and optimizer", target, False, keys,
                         lambda own, size, ranks, forward, optimizer:
                         own / (2 * (ranks - 1) / ranks * size * share / WIRE_BYTES_PER_S * 1e6 + forward + optimizer))

    def peer(name, against, target, words):
        return turns.row(f"step mlp on 4 hosts at 1 Gbit/s, {words}", against, target, False,
                         [(name, "p50_us", {}), (against, "p50_us", {})], lambda own, other: own / other)

    return [wire("tutti", 1.04, 1, "float32"), wire("tutti, bfloat16", 1.08, 0.5, "bfloat16"),
            peer("tutti", "DDP over Gloo", 0.97, "float32"),
            peer("tutti, bfloat16", "DDP over Gloo, fp16 hook", 0.95, "bfloat16")], turns.medians("hosts")


def guards(options):
    rows, figures = [], []
    for model in ("mlp", "lenet"):
        # Rounds of its own: some checkpoints and comparisons of the replicas have to be among them.
        turns = Turns(options.turns, {"tutti": lambda model=model: tools.tutti(
            ["guards", "--model", model, "--exchange", options.exchange], 2, tools.KEEP_MEMORY)})
        figures += turns.medians("guards")
        for key, words in (("cost", "a step"), ("mean_cost", "all steps, with checkpoints and comparisons of replicas")):
            rows.append(turns.row(f"{model}, 2 ranks, all guards on: {words}", "a bare loop", 1.01, False, [("tutti", key, {})],
                                  lambda cost: 1 + cost))
    return rows, figures


GROUPS = {"allreduce": all_reduce, "step": step, "exposed": exposed, "pushpull": push_pull, "guards": guards, "hosts": hosts}
