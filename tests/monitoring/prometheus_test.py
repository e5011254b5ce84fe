# SPDX-License-Identifier: Apache-2.0
"""Prometheus scrapes a run in which one worker stands still for a while and then is killed. It has what docs/monitoring.md
promises, and an answer to every expression of the rules and the dashboards.

    prometheus_test.py PROMETHEUS_FOLDER TUTTI PROGRAM [ARGUMENT...]
"""
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import monitoring

DEADLINE_S = 60
SCRAPE_S = 1
WINDOW = "5s"  # in place of those that people look at: there are five scrapes in it
PREEMPTED = 75
SLOW_AND_LOST = 1

# What may be empty here: part of an expression, and why. It has to be PromQL all the same.
MAY_BE_EMPTY = {
    "tutti_gpu_": "there may be no GPU",
    "ALERTS{": "no alert holds for minutes in a run of one",
}


def until(condition, what):
    """What `condition` returns once it is true."""
    give_up = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < give_up, f"after {DEADLINE_S} s there still is not: {what}"
        time.sleep(0.1)  # only so as not to ask too often
    return found


def fetch(url, **query):
    with urllib.request.urlopen(f"{url}?{urllib.parse.urlencode(query)}" if query else url, timeout=DEADLINE_S) as answer:
        return answer.read().decode()


# --- the run


class Run:
    """Two workers and a shard, until they are told to stop. Gradients travel through sockets: others are not counted."""

    def __init__(self, folder, tutti, program, arguments):
        self.folder, self.program = folder / "runs", Path(program).resolve()
        self.process = subprocess.Popen(
            [tutti, "run", "launcher=local", "workers=2", "shards=1", "exchange=ps", "transport=tcp", "timeout_s=60",
             "monitor_port=0", f"log_dir={self.folder}", f"checkpoint_dir={folder}/checkpoints", "checkpoint_every=50", "--",
             program, *arguments],
            env={**os.environ, "OMP_NUM_THREADS": "1"})

    def __enter__(self):
        try:
            card = json.loads(until(self.card, "a monitor.json in the run's folder"))
        except BaseException:
            self.__exit__()
            raise
        self.url = card["url"].rstrip("/")
        self.address = urllib.parse.urlsplit(self.url).netloc
        [self.job] = [path.parent.name for path in self.folder.glob("*/monitor.json")]
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def card(self):
        assert self.process.poll() is None, f"the run ended with {self.process.returncode}"
        return next((path.read_text() for path in self.folder.glob("*/monitor.json")), None)

    def scrape(self):
        return fetch(self.url + "/metrics")

    def worker(self, rank):
        """The process that has the rank: it runs the program, and keeps its recording in its memory."""
        recording = f"{self.folder.resolve()}/{self.job}/recordings/rank-{rank:04}."
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if (process / "exe").resolve() == self.program and recording in (process / "maps").read_text():
                    return int(process.name)
            except OSError:
                pass  # not ours, or gone
        raise AssertionError(f"no process has the recording of rank {rank}")

    def stop(self):
        self.process.terminate()
        self.process.wait(DEADLINE_S)
        assert self.process.returncode == PREEMPTED, self.process.returncode


# --- what it shows by itself


def parse(text):
    """({family: type}, [(name, labels, value)]) of Prometheus' text format."""
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    samples = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, labels, value = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line).groups()
            samples.append((name, dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or "")), float(value)))
    return types, samples


def check_histograms(types, samples):
    for name in (name for name, kind in types.items() if kind == "histogram"):
        counts = {tuple(sorted(labels.items())): value for found, labels, value in samples if found == name + "_count"}
        sums = {tuple(sorted(labels.items())): value for found, labels, value in samples if found == name + "_sum"}
        assert counts and set(counts) == set(sums), name
        for series, count in counts.items():
            buckets = sorted((float(labels["le"]), value) for found, labels, value in samples if found == name + "_bucket" and
                             tuple(sorted((key, text) for key, text in labels.items() if key != "le")) == series)
            values = [value for _, value in buckets]
            assert len(buckets) > 5 and values == sorted(values) and buckets[-1] == (math.inf, count), (name, buckets, count)
            assert (sums[series] > 0) == (count > 0), (name, series, sums[series], count)


