"""One piece of work of `bench/run`, done by a peer in a process of its own.

    peers.py PEER WORK IN OUT      do it: IN is a folder with the input's files, OUT an empty folder
    peers.py versions              print the version of each peer
    peers.py works                 print the works: name, format, compression
    peers.py columns WORK          print the columns of a work, as in SELECT
    peers.py where WORK            print the condition of a work; nothing without one
    peers.py rows DIR [CONDITION]  print how many rows the Parquet files of a folder have
    peers.py report TSV JSON       print the table of a run's measurements, and write them as JSON

A peer that has done its work prints how many seconds it took to start: to load the library and to make
a session. One that cannot do it says why on stdout and ends with status 3.

Settings: every peer has all cores, the order of rows is nobody's business, and output is cut into several
files where the peer is faster so. gzip has the peer's own default level. zstd has level 1, as Sluice has,
where the peer lets one say so. Nulls, quotes and times are written as the peer writes them.
"""

import glob
import json
import os
import statistics
import sys
import time
from importlib import metadata

CANNOT = 3
PEERS = {"duckdb": "duckdb", "clickhouse": "chdb", "polars": "polars", "datafusion": "datafusion"}

FLAT = (
    "event_id, event_time, received_at, event_name, user_id, session_id, anonymous_id, sequence, url, "
    "referrer, page_title, user_agent, ip, country, city, latitude, is_new, screen_width, duration_ms, "
    "scroll_depth, revenue"
).split(", ")
ALL = [*FLAT, "device", "properties", "tags"]
FEW = "event_id, event_time, event_name, user_id, url, country, duration_ms, properties".split(", ")
# What a privacy office would want left out.
FEWER = [column for column in ALL if column not in ("anonymous_id", "user_agent", "ip", "properties")]

# About 2 of 100 rows, spread over all row groups.
SOME = "country = 'DE' AND event_name IN ('click', 'add_to_cart')"

# Name: format, compression, columns, condition. An import writes zstd Parquet.
WORKS = {
    "jsonl-gzip": ("jsonl", "gzip", ALL, ""),
    "jsonl-none": ("jsonl", "none", ALL, ""),
    "jsonl-zstd": ("jsonl", "zstd", ALL, ""),
    "csv-gzip": ("csv", "gzip", FLAT, ""),
    "jsonl-gzip-filtered": ("jsonl", "gzip", FEW, SOME),
    "parquet-zstd": ("parquet", "zstd", ALL, ""),
    "parquet-zstd-dropped": ("parquet", "zstd", FEWER, ""),
    "import-jsonl": ("parquet", "zstd", ALL, ""),
    "import-csv": ("parquet", "zstd", FLAT, ""),
    "import-parquet": ("parquet", "zstd", ALL, ""),
}

SUFFIXES = {"none": "", "gzip": ".gz", "zstd": ".zst"}


def suffix(form, compression):
    """Returns what file names of a work end with."""
    return ".parquet" if form == "parquet" else f".{form}{SUFFIXES[compression]}"


def cannot(why):
    """Ends the process: the peer cannot do the work."""
    print(why)
    sys.exit(CANNOT)


def started():
    """Says how long the process has been at it, the interpreter's own start left out."""
    print(f"{time.monotonic() - BEGUN:.3f}", flush=True)


def select(work, source):
    _, _, columns, where = WORKS[work]
    return f"SELECT {', '.join(columns)} FROM {source}" + (f" WHERE {where}" if where else "")


def duckdb(work, source, out):
    import duckdb as library

    session = library.connect()
    session.execute("SET preserve_insertion_order = false")
    started()
    form, compression, _, _ = WORKS[work]
    readers = {
        "import-jsonl": f"read_json('{source}/*.jsonl', format = 'newline_delimited')",
        "import-csv": f"read_csv('{source}/*.csv', header = true)",
    }
    rows = select(work, readers.get(work, f"read_parquet('{source}/*.parquet')"))
    end = suffix(form, compression)
    if form == "parquet":
        session.execute(
            f"COPY ({rows}) TO '{out}/events{end}' "
            "(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
        )
        return
    kind = "json" if form == "jsonl" else "csv, HEADER true"
    session.execute(
        f"COPY ({rows}) TO '{out}/events' (FORMAT {kind}, COMPRESSION {compression}, "
        f"PER_THREAD_OUTPUT true, FILE_EXTENSION '{end[1:]}')"
    )


