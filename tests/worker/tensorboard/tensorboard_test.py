# SPDX-License-Identifier: Apache-2.0
"""Runs write event files, and TensorBoard shows them, by its EventAccumulator and over HTTP: every value, and every step once.

    tensorboard_test.py TUTTI TEST_EXACTING MNIST
"""
import contextlib
import html
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import numpy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

DEADLINE_S = 60
OWN_TAGS = {"tutti/step_s", "tutti/data_s", "tutti/samples_per_s", "tutti/learning_rate", "tutti/gradient_norm"}
OF_TWO = {"loss", "tutti/exposed_s"} | OWN_TAGS
OF_ONE = {"loss"} | OWN_TAGS  # a process alone waits for nobody
SAMPLES = {"lost": 2 * 4, "replaced": 2 * 4, "alone": 500}
HISTOGRAMS_EVERY = {"lost": 5, "alone": 1}
HISTOGRAMS_AT = {"lost": [5, 10, 15, 20], "replaced": [], "alone": list(range(1, 9))}
# Of the mnist example: how many numbers a gradient has.
SIZES = {"conv1.weight": 16 * 9, "conv1.bias": 16, "conv2.weight": 32 * 16 * 9, "conv2.bias": 32, "fc1.weight": 128 * 32 * 7 * 7,
         "fc1.bias": 128, "fc2.weight": 10 * 128, "fc2.bias": 10}
RATES = {"lost": 0.05, "replaced": 0.05, "alone": 0.003}


def until(condition):
    """What `condition` returns once it is true."""
    give_up = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < give_up, condition
    return found


# --- what the runs are


class Runs:
    def __init__(self, folder, tutti, exacting, mnist):
        self.folder, self.tutti, self.exacting, self.mnist = folder, tutti, exacting, mnist
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def logs(self, name):
        return self.folder / "logs" / name

    def losses(self, name):
        """Step and loss as the program logged them, the loss as a float32."""
        lines = (self.folder / name).read_text().splitlines()
        return [(int(step), float(numpy.float32(loss))) for step, loss in (line.split() for line in lines)]

    @contextlib.contextmanager
    def of_two(self, name, losses, configuration, arguments):
        """Two workers, whose 20 steps take a fifth of a second each."""
        process = subprocess.Popen(
            [self.tutti, "run", "launcher=local", "workers=2", "exchange=shm", f"log_dir={self.folder}/runs",
             f"tensorboard={self.logs(name)}", *configuration, "--", self.exacting, "--hold-ms", "200", "--losses",
             self.folder / losses, *arguments], env=self.environment)
        try:
            yield process
            process.wait(DEADLINE_S)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()

    def lose_and_go_on(self):
        """Rank 1 is lost in step 19, and a second run goes on from the checkpoint of step 10."""
        checkpoints = self.folder / "checkpoints"
        configuration = ["replacements=0", f"checkpoint_dir={checkpoints}", "checkpoint_every=10",
                         f"tensorboard_histograms_every={HISTOGRAMS_EVERY['lost']}"]
        with self.of_two("lost", "losses-before", configuration,
                         ["--kill-at", "18", "--kill-after", checkpoints / "step-000000000010"]) as run:
            pass
        assert run.returncode not in (None, 0)
        with self.of_two("lost", "losses-after", configuration, []) as run:
            pass
        assert run.returncode == 0

    def replace_rank_0(self):
        """Rank 0 is killed after its first steps, and another process takes its place."""
        with self.of_two("replaced", "losses-replaced", [], []) as run:
            first = until(lambda: list(self.logs("replaced").glob("events.out.tfevents.*")))[0]
            until(lambda: len(losses_in(first)) > 2)
            os.kill(int(first.name.split(".")[-1]), signal.SIGKILL)
        assert run.returncode == 0
        return first

    def train_alone(self):
        subprocess.run([self.mnist, "--epochs", "1", "--batch", "500"], check=True, timeout=DEADLINE_S,
                       env={**self.environment, "TUTTI_TENSORBOARD": str(self.logs("alone")),
                            "TUTTI_TENSORBOARD_HISTOGRAMS_EVERY": str(HISTOGRAMS_EVERY["alone"])})


# --- what their files hold


def read(logs):
    accumulator = EventAccumulator(str(logs), size_guidance={"histograms": 0})
    accumulator.Reload()
    return accumulator


