"""Times exports to a bucket, to a folder, and copies by another client, in turns; prints medians and ratios."""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
import urllib.parse

CORES = os.cpu_count() or 1
FORMATS = {
    "gzip JSON Lines": ["--format", "jsonl", "--compression", "gzip"],
    "Parquet, copied": ["--format", "parquet", "--compression", "zstd"],
}


def processor(pid):
    """Seconds of the processor that a process has taken."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main():
    sluice, work, url, times, store = sys.argv[1:]
    work, store = pathlib.Path(work), int(store)
    at = urllib.parse.urlsplit(url)
    bucket = at.path.strip("/")
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": at.username,
        "AWS_SECRET_ACCESS_KEY": at.password,
        "AWS_ENDPOINT_URL": f"http://{at.hostname}:{at.port}",
        "AWS_REGION": "us-east-1",
        "SLUICE_LOG": "off",
    }

    def timed(command):
        os.sync()
        before, begun = processor(store), time.monotonic()
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        return time.monotonic() - begun, processor(store) - before, done.stdout

    def export(form, to):
        run = [sluice, "--dir", str(work / "data"), "--json", "export", "run", "--dataset", "events"]
        wall, taken, said = timed([*run, "--to", to, *FORMATS[form]])
        said = json.loads(said)
        return wall, taken, (said[-1] if isinstance(said, list) else said)

    found = {}
    for turn in range(int(times)):
        for form in FORMATS:
            name = form.split(" ")[0].strip(",").lower()
            here = str(work / "out" / f"{name}-{turn}")
            wall, taken, run = export(form, here)
            found.setdefault((form, "a folder"), []).append((wall, taken, run["bytes"]))
            folder = os.path.dirname(run["manifest"])
            wall, taken, run = export(form, f"s3://{bucket}/sluice-{name}-{turn}")
            found.setdefault((form, "the bucket"), []).append((wall, taken, run["bytes"]))
            aws = [str(work / "venv/bin/aws"), "s3", "cp", "--recursive", "--only-show-errors", folder]
            wall, taken, _ = timed([*aws, f"s3://{bucket}/aws-{name}-{turn}"])
            found.setdefault((form, "`aws s3 cp` of these files"), []).append((wall, taken, run["bytes"]))
    print("| | seconds | MB/s | the store's processor, s | MB/s without that |\n|---|---|---|---|---|")
    rates = {}
    for (form, where), all_of_it in found.items():
        wall = statistics.median(one[0] for one in all_of_it)
        taken = statistics.median(one[1] for one in all_of_it)
        mb = all_of_it[0][2] / 1e6
        rates[form, where] = (mb / wall, mb / (wall - taken / CORES))
        print(f"| {form}, to {where} | {wall:.2f} | {mb / wall:.0f} | {taken:.2f} | {rates[form, where][1]:.0f} |")
    text, copy = FORMATS
    part = rates[text, "the bucket"][1] / rates[text, "a folder"][0]
    print(f"\n{text}: to the bucket at {part:.2f} of the rate to a folder, without the store's share")
    part = rates[copy, "the bucket"][0] / rates[copy, "`aws s3 cp` of these files"][0]
    print(f"{copy}: at {part:.2f} of the rate of `aws s3 cp`")


main()
