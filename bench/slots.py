"""How long an hour of some millions of events takes to be built, and how quickly polls are answered meanwhile.

    bench/slots [EVENTS]

Each on a new data folder: an hour of every type of event (2,000,000 of them) that came in one file, the same in requests of 500 rows, an hour of as many pages
whose texts do not pack, which are several full packages, and as many events of a month of history, all of whose hours are built when somebody asks. Prints for each
the time from when it is due until all types are there, the times of polls meanwhile, the process's memory, and the packages.
"""

import datetime
import gzip
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

SHARES = {"visit": 5, "page": 25, "action": 35, "custom": 20, "page_variables": 5, "conversion_variables": 3,
          "visitor_variables": 2, "ad_click": 3, "ad_activation": 2}
TYPES = ["visit", "page", "action", "action_tag", "custom_event", "ads_track_activation", "ads_track_click", "pvar", "evar"]
PACKAGE = 64 << 20
DAYS = 31
BEIJING = datetime.timezone(datetime.timedelta(hours=8))


def mixed(count):
    chosen = random.Random(7)
    kinds = chosen.choices(list(SHARES), weights=list(SHARES.values()), k=count)
    for n, kind in enumerate(kinds):
        row = {"type": kind, "time": 1767225600000 + n, "user_id": f"user-{n % 90_001:08}", "session_id": f"session-{n // 9:010}",
               "platform": "Web", "domain": "shop.example", "path": f"/products/{n % 7919}", "query": f"a={n % 13}&b={n % 17}",
               "title": f"Product number {n % 7919}", "page_id": f"{n:023}", "referrer": f"https://shop.example/search?q={n % 5003}"}
        if kind == "action":
            row |= {"request_type": "clck", "position": n % 20, "action_id": f"wa{n:028}", "rule_ids": [f"r{n % 50}", f"r{n % 31}"]}
        elif kind not in ("visit", "page"):
            row |= {"name": f"event {n % 40}", "properties": {"price": str(n % 997), "sku": f"SKU-{n % 7919}"}}
        yield row


def random_pages(count):
    for n in range(count):
        noise = os.urandom(96).hex()
        yield {"type": "page", "time": 1767225600000 + n, "user_id": f"user-{n % 90_001:08}", "path": noise[:64], "title": noise[64:128],
               "referrer": noise[128:]}


def history(count):
    """Rows of a month, in the order in which they were received."""
    first, seconds = datetime.datetime(2010, 12, 1, tzinfo=BEIJING).timestamp(), DAYS * 86400
    for n, row in enumerate(mixed(count)):
        yield row | {"sendTime": int((first + seconds * n / count) * 1000)}


def main():
    sluice, count = sys.argv[1], int(sys.argv[2])
    works = [("every type of event", mixed, by_file), ("every type of event, by requests of 500", mixed, by_requests),
             ("pages that do not pack", random_pages, by_file), ("every type of event, a month of history", history, by_history)]
    chosen = os.environ.get("SLUICE_BENCH_WORKS", "1 2 3 4").split()
    for name, rows, come_in in (works[int(number) - 1] for number in chosen):
        with tempfile.TemporaryDirectory() as folder:
            Bench(sluice, folder).measure(name, rows(count), come_in)


