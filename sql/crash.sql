-- The first half of a recovery: T1 is committed, T2 is under way when the process dies.
-- To be read on a database of the VFS `pmem`; sql/recovered.sql is the second half.
CREATE TABLE IF NOT EXISTS ledger(id INTEGER PRIMARY KEY, note TEXT, filler BLOB);
DELETE FROM ledger;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
  INSERT INTO ledger SELECT i, 'before', zeroblob(100) FROM n;
SELECT pmem_checkpoint('main') > 0 AS checkpointed;

-- T1
BEGIN;
UPDATE ledger SET note = 'T1' WHERE id = 1;
COMMIT;

-- T2: so large that part of it is in the log before it is committed.
PRAGMA cache_size = 10;
BEGIN;
UPDATE ledger SET note = 'T2', filler = zeroblob(20000);
.shell kill -9 $PPID
