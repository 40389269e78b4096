#!/usr/bin/env -S python3 -B
"""Run SQLite's own TCL test files on the VFS `pmem`, and judge them by excluded.txt.

Each file runs in a process and a folder of its own on tmpfs, under one of SQLite's permutations, with
build/pmem.so as the default VFS of that process and of every process it starts (inject.c). As root
the files run as `nobody`: some test file permissions, which root passes by.

A run ends with 0 only if every test that excluded.txt does not name has passed, and every one that it
names has failed.
"""
import argparse
import collections
import itertools
import os
import pathlib
import pwd
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import exclusions

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent
PROGRAMS = ("sqlite3", "sqldiff", "changesetfuzz", "dbhash")
SUMMARY = re.compile(r"^(\d+) errors out of (\d+) tests", re.M)
FAILURES = re.compile(r"^!Failures on these tests: (.*)$", re.M)
STARTED = re.compile(r"^(\S+)\.\.\.( Ok| Omitted)?$", re.M)
EXPECTED = re.compile(r"^! (\S+) expected: ", re.M)

Result = collections.namedtuple("Result", "file status tests passed failed opens seconds last_words")

# The VFS must be the default one here, after a shutdown, and in a child.
PROBE = """
proc vfs {} {
  sqlite3 db probe.db
  db eval {CREATE TABLE IF NOT EXISTS t(a); INSERT INTO t VALUES(1)}
  set name [file_control_vfsname db]
  db close
  return $name
}
set names [vfs]
sqlite3_shutdown
lappend names [vfs]
if {[llength $argv] == 0} { lappend names {*}[exec [info nameofexec] probe.tcl child] }
puts $names
"""


class Runner:
    """Runs test files, each on its own, in a scratch folder that any user can read."""

    def __init__(self, options):
        self.options = options
        # A '_' in a name, which tempfile may choose, would have vtabH.test leave tests out.
        self.scratch = pathlib.Path(f"/dev/shm/spm-sqlite.{os.getpid()}.{time.time_ns()}")
        self.scratch.mkdir()
        self.scratch.chmod(0o755)
        self.runs = itertools.count()
        self.user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self.own = self.scratch / "suite"
        for folder in ("bin", "source/test", "source/ext"):
            shutil.copytree(options.suite / folder, self.own / folder)
        if options.extension:
            shutil.copy(options.extension, self.own / "pmem.so")
        shutil.rmtree(options.out, ignore_errors=True)
        options.out.mkdir(parents=True)

    def close(self):
        shutil.rmtree(self.scratch)

    def environment(self, folder):
        env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PMEM_IS_PMEM_FORCE": "1"}
        if self.options.extension:
            env |= {"SPM_EXTENSION": str(self.own / "pmem.so"), "SPM_INSTRUMENT": "1",
                    "SPM_OPENS": str(folder / "opens")}
        return env

    def folder(self):
        folder = self.scratch / f"run{next(self.runs)}"
        folder.mkdir()
        for program in PROGRAMS:
            (folder / program).symlink_to(self.own / "bin" / program)
        if self.user:
            os.chown(folder, self.user.pw_uid, self.user.pw_gid)
        return folder

    def testfixture(self, folder, arguments, log):
        """The exit code; None if it had to be killed."""
        identity = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if self.user else {}
        with open(log, "wb") as out:
            child = subprocess.Popen(
                [self.own / "bin/testfixture", *arguments], cwd=folder, env=self.environment(folder),
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, **identity)
            try:
                return child.wait(self.options.timeout)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, 9)
                child.wait()
                return None

    def probe(self):
        folder = self.folder()
        (folder / "probe.tcl").write_text(PROBE)
        log = self.options.out / "probe.log"
        self.testfixture(folder, ["probe.tcl"], log)
        if log.read_text().split() != ["pmem"] * 4:
            sys.exit("the VFS pmem is not the default one: " + log.read_text())
        shutil.rmtree(folder)

    def run(self, file):
        folder = self.folder()
        log = self.options.out / (file + ".log")
        began = time.monotonic()
        code = self.testfixture(
            folder, [self.own / "source/test/permutations.test", self.options.permutation, file], log)
        opens = folder / "opens"
        n_opens = sum(int(line.split()[1]) for line in open(opens)) if opens.exists() else 0
        result = read_log(file, log.read_text(errors="replace"), code, n_opens, time.monotonic() - began)
        shutil.rmtree(folder, ignore_errors=True)
        return result


