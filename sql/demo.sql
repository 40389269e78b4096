-- What the demo asks of Debian's packages, and a transaction that is taken back.
-- Run by demo.sh, in the stock shell, with the database open on the VFS pmem.
.mode box

.print '• full text (FTS5): a small database that runs inside the program'
SELECT p.name, s.name AS section, substr(p.description, 1, 60) AS description
FROM words JOIN package p ON p.id = words.rowid JOIN section s ON s.id = p.section
WHERE words MATCH 'database AND (embedded OR sqlite)'
GROUP BY p.name ORDER BY words.rank LIMIT 6;

.print
.print '• recursion: all that comes along with one package'
CREATE TEMP TABLE chosen AS
  SELECT coalesce((SELECT name FROM package WHERE name = 'libreoffice'),
                  (SELECT p.name FROM package p JOIN dependency d ON d.package = p.id
                   GROUP BY p.id ORDER BY count(*) DESC LIMIT 1)) AS name;
WITH RECURSIVE needs(name, depth) AS (
  SELECT name, 0 FROM chosen
  UNION
  SELECT d.name, n.depth + 1
  FROM needs n JOIN package p ON p.name = n.name
       JOIN dependency d ON d.package = p.id AND d.choice = 0
  WHERE n.depth < 5
), nearest AS (SELECT name, min(depth) AS depth FROM needs GROUP BY name)
SELECT (SELECT name FROM chosen) AS package, depth, count(*) AS packages,
       sum(installed) / 1024 AS "MiB installed",
       sum(count(*)) OVER (ORDER BY depth) AS "packages so far"
FROM nearest n JOIN (SELECT name, max(installed_kib) AS installed FROM package GROUP BY name) USING (name)
GROUP BY depth ORDER BY depth;

.print
.print '• aggregates: the sections that take most room'
SELECT s.name AS section, count(*) AS packages, count(DISTINCT p.maintainer) AS maintainers,
       sum(p.installed_kib) / 1024 AS "MiB installed",
       max(p.installed_kib) / 1024 AS "largest, MiB"
FROM package p JOIN section s ON s.id = p.section
GROUP BY s.id ORDER BY sum(p.installed_kib) DESC LIMIT 5;

.print
.print '• R-Tree: at most 2 MiB to fetch, yet at least 20 MiB on disk'
SELECT p.name, p.download_kib AS "KiB fetched", p.installed_kib / 1024 AS "MiB on disk"
FROM footprint f JOIN package p ON p.id = f.id
WHERE f.download_most <= 2048 AND f.installed_least >= 20480
  AND f.download_least >= (SELECT min(1, max(download_kib)) FROM package) -- 0: size not known
GROUP BY p.name ORDER BY p.installed_kib DESC LIMIT 5;

.print
.print '• a transaction that is taken back: every package of the largest section deleted, by trigger also'
.print '  from the full text, the R-Tree and the dependencies; then ROLLBACK'
CREATE TEMP VIEW counted AS
  SELECT (SELECT count(*) FROM package) AS packages, (SELECT count(*) FROM dependency) AS dependencies,
         (SELECT count(*) FROM footprint) AS footprints,
         (SELECT count(*) FROM words WHERE words MATCH 'library') AS "found under 'library'";
CREATE TEMP TABLE observed AS SELECT 'before' AS moment, * FROM counted;
BEGIN;
DELETE FROM package WHERE section = (SELECT section FROM package GROUP BY section ORDER BY count(*) DESC LIMIT 1);
INSERT INTO observed SELECT 'inside', * FROM counted;
SELECT * FROM observed;
ROLLBACK;
SELECT 'after ROLLBACK' AS moment, * FROM counted;
