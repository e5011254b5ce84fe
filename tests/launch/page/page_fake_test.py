# SPDX-License-Identifier: Apache-2.0
"""The live page against a server that plays a run: what it shows, at two sizes and in two themes, and can do.

page_fake_test.py [FOLDER_FOR_SCREENSHOTS]
"""

import sys
from pathlib import Path

from browser import DESKTOP, PHONE, SMALL_PHONE, Browser, until
from fake_run import TOKEN, FakeRun, FakeServer
from selenium.webdriver.common.keys import Keys

HOSTILE = "<img src=x onerror='document.title=`hurt`'><script>document.title='hurt'</script>"
WORKER = "tr[data-role=worker][data-rank='{}']"

# How many points each curve has on the screen.
CURVE_POINTS = """
return Object.fromEntries([...document.querySelectorAll('.chart')].map((chart) => [
  chart.querySelector('h3').textContent,
  (chart.querySelector('.curve')?.getAttribute('d').match(/[ML]/g) ?? []).length]));
"""


def open_page(browser, server, fragment=""):
    browser.open(server.url + fragment)
    browser.wait_for("#connection", "live")
    browser.wait_for("#program", server.run.news(0)["program"])


def cell(browser, rank, title, role="worker"):
    """The text of a process' cell below that heading."""
    return browser.js(
        """
      const [role, rank, title] = arguments;
      const place = [...document.querySelectorAll('#members thead th')].findIndex((head) => head.textContent === title);
      return document.querySelector(`tr[data-role=${role}][data-rank='${rank}']`)?.cells[place].textContent ?? null;""",
        role,
        rank,
        title,
    )


def kinds(browser):
    return browser.js("return [...document.querySelectorAll('#history li')].map((entry) => entry.dataset.kind)")


def numbers(browser):
    return dict(zip(browser.texts("#numbers dt"), browser.texts("#numbers dd"), strict=True))


def shows_a_run_in_which_a_rank_is_lost_and_replaced(browser):
    for size, scheme, name in ((DESKTOP, "light", "desktop-light"), (PHONE, "dark", "phone-dark")):
        with FakeServer(FakeRun()) as server:
            browser.look(size, scheme)
            open_page(browser, server)
            browser.wait_for("#phase", "starting")
            browser.check_layout()
            server.advance(11)
            browser.wait_for("#where", "epoch 1 of 5, step 44 of 400")
            assert browser.texts("tr[data-role] > th") == [
                "worker 0",
                "worker 1",
                "worker 2",
                "worker 3",
                "server 0",
                "server 1",
                "agent 0",
            ]
            until(lambda: browser.js(CURVE_POINTS) == {"loss": 44, "samples/s": 11}, browser.js(CURVE_POINTS))
            assert kinds(browser) == ["joined"] * 4 + ["generation"]
            assert browser.count(".plot .mark") == 0, "the start of a run is no fault"

            server.advance()
            browser.wait_for("#phase", "recovering")
            until(lambda: cell(browser, 1, "Activity") == "lost")
            assert browser.count("tr.dead") == 1
            assert numbers(browser)["workers"] == "3 of 4"
            assert browser.element("#checkpoint").is_enabled() is False, "the server said that it could not"
            browser.wait_for("#announce", "killed by signal 9")
            browser.check_layout()
            browser.shoot(f"page-{name}-lost")

            server.advance(2)
            browser.wait_for("#phase", "training")
            until(lambda: cell(browser, 1, "Generation") == "2" and cell(browser, 1, "Activity") != "lost")
            server.advance(26)
            browser.wait_for("#where", "epoch 2 of 5, step 152 of 400")
            assert kinds(browser)[:3] == ["replaced", "generation", "lost"], "the newest stands first"
            assert browser.texts("#history .text")[2] == "rank 1 on node0: killed by signal 9 (at step 48)"
            assert browser.js(
                "return [...document.querySelectorAll('.plot')].map((plot) => plot.querySelectorAll('.mark').length)"
            ) == [3, 3]
            assert browser.texts("#marks span > span") == ["lost", "generation", "replaced"]
            until(lambda: browser.js(CURVE_POINTS)["loss"] == 152)
            assert {
                "loss": "0.201",
                "accuracy": "0.918",
                "workers": "4",
                "generation": "2",
                "exposed": "12 %",
            }.items() <= numbers(browser).items()
            assert browser.element("#bar").get_attribute("aria-valuenow") == "38"
            assert browser.text("#left") == "1:02 left"
            assert browser.js("return document.title") == "38 % · training · ./train --epochs 5"
            assert browser.texts(".worst") == ["3.6 s"] and "worker 3 on node1" in browser.text("#blamed")
            assert cell(browser, 0, "CPU") == "98 %"
            assert browser.text("#checkpoints").startswith("neweststep 120")
            assert 'exchange = "ps"' in browser.text("#config")
            browser.check_layout()
            browser.shoot(f"page-{name}")
            if size == PHONE:
                browser.look(SMALL_PHONE, scheme)
                browser.check_layout()
                browser.look(size, "light")
                browser.check_layout()
            else:
                browser.look(size, "dark")
                browser.check_layout()
                browser.shoot("page-desktop-dark")
            browser.check_no_errors()


