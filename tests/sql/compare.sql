-- One long story for two VFSs: run by tests/scripts/stock_compare.sh on the VFS pmem and on
-- stock SQLite, every line of output compared.  No random numbers, no clocks, no order left open.
.mode list
PRAGMA foreign_keys = ON;
PRAGMA recursive_triggers = ON;
PRAGMA cache_size = 20;

.print == schema
CREATE TABLE customer(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL COLLATE NOCASE,
  country TEXT CHECK(length(country) = 2),
  born INTEGER,
  UNIQUE(name, country)
);
CREATE TABLE item(
  code TEXT PRIMARY KEY,
  price REAL NOT NULL,
  weight INTEGER GENERATED ALWAYS AS (length(code) * 10) STORED,
  label TEXT GENERATED ALWAYS AS (code || ' at ' || price) VIRTUAL
) WITHOUT ROWID;
CREATE TABLE purchase(
  id INTEGER PRIMARY KEY,
  customer INTEGER NOT NULL REFERENCES customer(id) ON DELETE CASCADE ON UPDATE CASCADE,
  item TEXT REFERENCES item(code) ON DELETE SET NULL,
  amount INTEGER DEFAULT 1,
  note BLOB
);
CREATE INDEX purchase_customer ON purchase(customer, item);
CREATE INDEX purchase_large ON purchase(amount) WHERE amount > 50;
CREATE INDEX customer_upper ON customer(upper(name), born DESC);
CREATE TABLE journal(seq INTEGER PRIMARY KEY, event TEXT);
CREATE TABLE total(customer INTEGER PRIMARY KEY, spent REAL DEFAULT 0) STRICT;
CREATE TRIGGER on_purchase AFTER INSERT ON purchase BEGIN
  INSERT INTO total(customer, spent)
    SELECT new.customer, new.amount * price FROM item WHERE code = new.item
    ON CONFLICT(customer) DO UPDATE SET spent = spent + excluded.spent;
END;
CREATE TRIGGER on_customer_gone AFTER DELETE ON customer BEGIN
  INSERT INTO journal(event) VALUES('gone: ' || old.name);
  DELETE FROM total WHERE customer = old.id;
END;
CREATE VIEW spending AS
  SELECT c.name, c.country, t.spent FROM customer c JOIN total t ON t.customer = c.id;
CREATE TRIGGER through_the_view INSTEAD OF UPDATE OF spent ON spending BEGIN
  UPDATE total SET spent = new.spent WHERE customer = (SELECT id FROM customer WHERE name = old.name);
END;
CREATE VIRTUAL TABLE words USING fts5(body, tag UNINDEXED, tokenize = 'porter');
CREATE VIRTUAL TABLE box USING rtree(id, x0, x1, y0, y1, +what TEXT);

.print == rows
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
INSERT INTO customer(name, country, born)
  SELECT printf('Customer %05d', i * 7919 % 10007), substr('DEFRITESPTNLBEPL', 1 + i % 8 * 2, 2), 1920 + i * 31 % 90 FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 700)
INSERT INTO item(code, price) SELECT printf('%.*c-%d', i % 9 + 1, char(65 + i % 26), i), i * 37 % 1000 / 10.0 FROM n;
COMMIT;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
INSERT INTO purchase(customer, item, amount, note)
  SELECT 1 + i * 6151 % 3000, printf('%.*c-%d', k % 9 + 1, char(65 + k % 26), k), i * 17 % 101,
    CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN zeroblob(i % 900) WHEN 2 THEN i * 1.5 ELSE 'note ' || i END FROM (SELECT i, 1 + i * 104729 % 700 AS k FROM n);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)
INSERT INTO words(body, tag)
  SELECT 'running ' || char(97 + i % 26) || 'ords and ' || (i * 271 % 1000) || ' apples of number ' || i, 'tag' || i % 10 FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
INSERT INTO box SELECT i, i * 37 % 1000, i * 37 % 1000 + i % 10, i * 73 % 1000, i * 73 % 1000 + i % 7, 'box ' || i FROM n;
SELECT count(*), sum(amount), sum(length(note)) FROM purchase;
SELECT count(*), round(sum(spent), 3) FROM total;
SELECT count(*), min(name), max(name) FROM customer;

.print == queries
SELECT country, count(*), round(avg(born), 4), group_concat(DISTINCT born % 10) FROM customer GROUP BY country ORDER BY country;
SELECT * FROM spending ORDER BY spent DESC, name LIMIT 10;
SELECT name, spent, rank() OVER w, round(sum(spent) OVER (w ROWS 5 PRECEDING), 3), lag(name, 2, '-') OVER w
  FROM spending WINDOW w AS (PARTITION BY country ORDER BY spent DESC, name) ORDER BY country, spent DESC, name LIMIT 40;
