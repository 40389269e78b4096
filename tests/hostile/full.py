"""A full disk at every step: a file system of our own with room for 0, 1, 2 ... pages more.

For each of them the same story, growing data, log and images until something does not fit: it
is "database or disk is full", what was acknowledged is there, readers keep what they saw, and
with room again the database goes on.
"""
import subprocess

from lib import *

DISK = f'{FOLDER}/disk'
FULL = 'database or disk is full'
PAGE = 4096


def resize(pages):
    subprocess.run(['mount', '-o', f'remount,size={pages * PAGE}', DISK], check=True)


def used():
    return (lambda s: s.f_blocks - s.f_bfree)(os.statvfs(DISK))


def attempt(db, sql):
    try:
        db.execute(sql)
        return True
    except sqlite3.OperationalError as error:
        check(str(error) == FULL, f'{sql}: {error}')
        if db.in_transaction:
            db.execute('ROLLBACK')
        return False


STORY = [
    'INSERT INTO t VALUES(1000, zeroblob(3000))',             # a page of data
    'INSERT INTO t VALUES(1001, zeroblob(70000))',            # a step of the file
    'UPDATE t SET b = zeroblob(2001) WHERE a < 150',          # images for the reader, a segment of the log
    'INSERT INTO t VALUES(1002, zeroblob(400000))',           # several segments
    'DELETE FROM t WHERE a < 100',
    'INSERT INTO t VALUES(1003, zeroblob(200000))',
]


def rows(db):
    return db.execute('SELECT a, length(b) FROM t ORDER BY a').fetchall()


def model(done_so_far):
    """The same in memory."""
    db = sqlite3.connect(':memory:', isolation_level=None)
    db.execute('CREATE TABLE t(a INTEGER PRIMARY KEY, b)')
    db.executemany('INSERT INTO t VALUES(?, zeroblob(2000))', [(n,) for n in range(150)])
    for sql in done_so_far:
        db.execute(sql)
    return rows(db)


def tell(spare):
    """The story with so many pages to spare; how many of its parts were refused."""
    path = f'{DISK}/a.db'
    resize(4000)
    db = connect(path, '&pmem_max_log_size=1M')
    db.execute('CREATE TABLE t(a INTEGER PRIMARY KEY, b)')
    db.executemany('INSERT INTO t VALUES(?, zeroblob(2000))', [(n,) for n in range(150)])
    reader = connect(path)
    reader.execute('BEGIN')
    before = rows(reader)
    resize(used() + spare)
    accepted = [sql for sql in STORY if attempt(db, sql)]
    check(rows(db) == model(accepted), f'{spare} pages to spare: not what was acknowledged')
    check(rows(reader) == before, f'{spare} pages to spare: a snapshot has changed')
    whole(db)
    reader.execute('COMMIT')
    reader.close()
    if spare % 2 == 0:  # with room again it goes on; or it is closed while the disk is full
        resize(4000)
        db.execute("INSERT INTO t VALUES(5000, 'room again')")
        accepted.append("INSERT INTO t VALUES(5000, 'room again')")
    db.close()
    resize(4000)
    db = connect(path)
    check(rows(db) == model(accepted), f'{spare} pages to spare: not the same when opened again')
    whole(db)
    db.close()
    only(path)
    os.unlink(path)
    return len(STORY) - sum(sql in STORY for sql in accepted)


def adopt(spare):
    """Opening a stock database with so little room: whole refusals, or whole success."""
    path = f'{DISK}/b.db'
    resize(4000)
    stock = sqlite3.connect(path)
    stock.execute('CREATE TABLE t(a)')
    stock.execute('INSERT INTO t VALUES(1)')
    stock.commit()
    stock.close()
    resize(used() + spare)
    fits = True
    db = connect(path)
    try:
        check(value(db, 'SELECT a FROM t') == 1, 'adopted, and wrong')
    except sqlite3.Error as error:
        check(FULL in str(error), f'{spare} pages to spare: {error}')
        fits = False
    db.close()
    resize(4000)
    only(path)
    os.unlink(path)
    return fits


def run():
    refusals = [tell(spare) for spare in [*range(0, 40), *range(40, 600, 7)]]
    check(refusals[0] > 0 and refusals[-1] == 0, f'the disk is never full, or always: {refusals[0]}, {refusals[-1]}')
    fits = [adopt(spare) for spare in range(0, 500, 11)]
    check(not fits[0] and fits[-1], 'no room, or much room, makes no difference')
    done(f'{len(refusals)} disks, {sum(refusals)} statements that did not fit; adopting on {len(fits)} more, refused on {fits.count(False)}')


load()
os.mkdir(DISK)
mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=16M', 'none', DISK], capture_output=True, text=True, check=False)
if mounted.returncode != 0:
    print(f'  SKIPPED: no tmpfs can be mounted here: {mounted.stderr.strip()}')
    sys.exit(0)
try:
    run()
finally:
    subprocess.run(['umount', '-l', DISK], check=True)
