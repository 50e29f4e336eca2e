"""The same as contestant.mjs, for the Python side."""

import json
import os
import sys
import time


def peak_memory():
    """Highest resident memory so far, MiB (Linux), or None."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return None


answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what the reference prints goes to stderr


def say(answer):
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def contestant(work):
    """`work` returns how many units it did (steps, images); the answer has the seconds per unit."""
    say({"ready": True})
    for line in sys.stdin:
        if line.strip() != "run":
            break
        start = time.perf_counter()
        units = work()
        seconds = (time.perf_counter() - start) / units
        say({"seconds": seconds, "peakMiB": peak_memory()})