def points(accumulator, tag):
    return [(event.step, event.value) for event in accumulator.Scalars(tag)]


def losses_in(logs):
    accumulator = read(logs)
    return points(accumulator, "loss") if "loss" in accumulator.Tags()["scalars"] else []


def steps(pairs):
    return [step for step, _ in pairs]


def steps_of_histograms(accumulator, tag):
    return [event.step for event in accumulator.Histograms(tag)]


def check_configuration(markdown, logs):
    assert markdown.startswith("```\n") and markdown.endswith("```\n"), markdown
    assert tomllib.loads(markdown[4:-4])["tensorboard"] == str(logs), markdown


def check_own_numbers(accumulator, samples_per_step, rate):
    assert {value for _, value in points(accumulator, "tutti/learning_rate")} == {float(numpy.float32(rate))}
    seconds, speeds = points(accumulator, "tutti/step_s"), points(accumulator, "tutti/samples_per_s")
    assert steps(seconds) == steps(speeds)
    for (_, each), (_, speed) in zip(seconds, speeds, strict=True):
        # Both were rounded to float32.
        assert each > 0 and abs(each * speed / samples_per_step - 1) < 1e-6, (each, speed)


def check_waits(accumulator):
    waits = dict(points(accumulator, "tutti/exposed_s"))
    for step, seconds in points(accumulator, "tutti/step_s"):
        assert 0.2 <= seconds, "the program holds each step for so long"
        assert 0 <= waits[step] < seconds


def surely(tags):
    """Without the one that is there only if a run lived to tell that it had stood still."""
    return set(tags) - {"tutti/checkpoint_s"}


def check_files(runs, name, tags, files):
    logs = runs.logs(name)
    accumulator = read(logs)
    assert len(list(logs.iterdir())) == files
    assert surely(accumulator.Tags()["scalars"]) == tags, accumulator.Tags()
    configurations = accumulator.Tensors("configuration")
    assert [event.step for event in configurations] == [0] * files
    for event in configurations:
        check_configuration(event.tensor_proto.string_val[0].decode(), logs)
    for tag in accumulator.Tags()["histograms"]:
        assert steps_of_histograms(accumulator, tag) == HISTOGRAMS_AT[name], tag
    assert bool(accumulator.Tags()["histograms"]) == bool(HISTOGRAMS_AT[name])
    check_own_numbers(accumulator, SAMPLES[name], RATES[name])
    return accumulator


def check_lost(runs):
    before, after = runs.losses("losses-before"), runs.losses("losses-after")
    assert steps(before) == list(range(1, 19)), "the loss came in step 19"
    assert steps(after) == list(range(11, 21)), "the rest went on from step 10"
    whole = check_files(runs, "lost", OF_TWO, files=2)
    first, second = sorted(runs.logs("lost").iterdir(), key=lambda path: path.stat().st_mtime)
    # The end of the run takes rank 0 along, which may not have written the last second's five or six steps.
    kept = losses_in(first)
    assert kept == before[:len(kept)] and len(kept) > 11, kept
    assert losses_in(second) == after
    assert points(whole, "loss") == before[:10] + after, "what was done twice is shown once"
    assert {1, 11} <= set(steps(points(whole, "tutti/learning_rate"))), "the first step of each process"
    check_waits(whole)


def check_replaced(runs, first):
    whole = check_files(runs, "replaced", OF_TWO, files=2)
    [second] = set(runs.logs("replaced").iterdir()) - {first}
    before, after = losses_in(first), losses_in(second)
    assert steps(before) == list(range(1, len(before) + 1)) and before
    assert steps(after) == list(range(after[0][0], 21)) and 1 < after[0][0]
    logged = runs.losses("losses-replaced")
    assert set(points(whole, "loss")) <= set(logged)
    assert set(before + after) <= set(logged)
    kept = [point for point in before if point[0] < after[0][0]]
    assert points(whole, "loss") == kept + after


