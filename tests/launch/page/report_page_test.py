# SPDX-License-Identifier: Apache-2.0
"""The report of one run and of two, opened as a file.

report_page_test.py [FOLDER_FOR_SCREENSHOTS]
"""

import json
import sys
import tempfile
from pathlib import Path

from browser import DESKTOP, PHONE, Browser
from fake_run import FakeRun, page

HOSTILE = "</script><img src=x onerror='document.title=`hurt`'>\u2028<!--<script>"


def write_report(folder, runs):
    """As `tutti report` writes it: the states of each run in the page's place for them."""
    path = Path(folder, "report.html")
    states = json.dumps([{"name": name, "states": states} for name, states in runs]).replace("<", "\\u003c")
    path.write_text(page("report.html").replace("/*{runs}*/", states))
    return path.as_uri()


def rows(browser, selector):
    return browser.js(
        """return [...document.querySelectorAll(arguments[0] + ' tr')].map(
        (row) => [...row.cells].map((cell) => cell.textContent))""",
        selector,
    )


def facts(browser, nth=1):
    of = f".summary:nth-child({nth}) .numbers"
    return dict(zip(browser.texts(f"{of} dt"), browser.texts(f"{of} dd"), strict=True))


def curves(browser):
    return browser.js("""return Object.fromEntries([...document.querySelectorAll('.chart')].map((chart) => [
        chart.querySelector('h3').textContent, chart.querySelectorAll('.curve').length]))""")


