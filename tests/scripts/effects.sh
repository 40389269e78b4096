# What the options do, seen from SQL: of databases, and of key-value tables by the same names.
. tests/scripts/lib.inc

cat >"$PMEM/effects.py" <<'PY'
import os, shutil, signal, sqlite3, sys, time
library, folder = sys.argv[1:]
boot = sqlite3.connect(':memory:')
boot.enable_load_extension(True)
boot.load_extension(library)

class Face:
    """A table with two columns: of a database here, or of a key-value store."""
    def __init__(self, kind, name):
        self.kind, self.path = kind, f'{folder}/{name}.{kind}'
    def open(self, **options):
        if self.kind == 'database':
            text = ''.join(f'&pmem_{name}={value}' for name, value in options.items())
            db = sqlite3.connect(f'file:{self.path}?vfs=pmem{text}', uri=True, isolation_level=None)
            db.execute('CREATE TABLE IF NOT EXISTS t(key PRIMARY KEY, value) WITHOUT ROWID')
        else:
            text = ''.join(f", {name}='{value}'" for name, value in options.items())
            db = sqlite3.connect(':memory:', isolation_level=None)
            db.execute(f"CREATE VIRTUAL TABLE t USING pmemkv(path='{self.path}'{text})")
        db.execute('SELECT count(*) FROM t')
        return db
    def refused(self, word, **options):
        try:
            db = self.open(**options)
            db.execute('SELECT count(*) FROM t').fetchone()
        except sqlite3.Error as error:
            why = str(error)
            if self.kind == 'database':
                why = pragma_error(self, options)
            assert word in why, (self.kind, word, why)
            return
        raise SystemExit(f'{self.kind}: {options} was not refused')
    def content(self):
        names = [f'{folder}/{name}' for name in sorted(os.listdir(folder))]
        return {name: open(name, 'rb').read() for name in names if name.startswith(self.path)}

def pragma_error(face, options):
    text = ''.join(f'&pmem_{name}={value}' for name, value in options.items())
    db = sqlite3.connect(f'file:{face.path}?vfs=pmem{text}', uri=True)
    try:
        db.execute('SELECT count(*) FROM t')
    except sqlite3.Error:
        pass
    return db.execute('PRAGMA pmem_error').fetchone()[0]

def stats(db, face, *columns):
    return db.execute(f"SELECT {', '.join(columns)} FROM pmem_stats WHERE path = ?",
                      (os.path.realpath(face.path),)).fetchone()

def put(db, key, value):
    db.execute('REPLACE INTO t VALUES(?, ?)', (key, value))

def crash(face, **options):
    """Committed, and left by a process that was killed."""
    child = os.fork()
    if child == 0:
        db = face.open(**options)
        for i in range(100):
            put(db, i, f'value {i}')
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)

for kind in 'database', 'key-value':
    # checkpoint_interval: the first commit after it brings the file up to date; before, nothing does.
    face = Face(kind, 'interval')
    db = face.open(checkpoint_interval='1000000')
    for i in range(20):
        put(db, i, i)
    time.sleep(0.1) # the clock that is looked at is a coarse one
    last, done, lag = stats(db, face, 'last_lsn', 'checkpoint_lsn', 'checkpoint_lag_s')
    assert done < last and lag > 0, (kind, done, last, lag)
    db.close()
    db = face.open(checkpoint_interval='0.001')
    for _ in range(3):
        time.sleep(0.1)
        put(db, 1, 1)
        assert stats(db, face, 'checkpoint_lsn = last_lsn', 'checkpoint_lag_s') == (1, 0), kind
    db.close()

    # max_log_size: many times as much is written.
    face = Face(kind, 'log')
    db = face.open(max_log_size='1M')
    for i in range(150):
        db.execute('BEGIN')
        for key in range(20):
            put(db, key, os.urandom(4000))
        db.execute('COMMIT')
    size, written = stats(db, face, 'log_size', 'media_bytes_written')
    assert written > 10_000_000 and size < 1_500_000, (kind, size, written)
    db.execute('BEGIN')
    for i in range(3000):
        put(db, i, os.urandom(1000))
    db.execute('COMMIT')
    for i in range(10):
        put(db, i, i)
    size, = stats(db, face, 'log_size')
    assert size < 1_500_000, (kind, size)
    db.close()

    # size: what passes it is refused and rolled back, and what fits goes on.
    face = Face(kind, 'size')
    db = face.open(size='300K')
    put(db, 'before', 1)
    for sql in ("INSERT INTO t VALUES('large', zeroblob(400000))",
                "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 500) "
                "INSERT INTO t SELECT i, zeroblob(1000) FROM n"):
        try:
            db.execute(sql)
        except sqlite3.OperationalError as error:
            assert 'full' in str(error) or 'pass' in str(error), error
        else:
            raise SystemExit(f'{kind}: {sql} was not refused')
        assert not db.in_transaction
        assert db.execute('SELECT key, value FROM t').fetchall() == [('before', 1)]
        assert db.execute('SELECT pmem_check(?)', ('main' if kind == 'database' else 't',)).fetchone() == ('ok',)
    for i in range(100):
        put(db, i, b'x' * 500)
    db.close()
    assert os.path.getsize(face.path) <= 300 * 1024

    # recovery: none refuses what a crash left and changes nothing, full and checkpoint recover it.
    face = Face(kind, 'crashed')
    crash(face)
    before = face.content()
    assert any(name.endswith('-pmlog') for name in before)
    face.refused('recovery=none', recovery='none')
    assert face.content() == before, kind
    kept = {name: f'{folder}/kept{number}' for number, name in enumerate(before)}
    for name, copy in kept.items():
        shutil.copy(name, copy)
    for recovery in 'full', 'checkpoint':
        for name, copy in kept.items():
            shutil.copy(copy, name)
        db = face.open(recovery=recovery)
        assert db.execute('SELECT count(*) FROM t').fetchone()[0] == 100
        db.close()
    db = face.open(recovery='none')
    assert db.execute('SELECT count(*) FROM t').fetchone()[0] == 100
    db.close()

    # full: damage is refused when the store is opened, not when somebody gets there.
    face = Face(kind, 'damaged')
    db = face.open()
    for i in range(2000):
        put(db, i, f'value {i:0100}')
    db.close()
    content = bytearray(open(face.path, 'rb').read())
    at = content.index(b'value ' + b'0' * 97 + b'777')
    block = at - at % 4096
    content[block + 3] ^= 0x55 # of its header
    open(face.path, 'wb').write(content)
    face.refused('recovery=full found', recovery='full')
    assert os.path.getsize(face.path) == len(content)
PY

for folder in "$PMEM/faces" "$DISK/faces"; do
  mkdir "$folder"
  on "$folder"
  python "$PMEM/effects.py" "$LIB" "$folder"
done
