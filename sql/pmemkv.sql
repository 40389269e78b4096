-- pmemkv.sql - a key-value table, and a transfer that happens whole or not at all.
--
--     sqlite3 app.db -cmd '.load build/pmem' <sql/pmemkv.sql
--
-- The table's content stands beside the database, in app.db-pmemkv, and can be opened
-- again: the statements below may be run as often as one likes.

CREATE VIRTUAL TABLE IF NOT EXISTS cache USING pmemkv();

-- Put and get.
INSERT OR REPLACE INTO cache VALUES('user:1', 'Ada');
SELECT value FROM cache WHERE key = 'user:1';

-- Two accounts, and a transfer between them.
INSERT OR REPLACE INTO cache VALUES('account:1', 100), ('account:2', 50);
BEGIN;
UPDATE cache SET value = value - 30 WHERE key = 'account:1';
UPDATE cache SET value = value + 30 WHERE key = 'account:2';
COMMIT;
SELECT key, value FROM cache WHERE key GLOB 'account:*' ORDER BY key;

-- A transfer that turns out to be impossible leaves nothing behind.
BEGIN;
UPDATE cache SET value = value - 500 WHERE key = 'account:1';
SELECT 'account:1 would have ' || value FROM cache WHERE key = 'account:1';
ROLLBACK;
SELECT key, value FROM cache WHERE key GLOB 'account:*' ORDER BY key DESC;

-- How a query finds its rows.
EXPLAIN QUERY PLAN SELECT value FROM cache WHERE key = 'user:1';
EXPLAIN QUERY PLAN SELECT * FROM cache WHERE key >= 'account:' AND key < 'account;' ORDER BY key DESC;

-- Is everything in order?
SELECT pmem_check('cache');