def check_looks(browser, url, name):
    for size, scheme in ((DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light"), (PHONE, "dark")):
        browser.look(size, scheme)
        browser.open(url)
        browser.check_layout()
        browser.shoot(f"{name}-{size[0]}-{scheme}")
    browser.look(DESKTOP)


def tells_one_run(browser, folder):
    run = FakeRun()
    run.end(102)
    url = write_report(folder, [("runs/" + run.job, run.states(102))])
    check_looks(browser, url, "report-one")
    browser.open(url)
    assert browser.js("return document.title") == f"tutti report: runs/{run.job}"
    assert {
        "duration": "1:42",
        "steps": "400",
        "loss": "0.0627",
        "accuracy": "0.974",
        "workers": "4",
        "exchange": "ps",
        "faults survived": "1 of 1",
        "step time, mean": "250 ms",
        "checkpoints": "10",
    }.items() <= facts(browser).items(), facts(browser)
    assert browser.texts(".pill") == ["ended well"]
    assert curves(browser) == {"loss": 1, "accuracy": 1, "samples/s": 1, "exposed": 1, "step time": 1}
    times = rows(browser, ".times")
    assert times[0] == ["Process", "Time", "computing", "waiting", "data", "checkpoints"]
    assert times[1] == ["worker 0", "", "75.5 s · 81 %", "12.2 s · 13 %", "3.06 s · 3.3 %", "2.04 s · 2.2 %"]
    widths = browser.js("""return [...document.querySelectorAll('.times .parts')].map((bar) =>
        [...bar.children].reduce((sum, part) => sum + part.getBoundingClientRect().width, 0)
        / bar.getBoundingClientRect().width)""")
    assert max(widths) > 0.99 and all(width <= 1.001 for width in widths), widths
    slowest = rows(browser, "[aria-label='The slowest']")
    assert [row[0] for row in slowest[1:]] == ["worker 3", "worker 2", "worker 1"] and slowest[1][
        2
    ] == "9.18 s", slowest
    assert browser.js("return [...document.querySelectorAll('.history li')].map((entry) => entry.dataset.kind)") == [
        "lost",
        "generation",
        "replaced",
    ]
    assert "checkpoint_every = 40" in browser.text(".config")
    assert not browser.element("#differences-part").is_displayed()
    browser.element("input[value=time]").click()
    assert "1:00" in browser.texts(".chart text"), browser.texts(".chart text")
    browser.check_no_errors()


def lays_two_runs_over_each_other(browser, folder):
    first, second = FakeRun(), FakeRun(job="20260331-150102-11aa22", exchange="shm", shards=0, pace=1.3, lose=False)
    first.end(102)
    second.end(77)
    url = write_report(folder, [("first", first.states(102)), ("second", second.states(77))])
    check_looks(browser, url, "report-two")
    browser.open(url)
    assert curves(browser) == {"loss": 2, "accuracy": 2, "samples/s": 2, "exposed": 2, "step time": 2}
    assert browser.texts(".chart:first-child .legend span span") == ["first", "second"]
    assert (facts(browser, 1)["exchange"], facts(browser, 2)["exchange"]) == ("ps", "shm")
    differences = {row[0]: row[1:] for row in rows(browser, "#differences")}
    assert differences[""] == ["first", "second", "Change"]
    assert differences["duration"] == ["1:42", "1:17", "−25 %"]
    assert differences["step time, mean"] == ["250 ms", "192 ms", "−23 %"]
    assert differences["samples/s, mean"][2] == "+30 %"
    assert differences["processes lost"] == ["1", "0", ""]
    assert differences["exchange"] == ['"ps"', '"shm"', ""] and differences["shards"] == ["2", "0", ""]
    assert "timeout_s" not in differences and "loss, final" in differences
    browser.js("""const plot = document.querySelector('.plot'), box = plot.getBoundingClientRect();
                  const [clientX, clientY] = [box.left + 200, box.top + 20];
                  plot.dispatchEvent(new PointerEvent('pointermove', {clientX, clientY}));""")
    tip = browser.texts(".plot .tip > div")[:3]
    assert tip[0].startswith("step ") and tip[1].startswith("first ") and tip[2].startswith("second "), tip
    browser.check_no_errors()


def puts_in_what_a_run_says_as_text_only(browser, folder):
    run = FakeRun(host=HOSTILE + "{}", names=(HOSTILE,), exchange=HOSTILE)
    run.end(20, 1, HOSTILE)
    for runs in ([(HOSTILE, run.states(20))], [(HOSTILE, run.states(20)), (HOSTILE, run.states(20))]):
        browser.open(write_report(folder, runs))
        assert browser.count(".summary") == len(runs)
        assert browser.texts(".cause") == [HOSTILE] * len(runs)
        assert HOSTILE in browser.texts(".chart h3")
        assert browser.count("img") == 0 and browser.js("return document.title").startswith("tutti report: </script>")
        browser.check_layout()
        browser.check_no_errors()


def says_what_ended_a_run(browser, folder):
    run = FakeRun()
    run.end(13, 70, "rank 1 on node0: killed by signal 9 (at step 48)")
    browser.open(write_report(folder, [("lost", run.states(13))]))
    assert browser.texts(".pill") == ["exit code 70"]
    assert browser.texts(".cause") == ["rank 1 on node0: killed by signal 9 (at step 48)"]
    assert facts(browser)["faults survived"] == "0 of 1" and facts(browser)["steps"] == "48 of 400"
    browser.check_layout()
    browser.check_no_errors()


def says_so_where_a_run_left_little(browser, folder):
    """A run that was cut off before its first step, and none at all."""
    browser.look(PHONE)
    browser.open(write_report(folder, [("cut off", [FakeRun().whole(0)])]))
    assert browser.texts(".pill") == ["last heard of while starting"]
    assert browser.element("#curves-none").is_displayed()
    browser.check_layout()
    browser.open(write_report(folder, []))
    assert browser.text("#subtitle") == "There are no states in this report."
    browser.check_no_errors()


def main(shots=None):
    shots = shots and Path(shots)
    if shots:
        shots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Browser(shots) as browser:
        for check in (
            tells_one_run,
            lays_two_runs_over_each_other,
            puts_in_what_a_run_says_as_text_only,
            says_what_ended_a_run,
            says_so_where_a_run_left_little,
        ):
            print(check.__name__.replace("_", " "), flush=True)
            check(browser, folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
