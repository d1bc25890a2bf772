"""What `bench/serve` cannot do in a shell.

    serve.py disk DIR               print how many small writes a disk makes durable in a second
    serve.py chdb one|many IN DIR   insert IN/rows.jsonl, or each of IN/batches by itself, into a new table below DIR
    serve.py report TSV             print the table of a run's measurements

chdb inserts into a MergeTree table whose columns it inferred before the time begins. Each insert is synced, files and folder
(`fsync_after_insert`, `fsync_part_directory`). An embedded session takes one insert after another.
"""

import glob
import json
import os
import statistics
import sys
import time

# How the lines of the table are called, in its order.
NAMES = {
    "rows": "Sluice, 500 rows a request, 16 connections",
    "postgres-many": "PostgreSQL, `COPY` of 500 rows, 16 connections",
    "postgres-one": "PostgreSQL, one `COPY`",
    "chdb-many": "chdb, inserts of 500 rows, one session",
    "chdb-one": "chdb, one insert",
    "single": "Sluice, 1 row a request, 64 connections",
    "soak": "Sluice, 500 rows a request at a fixed rate",
}


def disk(folder):
    writes = 200
    with open(f"{folder}/fsync", "wb", buffering=0) as file:
        begun = time.monotonic()
        for _ in range(writes):
            file.write(b"\7" * 4096)
            os.fdatasync(file.fileno())
        took = time.monotonic() - begun
    os.remove(f"{folder}/fsync")
    print(f"{os.cpu_count()} cores, {writes / took:.0f} fsyncs a second one after another")


def chdb(how, source, folder):
    from chdb.session import Session

    session = Session(folder)
    every = f"{source}/rows.jsonl"
    session.query("CREATE DATABASE bench")
    session.query(
        "CREATE TABLE bench.events ENGINE = MergeTree ORDER BY tuple() "
        "SETTINGS fsync_after_insert = 1, fsync_part_directory = 1 "
        f"EMPTY AS SELECT * FROM file('{every}', 'JSONEachRow')"
    )
    files = [every] if how == "one" else sorted(glob.glob(f"{source}/batches/*"))
    begun = time.monotonic()
    for file in files:
        session.query(f"INSERT INTO bench.events SELECT * FROM file('{file}', 'JSONEachRow')")
    took = time.monotonic() - begun
    rows = int(str(session.query("SELECT count() FROM bench.events")).strip())
    print(json.dumps({"seconds": round(took, 3), "rows": rows}))


def report(measured):
    runs = {}
    with open(measured, encoding="utf-8") as lines:
        for line in lines:
            name, said = line.rstrip("\n").split("\t", 1)
            runs.setdefault(name, []).append(json.loads(said))

    def median(name, *path):
        values = []
        for value in runs[name]:
            for key in path:
                value = value[key]
            values.append(value)
        return statistics.median(values)

    def rate(name):
        return statistics.median(run["rows"] / run["seconds"] for run in runs[name])

    own = rate("rows") if "rows" in runs else None
    print("| what | rows/s | of Sluice's | p50 ms | p95 ms | p99 ms | max ms | MiB peak | times |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, title in NAMES.items():
        if name not in runs:
            continue
        ratio = f"{rate(name) / own:.2f}" if own and name != "single" else ""
        cells = [title, f"{rate(name):,.0f}", ratio]
        if "acknowledgements" in runs[name][0]:
            for key in ("p50_ms", "p95_ms", "p99_ms", "max_ms"):
                cells.append(f"{median(name, 'acknowledgements', key):.1f}")
            cells.append(f"{median(name, 'memory', 'peak_mib'):.0f}")
        else:
            cells += [""] * 5
        print(f"| {' | '.join([*cells, str(len(runs[name]))])} |")
    for run in runs.get("soak", []):
        memory = run["memory"]
        print(f"\nsoak: {memory['peak_mib']:.0f} MiB at most, {memory['settled_mib']:.0f} MiB at 3 of 10 parts of "
              f"{run['seconds']:.0f} s, {memory['end_mib']:.0f} MiB at the end ({memory['growth_percent']:+.1f} %)")
    for run in runs.get("status", []):
        for what in ("gets", "posts"):
            times = run[what]
            print(f"\nstatus: {run[f'{what}_per_second']} {what}/s: p50 {times['p50_ms']:.1f} ms, "
                  f"p99 {times['p99_ms']:.1f} ms, max {times['max_ms']:.1f} ms, {times['errors']} errors")
    for name, some in runs.items():
        for run in some:
            lost = run.get("acknowledgements", {}).get("first_error")
            if lost:
                print(f"\n{name}: {run['acknowledgements']['errors']} errors, the first: {lost}")


def main(words):
    match words:
        case ["disk", folder]:
            disk(folder)
        case ["chdb", "one" | "many" as how, source, folder]:
            chdb(how, source, folder)
        case ["report", measured]:
            report(measured)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
