# SPDX-License-Identifier: Apache-2.0
"""A run that never was: its states, second by second, as a coordinator would tell them, and a server for them."""

import http.server
import json
import math
import queue
import re
import threading
import urllib.parse
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGES = ROOT / "src/common/monitor/page"
START_S = 1774960000.5
STEPS_A_SECOND = 4
STEPS = 400
TOKEN = "5f1c0a9e77"
# What the server of a run sends with every answer.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; frame-ancestors 'none'"
)

CONFIG = """program = ["./train", "--epochs", "5"]
workers = {workers}
shards = {shards}
exchange = "{exchange}"
hosts = []
timeout_s = 30
replacements = 3
checkpoint_dir = "runs/mnist"
checkpoint_every = 40
log_dir = "runs"
"""


def page(name):
    """A page with its parts in their places."""
    return re.sub(r"/\*\{(\w+\.\w+)\}\*/", lambda part: (PAGES / part[1]).read_text(), (PAGES / name).read_text())


class FakeRun:
    """Rank 1 is lost in second 12 and replaced in second 14; what it would have done is done again."""

    LOST_S, REPLACED_S = 12, 14

    def __init__(
        self,
        workers=4,
        shards=2,
        exchange="ps",
        job="20260331-142640-8c1f03",
        pace=1.0,
        lose=True,
        host="node{}",
        names=(),
    ):
        self.workers, self.shards, self.exchange, self.job = workers, shards, exchange, job
        self.pace, self.lose, self.host, self.names = pace, lose, host, ("loss", "accuracy", *names)
        self.ended_s = None
        self.exit_code, self.cause = None, ""

    def end(self, second, exit_code=0, cause=""):
        self.ended_s, self.exit_code, self.cause = second, exit_code, cause

    def lost(self, second):
        return self.lose and self.LOST_S <= second < self.REPLACED_S

    def step(self, second):
        """The pause of a replacement takes two seconds."""
        paused = min(max(second - self.LOST_S, 0), self.REPLACED_S - self.LOST_S) if self.lose else 0
        return min(STEPS, int((second - paused) * STEPS_A_SECOND * self.pace))

    def phase(self, second):
        if self.ended_s is not None and second >= self.ended_s:
            return "ended"
        return "starting" if second == 0 else "recovering" if self.lost(second) else "training"

    def value(self, name, step):
        wave = math.sin(step * 1.7) * 0.06 + math.sin(step * 0.31) * 0.04
        falling = 2.1 * math.exp(-step / 55) + 0.06
        return falling * (1 + wave) if name != "accuracy" else 1 - falling / 2.4 * (1 + wave / 2)

    def points(self, second):
        """What one second adds to the curves."""
        if second == 0 or self.lost(second) and second > self.LOST_S:
            return {}
        curves = {name: [] for name in self.names}
        before, now = self.step(second - 1), self.step(second)
        for step in range(before + 1, now + 1):
            time_s = START_S + second - 1 + (step - before) / max(1, now - before)
            for name in self.names:
                curves[name].append([time_s, step, self.value(name, step)])
        wave = 1 + 0.03 * math.sin(second * 2.1)
        curves["samples_per_s"] = [[START_S + second, now, 64 * self.workers * STEPS_A_SECOND * self.pace * wave]]
        curves["step_s"] = [[START_S + second, now, 0.25 / self.pace / wave]]
        curves["exposed"] = [[START_S + second, now, 0.12 + 0.02 * math.sin(second)]]
        return curves

    def events(self, second):
        def event(kind, text, role="worker", rank=None, generation=1):
            return {
                "time_s": START_S + second,
                "kind": kind,
                "role": role,
                "rank": rank,
                "generation": generation,
                "step": self.step(second),
                "text": text,
            }

        if second == 0:
            return [
                event("generation", f"generation 1: {self.workers} workers, {self.shards} parameter servers"),
                *(
                    event("joined", f"worker {rank} joined on {self.host.format(rank // 2)}", rank=rank)
                    for rank in range(self.workers)
                ),
            ]
        events = []
        if self.lose and second == self.LOST_S:
            events += [
                event(
                    "lost", f"rank 1 on {self.host.format(0)}: killed by signal 9 (at step {self.step(second)})", rank=1
                ),
                event("generation", "generation 2: rank 1 is replaced", generation=2),
            ]
        if self.lose and second == self.REPLACED_S:
            events.append(
                event(
                    "replaced",
                    f"rank 1 is back on {self.host.format(0)}, 2.0 s after it was lost",
                    rank=1,
                    generation=2,
                )
            )
        if self.step(second) // 40 > self.step(second - 1) // 40:
            events.append(
                event("checkpoint", f"checkpoint of step {self.step(second) // 40 * 40} written in 0.31 s", rank=0)
            )
        if second == self.ended_s:
            events.append(event("ended", "the run ended"))
        return events

    def activity(self, rank, second):
        if second == 0:
            return "starting"
        return "working" if rank % 3 and not self.lost(second) else "waiting"

    def member(self, role, rank, second):
        lost = role == "worker" and rank == 1 and self.lost(second)
        worker = role == "worker"
        slow = 3 if self.workers > 2 else 1
        waited = second * (0.03 if rank == slow else 0.12) if worker else None
        return {
            "role": role,
            "rank": rank,
            "host": self.host.format(rank // 2 if worker else rank),
            "alive": not lost,
            "generation": 2 if role == "worker" and rank == 1 and self.lose and second >= self.REPLACED_S else 1,
            "activity": "" if lost else self.activity(rank, second),
            "step": self.step(second) if worker else 0,
            "step_s": (0.25 / self.pace if second and not lost else None) if worker else None,
            "waited_s": waited,
            "caused_wait_s": second * (0.09 if rank == slow else 0.004 * (rank % 5)) if worker else 0,
            "computing_s": second * 0.8 - (waited or 0) / 2 if worker else None,
            "data_s": second * 0.03 if worker else None,
            "checkpoint_s": second * 0.02 if worker else None,
            "samples": 64 * self.step(second),
            "sent_bytes": 1_000_000 * second,
            "received_bytes": 1_000_000 * second,
            "memory_bytes": 312_000_000 + 1_000_000 * rank,
            "cpu_s": 0.98 * second + rank,
            "gpu_memory_bytes": None,
            "gpu_utilization": None,
            "heard_s": second - self.LOST_S + 0.2 if lost else 0.1 + 0.1 * (rank % 5),
        }

    def whole(self, second):
        """All that is known in that second: the first state of a stream."""
        state = self.news(second)
        state["curves"], state["history"] = {}, []
        for earlier in range(second + 1):
            for name, points in self.points(earlier).items():
                state["curves"].setdefault(name, []).extend(points)
            state["history"] += self.events(earlier)
        state["config"] = CONFIG.format(workers=self.workers, shards=self.shards, exchange=self.exchange)
        return state

    def news(self, second):
        """A later state: of curves and history only what that second adds."""
        ended = self.phase(second) == "ended"
        step = self.step(second)
        saved = step // 40 * 40
        quiet = second == 0 or self.lost(second)
        return {
            "version": 1,
            "job": self.job,
            "program": "./train --epochs 5",
            "exchange": self.exchange,
            "tutti": "0.1.0",
            "phase": self.phase(second),
            "exit_code": self.exit_code if ended else None,
            "cause": self.cause if ended else "",
            "generation": 2 if self.lose and second >= self.LOST_S else 1,
            "workers": self.workers,
            "shards": self.shards,
            "started_s": START_S,
            "now_s": START_S + second,
            "progress": {
                "epoch": step // 80 + 1,
                "epochs": 5,
                "step": step,
                "steps": STEPS,
                "samples_per_s": None if quiet else 64 * self.workers * STEPS_A_SECOND * self.pace,
                "exposed": None if quiet else 0.12,
                "left_s": None if quiet else (STEPS - step) / STEPS_A_SECOND / self.pace,
            },
            "values": {name: self.value(name, step) for name in self.names} if step else {},
            "members": [
                *(self.member("worker", rank, second) for rank in range(self.workers)),
                *(self.member("server", rank, second) for rank in range(self.shards)),
                self.member("agent", 0, second),
            ],
            "curves": self.points(second),
            "history": self.events(second),
            "checkpoint": {
                "last_step": saved or None,
                "age_s": (step - saved) / STEPS_A_SECOND if saved else None,
                "taken": step // 40,
                "failed": 0,
                "write_s": 0.31,
            },
            "commands": {"checkpoint": not ended and not quiet, "stop": not ended and second > 0},
        }

    def states(self, seconds):
        """The lines of a history.jsonl."""
        return [self.whole(0), *(self.news(second) for second in range(1, seconds + 1))]


class FakeServer:
    """Plays a coordinator's HTTP server, which shows `second`. advance() moves it on, lose_connections() hangs up."""

    def __init__(self, run):
        self.run, self.second = run, 0
        self.streams, self.commands, self.asked_logs = [], [], []
        self.logs, self.answers = {}, {}
        self.refused = 0
        self.down = False
        self.lock = threading.Lock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.get(self)

            def do_POST(self):
                outer.post(self)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                """A browser hangs up when it likes."""

        self.http = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/"

    def __enter__(self):
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.lose_connections()
        self.http.shutdown()
        self.http.server_close()

    def advance(self, seconds=1):
        for _ in range(seconds):
            with self.lock:
                self.second += 1
                news = self.run.news(self.second)
                for stream in self.streams:
                    stream.put(news)

    def lose_connections(self):
        with self.lock:
            for stream in self.streams:
                stream.put(None)

    def end(self, exit_code=0, cause=""):
        self.run.end(self.second + 1, exit_code, cause)
        self.advance()

    # --- answers

    def answer(self, request, status, kind, body):
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Security-Policy", POLICY)
        request.send_header("Content-Length", str(len(body.encode())))
        request.end_headers()
        request.wfile.write(body.encode())

    def get(self, request):
        address = urllib.parse.urlsplit(request.path)
        if self.down:
            request.close_connection = True
        elif address.path == "/":
            self.answer(request, 200, "text/html; charset=utf-8", page("page.html"))
        elif address.path == "/events":
            self.stream(request)
        elif address.path == "/log":
            query = dict(urllib.parse.parse_qsl(address.query))
            self.asked_logs.append((query["role"], int(query["rank"])))
            self.answer(
                request, 200, "text/plain; charset=utf-8", self.logs.get(self.asked_logs[-1], "nothing special\n")
            )
        else:
            self.answer(request, 404, "text/plain", "no such page\n")

    def stream(self, request):
        news = queue.Queue()
        with self.lock:
            self.streams.append(news)
            news.put(self.run.whole(self.second))
        request.send_response(200)
        request.send_header("Content-Type", "text/event-stream")
        request.send_header("Content-Security-Policy", POLICY)
        request.end_headers()
        request.wfile.write(b"retry: 200\n\n")
        try:
            while (state := news.get()) is not None:
                request.wfile.write(f"data: {json.dumps(state)}\n\n".encode())
                request.wfile.flush()
        finally:
            with self.lock:
                self.streams.remove(news)
            request.close_connection = True

    def post(self, request):
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.refused += 1
            return self.answer(request, 401, "text/plain", "wrong token\n")
        self.commands.append(request.path)
        self.answer(request, *self.answers.get(request.path, (202, "text/plain", "accepted\n")))