class Bench:
    def __init__(self, sluice, folder):
        self.sluice, self.data, self.lines, self.clock = sluice, *(os.path.join(folder, part) for part in ("data", "rows.jsonl", "clock"))
        os.mkdir(self.data)
        with open(os.path.join(self.data, "sluice.toml"), "w") as settings:
            settings.write("[growingio]\ncalls_per_second = 0\n")
        self.environment, self.server = {**os.environ, "SLUICE_LOG": "error"}, None

    def run(self, *args):
        command = [self.sluice, "--dir", self.data, *args]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment)
        if done.returncode:
            sys.exit(done.stderr)
        return done.stdout

    def serve(self):
        command = [self.sluice, "--dir", self.data, "serve", "--listen", "127.0.0.1:0", "--test-clock", self.clock]
        self.server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=self.environment)
        for line in self.server.stdout:
            if line.startswith("listening on "):
                self.url = line.split()[-1]
                return

    def measure(self, name, rows, come_in):
        # Not over the end of an hour.
        while time.gmtime().tm_min >= 56:
            time.sleep(5)
        self.now = datetime.datetime.now(datetime.timezone.utc)
        set_clock(self.clock, self.now)
        with open(self.lines, "w", buffering=1 << 20) as out:
            for self.count, row in enumerate(rows, 1):
                row["time"] = datetime.datetime.fromtimestamp(row["time"] / 1000, datetime.timezone.utc).isoformat()
                out.write(json.dumps(row))
                out.write("\n")
        self.run("dataset", "canonical")
        self.project = json.loads(self.run("--json", "growingio", "enable"))
        try:
            slot = come_in(self)
            self.watch(name, slot)
        finally:
            if self.server:
                self.server.terminate()
                self.server.wait()

    def watch(self, name, slots):
        before = peak(self.server.pid)
        begun, polls, links = time.perf_counter(), [], {kind: [] for kind in TYPES}
        set_clock(self.clock, self.now + datetime.timedelta(hours=3))
        for slot in slots(self):
            while True:
                asked = time.perf_counter()
                answer = ask(self.url, self.project, f"/v2/insights/{slot.format(ai=self.project['ai'])}.json?expire=60")
                polls.append((time.perf_counter() - asked) * 1000)
                if answer["status"] == "FINISHED":
                    for kind in TYPES:
                        links[kind] += answer["downloadLinks"][kind]
                    break
                if answer["status"] == "ERROR":
                    sys.exit(answer["errorMsg"])
                time.sleep(0.05)
        ready = time.perf_counter() - begun
        polls.sort()
        last = polls[min(len(polls) - 1, int(len(polls) * 0.99))]
        print(f"\n{self.count:,} events of {name}: there after {ready:.1f} s; {len(polls)} polls, median {statistics.median(polls):.1f} ms, "
              f"99th {last:.1f} ms, most {polls[-1]:.1f} ms; peak {peak(self.server.pid):.0f} MiB ({before:.0f} before)")
        print("type                     rows  packages        MiB  filled")
        for kind in TYPES:
            fetched = [fetch(link) for link in links[kind]]
            sizes = [size for size, _ in fetched]
            if max(sizes, default=0) > PACKAGE:
                sys.exit(f"a package of {max(sizes)} bytes")
            full = sizes[:-1] if slots is live else []
            filled = statistics.mean(full) / PACKAGE if full else float("nan")
            print(f"{kind:<20} {sum(rows for _, rows in fetched):>8,} {len(sizes):>9} {sum(sizes) / 2**20:>10.1f} {filled:>7.2f}")


def live(bench):
    yield "hour/{ai}/" + bench.now.astimezone(BEIJING).strftime("%Y%m%d%H")


def days(bench):
    bench.run("growingio", "rebuild", "2010120100", f"201012{DAYS:02}23")
    for day in range(DAYS):
        yield f"day/{{ai}}/201012{day + 1:02}"


def by_file(bench):
    bench.run("import", "event", bench.lines, "--test-clock", bench.clock)
    bench.serve()
    return live


def by_requests(bench):
    bench.serve()
    with open(os.path.join(bench.data, "admin-token")) as file:
        headers = {"Authorization": f"Bearer {file.read().strip()}", "Content-Type": "application/x-ndjson"}

    def send(lines):
        request = urllib.request.Request(bench.url + "/v1/datasets/event/rows", "".join(lines).encode(), headers)
        urllib.request.urlopen(request).read()

    with open(bench.lines) as lines, ThreadPoolExecutor(8) as pool:
        while batch := [part for _ in range(64) if (part := list(itertools.islice(lines, 500)))]:
            list(pool.map(send, batch))
    return live


def by_history(bench):
    bench.run("import", "event", bench.lines, "--receive-time", "sendTime", "--test-clock", bench.clock)
    bench.serve()
    return days


def ask(url, project, path):
    request = urllib.request.Request(url + path, headers={"Authorization": project["token"]})
    return json.load(urllib.request.urlopen(request))


def fetch(link):
    content = urllib.request.urlopen(link).read()
    return len(content), gzip.decompress(content).count(b"\n") - 1


def set_clock(path, at):
    with open(path + ".new", "w") as new:
        new.write(at.isoformat())
    os.rename(path + ".new", path)


def peak(pid):
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024


main()
