"""Clients of GrowingIO's export, written from descriptions of real ones; they know nothing of Sluice.

Usage: growingio.py URL PROJECT AI CLIENT SECRET DAY FOLDER; prints what was fetched of each type as JSON.
"""

import csv
import gzip
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import duckdb

URL, PROJECT, AI, CLIENT, SECRET, DAY, FOLDER = sys.argv[1:8]
TM = sys.argv[8] if len(sys.argv) > 8 else None
TYPES = ["visit", "page", "action", "action_tag", "custom_event", "ads_track_activation",
         "ads_track_click", "pvar", "evar", "vstr"]


def parameters():
    tm = TM or str(int(time.time() * 1000))
    message = "POST\n/auth/token\nproject=%s&ai=%s&tm=%s" % (PROJECT, AI, tm)
    auth = hmac.new(SECRET.encode(), message.encode(), hashlib.sha256).hexdigest()
    return {"project": PROJECT, "ai": AI, "tm": tm, "auth": auth}


def sign_in(how):
    """One sends text, one a form, one a query string with nothing behind it."""
    values, url, body = parameters(), URL + "/auth/token", None
    headers = {"X-Client-Id": CLIENT}
    if how == "raw":
        body = "project=%(project)s&ai=%(ai)s&tm=%(tm)s&auth=%(auth)s" % values
        headers["Content-Type"] = "text/plain,text/plain"
    elif how == "form":
        body = urllib.parse.urlencode(dict(sorted(values.items())))
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    else:
        url += "?" + urllib.parse.urlencode(values)
    request = urllib.request.Request(url, data=(body or "").encode(), headers=headers, method="POST")
    answer = json.load(urllib.request.urlopen(request))
    assert answer["status"] == "success", answer
    assert len(answer["code"]) == 64 and answer["code"].isalnum(), answer
    return answer["code"]


def ask(code, path):
    headers = {"X-Client-Id": CLIENT, "Authorization": code}
    request = urllib.request.Request(URL + path, headers=headers)
    while True:
        answer = json.load(urllib.request.urlopen(request))
        if answer["status"] == "FINISHED":
            return answer
        assert answer["status"] in ("RUNNING", "NOT_EXISTS"), answer
        time.sleep(0.02)


def fetch(link):
    """Names the file as three clients do, fetches it without a header, and compares its sum."""
    folder = link.split("/")[3]
    words = folder.split("_")
    prefix, ai, table, stamp = words[0], words[1], "_".join(words[2:-1]), words[-1]
    assert prefix and ai == AI and table in TYPES and len(stamp) == 12, link
    begin = link.index("part")
    short = link[begin:link.index("?")][10:20]
    assert len(short) == 10, link
    whole = link[begin:].split("?")[0].split(".")[0]
    path = os.path.join(FOLDER, "%s-%s-%s.csv.gz" % (table, stamp, whole))
    assert not os.path.exists(path), path
    _, headers = urllib.request.urlretrieve(link, path)
    content = open(path, "rb").read()
    assert headers["x-amz-meta-md5-hash"] == hashlib.md5(content).hexdigest()
    assert int(headers["Content-Length"]) == len(content)
    return table, short, path


def read(path):
    text = gzip.open(path, "rt", encoding="utf-8", newline="").read()
    rows = list(csv.DictReader(text.splitlines(), quotechar='"', escapechar="\\", doublequote=False))
    # What goes by lines sees the same, without the first.
    lines = subprocess.run("gunzip -c '%s' | tail -n +2 | wc -l" % path, shell=True,
                           capture_output=True, text=True, check=True)
    assert int(lines.stdout) == len(rows), path
    return rows


def check_duckdb(paths, rows):
    """DuckDB reads the same, in the order of the files."""
    options = "header = true, delim = ',', quote = '\"', escape = '\\', all_varchar = true"
    read = duckdb.execute("SELECT * FROM read_csv(?, %s)" % options, [paths])
    names = [column[0] for column in read.description]
    held = [dict(zip(names, [text or "" for text in row])) for row in read.fetchall()]
    order = lambda row: sorted(row.items())
    assert sorted(held, key=order) == sorted(rows, key=order), paths


def number(text):
    return float(text) if text else 0.0


def sums(rows):
    maps = ["eventVariable", "pageVariable", "conversionVariable", "visitorVariable", "adsVariable",
            "appVariable"]
    held = [json.loads(row[name]) for row in rows for name in maps if row.get(name)]
    return {
        "rows": len(rows),
        "time": sum(number(row.get("time") or row.get("eventTime")) for row in rows),
        "sendTime": sum(number(row.get("sendTime")) for row in rows),
        "users": len({row.get("visitUserId") for row in rows}),
        "n": sum(int(one["n"]) for one in held),
        "text": sum(len(one["text"]) for one in held),
        "rules": sorted({row["ruleId"] for row in rows if "ruleId" in row}),
    }


def main():
    codes = [sign_in(how) for how in ("raw", "form", "query")]
    fetched, paths, names = {name: [] for name in TYPES}, {name: [] for name in TYPES}, set()
    for at, name in enumerate(TYPES):
        code = codes[at % 3]
        authorization = code if at % 2 else "Token " + code
        answer = ask(authorization, "/v2/insights/day/%s/%s/%s0000.json?expire=60" % (name, AI, DAY))
        for link in answer["downloadLinks"]:
            table, short, path = fetch(link)
            assert table == name and (name, short) not in names, link
            names.add((name, short))
            paths[name].append(path)
            fetched[name] += read(path)
        check_duckdb(paths[name], fetched[name])
    everything = ask(codes[0], "/v2/insights/day/%s/%s.json" % (AI, DAY))["downloadLinks"]
    assert sorted(everything) == sorted(TYPES[:9]), everything
    files = sum(len(links) for links in everything.values())
    done = {name: sums(rows) for name, rows in fetched.items()}
    done["files"] = files
    print(json.dumps(done))


main()