def clickhouse(work, source, out):
    if work.startswith("import-"):
        cannot("imports are compared with DuckDB alone")
    import chdb as library

    started()
    form, compression, _, _ = WORKS[work]
    name, kind = f"events{suffix(form, compression)}", "JSONEachRow"
    cores = os.cpu_count() or 1
    parts, settings = "", ["date_time_output_format = 'iso'"]
    if form == "jsonl":
        settings.append("output_format_json_escape_forward_slashes = 0")
    if form == "csv":
        kind = "CSVWithNames"
    if form == "parquet":
        kind = "Parquet"
        settings.append("output_format_parquet_compression_method = 'zstd'")
    if compression == "zstd":
        settings.append("output_format_compression_level = 1")
    if compression != "none" and form != "parquet":
        # One file is compressed by one thread.
        name, parts = f"{{_partition_id}}-{name}", f"PARTITION BY cityHash64(event_id) % {cores}"
        settings.append(f"max_insert_threads = {cores}")
    rows = select(work, f"file('{source}/*.parquet', 'Parquet')")
    library.query(
        f"INSERT INTO FUNCTION file('{out}/{name}', '{kind}') {parts} {rows} SETTINGS {', '.join(settings)}"
    )


def polars(work, source, out):
    if work.startswith("import-"):
        cannot("imports are compared with DuckDB alone")
    import polars as library

    started()
    form, compression, columns, where = WORKS[work]

    def scan(files):
        frame = library.scan_parquet(files)
        return (frame.filter(library.sql_expr(where)) if where else frame).select(columns)

    def sink(frame, name):
        path = f"{out}/{name}{suffix(form, compression)}"
        options = {"maintain_order": False, "lazy": True}
        if compression == "zstd":
            options["compression_level"] = 1
        if form == "parquet":
            return frame.sink_parquet(path, compression="zstd", **options)
        options["compression"] = "uncompressed" if compression == "none" else compression
        return (frame.sink_csv if form == "csv" else frame.sink_ndjson)(path, **options)

    if compression == "gzip":
        # One file is compressed by one thread.
        files = sorted(glob.glob(f"{source}/*.parquet"))
        sinks = [sink(scan(file), f"events-{number}") for number, file in enumerate(files)]
    else:
        sinks = [sink(scan(f"{source}/*.parquet"), "events")]
    library.collect_all(sinks, engine="streaming")


def datafusion(work, source, out):
    if work.startswith("import-"):
        cannot("imports are compared with DuckDB alone")
    import datafusion as library

    settings = library.SessionConfig({
        "datafusion.execution.parquet.pushdown_filters": "true",
        "datafusion.execution.parquet.reorder_filters": "true",
    })
    session = library.SessionContext(settings)
    session.register_parquet("events", f"{source}/")
    started()
    form, compression, _, _ = WORKS[work]
    options = []
    if form == "parquet":
        options.append(("compression", "zstd(1)"))
    elif compression == "none":
        options.append(("compression", "uncompressed"))
    else:
        options.append(("compression", compression))
        if compression == "zstd":
            options.append(("compression_level", "1"))
    if form == "csv":
        options.append(("has_header", "true"))
    words = ", ".join(f"'format.{key}' '{value}'" for key, value in options)
    kind = "json" if form == "jsonl" else form
    session.sql(
        f"COPY ({select(work, 'events')}) TO '{out}/' STORED AS {kind} OPTIONS ({words})"
    ).collect()


