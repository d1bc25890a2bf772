"""How long a report of some millions of events takes, and how quickly polls are answered meanwhile.

    bench/reports [COPIES]

Fills a new data folder with the demo's events, COPIES times (4: 2.2 million), serves it, and asks for each type over everything: the time until the data is
there, the time of the first request, which creates it, the times of polls meanwhile, the process's memory, and how long the data takes to be fetched in each form. Prints a table.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

WINDOW = "fromDate=2000-01-01T00:00&toDate=2099-01-01T00:00"


def main():
    sluice, copies = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        directory = os.path.join(folder, "data")
        quiet = {**os.environ, "SLUICE_LOG": "error"}
        run = lambda *args: subprocess.run([sluice, "--dir", directory, *args], check=True, stdout=subprocess.PIPE, text=True, env=quiet).stdout
        demo = subprocess.Popen([sluice, "--dir", directory, "demo", "--serve", "--listen", "127.0.0.1:18200"], stdout=subprocess.PIPE, text=True, env=quiet)
        for line in demo.stdout:
            if line.startswith("listening"):
                break
        demo.terminate()
        demo.wait()
        columns = json.loads(run("--json", "dataset", "show", "event"))["fields"]
        names = ", ".join(f'"{field["name"]}"' for field in columns if field["name"] not in ("id", "session_id"))
        numbers = ", ".join(str(n) for n in range(1, copies))
        sql = f"SELECT id || '-' || copy AS id, session_id || '-' || copy AS session_id, {names} FROM (SELECT *, unnest([{numbers}]) AS copy FROM event)"
        # Not into what it reads.
        run("export", "run", "--sql", sql, "--to", "dataset:copies")
        run("export", "run", "--dataset", "copies", "--to", "dataset:event")
        events = int(json.loads(run("sql", "SELECT count(*) AS n FROM event", "--format", "jsonl"))["n"])
        token = run("token", "create", "--for", "liferay").split("Bearer ")[1].split("'")[0]
        serve(sluice, directory, token, events)


def serve(sluice, directory, token, events):
    environment = {**os.environ, "SLUICE_LOG": "error"}
    server = subprocess.Popen([sluice, "--dir", directory, "serve", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True, env=environment)
    for line in server.stdout:
        if line.startswith("listening on "):
            url = line.split()[-1]
            break
    try:
        print(f"{events:,} events")
        print("type        ready s   first ms   polls   median ms   99th ms   most ms    rows        peak MiB")
        for kind in ("event", "page", "individual", "identity", "membership", "segment", "account"):
            report(url, kind, token, server.pid)
        print("\nform      MiB       s      MiB/s")
        for form, headers in (("lines", {}), ("gzip", {"Accept-Encoding": "gzip"}), ("zip", {"Accept": "application/zip"})):
            fetch(url, form, headers, token)
    finally:
        server.terminate()
        server.wait()


def ask(url, kind, token, headers={}):
    request = urllib.request.Request(f"{url}/api/reports/export/{kind}?{WINDOW}", headers={"Authorization": f"Bearer {token}", **headers})
    return urllib.request.urlopen(request)


def report(url, kind, token, pid):
    begun, polls = time.perf_counter(), []
    while True:
        asked = time.perf_counter()
        with ask(url, kind, token) as answer:
            is_status = answer.headers["Content-Type"] == "application/json"
            if not is_status:
                ready = time.perf_counter() - begun
                rows = sum(piece.count(b"\n") for piece in iter(lambda: answer.read(1 << 20), b""))
                break
            status = answer.read()
            if json.loads(status)["status"] == "ERROR":
                sys.exit(f"{kind}: {status.decode()}")
        polls.append((time.perf_counter() - asked) * 1000)
        time.sleep(0.05)
    first, *polls = polls
    polls = sorted(polls) or [0]
    last = polls[min(len(polls) - 1, int(len(polls) * 0.99))]
    memory = peak(pid)
    print(f"{kind:<11} {ready:>7.1f} {first:>10.1f} {len(polls):>7} {statistics.median(polls):>11.1f} {last:>9.1f} {polls[-1]:>9.1f} {rows:>10,} {memory:>10.0f}")


def fetch(url, form, headers, token):
    begun, size = time.perf_counter(), 0
    with ask(url, "event", token, headers) as answer:
        for piece in iter(lambda: answer.read(1 << 20), b""):
            size += len(piece)
    took = time.perf_counter() - begun
    print(f"{form:<7} {size / 2**20:>8.1f} {took:>7.2f} {size / 2**20 / took:>9.0f}")


def peak(pid):
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024


main()
