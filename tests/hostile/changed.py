"""Files that a foreign hand changes while they are open.

Shortened, a mapped file is SIGBUS for whoever reads what is gone: SQLite's own mmap mode and
its WAL index are no different.  What is proved is that nobody gets a wrong answer, that what
is left is refused, and that a commit never makes the file long again over the gap.
"""
import shutil

from lib import *

ROWS = 400


def make(name):
    path = f'{FOLDER}/{name}.db'
    db = connect(path)
    db.execute('CREATE TABLE t(a INTEGER PRIMARY KEY, b)')
    db.executemany('INSERT INTO t VALUES(?, ?)', [(n, f'{name} {n}' * 100) for n in range(ROWS)])
    db.close()
    return path


def read_right(db, name):
    for a, b in db.execute('SELECT * FROM t'):
        if b != f'{name} {a}' * 100:
            os._exit(9)


def read_cut(path, name):
    db = connect(path)
    db.execute('PRAGMA cache_size=2')
    read_right(db, name)
    os.truncate(path, 16384)
    try:
        read_right(db, name)
    except sqlite3.Error:
        os._exit(5)
    os._exit(8)  # what is gone cannot be read


def cut_under_a_reader():
    path = make('reader')
    end = ended(child(read_cut, path, 'reader'))
    check(end in (signal.SIGBUS, -5), f'a reader of a shortened file ended with {end}')
    refused(lambda: connect(path).execute('SELECT * FROM t'), 'shortened')
    done(f"shortened under a reader: {'SIGBUS' if end == signal.SIGBUS else 'an error'}, and refused when it is opened again")


def write_cut(path):
    db = connect(path)
    value(db, 'SELECT count(*) FROM t')
    os.truncate(path, 16384)
    try:
        db.execute('INSERT INTO t VALUES(?, ?)', (ROWS, 'x' * 1000))
    except sqlite3.Error as error:
        os._exit(5 if 'malformed' in str(error) else 6)
    os._exit(8)


def cut_under_a_writer():
    path = make('writer')
    end = ended(child(write_cut, path))
    check(end in ((signal.SIGBUS, -5) if ON_PMEM else (-5,)), f'a writer of a shortened file ended with {end}')
    check(os.path.getsize(path) == 16384, 'the file was made long again, with a gap')
    refused(lambda: connect(path).execute('SELECT * FROM t'), 'shortened')
    done('shortened under a writer: no commit, no gap that reads as zeros')


def copied_over():
    """cp: the inode stays, the content is another database's."""
    path, other = make('first'), make('other')
    db, idle = connect(path), connect(path)
    value(idle, 'SELECT count(*) FROM t')
    db.execute('UPDATE t SET b = b WHERE a = 1')
    shutil.copyfile(other, path)
    for one in (db, idle):
        refused(lambda: one.execute('SELECT * FROM t').fetchall(), 'written over')
        refused(lambda: one.execute('INSERT INTO t VALUES(1000, 1)'), 'written over')
        one.close()
    stock = sqlite3.connect(path)
    whole(stock)
    check(value(stock, 'SELECT b FROM t WHERE a = 7') == 'other 7' * 100, 'the copy was changed')
    stock.close()
    db = connect(path)
    check(value(db, 'SELECT b FROM t WHERE a = 7') == 'other 7' * 100, 'the copy is not what is opened')
    db.close()
    only(path)
    done('another database copied over it: refused until it is closed, and the copy is unharmed')


def log_removed():
    path = make('unlinked')
    db = connect(path)
    db.execute("UPDATE t SET b = 'changed' WHERE a = 7")
    os.unlink(path + '-pmlog')
    db.execute("UPDATE t SET b = 'changed' WHERE a = 8")
    db.close()
    only(path)
    check(value(sqlite3.connect(path), "SELECT count(*) FROM t WHERE b = 'changed'") == 2, 'commits are missing')
    done('the log removed: a clean close needs it no more')


def cut_log_and_die(path):
    db = connect(path)
    db.execute("UPDATE t SET b = 'before' WHERE a = 7")
    os.truncate(path + '-pmlog', 0)
    try:
        db.execute("UPDATE t SET b = 'after' WHERE a = 8")
    except sqlite3.Error:
        pass
    die()


def log_shortened():
    path = make('cutlog')
    end = ended(child(cut_log_and_die, path))
    check(end in (signal.SIGBUS, signal.SIGKILL), f'a writer with a shortened log ended with {end}')
    refused(lambda: connect(path).execute('SELECT * FROM t'), '-pmlog')
    done('the log shortened, and a crash: refused, never opened without what it held')


load()
cut_under_a_reader()
cut_under_a_writer()
copied_over()
log_removed()
log_shortened()