SELECT ntile(7) OVER (ORDER BY price, code), first_value(code) OVER (PARTITION BY weight ORDER BY code) FROM item ORDER BY price, code LIMIT 30;
WITH RECURSIVE chain(id, depth, path) AS (
  SELECT 1, 0, '1' UNION ALL SELECT 1 + id * 7 % 50, depth + 1, path || '>' || (1 + id * 7 % 50) FROM chain WHERE depth < 15
) SELECT c.depth, customer.name, c.path FROM chain c JOIN customer USING(id) ORDER BY c.depth;
SELECT label, weight FROM item WHERE weight BETWEEN 60 AND 80 ORDER BY code LIMIT 15;
SELECT i.code, count(p.id), total(p.amount) FROM item i LEFT JOIN purchase p ON p.item = i.code GROUP BY i.code HAVING count(p.id) > 17 ORDER BY 2 DESC, 1 LIMIT 25;
SELECT name FROM customer WHERE upper(name) GLOB 'CUSTOMER 0001*' ORDER BY name;
SELECT count(*) FROM purchase WHERE amount > 50 AND note IS NOT NULL;
SELECT rowid, highlight(words, 0, '[', ']') FROM words WHERE words MATCH 'run AND apple AND (zords OR "number 99")' ORDER BY rank, rowid LIMIT 10;
SELECT count(*) FROM words('tag:tag3 OR number');
SELECT id, what FROM box WHERE x0 >= 100 AND x1 <= 160 AND y0 >= 500 AND y1 <= 600 ORDER BY id;
SELECT json_group_array(json_object('n', name, 's', spent)) FROM (SELECT * FROM spending ORDER BY name LIMIT 3);
SELECT customer FROM purchase WHERE amount = 7 INTERSECT SELECT customer FROM purchase WHERE amount = 9 EXCEPT SELECT 5 ORDER BY 1 LIMIT 20;

.print == changes
INSERT INTO customer(id, name, country, born) VALUES(10, 'someone', 'DE', 1), (5000, 'Customer 00001', 'DE', 2)
  ON CONFLICT(id) DO UPDATE SET name = excluded.name || ' again', born = born + 1000 WHERE born < 5000
  ON CONFLICT(name, country) DO UPDATE SET born = -1;
SELECT id, name, country, born FROM customer WHERE born < 0 OR born > 2100 ORDER BY id;
INSERT OR IGNORE INTO item(code, price) SELECT code, 1 FROM item UNION ALL SELECT 'new', 2;
INSERT OR REPLACE INTO item(code, price) SELECT code, price + 1 FROM item WHERE weight = 30;
UPDATE purchase SET amount = amount + s.n FROM (SELECT customer, count(*) AS n FROM purchase GROUP BY customer) s
  WHERE s.customer = purchase.customer AND purchase.id % 13 = 0;
DELETE FROM customer WHERE born % 17 = 3 RETURNING id, name;
UPDATE spending SET spent = 0.5 WHERE country = 'FR' AND spent < 300;
UPDATE customer SET id = id + 100000 WHERE id % 97 = 0 RETURNING id;
DELETE FROM purchase WHERE id IN (SELECT id FROM purchase ORDER BY amount DESC, id LIMIT 500);
DELETE FROM words WHERE rowid % 3 = 0;
UPDATE words SET body = body || ' changed' WHERE rowid % 5 = 0;
DELETE FROM box WHERE x0 < 300;
SELECT count(*) FROM words('changed');
SELECT count(*), sum(x1 - x0) FROM box;
SELECT count(*) FROM journal;
PRAGMA foreign_key_check;
PRAGMA integrity_check;

