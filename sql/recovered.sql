-- The second half of sql/crash.sql: what the log held, and what recovery made of it.
.mode column
SELECT count(*) AS rows, sum(note = 'T1') AS t1, sum(note = 'T2') AS t2 FROM ledger;
SELECT phase, CASE txid WHEN min(txid) OVER () THEN 'T1' WHEN max(txid) OVER () THEN 'T2' ELSE '' END AS txn,
       action, ms FROM pmem_recovery('main');
PRAGMA integrity_check;
