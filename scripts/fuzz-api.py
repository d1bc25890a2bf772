"""Says which operations of a description were answered with 2xx: fuzz-api.py DESCRIPTION EVENTS.

DESCRIPTION is an OpenAPI document, EVENTS what schemathesis has written down (NDJSON). Fails if less than nine of ten
were, or if the description has a `default` response.
"""

import json
import sys
from collections import Counter

SHARE = 0.9


def statuses(events):
    """Returns how often each operation (`GET /v1/datasets`) was answered with each status."""
    counts = {}
    for line in events:
        scenario = json.loads(line).get("ScenarioFinished")
        if not scenario:
            continue
        recorder = scenario["recorder"]
        own = recorder["label"].split(" ", 1)[0]
        seen = counts.setdefault(recorder["label"], Counter())
        for case, interaction in recorder.get("interactions", {}).items():
            response = interaction.get("response")
            # Other methods are tried at the same address, too.
            if response and recorder["cases"][case]["value"]["method"] == own:
                seen[response["status_code"]] += 1
    return counts


def main(description, events):
    paths = json.load(open(description))["paths"]
    operations = {
        f"{method.upper()} {path}": operation
        for path, methods in paths.items()
        for method, operation in methods.items()
    }
    defaults = [name for name, one in operations.items() if "default" in one["responses"]]
    counts = statuses(open(events))
    failed = [name for name in operations if not any(200 <= status < 300 for status in counts.get(name, ()))]
    for name in failed:
        print(f"never 2xx: {name}: {dict(counts.get(name, {}))}")
    for name in defaults:
        print(f"has a default response: {name}")
    answers = sum(sum(count.values()) for count in counts.values())
    reached = len(operations) - len(failed)
    print(f"{answers} answers; {reached} of {len(operations)} operations were answered with 2xx")
    if defaults or reached < SHARE * len(operations):
        sys.exit(1)


main(*sys.argv[1:])