def check_alone(runs):
    alone = check_files(runs, "alone", OF_ONE, files=1)
    assert steps(points(alone, "loss")) == list(range(1, 9))
    assert set(alone.Tags()["histograms"]) == {f"gradient/{name}" for name in SIZES}
    squares = dict.fromkeys(HISTOGRAMS_AT["alone"], 0)
    for name, size in SIZES.items():
        for event in alone.Histograms(f"gradient/{name}"):
            found = event.histogram_value
            assert found.num == size == sum(found.bucket) and len(found.bucket) == 30, (name, found)
            assert found.min <= found.bucket_limit[0] and found.bucket_limit[-1] == found.max, (name, found)
            squares[event.step] += found.sum_squares
    norms = points(alone, "tutti/gradient_norm")
    assert 1 in steps(norms)
    for step, norm in norms:
        assert abs(norm / squares[step] ** 0.5 - 1) < 1e-6, (step, norm, squares[step])
    times = [event.wall_time for event in alone.Scalars("loss")]
    written = next(runs.logs("alone").iterdir()).stat().st_mtime
    assert times == sorted(times) and written - DEADLINE_S < times[0] and times[-1] <= written, (times, written)


# --- what TensorBoard's page is given


class Board:
    """TensorBoard on a port that the system chooses, ended with the block."""

    def __init__(self, logs):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tensorboard.main", "--load_fast=false", "--host=127.0.0.1", "--port=0", f"--logdir={logs}"],
            stderr=subprocess.PIPE, text=True)
        self.timer = threading.Timer(DEADLINE_S, self.process.kill)

    def __enter__(self):
        self.timer.start()
        said = []
        for line in self.process.stderr:
            said.append(line)
            if address := re.search(r"127\.0\.0\.1:\d+/", line):
                self.address = "http://" + address[0]
                # It must not wait until somebody reads what else it says.
                threading.Thread(target=self.process.stderr.read, daemon=True).start()
                return self
        self.__exit__()
        raise AssertionError("TensorBoard did not start:\n" + "".join(said))

    def __exit__(self, *_):
        self.timer.cancel()
        self.process.kill()
        self.process.wait()

    def ask(self, path, **query):
        """None where TensorBoard knows nothing of what is asked for."""
        try:
            with urllib.request.urlopen(f"{self.address}data/{path}?{urllib.parse.urlencode(query)}", timeout=DEADLINE_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError:
            return None


def rows_shown(histogram):
    """As the page has it: left and right end of each bucket and how many numbers it holds; without empty buckets at the ends."""
    found = histogram.histogram_value
    limits = list(found.bucket_limit)
    rows = list(zip([found.min, *limits[:-1]], limits, found.bucket, strict=True))
    assert rows[0][2] > 0 and rows[-1][2] > 0, "the least and the greatest number are somewhere"
    return [[float(numpy.float32(number)) for number in row] for row in rows]


def check_histograms_shown(board, run, accumulator):
    tags = accumulator.Tags()["histograms"]
    until(lambda: set((board.ask("plugin/histograms/tags") or {}).get(run, [])) == set(tags))
    for tag in tags:
        expected = [[event.wall_time, event.step, rows_shown(event)] for event in accumulator.Histograms(tag)]
        until(lambda: board.ask("plugin/histograms/histograms", run=run, tag=tag) == expected)


def check_pages(runs):
    with Board(runs.folder / "logs") as board:
        # It answers before it has read all files.
        until(lambda: set(board.ask("runs") or []) == set(SAMPLES))
        for run in SAMPLES:
            expected = {tag: [[event.wall_time, event.step, event.value] for event in read(runs.logs(run)).Scalars(tag)]
                        for tag in (OF_ONE if run == "alone" else OF_TWO)}
            until(lambda: surely((board.ask("plugin/scalars/tags") or {}).get(run, [])) == set(expected))
            for tag, values in expected.items():
                until(lambda: board.ask("plugin/scalars/scalars", run=run, tag=tag) == values)
            check_histograms_shown(board, run, read(runs.logs(run)))
            assert board.ask("plugin/text/tags")[run] == ["configuration"]
            texts = board.ask("plugin/text/text", run=run, tag="configuration")
            assert texts
            for shown in texts:
                [code] = re.findall(r"<pre><code>(.*?)</code></pre>", shown["text"], re.DOTALL)
                assert tomllib.loads(html.unescape(code))["tensorboard"] == str(runs.logs(run))


def main(programs):
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(Path(folder), *programs)
        runs.lose_and_go_on()
        check_lost(runs)
        check_replaced(runs, runs.replace_rank_0())
        runs.train_alone()
        check_alone(runs)
        check_pages(runs)


main(sys.argv[1:])
