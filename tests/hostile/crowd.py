"""200 connections in one process, and 200 processes."""
from lib import *

CROWD = 200


def in_one_process():
    path = f'{FOLDER}/one.db'
    db = connect(path)
    db.execute('CREATE TABLE t(a INTEGER PRIMARY KEY)')
    crowd = [connect(path) for _ in range(CROWD)]
    for number, one in enumerate(crowd):
        one.execute('INSERT INTO t VALUES(?)', (number,))
    for one in crowd:
        check(value(one, 'SELECT count(*) FROM t') == CROWD, 'a connection does not see every commit')
    held = [one for one in crowd[::2] if one.execute('BEGIN') and value(one, 'SELECT count(*) FROM t')]
    db.execute('DELETE FROM t WHERE a >= 100')
    for one in held:
        check(value(one, 'SELECT count(*) FROM t') == CROWD, 'a snapshot has changed')
    for one in crowd[1::2]:
        check(value(one, 'SELECT count(*) FROM t') == 100, 'a new snapshot is old')
    for one in crowd + [db]:
        one.close()
    only(path)
    done(f'{CROWD} connections in one process, half of them with a snapshot of before')


def visit(path, number):
    db = connect(path, timeout=60)
    for turn in range(3):
        db.execute('INSERT INTO t VALUES(?, ?)', (number, turn))
    if number % 7 == 0:
        db.execute('BEGIN IMMEDIATE')
        db.execute('INSERT INTO t VALUES(?, ?)', (number, 'never committed'))
        die()
    check(value(db, 'SELECT count(*) FROM t WHERE a = ?', number) == 3, 'a process lost its own commits')
    db.close()


def processes():
    path = f'{FOLDER}/many.db'
    db = connect(path)
    db.execute('CREATE TABLE t(a, b)')
    crowd = [child(visit, path, number) for number in range(CROWD)]
    died = [ended(pid) for pid in crowd]
    check(died.count(signal.SIGKILL) == len(range(0, CROWD, 7)) and died.count(0) == CROWD - died.count(signal.SIGKILL),
          f'processes ended with {sorted(set(died))}')
    check(value(db, 'SELECT count(*) FROM t') == 3 * CROWD, 'commits are missing')
    whole(db)
    db.close()
    only(path)
    done(f'{CROWD} processes at a time, {died.count(signal.SIGKILL)} of them killed as the writer')


load()
in_one_process()
processes()