def check_text(text, promtool):
    subprocess.run([promtool, "check", "metrics"], input=text, text=True, check=True)
    metrics = monitoring.documented()
    types, samples = parse(text)
    optional = {name for name in metrics if name.startswith("tutti_gpu_")}
    assert set(metrics) - optional <= set(types) <= set(metrics), set(metrics) ^ set(types)
    for name, kind in types.items():
        assert kind == metrics[name].type, (name, kind, metrics[name].type)
    for name, labels, _ in samples:
        [family] = monitoring.named_in(name, metrics)[0]
        expected = metrics[family].labels | ({"le"} if name.endswith("_bucket") else set())
        assert set(labels) == expected, f"{name} has the labels {sorted(labels)}, docs/monitoring.md says {sorted(expected)}"
    for name in ["tutti_evictions_total", "tutti_refused_frames_total"]:
        reasons = {labels["reason"] for found, labels, _ in samples if found == name}
        assert reasons == set(metrics[name].words), (name, reasons)
    check_histograms(types, samples)


def has_begun(run):
    """Both workers have done steps, and a checkpoint is on the disk."""
    try:
        samples = parse(run.scrape())[1]
    except (urllib.error.URLError, ConnectionError):
        return None
    steps = [value for name, labels, value in samples if name == "tutti_step" and labels["role"] == "worker"]
    taken = sum(value for name, _, value in samples if name == "tutti_checkpoints_total")
    return len(steps) == 2 and min(steps) > 0 and taken > 0


# --- Prometheus


class Prometheus:
    """With the configuration of the repository, but for the address, and at one scrape in a second."""

    def __init__(self, programs, folder, address):
        shutil.copytree(monitoring.FOLDER / "prometheus", folder / "prometheus")
        config = (folder / "prometheus" / "prometheus.yml").read_text()
        for here, there in [("127.0.0.1:9465", address), ("scrape_interval: 5s", "scrape_interval: 1s"),
                            ("evaluation_interval: 15s", "evaluation_interval: 1s")]:
            assert config.count(here) == 1, f"prometheus.yml has '{here}' {config.count(here)} times"
            config = config.replace(here, there)
        (folder / "prometheus" / "prometheus.yml").write_text(config)
        self.process = subprocess.Popen(
            [programs / "prometheus", f"--config.file={folder}/prometheus/prometheus.yml", f"--storage.tsdb.path={folder}/data",
             "--web.listen-address=127.0.0.1:0", "--log.format=json"], stderr=subprocess.PIPE, text=True)
        self.timer = threading.Timer(DEADLINE_S, self.process.kill)

    def __enter__(self):
        self.timer.start()
        said = []
        for line in self.process.stderr:
            said.append(line)
            if address := re.search(r'"address":"(127\.0\.0\.1:[1-9]\d*)"', line):
                self.url = "http://" + address[1] + "/api/v1/"
                self.timer.cancel()
                # It must not wait until somebody reads what else it says.
                threading.Thread(target=self.process.stderr.read, daemon=True).start()
                until(self.is_ready, "a Prometheus that is ready")
                return self
        self.__exit__()
        raise AssertionError("Prometheus did not start:\n" + "".join(said))

    def __exit__(self, *_):
        self.timer.cancel()
        self.process.kill()
        self.process.wait()

    def is_ready(self):
        """It listens before it has read its data."""
        try:
            return self.ask("query", query="1")
        except AssertionError:
            return None

    def ask(self, path, **query):
        try:
            answer = json.loads(fetch(self.url + path, **query))
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {query}: {error.read().decode()}") from error
        assert answer["status"] == "success", answer
        return answer["data"]

    def now(self, expression):
        """[(labels, value)]"""
        return [(series["metric"], float(series["value"][1])) for series in self.ask("query", query=expression)["result"]]

    def value(self, expression):
        """Of one series; None where there is none."""
        found = self.now(expression)
        assert len(found) <= 1, (expression, found)
        return found[0][1] if found else None

    def since(self, begin, expression):
        """[(labels, values that are numbers)], second by second; series without any are left out."""
        found = []
        for series in self.ask("query_range", query=expression, start=begin, end=time.time(), step=1)["result"]:
            values = [number for _, text in series["values"] if not math.isnan(number := float(text))]
            if values:
                found.append((series["metric"], values))
        return found


# --- what happens in the run


