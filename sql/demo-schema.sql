-- The demo's database: Debian's packages and how they hang together.  Rows come in
-- through the view `stanza`, whose trigger fills every table.

CREATE TABLE section(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE maintainer(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);

CREATE TABLE package(
  id             INTEGER PRIMARY KEY,
  name           TEXT NOT NULL,
  version        TEXT NOT NULL,
  architecture   TEXT NOT NULL,
  section        INTEGER NOT NULL REFERENCES section,
  maintainer     INTEGER NOT NULL REFERENCES maintainer,
  priority       TEXT,
  download_kib   INTEGER NOT NULL,
  installed_kib  INTEGER NOT NULL,
  description    TEXT,
  tags           TEXT,
  UNIQUE(name, version, architecture)
);
CREATE INDEX package_by_section ON package(section, installed_kib);
CREATE INDEX package_by_maintainer ON package(maintainer);

-- One row for every name a package asks for; `choice` counts the alternatives of "a | b".
CREATE TABLE dependency(
  package     INTEGER NOT NULL REFERENCES package ON DELETE CASCADE,
  position    INTEGER NOT NULL,
  choice      INTEGER NOT NULL,
  name        TEXT NOT NULL,
  constrained TEXT,
  PRIMARY KEY(package, position, choice)
) WITHOUT ROWID;
CREATE INDEX dependency_by_name ON dependency(name);

-- Full text, kept beside `package` by the triggers below.
CREATE VIRTUAL TABLE words USING fts5(name, description, tags, content='package', content_rowid='id');
-- Each package as a point: what is fetched, what it takes on disk, in KiB.
CREATE VIRTUAL TABLE footprint USING rtree_i32(id, download_least, download_most, installed_least, installed_most);

CREATE TRIGGER package_added AFTER INSERT ON package BEGIN
  INSERT INTO words(rowid, name, description, tags) VALUES(new.id, new.name, new.description, new.tags);
  INSERT INTO footprint VALUES(new.id, new.download_kib, new.download_kib, new.installed_kib, new.installed_kib);
END;
CREATE TRIGGER package_removed AFTER DELETE ON package BEGIN
  INSERT INTO words(words, rowid, name, description, tags)
    VALUES('delete', old.id, old.name, old.description, old.tags);
  DELETE FROM footprint WHERE id = old.id;
  DELETE FROM dependency WHERE package = old.id;
END;

CREATE VIEW stanza AS
  SELECT p.name, p.version, p.architecture, s.name AS section, p.priority, m.name AS maintainer,
         p.download_kib * 1024 AS size, p.installed_kib, NULL AS pre_depends, NULL AS depends,
         p.description, p.tags
  FROM package p JOIN section s ON s.id = p.section JOIN maintainer m ON m.id = p.maintainer;

CREATE TRIGGER stanza_arrives INSTEAD OF INSERT ON stanza BEGIN
  INSERT OR IGNORE INTO section(name) VALUES(new.section);
  INSERT OR IGNORE INTO maintainer(name) VALUES(new.maintainer);
  INSERT OR IGNORE INTO package(name, version, architecture, section, maintainer, priority,
                                download_kib, installed_kib, description, tags)
    SELECT new.name, new.version, new.architecture, s.id, m.id, new.priority,
           (CAST(new.size AS INTEGER) + 1023) / 1024, CAST(new.installed_kib AS INTEGER), new.description, new.tags
    FROM section s, maintainer m WHERE s.name = new.section AND m.name = new.maintainer;
  -- "libc6 (>= 2.34), mawk | gawk": at the commas, then at the bars.
  INSERT OR IGNORE INTO dependency
    SELECT p.id, one.key, alternative.key,
           substr(trim(alternative.value), 1, instr(replace(trim(alternative.value), ':', ' ') || ' ', ' ') - 1),
           nullif(trim(substr(trim(alternative.value), instr(trim(alternative.value) || ' ', ' '))), '')
    FROM package p,
         json_each('["' || replace(new.pre_depends || iif(new.pre_depends <> '' AND new.depends <> '', ',', '')
                                   || new.depends, ',', '","') || '"]') one,
         json_each('["' || replace(one.value, '|', '","') || '"]') alternative
    WHERE p.name = new.name AND p.version = new.version AND p.architecture = new.architecture
      AND trim(one.value) <> '';
END;
