# Programs that know nothing of this VFS: Python's sqlite3 module, and the stock shell
# with the VFS as the process's default.
. tests/scripts/lib.inc

cat >"$DISK/clients.py" <<'PYTHON'
import os, random, sqlite3, subprocess, sys, threading

LIB, FOLDER = sys.argv[1], sys.argv[2]
DB = os.path.join(FOLDER, "clients.db")
loader = sqlite3.connect(":memory:")
loader.enable_load_extension(True)
loader.load_extension(LIB)
loader.close()


def connect(path=DB, **more):
    return sqlite3.connect(f"file:{path}?vfs=pmem", uri=True, **more)


def one(db, sql, *values):
    return db.execute(sql, values).fetchone()[0]


def same(expected, got, what):
    assert expected == got, f"{what}: expected {expected!r}, got {got!r}"


def refused(name, db, sql):
    """`sql` fails with the SQLite error of that name."""
    try:
        db.execute(sql)
    except sqlite3.Error as error:
        same(name, error.sqlite_errorname, sql)
    else:
        raise AssertionError(f"{sql}: {name} expected")


def values_and_transactions():
    db = connect()
    same("delete", one(db, "PRAGMA journal_mode=WAL"), "PRAGMA journal_mode=WAL")
    same("delete", one(db, "PRAGMA journal_mode"), "PRAGMA journal_mode")
    alone = connect(os.path.join(FOLDER, "alone.db"), isolation_level=None)
    # Alone, SQLite would enter WAL mode without shared memory of its own.
    alone.execute("PRAGMA locking_mode=EXCLUSIVE")
    alone.execute("CREATE TABLE t(a)")
    for mode in "delete", "truncate", "persist":
        same(mode, one(alone, f"PRAGMA journal_mode={mode}"), "PRAGMA journal_mode")
        same(mode, one(alone, "PRAGMA journal_mode=WAL"), "PRAGMA journal_mode=WAL, exclusive")
        alone.execute("INSERT INTO t VALUES(1)")
    alone.close()
    same(["alone.db"], [name for name in os.listdir(FOLDER) if name.startswith("alone")], "files of alone.db")
    os.remove(os.path.join(FOLDER, "alone.db"))
    db.execute("CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
    rows = [(1, None), (2, -2**63), (3, 0.1), (4, "ab\0cd \u4e2d\U0001f600"), (5, b""), (6, random.randbytes(5_000_000))]
    with db:
        db.executemany("INSERT INTO t VALUES(?, ?)", rows)
    same(rows, db.execute("SELECT * FROM t").fetchall(), "values of every type")
    try:
        with db:
            db.execute("DELETE FROM t")
            same(0, one(db, "SELECT count(*) FROM t"), "inside")
            raise KeyError
    except KeyError:
        pass
    same(rows, db.execute("SELECT * FROM t").fetchall(), "after the exception")
    db.execute("UPDATE t SET b = 1")
    db.rollback()
    same(rows, db.execute("SELECT * FROM t").fetchall(), "after rollback()")
    db.execute("INSERT INTO t VALUES(7, 'kept')")
    db.execute("SAVEPOINT s")
    db.execute("DELETE FROM t")
    db.execute("ROLLBACK TO s")
    db.commit()
    same(7, one(db, "SELECT count(*) FROM t"), "after ROLLBACK TO and commit()")
    refused("SQLITE_CONSTRAINT_PRIMARYKEY", db, "INSERT INTO t SELECT 8, 8 UNION ALL SELECT 1, 1")
    same(7, one(db, "SELECT count(*) FROM t"), "after a statement that failed in its second row")
    db.rollback()
    db.create_function("twice", 1, lambda x: 2 * x)
    db.execute("UPDATE t SET b = twice(a) WHERE a < 7")
    db.commit()
    same(42, one(db, "SELECT sum(b) FROM t WHERE a < 7"), "a function of the client")
    with db.blobopen("t", "b", 7, readonly=True) if hasattr(db, "blobopen") else open(os.devnull) as blob:
        same(b"kept" if hasattr(db, "blobopen") else "", blob.read(), "incremental blob")
    copy = sqlite3.connect(":memory:")
    db.backup(copy, pages=3)
    same(list(db.iterdump()), list(copy.iterdump()), "the backup")
    db.execute("DELETE FROM t")
    db.commit()
    copy.backup(db)
    same(list(copy.iterdump()), list(db.iterdump()), "the backup, the other way")
    db.close()
    same(["clients.db"], os.listdir(FOLDER), "files after close()")
    stock = sqlite3.connect(DB)
    same(list(copy.iterdump()), list(stock.iterdump()), "what stock SQLite reads")
    stock.close()


def two_connections():
    a, b = connect(isolation_level=None, timeout=0), connect(isolation_level=None, timeout=0)
    a.execute("DROP TABLE IF EXISTS t")
    a.execute("CREATE TABLE t(a)")
    b.execute("BEGIN")
    same(0, one(b, "SELECT count(*) FROM t"), "b's snapshot")
    a.execute("INSERT INTO t VALUES(1)")  # not blocked by the reader
    same(0, one(b, "SELECT count(*) FROM t"), "b's snapshot after a's commit")
    refused("SQLITE_BUSY_SNAPSHOT", b, "INSERT INTO t VALUES(2)")
    b.execute("ROLLBACK")
    same(1, one(b, "SELECT count(*) FROM t"), "b's next transaction")
    a.execute("BEGIN IMMEDIATE")
    a.execute("INSERT INTO t VALUES(2)")
    refused("SQLITE_BUSY", b, "INSERT INTO t VALUES(3)")
    same(1, one(b, "SELECT count(*) FROM t"), "b reads while a writes")
    a.execute("COMMIT")
    same(2, one(b, "SELECT count(*) FROM t"), "b after a's commit")
    a.execute("BEGIN EXCLUSIVE")
    same(2, one(b, "SELECT count(*) FROM t"), "b reads while a is exclusive")
    a.execute("ROLLBACK")
    a.execute("ALTER TABLE t ADD COLUMN c DEFAULT 'new'")  # b's schema is out of date
    same("new", one(b, "SELECT c FROM t"), "a schema that another connection changed")
    a.close()
    b.execute("INSERT INTO t(a) VALUES(4)")  # still open after the other has gone
    b.close()
    same(["clients.db"], os.listdir(FOLDER), "files after the last close()")


ACCOUNTS, TOTAL = 20, 20_000


def transfer(db, choose):
    source, target, amount = choose.randrange(ACCOUNTS), choose.randrange(ACCOUNTS), choose.randrange(100)
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE account SET money = money - ? WHERE id = ?", (amount, source))
    db.execute("UPDATE account SET money = money + ? WHERE id = ?", (amount, target))
    if choose.random() < 0.2:
        db.execute("ROLLBACK")
        return 0
    db.execute("UPDATE done SET n = n + 1")
    db.execute("COMMIT")
    return 1


def transfers(seed, count):
    choose, db, done = random.Random(seed), connect(isolation_level=None, timeout=60), 0
    for _ in range(count):
        done += transfer(db, choose)
    db.close()
    return done


def threads_and_processes(threads=6, processes=2, count=300):
    db = connect(isolation_level=None)
    db.execute("CREATE TABLE account(id INTEGER PRIMARY KEY, money)")
    db.execute("CREATE TABLE done(n)")
    db.execute("INSERT INTO done VALUES(0)")
    db.executemany("INSERT INTO account VALUES(?, ?)", [(i, TOTAL // ACCOUNTS) for i in range(ACCOUNTS)])
    # This connection stays open, and goes from thread to thread.
    wrong, done, finished = [], [], threading.Event()

    def guarded(work):
        def run():
            try:
                work()
            except BaseException as error:
                wrong.append(repr(error))
        return threading.Thread(target=run)

    def read():
        mine, reads = connect(isolation_level=None, timeout=60), 0
        while not finished.is_set() or reads == 0:
            same(TOTAL, one(mine, "SELECT sum(money) FROM account"), "the sum of all accounts")
            reads += 1
        mine.close()

    writers = [guarded(lambda i=i: done.append(transfers(i, count))) for i in range(threads)]
    readers = [guarded(read) for _ in range(2)]
    others = [subprocess.Popen([sys.executable, __file__, LIB, FOLDER, str(1000 + i), str(count)],
                               stdout=subprocess.PIPE, text=True) for i in range(processes)]
    for thread in readers + writers:
        thread.start()
    for thread in writers:
        thread.join()
    for other in others:
        done.append(int(other.communicate()[0] or 0))
        same(0, other.returncode, "exit status of another process")
    finished.set()
    for thread in readers:
        thread.join()
    assert not wrong, wrong
    same(threads + processes, len(done), "writers that finished")
    assert sum(done) > (threads + processes) * count // 2, f"only {sum(done)} transfers"
    same(sum(done), one(db, "SELECT n FROM done"), "transfers counted in the database")
    same(TOTAL, one(db, "SELECT sum(money) FROM account"), "the sum of all accounts at the end")
    same("ok", one(db, "PRAGMA integrity_check"), "integrity_check")
    db.close()

    moved = connect(isolation_level=None, check_same_thread=False)
    for _ in range(3):
        thread = guarded(lambda: moved.execute("UPDATE done SET n = n + 1"))
        thread.start()
        thread.join()
    assert not wrong, wrong
    same(sum(done) + 3, one(moved, "SELECT n FROM done"), "one connection in several threads")
    moved.close()
    same(["clients.db"], os.listdir(FOLDER), "files after the last close()")
    stock = sqlite3.connect(DB)
    same(sum(done) + 3, one(stock, "SELECT n FROM done"), "what stock SQLite reads")
    same("ok", one(stock, "PRAGMA integrity_check"), "stock SQLite's integrity_check")
    stock.close()


if len(sys.argv) > 3:
    print(transfers(int(sys.argv[3]), int(sys.argv[4])))
else:
    values_and_transactions()
    two_connections()
    threads_and_processes()
PYTHON

for folder in "$PMEM/clients" "$DISK/clients"; do
  on "$folder"
  mkdir "$folder"
  python "$DISK/clients.py" "$LIB" "$folder" || fail "Python's sqlite3 on $folder"
done

# -------------------------------------------------------- the VFS as the default --

shell() { sqlite3 -batch -bail 2>&1; }
for folder in "$PMEM/default" "$DISK/default"; do
  on "$folder"
  mkdir "$folder"
  db=$folder/plain.db
  out=$(shell <<SQL
.load $LIB sqlite3_pmemdefault_init
.open $db
CREATE TABLE t(a);
INSERT INTO t SELECT value FROM generate_series(1, 100);
.vfsname
.shell cd $folder; echo *
ATTACH '$folder/second.db' AS second;
CREATE TABLE second.t AS SELECT a FROM main.t;
ATTACH 'file:$folder/stock.db?vfs=unix' AS stock;
CREATE TABLE stock.t AS SELECT a FROM main.t;
ATTACH ':memory:' AS memory;
CREATE TABLE memory.t AS SELECT a FROM main.t;
CREATE TEMP TABLE passing AS SELECT a FROM t;
.shell cd $folder; echo *
SELECT count(*) FROM main.t, second.t USING(a), stock.t USING(a), memory.t USING(a), passing USING(a);
.load $LIB
.open $db
.vfsname
SELECT sum(a) FROM t;
SQL
) || fail "the VFS as the default on $folder: $out"
  plain='plain.db plain.db-pmlog plain.db-pmshm'
  second='second.db second.db-pmlog second.db-pmshm'
  same "pmem $plain $plain $second stock.db 100 pmem 5050" "$(echo $out)" \
    "the VFS as the default on $folder"
  same "plain.db second.db stock.db" "$(cd "$folder" && echo *)" 'files left'
  same '5050 ok' "$(echo 'SELECT sum(a) FROM t; PRAGMA integrity_check;' | stock "$db" | xargs)" 'stock SQLite afterwards'

  # The ordinary entry point changes no default.
  out=$(shell <<SQL
.load $LIB
.open $db
.vfsname
SELECT sum(a) FROM t;
.shell cd $folder; echo plain.db*
SQL
)
  same 'unix 5050 plain.db' "$(echo $out)" "no default on $folder"
done

# From SQL alone, as for a tool without .load; Python's connect() without a URI.
on "$PMEM"
out=$(python - "$LIB" "$PMEM/default" <<'PYTHON'
import os, sqlite3, sys
loader = sqlite3.connect(":memory:")
loader.enable_load_extension(True)
loader.execute("SELECT load_extension(?, 'sqlite3_pmemdefault_init')", sys.argv[1:2])
loader.close()
db = sqlite3.connect(os.path.join(sys.argv[2], "plain.db"))
print(db.execute("SELECT sum(a) FROM t").fetchone()[0], *sorted(os.listdir(sys.argv[2])))
PYTHON
)
same '5050 plain.db plain.db-pmlog plain.db-pmshm second.db stock.db' "$out" 'the default from Python'

# A name with vfs=pmem before anything was loaded: the error says so, and no file appears.
if out=$(sqlite3 "file:$PMEM/early.db?vfs=pmem" 'CREATE TABLE t(a);' 2>&1); then fail "opened without loading: $out"; fi
case $out in *'no such vfs: pmem'*) ;; *) fail "opening before loading says: $out" ;; esac
[ ! -e "$PMEM/early.db" ] || fail 'opening before loading made a file'