.print == savepoints
BEGIN;
DELETE FROM purchase WHERE id % 2;
SAVEPOINT one;
UPDATE purchase SET note = zeroblob(2000);
SELECT count(*), sum(length(note)) FROM purchase;
SAVEPOINT two;
DROP TABLE journal;
CREATE TABLE journal(other);
INSERT INTO journal SELECT name FROM customer;
DELETE FROM words;
DELETE FROM box;
SELECT (SELECT count(*) FROM words), (SELECT count(*) FROM box), (SELECT count(*) FROM journal);
ROLLBACK TO two;
SELECT (SELECT count(*) FROM words), (SELECT count(*) FROM box), (SELECT count(*) FROM journal);
RELEASE two;
ROLLBACK TO one;
SELECT count(*), sum(length(note)) FROM purchase;
ROLLBACK;
SELECT count(*), sum(length(note)) FROM purchase;
BEGIN;
INSERT INTO customer(name, country) VALUES('too long a country', 'GERMANY');
INSERT INTO purchase(customer) VALUES(999999999);
INSERT INTO item(code, price) SELECT 'fresh ' || code, price FROM item UNION ALL SELECT 'new', 3;
INSERT INTO total VALUES('no integer', 1);
SELECT count(*) FROM item;
UPDATE item SET code = 'all the same';
INSERT OR ROLLBACK INTO item(code, price) VALUES('last', 1), ('new', 3);
SELECT count(*) FROM item;

.print == other shapes
ALTER TABLE customer RENAME COLUMN born TO year;
ALTER TABLE customer ADD COLUMN email TEXT DEFAULT 'none';
ALTER TABLE journal RENAME TO diary;
ALTER TABLE purchase ADD COLUMN paid INTEGER DEFAULT 0;
UPDATE purchase SET paid = 1 WHERE id % 5 = 0;
ALTER TABLE purchase DROP COLUMN paid;
DROP INDEX purchase_large;
CREATE INDEX purchase_item ON purchase(item, amount DESC);
SELECT id, name, year, email FROM customer ORDER BY id DESC LIMIT 5;
SELECT type, name FROM sqlite_schema ORDER BY name;
BEGIN;
ALTER TABLE diary ADD COLUMN more;
CREATE TABLE passing AS SELECT * FROM purchase;
DROP TABLE passing;
ROLLBACK;
SELECT * FROM pragma_table_info('diary');
CREATE TEMP TABLE scratch AS SELECT id, amount FROM purchase ORDER BY id;
UPDATE purchase SET amount = (SELECT s.amount + 1 FROM scratch s WHERE s.id = purchase.id) WHERE id % 3 = 0;
SELECT sum(amount) FROM purchase;
CREATE TABLE large(id INTEGER PRIMARY KEY, data BLOB);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30)
INSERT INTO large SELECT i, CAST(printf('%.*c', i * 20011, char(65 + i % 26)) AS BLOB) FROM n;
UPDATE large SET data = CAST(substr(data, 1, 5000) || 'cut' AS BLOB) WHERE id % 4 = 0;
UPDATE large SET data = data || data WHERE id % 7 = 0;
DELETE FROM large WHERE id % 5 = 0;
SELECT id, length(data), hex(substr(data, 4990, 12)) FROM large ORDER BY id;

.print == VACUUM
PRAGMA page_count;
VACUUM;
PRAGMA page_count;
PRAGMA integrity_check;
PRAGMA page_size = 1024;
VACUUM;
PRAGMA page_size;
PRAGMA page_count;
PRAGMA auto_vacuum = FULL;
VACUUM;
DELETE FROM purchase WHERE id % 2;
PRAGMA freelist_count;
PRAGMA page_count;
PRAGMA auto_vacuum = INCREMENTAL;
VACUUM;
DELETE FROM large WHERE id > 10;
PRAGMA freelist_count;
PRAGMA incremental_vacuum(7);
PRAGMA freelist_count;
PRAGMA incremental_vacuum;
PRAGMA page_count;
PRAGMA page_size = 65536;
VACUUM;
PRAGMA page_count;

.print == upkeep
ANALYZE;
SELECT * FROM sqlite_stat1 ORDER BY tbl, idx;
EXPLAIN QUERY PLAN SELECT * FROM purchase WHERE item = 'new' ORDER BY amount DESC;
REINDEX;
INSERT INTO words(words) VALUES('optimize');
INSERT INTO words(words) VALUES('integrity-check');
SELECT rtreecheck('box');
PRAGMA user_version = 42;
PRAGMA application_id = 1234567;
PRAGMA user_version;
PRAGMA quick_check;
PRAGMA journal_mode = PERSIST;
UPDATE total SET spent = spent + 1;
PRAGMA journal_mode = MEMORY;
UPDATE total SET spent = spent + 1;
PRAGMA journal_mode = TRUNCATE;
UPDATE total SET spent = spent + 1;
PRAGMA journal_mode = DELETE;
BEGIN EXCLUSIVE;
DELETE FROM total;
ROLLBACK;
SELECT round(sum(spent), 3) FROM total;
PRAGMA foreign_key_check;
PRAGMA integrity_check;