def lets_the_visitor_choose_curves_and_axis(browser):
    with FakeServer(FakeRun()) as server:
        browser.look(DESKTOP)
        server.second = 30
        open_page(browser, server)
        until(lambda: set(browser.js(CURVE_POINTS)) == {"loss", "samples/s"})
        browser.element("#choice input[value=accuracy]").click()
        browser.element("#choice input[value=samples_per_s]").click()
        assert set(browser.js(CURVE_POINTS)) == {"loss", "accuracy"}
        ticks = browser.texts(".chart text")
        browser.element("#log-scale").click()
        assert browser.texts(".chart text") != ticks
        browser.element("input[value=time]").click()
        assert "20 s" in browser.texts(".chart text"), browser.texts(".chart text")
        assert (
            len(
                {
                    mark
                    for mark in browser.js(
                        """return [...document.querySelectorAll('.chart:first-child .mark-line')].map(
            (line) => line.getAttribute('d').split('V')[0])"""
                    )
                }
            )
            == 2
        ), "what happened at one step happened at two times"
        open_page(browser, server)
        until(lambda: set(browser.js(CURVE_POINTS)) == {"loss", "accuracy"}, "the choice is kept")
        browser.check_no_errors()


def reads_curves_out_by_arrow_keys_and_pointer(browser):
    with FakeServer(FakeRun()) as server:
        browser.look(DESKTOP)
        server.second = 30
        open_page(browser, server)
        until(lambda: browser.js(CURVE_POINTS).get("loss") == 112)
        browser.tab_to("plot", Keys.TAB)
        said = lambda: browser.js("return document.activeElement.getAttribute('aria-valuetext')")
        browser.keys(Keys.HOME)
        assert said().startswith("step 1, "), said()
        browser.keys(Keys.ARROW_RIGHT)
        assert said().startswith("step 2, ") and browser.text(".tip").startswith("step 2"), said()
        while "killed by signal 9" not in said():
            assert not said().startswith("step 60,"), "the mark of the loss is not reached"
            browser.keys(Keys.ARROW_RIGHT)
        assert "rank 1 is back" in browser.text(".tip")
        # What comes in the meantime moves nothing.
        before = said()
        server.advance()
        until(lambda: browser.js(CURVE_POINTS)["loss"] == 116)
        assert said() == before
        browser.check_layout()
        browser.shoot("page-read-out")
        browser.keys(Keys.ESCAPE)
        assert browser.count(".tip:not([hidden])") == 0
        browser.js("""const plot = document.querySelectorAll('.plot')[1], box = plot.getBoundingClientRect();
                      const [clientX, clientY] = [box.right - 15, box.top + 20];
                      plot.dispatchEvent(new PointerEvent('pointermove', {clientX, clientY}));""")
        assert browser.js("return [...document.querySelectorAll('.tip')].map((tip) => tip.hidden)") == [True, False]
        browser.check_no_errors()


