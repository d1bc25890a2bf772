"""How long an hour of some millions of events takes to be built, and how quickly polls are answered meanwhile.

    bench/slots [EVENTS]

Twice on a new data folder: an hour of every type of event (2,000,000 of them), and an hour of as many pages whose texts do not pack, which are several
full packages. Prints for each the time from when the hour is due until all types are there, the times of polls meanwhile, the process's memory, and the packages.
"""

import datetime
import gzip
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

SHARES = {"visit": 5, "page": 25, "action": 35, "custom": 20, "page_variables": 5, "conversion_variables": 3,
          "visitor_variables": 2, "ad_click": 3, "ad_activation": 2}
TYPES = ["visit", "page", "action", "action_tag", "custom_event", "ads_track_activation", "ads_track_click", "pvar", "evar"]
PACKAGE = 64 << 20


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


def main():
    sluice, count = sys.argv[1], int(sys.argv[2])
    for name, rows in (("every type of event", mixed(count)), ("pages that do not pack", random_pages(count))):
        with tempfile.TemporaryDirectory() as folder:
            measure(sluice, folder, name, count, rows)


def measure(sluice, folder, name, count, rows):
    directory, file, clock = (os.path.join(folder, part) for part in ("data", "rows.jsonl", "clock"))
    os.mkdir(directory)
    with open(os.path.join(directory, "sluice.toml"), "w") as settings:
        settings.write("[growingio]\ncalls_per_second = 0\n")
    with open(file, "w", buffering=1 << 20) as out:
        for row in rows:
            row["time"] = datetime.datetime.fromtimestamp(row["time"] / 1000, datetime.timezone.utc).isoformat()
            out.write(json.dumps(row))
            out.write("\n")
    quiet = {**os.environ, "SLUICE_LOG": "error"}
    run = lambda *args: subprocess.run([sluice, "--dir", directory, *args], check=True, stdout=subprocess.PIPE, text=True, env=quiet).stdout
    # Not over the end of an hour.
    while time.gmtime().tm_min >= 56:
        time.sleep(5)
    project = json.loads(run("--json", "growingio", "enable"))
    run("dataset", "canonical")
    run("import", "event", file)
    os.remove(file)
    now = datetime.datetime.now(datetime.timezone.utc)
    hour = now.astimezone(datetime.timezone(datetime.timedelta(hours=8))).strftime("%Y%m%d%H")
    set_clock(clock, now)
    server = subprocess.Popen([sluice, "--dir", directory, "serve", "--listen", "127.0.0.1:0", "--test-clock", clock], stdout=subprocess.PIPE, text=True, env=quiet)
    for line in server.stdout:
        if line.startswith("listening on "):
            url = line.split()[-1]
            break
    try:
        before = peak(server.pid)
        begun, polls, links = time.perf_counter(), [], []
        set_clock(clock, now + datetime.timedelta(hours=3))
        while True:
            asked = time.perf_counter()
            answer = ask(url, project, f"/v2/insights/hour/{project['ai']}/{hour}.json?expire=60")
            polls.append((time.perf_counter() - asked) * 1000)
            if answer["status"] == "FINISHED":
                ready = time.perf_counter() - begun
                links = answer["downloadLinks"]
                break
            if answer["status"] == "ERROR":
                sys.exit(answer["errorMsg"])
            time.sleep(0.05)
        polls.sort()
        last = polls[min(len(polls) - 1, int(len(polls) * 0.99))]
        print(f"\n{count:,} events of {name}: there after {ready:.1f} s; {len(polls)} polls, median {statistics.median(polls):.1f} ms, "
              f"99th {last:.1f} ms, most {polls[-1]:.1f} ms; peak {peak(server.pid):.0f} MiB ({before:.0f} before)")
        print("type                     rows  packages        MiB  filled")
        for kind in TYPES:
            fetched = [fetch(link) for link in links[kind]]
            sizes = [size for size, _ in fetched]
            if max(sizes, default=0) > PACKAGE:
                sys.exit(f"a package of {max(sizes)} bytes")
            filled = statistics.mean(sizes[:-1]) / PACKAGE if len(sizes) > 1 else float("nan")
            print(f"{kind:<20} {sum(rows for _, rows in fetched):>8,} {len(sizes):>9} {sum(sizes) / 2**20:>10.1f} {filled:>7.2f}")
    finally:
        server.terminate()
        server.wait()


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