def rows(folder, where=""):
    """Prints the rows of a folder's Parquet files, in whatever folder below it they are."""
    import duckdb as library

    condition = f" WHERE {where}" if where else ""
    query = f"SELECT count(*) FROM read_parquet('{folder}/**/*.parquet', union_by_name = true)"
    print(library.connect().execute(query + condition).fetchall()[0][0])


def report(measured, out):
    """Prints a line for each work and system, then one for each work; writes all of it as JSON."""
    times, reasons = {}, {}
    with open(measured, encoding="utf-8") as lines:
        for line in lines:
            work, system, *values = line.rstrip("\n").split("\t")
            if values[0] == "-":
                reasons.setdefault(system, {})[work] = values[1]
                continue
            names = ("wall_s", "cpu_s", "start_s", "peak_kib", "bytes", "files", "rows")
            times.setdefault(work, {}).setdefault(system, []).append(
                dict(zip(names, map(float, values), strict=True))
            )
    works = [{"work": work, **summary(work, systems)} for work, systems in times.items()]
    print(f"{'work':<21} {'system':<10} {'wall s':>8} {'start s':>8} {'ratio':>6} {'CPU s':>8} "
          f"{'MiB out':>9} {'MiB peak':>9} {'files':>6}")
    for work in works:
        for system in ["sluice", *PEERS, "cp"]:
            line = work["systems"].get(system)
            if line:
                print(f"{work['work']:<21} {system:<10} {line['wall_s']:>8.2f} {line['start_s']:>8.2f} "
                      f"{line['ratio']:>6.2f} {line['cpu_s']:>8.2f} {line['bytes'] / 2**20:>9.1f} "
                      f"{line['peak_kib'] / 1024:>9.0f} {line['files']:>6.0f}")
            elif work["work"] in reasons.get(system, {}):
                print(f"{work['work']:<21} {system:<10} {'-':>8} {'-':>8} {'-':>6} {'-':>8} {'-':>9} {'-':>9} {'-':>6}")
    print()
    print(f"{'work':<21} {'fastest peer':<12} {'peer / sluice':>13}")
    for work in works:
        if work["fastest"]:
            print(f"{work['work']:<21} {work['fastest']:<12} {work['fastest_to_sluice']:>13.2f}")
    said = {}
    for system, works_not_done in reasons.items():
        for work, why in works_not_done.items():
            said.setdefault((system, why), []).append(work)
    if said:
        print()
    for (system, why), names in said.items():
        print(f"{system}: not {', '.join(names)}: {why}")
    with open(out, "w", encoding="utf-8") as file:
        json.dump({"versions": versions(), "cores": os.cpu_count(), "works": works,
                   "not_done": reasons, "measured": times}, file, indent=2)
        file.write("\n")


def summary(work, systems):
    """Returns the medians of one work. A ratio leaves out the time that a peer takes to start."""
    lines = {
        system: {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        for system, runs in systems.items()
    }
    own = max(lines["sluice"]["wall_s"], 0.01)
    for line in lines.values():
        line["ratio"] = (line["wall_s"] - line["start_s"]) / own
    peers = [system for system in PEERS if system in lines]
    fastest = min(peers, key=lambda system: lines[system]["ratio"], default=None)
    ratio = lines[fastest]["ratio"] if fastest else None
    return {"systems": lines, "fastest": fastest, "fastest_to_sluice": ratio}


def versions():
    """Returns the version of each peer."""
    return {peer: f"{package} {metadata.version(package)}" for peer, package in PEERS.items()}


def main(words):
    match words:
        case ["versions"]:
            for peer, version in versions().items():
                print(f"{peer}: {version}")
        case ["works"]:
            for work, (form, compression, _, _) in WORKS.items():
                print(work, form, compression)
        case ["columns", work]:
            print(", ".join(WORKS[work][2]))
        case ["where", work]:
            print(WORKS[work][3])
        case ["rows", folder, *where]:
            rows(folder, *where)
        case ["report", measured, out]:
            report(measured, out)
        case [peer, work, source, out] if peer in PEERS and work in WORKS:
            globals()[peer](work, source, out)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    BEGUN = time.monotonic()
    main(sys.argv[1:])