def shows_what_a_run_says_as_text_only(browser):
    hostile = FakeRun(host=HOSTILE + "{}", names=(HOSTILE, "__proto__"), exchange=HOSTILE)
    with FakeServer(hostile) as server:
        browser.look(PHONE)
        server.second = 20
        server.logs["worker", 1] = f"\x1b[31mepoch 1\x1b[0m {HOSTILE}\n" + "one more line\n" * 200
        open_page(browser, server)
        browser.wait_for("#where", "step 72")
        browser.element(WORKER.format(1) + " button").click()
        browser.wait_for("#log-worker-1", "one more line")
        assert browser.text("#log-worker-1").startswith(f"epoch 1 {HOSTILE}"), "its text, without a terminal's colours"
        for name in (HOSTILE, "__proto__"):
            browser.js(
                "[...document.querySelectorAll('#choice label')]"
                ".find((label) => label.textContent === arguments[0]).click()",
                name,
            )
            assert name in browser.texts(".chart h3")
        server.end(1, cause=HOSTILE)
        browser.wait_for("#notice", HOSTILE)
        assert cell(browser, 0, "Host") == HOSTILE + "0"
        assert browser.count("img") == 0 and browser.count("script") == 1
        assert "hurt" not in browser.js("return document.title")
        browser.check_layout()
        browser.check_no_errors()


def shows_the_end_of_a_log_while_it_is_open(browser):
    with FakeServer(FakeRun()) as server:
        browser.look(DESKTOP)
        server.second = 5
        server.logs["worker", 2] = "first line\n" * 100
        open_page(browser, server)
        until(lambda: cell(browser, 2, "Activity"))
        assert not browser.element("th.gpu").is_displayed()
        assert server.asked_logs == []
        browser.tab_to("open", Keys.TAB)
        browser.keys(Keys.TAB, Keys.TAB, Keys.ENTER)
        browser.wait_for("#log-worker-2", "first line")
        assert browser.js("return document.activeElement.getAttribute('aria-expanded')") == "true"
        at_end = """const tail = document.querySelector('#log-worker-2 .tail');
                    return tail.scrollTop + tail.clientHeight >= tail.scrollHeight - 1"""
        assert browser.js(at_end)
        server.logs["worker", 2] += "what came since\n"
        browser.wait_for("#log-worker-2", "what came since")
        assert browser.js(at_end)
        browser.check_layout()
        browser.shoot("page-log")
        browser.keys(Keys.ENTER)
        assert not browser.element("#log-worker-2").is_displayed()
        # That another is read twice takes as long as it would take to read this one again.
        asked = server.asked_logs.count(("worker", 2))
        browser.element(WORKER.format(3) + " button").click()
        until(lambda: server.asked_logs.count(("worker", 3)) == 2)
        assert server.asked_logs.count(("worker", 2)) == asked
        browser.check_no_errors()


class UnusualRun(FakeRun):
    """With GPUs, a loss that is no number for a while, and a silence in every second."""

    def value(self, name, step):
        return None if name == "loss" and step > 60 else super().value(name, step)

    def member(self, role, rank, second):
        gpu = {"gpu_memory_bytes": 3_100_000_000, "gpu_utilization": 0.87} if role == "worker" else {}
        return super().member(role, rank, second) | gpu

    def events(self, second):
        silent = {
            "time_s": 0,
            "kind": "quiet",
            "role": "worker",
            "rank": 2,
            "generation": 1,
            "step": 1,
            "text": "silent",
        }
        return super().events(second) + [silent] * 3

    def news(self, second):
        return super().news(second) | {"version": 2}


class ReturningRun(FakeRun):
    """Goes back by 40 steps in second 30, to a checkpoint."""

    def step(self, second):
        return super().step(second) - (40 if second >= 30 else 0)


def hides_what_was_done_again(browser):
    with FakeServer(ReturningRun()) as server:
        browser.look(DESKTOP)
        server.second = 35
        open_page(browser, server)
        until(lambda: browser.js(CURVE_POINTS).get("loss") == 92, "each of 92 steps once")
        browser.element("input[value=time]").click()
        assert browser.js(CURVE_POINTS)["loss"] == 108 + 20, "all that was done"
        browser.check_no_errors()


