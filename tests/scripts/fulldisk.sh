# A full disk: what does not fit is refused with SQLITE_FULL and rolled back, and the
# database goes on; on both media, with a small tmpfs of our own, a limit on the size of
# files, and no room for the sidecars at all.
. tests/scripts/lib.inc

skip() { echo "SKIPPED: $*"; exit 0; }
disk=$PMEM/small
mkdir "$disk"
mount -t tmpfs -o size=6M none "$disk" 2>"$PMEM/why" || skip "no tmpfs can be mounted here: $(cat "$PMEM/why")"
trap 'umount "$disk" || umount -l "$disk"' EXIT

cat >"$PMEM/full.py" <<'PY'
import os, resource, signal, sqlite3, sys
library, path, kind = sys.argv[1:]
full = 'database or disk is full'

boot = sqlite3.connect(':memory:')
boot.enable_load_extension(True)
boot.load_extension(library)

def connect():
    return sqlite3.connect(f'file:{path}?vfs=pmem&pmem_max_log_size=1M', uri=True, isolation_level=None)

def refused(db, sql, *arguments):
    try:
        db.execute(sql, arguments)
    except sqlite3.OperationalError as error:
        assert str(error) == full, error
        return True
    return False

def check(db, rows):
    assert db.execute('PRAGMA integrity_check').fetchone() == ('ok',)
    found = db.execute('SELECT count(*) FROM t').fetchone()[0]
    assert found == rows, (found, rows)

db = connect()
db.execute('CREATE TABLE t(a INTEGER PRIMARY KEY, b)')
db.executemany('INSERT INTO t(b) VALUES(?)', [(b'x' * 500,)] * 100)
medium = db.execute('PRAGMA pmem_medium').fetchone()[0]
assert medium.startswith(kind), medium
if len(os.environ.get('LIMIT', '')) > 0:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(os.environ['LIMIT']),) * 2)

# One transaction that does not fit: autocommit, explicit, and spilled out of the cache.
assert refused(db, 'INSERT INTO t(b) VALUES(zeroblob(20000000))')
check(db, 100)
for cache in (2000, 5):
    db.execute(f'PRAGMA cache_size={cache}')
    db.execute('BEGIN')
    done = 0
    while not refused(db, 'INSERT INTO t(b) VALUES(randomblob(50000))'):
        done += 1
        if done == 400:
            assert refused(db, 'COMMIT'), 'the disk is not full'
            break
    if db.in_transaction:
        db.execute('ROLLBACK')
    check(db, 100)

# Small ones until nothing fits: each that was acknowledged is there.
rows = 100
while not refused(db, 'INSERT INTO t(b) VALUES(randomblob(30000))'):
    rows += 1
check(db, rows)
reader = connect()
check(reader, rows)
reader.close()
# With room again, it goes on: after a delete, and after closing.
# (Row by row: where SQLite overwrites what it deletes, all at once is a large transaction.)
for a in [row[0] for row in db.execute('SELECT a FROM t WHERE a > 50')]:
    if refused(db, 'DELETE FROM t WHERE a = ?', a):
        error = db.execute('PRAGMA pmem_error').fetchone()[0]
        raise SystemExit(f'nothing can be deleted on a full disk: {error}')
for i in range(20):
    db.execute('INSERT INTO t(b) VALUES(randomblob(1000))')
check(db, 70)
db.close()
db = connect()
check(db, 70)
db.execute('VACUUM')
check(db, 70)
db.close()
stock = sqlite3.connect(path)
check(stock, 70)
assert sorted(os.listdir(os.path.dirname(path))) == [os.path.basename(path)]
PY

for kind in pmem file; do
  [ $kind = pmem ] && export PMEM_IS_PMEM_FORCE=1 || export PMEM_IS_PMEM_FORCE=0
  LIMIT='' python "$PMEM/full.py" "$LIB" "$disk/t.db" $kind || fail "$kind on a full disk"
  rm "$disk"/*
  mkdir "$PMEM/limit.$kind"
  LIMIT=4000000 python "$PMEM/full.py" "$LIB" "$PMEM/limit.$kind/t.db" $kind || fail "$kind with a limit on files"
  # No room for log and shared memory: an error, and the file is as it was.
  echo 'CREATE TABLE t(a); INSERT INTO t VALUES(1);' | stock "$disk/t.db"
  dd if=/dev/zero of="$disk/filler" bs=64k 2>/dev/null || true
  before=$(md5sum <"$disk/t.db")
  said=$(printf '%s\n' ".load $LIB" ".open file:$disk/t.db?vfs=pmem" 'SELECT a FROM t;' | sqlite3 2>&1) || true
  case $said in *full*) ;; *) fail "opening on a full disk says: $said" ;; esac
  same "$before" "$(md5sum <"$disk/t.db")" 'the file after a refused open'
  rm "$disk/filler"
  same 1 "$(echo 'SELECT a FROM t;' | stock "$disk/t.db")" 'stock SQLite after a refused open'
  rm -f "$disk"/*
done
