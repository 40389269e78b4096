"""A wall clock that jumps by years at every look: waits, liveness and recovery do not use it."""
import subprocess
import time

from lib import *


def work(path):
    db = connect(path, timeout=60)
    for turn in range(30):
        db.execute('UPDATE t SET a = a + 1')
    die()


def rehearse():
    path = f'{FOLDER}/a.db'
    db = connect(path)
    db.execute('CREATE TABLE t(a)')
    db.execute('INSERT INTO t VALUES(0)')
    crowd = [child(work, path) for _ in range(6)]
    check({ended(pid) for pid in crowd} == {signal.SIGKILL}, 'a process gave up')
    check(value(db, 'SELECT a FROM t') == 180, 'a commit is missing')
    holder = connect(path)
    holder.execute('BEGIN IMMEDIATE')
    begun = time.monotonic()
    eager = connect(path, timeout=0)
    try:
        eager.execute('UPDATE t SET a = 0')
        check(False, 'two writers')
    except sqlite3.OperationalError as error:
        check('locked' in str(error), error)
    check(time.monotonic() - begun < 30, 'a wait of milliseconds became one of years')
    holder.execute('ROLLBACK')
    for one in (holder, eager, db):
        one.close()
    only(path)
    check(ended(child(work, path)) == signal.SIGKILL, 'not killed')
    db = connect(path)
    check(value(db, 'SELECT a FROM t') == 210, 'not recovered')
    db.close()
    only(path)


if 'LD_PRELOAD' in os.environ:
    seen = {int(time.time()) // 100000000 for _ in range(50)}
    check(len(seen) > 5, 'the clock does not jump: this script would prove nothing')
    load()
    rehearse()
    done('commits, waits, kills and recovery with a wall clock that jumps between 1990 and 2089')
else:
    shim = f'{FOLDER}/clock.so'
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'clock.c')
    subprocess.run(['gcc', '-O1', '-shared', '-fPIC', '-o', shim, source], check=True)
    sys.exit(subprocess.run([sys.executable, '-B', __file__], env=os.environ | {'LD_PRELOAD': shim}, check=False).returncode)