def shows_what_only_some_runs_have(browser):
    with FakeServer(UnusualRun()) as server:
        browser.look(DESKTOP)
        server.second = 50
        open_page(browser, server)
        until(lambda: browser.js(CURVE_POINTS).get("loss") == 60)
        assert numbers(browser)["loss"] == "nan" and browser.text(".chart .now") == "nan"
        assert (cell(browser, 0, "GPU memory"), cell(browser, 0, "GPU")) == ("3.1 GB", "87 %")
        assert browser.element("th.gpu").is_displayed()
        browser.wait_for("#notice", "version 2")
        assert len(kinds(browser)) == 100 and "checkpoint" not in kinds(browser)
        browser.element("#history-all").click()
        assert len(kinds(browser)) == 51 * 3 + 8
        browser.element("#with-checkpoints").click()
        assert kinds(browser).count("checkpoint") == 4
        agent = "tr[data-role=agent]"
        assert not browser.element(agent).is_displayed()
        browser.element("#agents").click()
        assert browser.element(agent).is_displayed()
        browser.check_layout()
        browser.check_no_errors()


def asks_for_the_token_once_and_before_it_stops(browser):
    with FakeServer(FakeRun()) as server:
        browser.look(DESKTOP)
        server.second = 20
        open_page(browser, server)
        until(lambda: browser.element("#checkpoint").is_enabled())
        browser.tab_to("checkpoint", Keys.TAB)
        outline = browser.js(
            "const style = getComputedStyle(document.activeElement); return [style.outlineStyle, style.outlineWidth]"
        )
        assert outline == ["solid", "2px"], outline
        browser.keys(Keys.ENTER)
        until(lambda: browser.focused() == "token")
        browser.check_layout()
        browser.shoot("page-token")
        browser.keys("not this one", Keys.ENTER)
        browser.wait_for("#ask-token[open] #ask-token-wrong:not([hidden])", "did not accept")
        assert server.commands == [] and browser.element("#token").get_attribute("value") == ""
        browser.keys(Keys.ESCAPE)
        browser.wait_for("#answer", "without a token")
        browser.keys(Keys.ENTER)
        until(lambda: browser.focused() == "token")
        assert server.refused == 1, "a wrong token is forgotten"
        browser.keys(TOKEN, Keys.ENTER)
        browser.wait_for("#answer", "accepted")
        assert server.commands == ["/checkpoint"] and browser.focused() == "checkpoint"

        server.answers["/checkpoint"] = (409, "text/plain", "a checkpoint is being written\n")
        browser.element("#checkpoint").click()
        browser.wait_for("#answer", "a checkpoint is being written")

        browser.tab_to("stop", Keys.TAB)
        browser.keys(Keys.ENTER)
        browser.wait_for("#ask-stop[open]", "Stop this run?")
        browser.keys(Keys.ESCAPE)
        until(lambda: browser.count("dialog[open]") == 0)
        assert server.commands == ["/checkpoint"] * 2, "it was not confirmed"
        browser.element("#stop").click()
        browser.element("#ask-stop .main").click()
        browser.wait_for("#answer", "accepted")
        assert server.commands == ["/checkpoint"] * 2 + ["/stop"]
        browser.check_no_errors()


def takes_the_token_from_the_address(browser):
    with FakeServer(FakeRun()) as server:
        browser.look(DESKTOP)
        server.second = 20
        open_page(browser, server, f"#token={TOKEN}")
        assert browser.driver.current_url == server.url, "it does not stay there"
        until(lambda: browser.element("#checkpoint").is_enabled())
        browser.element("#checkpoint").click()
        browser.wait_for("#answer", "accepted")
        open_page(browser, server)
        until(lambda: browser.element("#stop").is_enabled())
        browser.element("#stop").click()
        browser.element("#ask-stop .main").click()
        browser.wait_for("#answer", "accepted")
        assert server.commands == ["/checkpoint", "/stop"]
        browser.check_no_errors()