def check_begin(prometheus, run):
    until(lambda: prometheus.value("up") == 1, "a scrape of the run")
    [(info, one)] = prometheus.now("tutti_run_info")
    assert one == 1 and info["run"] == run.job and info["exchange"] == "ps", info
    processes = {(labels["role"], labels["rank"]) for labels, value in prometheus.now("tutti_up") if value == 1}
    assert processes == {("worker", "0"), ("worker", "1"), ("server", "0"), ("agent", "0")}, processes
    expected = {"tutti_workers": 2, "tutti_shards": 1, "tutti_generation": 1, "sum(tutti_evictions_total)": 0,
                "tutti_replacements_total": 0}
    for expression, value in expected.items():
        assert prometheus.value(expression) == value, expression


def step_grows(prometheus):
    before = prometheus.value("max(tutti_step)") or 0
    until(lambda: (prometheus.value("max(tutti_step)") or 0) > before, "another step")


def stands(prometheus, since):
    """The run has not done a step for four seconds."""
    steps = [step for _, values in prometheus.since(since, "max(tutti_step)") for step in values]
    return len(steps) > 4 and len(set(steps[-4:])) == 1


def stand_still(prometheus, run):
    """It stands still until the run has stood for some scrapes. Whether the others have waited for it."""
    caused = f'tutti_caused_wait_seconds_total{{role="worker", rank="{SLOW_AND_LOST}"}}'
    before = prometheus.value(caused) or 0
    step_grows(prometheus)
    worker, begin = run.worker(SLOW_AND_LOST), time.time()
    os.kill(worker, signal.SIGSTOP)
    try:
        until(lambda: stands(prometheus, begin), "a run that stands")
    finally:
        os.kill(worker, signal.SIGCONT)
    step_grows(prometheus)
    give_up = time.monotonic() + 5 * SCRAPE_S
    while time.monotonic() < give_up:
        if (prometheus.value(caused) or 0) > before + 2:
            return True
        time.sleep(SCRAPE_S / 4)
    return False


def let_one_be_slow(prometheus, run):
    """The others wait for it, and the alert names it. Where it was stopped while it waited itself, which it does for a third of its time,
    it has waited as long as they have, and nobody is to blame: then it is stopped once more."""
    assert any(stand_still(prometheus, run) for _ in range(12)), "no wait that the slow worker caused"
    assert prometheus.value("sum(tutti_wait_seconds_total)") > 2
    [(guilty, _)] = prometheus.now("topk(1, tutti_caused_wait_seconds_total)")
    assert (guilty["role"], guilty["rank"]) == ("worker", str(SLOW_AND_LOST)), guilty
    assert prometheus.value("tutti_generation") == 1, "it was waited for"


def lose_one(prometheus, run):
    os.kill(run.worker(SLOW_AND_LOST), signal.SIGKILL)
    until(lambda: prometheus.value("tutti_generation") == 2, "generation 2")
    until(lambda: prometheus.value('count(tutti_up{role="worker"} == 1)') == 2, "a newcomer")
    until(lambda: prometheus.value("tutti_replacements_total") == 1, "a replacement")
    lost = [(labels["reason"], value) for labels, value in prometheus.now("tutti_evictions_total > 0")]
    assert lost == [("killed", 1)], lost
    assert prometheus.value("tutti_lost_steps_total") == 0, "a replaced worker costs no step"
    step_grows(prometheus)


def check_figures(prometheus):
    """Of the run as it goes on: what belongs together agrees."""
    for histogram in [name for name, metric in monitoring.documented().items() if metric.type == "histogram"]:
        # Of one scrape: counts and buckets are those of the same moment.
        assert prometheus.now(f'{histogram}_bucket{{le="+Inf"}} == ignoring (le) {histogram}_count'), histogram
        assert not prometheus.now(f'{histogram}_bucket{{le="+Inf"}} != ignoring (le) {histogram}_count'), histogram
    counters = ["samples_total", "pushed_bytes_total", "pulled_bytes_total", "cpu_seconds_total"]
    for expression in [f"rate(tutti_{name}[{WINDOW}])" for name in counters] + ["tutti_memory_bytes"]:
        def is_above(expression=expression):
            by_rank = {labels["rank"]: value for labels, value in prometheus.now(expression) if labels["role"] == "worker"}
            return set(by_rank) == {"0", "1"} and min(by_rank.values()) > 0
        until(is_above, f"of both workers {expression} above 0")
    loss = prometheus.value("tutti_loss")
    assert loss is not None and math.isfinite(loss)
    assert prometheus.value('tutti_logged_value{name="loss"}') is not None
    assert 0 < prometheus.value("sum(rate(tutti_step_seconds_sum[30s])) / sum(rate(tutti_step_seconds_count[30s]))") < DEADLINE_S


