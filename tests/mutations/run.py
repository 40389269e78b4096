#!/usr/bin/env python3
"""Plant each fault of table.py in a scratch copy of the sources, and see it found.

A fault that is not found fails; so does one whose old text is not in its file just once, one
that does not compile, and a catcher that also fails on the sources as they are.

    tests/mutations/run.py [--jobs N] [--list] [NAME...]
"""
import argparse
import os
import shutil
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from table import MUTATIONS  # noqa: E402

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LIMIT_S = 600  # for a catcher that hangs


def scratch(number):
    """A copy of sources and objects, in which make only builds what a fault changes."""
    path = os.path.join(TOP, "build", "mutations", str(number))
    shutil.rmtree(path, ignore_errors=True)
    for part in ("Makefile", "ext", "vfs", "tests", "sql", "build/core"):
        source, target = os.path.join(TOP, part), os.path.join(path, part)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.isdir(source):
            shutil.copytree(source, target, symlinks=True)
        elif os.path.exists(source):
            shutil.copy2(source, target)
    return path


def shell(line, where):
    try:
        done = subprocess.run(line, shell=True, cwd=where, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=LIMIT_S, env={**os.environ, "BUILD": os.path.join(where, "build")})
        return done.returncode, done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired:
        return -1, "it did not end"


def build(target, where):
    return shell(f"make -s BUILD=build {target}", where)


class Planted:
    """The fault, for as long as the block lasts."""

    def __init__(self, entry, where):
        self.entry, self.where, self.saved = entry, where, {}

    def __enter__(self):
        for name, old, new in self.entry["edits"]:
            path = os.path.join(self.where, name)
            with open(path, encoding="utf-8") as source:
                text = source.read()
            self.saved.setdefault(path, text)
            if text.count(old) != 1:
                self.__exit__()
                raise ValueError(f"the old text stands {text.count(old)} times in {name}")
            with open(path, "w", encoding="utf-8") as source:
                source.write(text.replace(old, new))
        return self

    def __exit__(self, *_):
        for path, text in self.saved.items():
            with open(path, "w", encoding="utf-8") as source:
                source.write(text)


def try_fault(entry, where):
    """What went wrong, or None: it was found."""
    target, line = entry["catcher"]
    try:
        with Planted(entry, where):
            code, output = build(target, where)
            if code != 0:
                return "it does not build:\n" + output
            code, output = shell(line, where)
    except ValueError as error:
        return str(error)
    if code in (2, -1):
        return "the catcher itself could not go on:\n" + output
    if code == 0:
        return "it was not found by: " + line
    return None


def try_sources(catcher, where):
    """The same catcher on the sources as they are."""
    target, line = catcher
    code, output = build(target, where)
    if code == 0:
        code, output = shell(line, where)
    return None if code == 0 else f"the sources as they are fail: {line}\n{output}"


def work(jobs, where, failures, lock):
    while True:
        with lock:
            if not jobs:
                return
            name, rule, function, argument = jobs.pop(0)
        begin = time.monotonic()
        wrong = function(argument, where)
        with lock:
            verdict = "ok" if wrong is None else "FAILED"
            print(f"{verdict:6} {rule:4} {name}  ({time.monotonic() - begin:.0f} s)", flush=True)
            if wrong is not None:
                print("       " + wrong, flush=True)
                failures.append(name)


def main():
    parser = argparse.ArgumentParser()
    # Two a processor: many a proof waits, for a deadline or for another process.
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1))
    parser.add_argument("--list", action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    chosen = [entry for entry in MUTATIONS if not options.names or entry["name"] in options.names]
    if options.list:
        for entry in chosen:
            print(f"{entry['rule']:4} {entry['name']:32} {entry['what']}")
        return 0
    if not chosen or len({entry["name"] for entry in MUTATIONS}) != len(MUTATIONS):
        sys.exit("no such fault, or two of one name")
    jobs = [("unchanged: " + catcher[1].replace("build/crash --jobs 1 --first ", ""), "-", try_sources, catcher)
            for catcher in sorted({entry["catcher"] for entry in chosen})]
    jobs += [(entry["name"], entry["rule"], try_fault, entry) for entry in chosen]
    failures, lock = [], threading.Lock()
    threads = [threading.Thread(target=work, args=(jobs, scratch(i), failures, lock)) for i in range(options.jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rules = sorted({entry["rule"] for entry in chosen}, key=lambda rule: (rule[0], int(rule[1:])))
    print(f"{len(chosen)} planted faults of {len(rules)} rules ({' '.join(rules)}), {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