def tries_again_when_the_connection_is_lost(browser):
    with FakeServer(FakeRun()) as server:
        browser.look(PHONE)
        server.second = 20
        open_page(browser, server)
        browser.wait_for("#where", "step 72")
        before = kinds(browser)
        server.down = True
        server.lose_connections()
        browser.wait_for("#connection", "connection lost, trying again")
        browser.wait_for("#announce", "trying again")
        assert not browser.element("#stop").is_enabled()
        assert browser.text("#where") == "epoch 1 of 5, step 72 of 400", "what was known stays"
        browser.check_layout()
        server.second = 22
        server.down = False
        browser.wait_for("#connection", "live")
        browser.wait_for("#where", "step 80")
        until(lambda: browser.js(CURVE_POINTS)["loss"] == 80, "no point is shown twice")
        assert kinds(browser) == before
        browser.check_no_errors()


def says_how_a_run_ended(browser):
    for exit_code, cause, look in ((0, "", "good"), (70, "rank 1 on nodeB: killed by signal 9 (at step 17)", "bad")):
        with FakeServer(FakeRun()) as server:
            browser.look(DESKTOP)
            server.second = 20
            open_page(browser, server)
            server.end(exit_code, cause)
            browser.wait_for("#connection", "ended")
            browser.wait_for(
                "#notice", f"The run ended after 0:21 with exit code {exit_code}{f': {cause}' if cause else '.'}"
            )
            assert browser.element("#phase").get_attribute("class") == f"pill {look}"
            assert not browser.element("#stop").is_enabled() and not browser.element("#checkpoint").is_enabled()
            until(lambda: server.advance() or not server.streams, "the page hangs up")
            assert browser.text("#connection") == "ended"
            browser.check_layout()
            browser.check_no_errors()


def stays_usable_with_64_ranks(browser):
    with FakeServer(FakeRun(workers=64, shards=8)) as server:
        server.second = 30
        for size, scheme in ((DESKTOP, "light"), (PHONE, "dark")):
            browser.look(size, scheme)
            open_page(browser, server)
            until(lambda: browser.count("tr[data-role=worker]") == 64)
            assert browser.texts("tr[data-role=worker] > th") == [f"worker {rank}" for rank in range(64)]
            browser.js("""window.moved = 0;
                const in_body = ({target}) => target.tagName === 'TBODY';
                new MutationObserver((changes) => { moved += changes.filter(in_body).length; })
                  .observe(document.querySelector('#members'), {childList: true, subtree: true});
                document.querySelector("tr[data-rank='40'] button").focus();""")
            step = server.run.step(server.second + 3)
            server.advance(3)
            browser.wait_for("#where", f"step {step}")
            until(lambda: cell(browser, 63, "Step") == str(step))
            assert browser.js("return moved") == 0, "rows are changed where they are"
            assert browser.js("return document.activeElement.textContent") == "worker 40"
            browser.check_layout()
            browser.shoot(f"page-64-{size[0]}")
        browser.check_no_errors()


def main(shots=None):
    shots = shots and Path(shots)
    if shots:
        shots.mkdir(parents=True, exist_ok=True)
    with Browser(shots) as browser:
        for check in (
            shows_a_run_in_which_a_rank_is_lost_and_replaced,
            lets_the_visitor_choose_curves_and_axis,
            reads_curves_out_by_arrow_keys_and_pointer,
            shows_what_a_run_says_as_text_only,
            shows_the_end_of_a_log_while_it_is_open,
            hides_what_was_done_again,
            shows_what_only_some_runs_have,
            asks_for_the_token_once_and_before_it_stops,
            takes_the_token_from_the_address,
            tries_again_when_the_connection_is_lost,
            says_how_a_run_ended,
            stays_usable_with_64_ranks,
        ):
            print(check.__name__.replace("_", " "), flush=True)
            check(browser)
            # The next server may get the same port.
            browser.js("sessionStorage.clear()")


main(*sys.argv[1:])
