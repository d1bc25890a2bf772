"""What `bench/jobs` asks a server for, and what it makes of the answers.

    jobs.py ADDRESS WORK WORKSPACES EXPORTS ROWS SINGLE PID
"""

import datetime
import http.client
import json
import statistics
import sys
import time

address, work, *numbers = sys.argv[1:]
workspaces, exports, rows, single, pid = map(int, numbers)


class Workspace:
    """What one workspace's token asks for, each over a connection of its own."""

    def __init__(self, number):
        self.number = number
        with open(f"{work}/token.{number}") as file:
            self.token = file.read().strip().split()[-1]

    def ask(self, method, path, body=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        headers["Authorization"] = f"Bearer {self.token}"
        connection = http.client.HTTPConnection(address, timeout=300)
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if answer.status >= 300:
            sys.exit(f"{method} {path}: {answer.status} {text.decode()}")
        return json.loads(text) if text else None

    def save(self, name, trigger):
        body = {"export": {"dataset": "events", "compression": "gzip"}}
        body["schedule"] = {"trigger": trigger, "mode": {"kind": "full"}}
        kind = {"Content_Type": "application/json", "If_None_Match": "*"}
        return self.ask("PUT", f"/v1/exports/{name}", json.dumps(body), **kind)

    def runs(self):
        found, after = [], ""
        while True:
            page = self.ask("GET", f"/v1/runs?limit=1000{after}")
            found += page["items"]
            if not page["next"]:
                return found
            after = f"&after={page['next']}"


def instant(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def peak():
    with open(f"/proc/{pid}/status") as file:
        line = next(line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def crowd(all_of):
    """All at the same minute."""
    now = datetime.datetime.now(datetime.timezone.utc)
    due = (now + datetime.timedelta(seconds=60 + exports // 10)).replace(second=0, microsecond=0)
    due += datetime.timedelta(minutes=1)
    trigger = {"kind": "cron", "cron": f"{due.minute} {due.hour} {due.day} {due.month} *"}
    for n in range(exports):
        all_of[n % workspaces].save(f"e{n:05}", trigger)
    saved = time.time()
    if saved > due.timestamp():
        sys.exit("saving took too long; fewer exports, please")
    time.sleep(due.timestamp() - saved)
    while True:
        runs = [[run for run in one.runs() if run["export"].startswith("e")] for one in all_of]
        if sum(run["state"] == "sealed" for of in runs for run in of) >= exports:
            break
        bad = [run for of in runs for run in of if run["state"] == "failed"]
        if bad:
            sys.exit(f"failed: {bad[0]['error']}")
        time.sleep(1)
    # Whatever ran twice has had its time now.
    time.sleep(3)
    runs = [[run for run in one.runs() if run["export"].startswith("e")] for one in all_of]
    names = [(n, run["export"]) for n, of in enumerate(runs) for run in of]
    if len(names) != exports or len(set(names)) != exports:
        sys.exit(f"{len(names)} runs of {len(set(names))} exports")
    if any(run["manifest"]["rows"] != rows for of in runs for run in of):
        sys.exit("a run has other rows")
    waits = [statistics.median(instant(run["ended_at"]) - due.timestamp() for run in of) for of in runs]
    last = max(instant(run["ended_at"]) for of in runs for run in of) - due.timestamp()
    return {
        "exports": exports,
        "workspaces": workspaces,
        "rows of each": rows,
        "seconds until the last is sealed": round(last, 1),
        "sealed a second": round(exports / last, 1),
        "runs that there are": len(names),
        "median wait of a workspace, s": round(statistics.median(waits), 1),
        "longest of these": round(max(waits), 1),
    }


def alone(one):
    """One after another, while nothing else goes on: each becomes due at a minute of its own."""
    delays = []
    for n in range(single):
        one.save(f"s{n:05}", {"kind": "every", "minutes": 1})
        due = instant(one.ask("GET", f"/v1/exports/s{n:05}")["next_at"])
        time.sleep(max(0, due - time.time()) + 3)
        run = next(run for run in one.runs() if run["export"] == f"s{n:05}")
        delays.append(instant(run["created_at"]) - due)
        one.ask("POST", f"/v1/exports/s{n:05}/pause", b"")
    delays.sort()
    return {
        "single exports": single,
        "median start delay, s": round(statistics.median(delays), 2),
        "longest": round(delays[-1], 2),
    }


def main():
    all_of = [Workspace(number) for number in range(1, workspaces + 1)]
    lines = "".join(f'{{"n":{n},"name":"row {n}","price":{n % 997}.25}}\n' for n in range(rows))
    for one in all_of:
        one.ask("POST", "/v1/datasets/events/rows", lines, Content_Type="application/x-ndjson")
    measured = crowd(all_of)
    if single:
        measured |= alone(all_of[0])
    measured["peak memory, MiB"] = peak()
    for name, value in measured.items():
        print(f"{name}\t{value}")


main()
