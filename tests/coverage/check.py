#!/usr/bin/env python3
"""check.py INFO LIST: what lcov says, a line a file; then every line of the engine that was not
reached must stand in LIST with its reason, and every line there must still exist.

LIST knows lines by file, function and text, not by number:

    vfs/file.c function: why it is not reached
        the line, as it stands in the source
"""
import collections
import re
import sys

ENGINE = re.compile(r'(?:^|/)((?:vfs|ext)/.*\.[ch])$')


def read_info(path):
    """Per source: its lines' counts, and (line, name) of its functions."""
    counts, functions, source = collections.defaultdict(dict), collections.defaultdict(set), None
    for line in open(path, encoding='utf-8'):
        kind, _, rest = line.strip().partition(':')
        if kind == 'SF':
            match = ENGINE.search(rest)
            source = match.group(1) if match else None
        elif source and kind == 'DA':
            number, count = rest.split(',')[:2]
            number = int(number)
            counts[source][number] = counts[source].get(number, 0) + int(count)
        elif source and kind == 'FN':
            number, name = rest.split(',')[:2]
            functions[source].add((int(number), name.split('.')[0]))
    return counts, functions


def read_list(path):
    entries, key = {}, None
    for number, line in enumerate(open(path, encoding='utf-8'), 1):
        if not line.strip() or line.startswith('#'):
            continue
        if line[0].isspace():
            entries.setdefault((*key, line.strip()), number)
            continue
        head, colon, reason = line.partition(': ')
        if not colon or not reason.strip() or len(head.split()) != 2:
            sys.exit(f'{path}:{number}: "file function: reason", please')
        key = tuple(head.split())
    return entries


def main():
    counts, functions = read_info(sys.argv[1])
    listed = read_list(sys.argv[2])
    engine = {source: lines for source, lines in counts.items() if source.startswith('vfs/')}
    if not engine:
        sys.exit('no line of the engine was measured')
    existing, missed, reached, total = set(), [], 0, 0
    for source in sorted(counts):
        text = open(source, encoding='utf-8').read().splitlines()
        begins = sorted(functions[source])
        here = sum(count > 0 for count in counts[source].values())
        print(f'{source:32} {here:5} of {len(counts[source]):5} lines  {100 * here / len(counts[source]):5.1f} %')
        if source not in engine:
            continue
        reached, total = reached + here, total + len(counts[source])
        for number in sorted(counts[source]):
            function = ([name for begin, name in begins if begin <= number] or ['-'])[-1]
            line = text[number - 1].strip()
            existing.add((source, function, line))
            if counts[source][number] == 0 and line != '}' and (source, function, line) not in listed:
                missed.append((source, function, line, number))
    print(f'{"the engine (vfs/)":32} {reached:5} of {total:5} lines  {100 * reached / total:5.1f} %; '
          f'{len(listed)} lines are excused in {sys.argv[2]}')
    stale = [key for key in listed if key not in existing]
    for source, function, line, number in missed:
        print(f'NOT REACHED: {source} {function}:\n    {line}     (line {number})')
    for source, function, line in stale:
        print(f'NO SUCH LINE any more: {source} {function}: {line}')
    sys.exit(1 if missed or stale else 0)


main()
