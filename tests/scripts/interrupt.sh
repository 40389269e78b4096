# Long calls run the progress handler and can be interrupted, and nothing is left half done:
# checks, copies, shrinking, checkpoints.
. tests/scripts/lib.inc

cat >"$PMEM/interrupt.py" <<'PY'
import os, sqlite3, sys, threading
library, folder = sys.argv[1:]
boot = sqlite3.connect(':memory:')
boot.enable_load_extension(True)
boot.load_extension(library)

db = sqlite3.connect(f'file:{folder}/t.db?vfs=pmem&pmem_max_log_size=256M', uri=True, isolation_level=None,
                     check_same_thread=False)
rows = "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 60000) "
db.execute('CREATE TABLE t(a INTEGER PRIMARY KEY, b)')
db.execute(rows + 'INSERT INTO t SELECT i, randomblob(300) FROM n')
for name in ('gone', 'keys'):
    db.execute(f'CREATE VIRTUAL TABLE {name} USING pmemkv(max_log_size=\'256M\')')
    db.execute(rows + f'INSERT INTO {name} SELECT i, zeroblob(300) FROM n')
db.execute('DROP TABLE gone')

copy = folder + '/copy'
calls = {
    'check of keys': ("SELECT pmem_check('keys')", 'ok'),
    'check of a database': ("SELECT pmem_check('main')", 'ok'),
    'copy of keys': (f"SELECT pmem_backup('keys', '{copy}') > 4000", 1),
    'copy of a database': (f"SELECT pmem_backup('main', '{copy}') > 4000", 1),
    'shrinking': ("SELECT pmem_shrink('keys') > 0", 1),
    'checkpoint': ("SELECT pmem_checkpoint('main') > 0", 1),
}

def remove():
    if os.path.exists(copy):
        os.remove(copy)

def check_interrupted(what, sql):
    try:
        db.execute(sql).fetchall()
    except sqlite3.OperationalError as error:
        assert 'interrupted' in str(error), (what, str(error))
        return True
    remove()
    return False

def whole():
    assert db.execute('SELECT count(*), sum(length(b)) FROM t').fetchone() == (60000, 60000 * 300)
    assert db.execute('SELECT count(*), sum(length(value)) FROM keys').fetchone() == (60000, 60000 * 300)

for what, (sql, wanted) in calls.items():
    # The handler says no at its first and at a later call.
    for limit in (1, 5):
        count = 0
        def handler():
            global count
            count += 1
            return count >= limit
        db.set_progress_handler(handler, 400)
        stopped = check_interrupted(what, sql)
        assert not os.path.exists(copy), what
        assert stopped or limit > 1 and what in ('checkpoint', 'shrinking'), what
        db.set_progress_handler(None, 0)
        whole()
    # It only looks on: progress is told, and the call succeeds.
    count = 0
    def looking():
        global count
        count += 1
        return 0
    db.set_progress_handler(looking, 400)
    assert db.execute(sql).fetchone()[0] == wanted, what
    assert count > 0, what
    db.set_progress_handler(None, 0)
    remove()
    whole()

# sqlite3_interrupt() of another thread, again and again until a call has met it.  By path: it
# may also come while SQLite looks a name up.
store = f'{folder}/t.db-pmemkv'
calls['check of keys'] = (f"SELECT pmem_check('{store}')", 'ok')
calls['copy of keys'] = (f"SELECT pmem_backup('{store}', '{copy}') > 4000", 1)
for what in ('check of keys', 'copy of keys', 'copy of a database'):
    done = threading.Event()
    def interrupt():
        while not done.wait(0.0005):
            db.interrupt()
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        for _ in range(1000):
            if check_interrupted(what, calls[what][0]):
                break
        else:
            raise SystemExit(f'{what} was never interrupted')
    finally:
        done.set()
        thread.join()
    # It may have come when the copy was made and the statement not yet at its end: then all is there.
    if os.path.exists(copy):
        assert os.path.getsize(copy) > 4000 * 4096, what
        remove()
    whole()
    assert db.execute(calls[what][0]).fetchone()[0] == calls[what][1], what
    remove()
db.close()
PY

for folder in "$PMEM" "$DISK"; do
  on "$folder"
  python "$PMEM/interrupt.py" "$LIB" "$folder"
done
