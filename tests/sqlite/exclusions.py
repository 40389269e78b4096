"""What of SQLite's tests is expected to fail here: excluded.txt, and the judgement by it.

excluded.txt is a list of groups; excluded-full.txt, which adds to it for files of full length, is another.
A group is a line [key], its reason as lines that begin with #, and
entries: the name of a test file, then words, continued on indented lines.

    NAME        a test that fails; with * and ? it stands for all that match, and all of these fail;
                {2..9} stands for each of the numbers
    ~NAME       tests that may fail or pass: what they see depends on timing
    :runs N     the file runs N tests, where stock SQLite runs another number
    :ends N     the file stops after N tests or more with an error of its own, without a summary
    :skip       the file is not run at all

The judgement is strict both ways: a failure without an entry fails the suite, and so does an entry
without its failure.
"""
import fnmatch
import re
from dataclasses import dataclass, field


@dataclass
class Expected:
    """What excluded.txt says about one file."""
    names: list = field(default_factory=list)  # pattern
    flaky: list = field(default_factory=list)  # pattern
    runs: int = None
    ends: int = None
    skip: bool = False

    def add(self, words):
        words = [each for word in words for each in numbers(word)]
        while words:
            word = words.pop(0)
            if word in (":runs", ":ends"):
                setattr(self, word[1:], int(words.pop(0)))
            elif word == ":skip":
                self.skip = True
            elif word.startswith("~"):
                self.flaky.append(word[1:])
            else:
                self.names.append(word)


@dataclass
class Group:
    key: str
    reason: str = ""
    entries: list = field(default_factory=list)  # (file, words)


def numbers(word):
    """A word with {a..b} in it, once for each number."""
    found = re.fullmatch(r"(.*)\{(\d+)\.\.(\d+)\}(.*)", word)
    if not found:
        return [word]
    before, first, last, after = found.groups()
    return [f"{before}{n}{after}" for n in range(int(first), int(last) + 1)]


def read_groups(path):
    groups = []
    for line in path.read_text().splitlines():
        if not line.strip():
            continue
        if line.startswith("["):
            groups.append(Group(line.strip("[]")))
        elif line.startswith("#"):
            if groups:
                groups[-1].reason += line[1:].strip() + " "
        elif line[0].isspace():
            groups[-1].entries[-1][1].extend(line.split())
        else:
            file, *words = line.split()
            groups[-1].entries.append((file, words))
    return groups


def by_file(groups):
    expected = {}
    for group in groups:
        if not group.reason:
            raise ValueError(f"excluded.txt: the group {group.key} has no reason")
        for file, words in group.entries:
            expected.setdefault(file, Expected()).add(words)
    return expected


def pattern(glob):
    return re.compile(fnmatch.translate(glob)).match


def count(group, result):
    """How many of the tests that failed in a file are in the group."""
    expected = by_file([group]).get(result.file, Expected())
    return sum(any(pattern(p)(name) for p in expected.names + expected.flaky) for name in set(result.failed))


def judge(result, expected, stock_tests):
    """What is wrong with the result of a file, as lines; [] if nothing is."""
    wrong = []
    failed = set(result.failed)
    named = {name for name in failed if any(pattern(p)(name) for p in expected.names + expected.flaky)}
    if failed - named:
        wrong.append("fails: " + " ".join(sorted(failed - named)))
    for p in expected.names:
        passed = [name for name in result.passed if pattern(p)(name) and name not in failed]
        if passed:
            wrong.append(f"excluded as {p}, but passes: " + " ".join(sorted(passed)))
        elif not any(pattern(p)(name) for name in failed):
            wrong.append(f"excluded as {p}, but no such test failed")
    wrong += judge_end(result, expected, stock_tests)
    return [f"{result.file} {line}" for line in wrong]


def judge_end(result, expected, stock_tests):
    """Did the file get as far as it should?"""
    if result.status == "timeout":
        return ["did not end in time"]
    if result.status == "crash":
        if expected.ends is None:
            return [f"ended without a summary after {result.tests} tests: {result.last_words}"]
        if result.tests < expected.ends:
            return [f"ended after {result.tests} tests, not after {expected.ends}"]
        return []
    if expected.ends is not None:
        return ["excluded because it ends early, but it does not"]
    if result.status == "leak":
        return ["left memory or a file behind"]
    wanted = expected.runs or stock_tests
    if result.tests != wanted:
        return [f"ran {result.tests} tests, not {wanted}"]
    return []