def read_log(file, text, code, opens, seconds):
    summary, failures = SUMMARY.findall(text), FAILURES.findall(text)
    started = STARTED.findall(text)
    passed = {name for name, end in started if end == " Ok"}
    errors, tests = map(int, summary[-1]) if summary else (0, len(started))
    failed = failures[-1].split() if failures else []
    if not summary:  # then the log has to tell: neither Ok nor omitted
        failed = [name for name, end in started if not end]
    status = ("timeout" if code is None else "crash" if not summary else "fail" if errors else
              "leak" if code else "pass")
    last_words = text.rstrip().rsplit("\n", 1)[-1][:200] if code is not None and code >= 0 else f"signal {code}"
    return Result(file, status, tests, passed, failed, opens, seconds, last_words)


def read_counts(path):
    """The files of a run, and how many tests each has on stock SQLite."""
    return {file: int(tests) for file, tests in (line.split() for line in path.read_text().splitlines())}


def write_results(path, results):
    with open(path, "w") as out:
        for r in results:
            print(r.file, r.status, r.tests, len(r.failed), r.opens, f"{r.seconds:.1f}", " ".join(r.failed),
                  sep="\t", file=out)


def summarize(options, groups, results, wrong, skipped, seconds):
    tests, failed = sum(r.tests for r in results), sum(len(set(r.failed)) for r in results)
    rows = [("files", len(results) + len(skipped)), ("  with every test passed", sum(r.status == "pass" for r in results)),
            ("  ended early", sum(r.status in ("crash", "timeout") for r in results)), ("  not run", len(skipped)),
            ("tests run", tests), ("  passed", tests - failed), ("  failed", failed)]
    reasons = collections.Counter()
    for group in groups:
        reasons[group.key] += sum(exclusions.count(group, r) for r in results)
    rows += [(f"    [{key}]", n) for key, n in reasons.items() if n]
    rows += [("databases and journals opened on pmem", sum(r.opens for r in results)),
             ("seconds", round(seconds)), ("UNEXPECTED", len(wrong))]
    print(f"\nSQLite's test scripts, permutation {options.permutation}")
    for name, value in rows:
        print(f"  {name:<40}{value:>8}")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", type=pathlib.Path, default=TOP / "build/sqlite/current", help="what build.sh made")
    parser.add_argument("--extension", type=pathlib.Path, default=TOP / "build/pmem.so")
    parser.add_argument("--stock", action="store_true", help="no extension, no judgement: what stock SQLite does")
    parser.add_argument("--permutation", choices=("veryquick", "full"), default="veryquick",
                        help="full: the files near the VFS at full length, besides those of veryquick ioerr, crash and their like")
    parser.add_argument("--out", type=pathlib.Path, default=TOP / "build/sqlite/results", help="logs and results.tsv")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=300, help="seconds for a file")
    parser.add_argument("files", nargs="*", help="test files; all of counts-PERMUTATION.txt otherwise")
    options = parser.parse_args()
    options.suite = options.suite.resolve()
    if options.stock:
        options.extension = None
    return options


def main():
    options = parse_arguments()
    counts = read_counts(HERE / f"counts-{options.permutation}.txt")
    groups = exclusions.read_groups(HERE / "excluded.txt") if options.extension else []
    if groups and options.permutation == "full":
        groups += exclusions.read_groups(HERE / "excluded-full.txt")
    expected = exclusions.by_file(groups)
    nothing = exclusions.Expected()
    files = options.files or list(counts)
    skipped = [file for file in files if expected.get(file, nothing).skip and not options.files]
    began = time.monotonic()
    runner = Runner(options)
    if options.extension:
        runner.probe()
    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(runner.run, [file for file in files if file not in skipped]))
    runner.close()
    write_results(options.out / "results.tsv", results)
    wrong = [line for r in results
             for line in exclusions.judge(r, expected.get(r.file, nothing), counts.get(r.file, r.tests))]
    there = set((options.suite / f"{options.permutation}.list").read_text().split())
    if options.permutation == "veryquick" and not options.files:
        wrong += [f"{file} is in the suite and not in counts-veryquick.txt" for file in there - set(counts)]
        wrong += [f"{file} is in excluded.txt and not in the suite" for file in set(expected) - there]
    for line in wrong:
        print(line)
    summarize(options, groups, results, wrong, skipped, time.monotonic() - began)
    return 1 if wrong and options.extension else 0


if __name__ == "__main__":
    sys.exit(main())