# --- what is asked of it


def with_short_windows(expression):
    """Minutes and hours become seconds."""
    expression = re.sub(r"\[\d+[smh]:\d+[smh]\]", f"[{WINDOW}:1s]", expression)
    expression = re.sub(r"\[\d+[smh]\]", f"[{WINDOW}]", expression)
    return re.sub(r"offset \d+[smh]", "offset 1s", expression)


def without_filter(expression):
    """Says 0 or 1 where it would say something or nothing."""
    parts = re.split(r"(\{[^}]*\})", expression)
    return "".join(part if part.startswith("{") else re.sub(r"(==|!=|>=|<=|>|<)", r"\1 bool", part) for part in parts)


def check_dashboards(prometheus, begin):
    asked, may_be_empty = 0, set()
    for name, dashboard in monitoring.dashboards().items():
        for where, expression in monitoring.expressions(dashboard):
            found = prometheus.since(begin, with_short_windows(monitoring.substituted(expression, WINDOW)))
            excuses = {part for part in MAY_BE_EMPTY if part in expression}
            may_be_empty |= excuses
            assert found or excuses, f"{name}, {where}: no data for {expression}"
            asked += 1
    assert asked > 50 and may_be_empty == set(MAY_BE_EMPTY), (asked, may_be_empty)


def check_variables(prometheus, run):
    expected = {"job": ["tutti"], "instance": [run.address], "role": ["agent", "server", "worker"], "rank": ["0", "1"]}
    for name, dashboard in monitoring.dashboards().items():
        for variable in monitoring.variables(dashboard).values():
            if variable["type"] == "query":
                series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]).groups()
                values = prometheus.ask(f"label/{label}/values", **{"match[]": monitoring.substituted(series, WINDOW)})
                assert values and values == expected.get(variable["name"], values), (name, variable["name"], values)


def alerts(prometheus):
    rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    names = re.findall(r"- alert: (\w+)", monitoring.RULES.read_text())
    assert [rule["name"] for rule in rules] == names
    return rules


def check_rules(prometheus, begin):
    for rule in alerts(prometheus):
        assert rule["health"] == "ok" and not rule.get("lastError"), rule
        expression = with_short_windows(rule["query"])
        found = prometheus.since(begin, without_filter(expression))
        assert found, f"{rule['name']}: no data for {without_filter(expression)}"
        for named in re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])):
            assert all(named in labels for labels, _ in found), f"{rule['name']} names {named}, which {found[0][0]} does not have"
        if rule["name"] == "TuttiStraggler":
            # With windows this short another rank may come for a moment; this one has to.
            named = {(labels["role"], labels["rank"]) for labels, _ in prometheus.since(begin, expression)}
            assert ("worker", str(SLOW_AND_LOST)) in named, named


def check_end(prometheus, begin):
    until(lambda: prometheus.value("up") == 0, "a scrape that fails")
    assert prometheus.now("tutti_up") == [] and prometheus.now("tutti_step") == []
    assert prometheus.since(begin, "tutti_up"), "what was scraped stays"
    [gone] = [rule for rule in alerts(prometheus) if rule["name"] == "TuttiPageGone"]
    assert prometheus.now(gone["query"]), "the page is gone"


def main(programs, tutti, program, *arguments):
    programs = Path(programs)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Run(folder, tutti, program, arguments) as run:
            until(lambda: has_begun(run), "a run that trains and takes checkpoints")
            check_text(run.scrape(), programs / "promtool")
            with Prometheus(programs, folder, run.address) as prometheus:
                begin = time.time()
                check_begin(prometheus, run)
                let_one_be_slow(prometheus, run)
                lose_one(prometheus, run)
                check_figures(prometheus)
                check_dashboards(prometheus, begin)
                check_variables(prometheus, run)
                check_rules(prometheus, begin)
                check_text(run.scrape(), programs / "promtool")
                run.stop()
                check_end(prometheus, begin)


main(*sys.argv[1:])
