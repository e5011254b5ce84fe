# SPDX-License-Identifier: Apache-2.0
"""The live page of a real run: a worker is killed before its eyes, and it takes a checkpoint and ends the run.

    page_live_test.py [--shots FOLDER] TUTTI PROGRAM [ARGUMENT...]

The program trains until it is stopped, and longer than a minute.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path

from browser import DESKTOP, PHONE, Browser, until
from report_page_test import curves

WORKERS = 4
RUN_ENDS_S = 60


class LiveRun:
    def __init__(self, folder, tutti, program):
        self.folder, self.program = Path(folder), program
        self.checkpoints = self.folder / "checkpoints"
        self.arguments = [
            tutti,
            "run",
            "launcher=local",
            f"workers={WORKERS}",
            "exchange=shm",
            f"log_dir={self.folder}/runs",
            "monitor_port=0",
            f"checkpoint_dir={self.checkpoints}",
            "--",
            *program,
        ]

    @contextlib.contextmanager
    def started(self):
        self.process = subprocess.Popen(self.arguments, env={**os.environ, "OMP_NUM_THREADS": "1"})
        try:
            yield self
        finally:
            if self.process.poll() is None:
                self.process.terminate()
                self.process.wait()

    def wait_for(self, condition):
        """What `condition` returns once it is true, unless the run ends before."""

        def found():
            assert self.process.poll() is None, f"the run ended with {self.process.returncode}"
            return condition()

        return until(found)

    def job(self):
        return self.wait_for(lambda: next((self.folder / "runs").glob("*/monitor.json"), None)).parent

    def monitor(self):
        """Where the page is, and the token."""
        path = self.job() / "monitor.json"

        def read():
            with contextlib.suppress(json.JSONDecodeError):  # half written
                return json.loads(path.read_text())

        return self.wait_for(read)

    def workers(self):
        """The processes of the program, in the order in which they were started: that of the ranks."""
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                arguments = (status.parent / "cmdline").read_bytes().split(b"\0")
                fields = status.read_text().rpartition(")")[2].split()
                if arguments[0].decode() == self.program[0] and self.is_mine(int(fields[1])):
                    found.append((int(fields[19]), int(status.parent.name)))
        return [pid for _, pid in sorted(found)]

    def is_mine(self, pid):
        while pid > 1 and pid != self.process.pid:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        return pid == self.process.pid


def history_of(browser, kind):
    """The ranks of the entries of that kind."""
    return browser.js(
        "return [...document.querySelectorAll('#history li')].filter((entry) => entry.dataset.kind === arguments[0])"
        ".map((entry) => Number(entry.dataset.rank))",
        kind,
    )


def row(browser, rank):
    """Heading -> text of a worker's row, and whether it is alive."""
    texts, alive = browser.js(
        """
      const row = document.querySelector(`tr[data-role=worker][data-rank='${arguments[0]}']`);
      return [[...row.cells].map((cell) => cell.textContent), !row.classList.contains('dead')];""",
        rank,
    )
    return dict(zip(browser.texts("#members thead th"), texts, strict=True)), alive


def points_drawn(browser):
    return browser.js(
        "return Math.max(0, ...[...document.querySelectorAll('.curve')]"
        ".map((curve) => curve.getAttribute('d').split('L').length))"
    )


def check_shown(browser, name):
    for size, scheme in ((DESKTOP, "light"), (PHONE, "dark")):
        browser.look(size, scheme)
        browser.check_layout()
        browser.shoot(f"live-{name}-{size[0]}")


def step(browser):
    return int(browser.text("#where").split("step ")[1].split()[0].replace("\u202f", ""))


def watch_a_run(browser, run):
    monitor = run.monitor()
    browser.look(DESKTOP)
    browser.open(f"{monitor['url']}#token={monitor['token']}")
    assert monitor["token"] not in browser.driver.current_url
    browser.wait_for("#connection", "live")
    browser.wait_for("#phase", "training")
    run.wait_for(lambda: browser.count("tr[data-role=worker]") == WORKERS and points_drawn(browser) > 2)
    assert history_of(browser, "lost") == []
    check_shown(browser, "before")

    workers = run.workers()
    assert len(workers) == WORKERS, workers
    os.kill(workers[1], signal.SIGKILL)
    run.wait_for(lambda: history_of(browser, "lost") == [1])
    lost_at = step(browser)
    run.wait_for(lambda: history_of(browser, "replaced") == [1])
    run.wait_for(lambda: row(browser, 1)[1] and row(browser, 1)[0]["Generation"] == "2")
    browser.wait_for("#phase", "training")
    run.wait_for(lambda: step(browser) > lost_at + 1)
    assert "signal 9" in "".join(browser.texts("#history li[data-kind=lost] .text"))
    assert browser.count(".plot .mark.bad") and browser.count(".plot .mark.good")
    assert browser.count("tr.dead") == 0
    check_shown(browser, "after")

    browser.look(DESKTOP)
    browser.element("tr[data-role=worker][data-rank='0'] button").click()
    run.wait_for(lambda: browser.text("#log-worker-0 pre"))
    browser.element("tr[data-role=worker][data-rank='0'] button").click()

    assert not list(run.checkpoints.glob("step-*"))
    run.wait_for(lambda: browser.element("#checkpoint").is_enabled())
    browser.element("#checkpoint").click()
    run.wait_for(lambda: browser.js("return document.querySelector('#answer').className.includes('good')"))
    browser.wait_for("#checkpoints", "step ")
    assert list(run.checkpoints.glob("step-*"))

    browser.element("#stop").click()
    browser.element("#ask-stop .main").click()
    browser.wait_for("#connection", "ended")
    browser.wait_for("#notice", "The run ended after ")
    run.process.wait(RUN_ENDS_S)
    check_shown(browser, "ended")
    browser.check_no_errors()


def report_it(browser, run):
    """`tutti report` makes a page of what the run has left."""
    [history] = (run.folder / "runs").glob("*/history.jsonl")
    subprocess.run([run.arguments[0], "report", history.parent], check=True)
    browser.look(DESKTOP)
    browser.open((history.parent / "report.html").as_uri())
    assert {"samples/s", "step time"} <= set(curves(browser)), curves(browser)
    kinds = browser.js("return [...document.querySelectorAll('.history li')].map((entry) => entry.dataset.kind)")
    assert kinds.count("lost") == 1 and kinds.count("replaced") == 1, kinds
    assert browser.count(".times tbody tr") == WORKERS
    browser.check_layout()
    browser.shoot("live-report")
    browser.check_no_errors()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shots", type=Path)
    parser.add_argument("tutti")
    parser.add_argument("program", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    if arguments.shots:
        arguments.shots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        with LiveRun(folder, arguments.tutti, arguments.program).started() as run, Browser(arguments.shots) as browser:
            watch_a_run(browser, run)
            report_it(browser, run)


main()
