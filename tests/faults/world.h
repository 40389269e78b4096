/*
** world.h - what a case has around it: a folder, databases in it, connections, another
** process; and what the content of all its databases is, in one word.
**
** Everything a case starts from is an image, made once and copied: a database that stock
** SQLite closed, one with a hot journal, one that pmem's log still has to recover, ...
** A failure of the surroundings ends the process: a case must not pass because it did not
** happen.
*/
#ifndef SPM_FAULTS_WORLD_H
#define SPM_FAULTS_WORLD_H

#include "../../vfs/store/store.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define WORLD_FILES 2

typedef struct world {
  const char *base; /* folder of images, of the case and of its crash image */
  bool on_file;     /* the medium: FILE, or PMEM */
  sqlite3 *db;      /* the connection under test */
  sqlite3 *other;   /* a second one, NULL: none */
  bool unopened;     /* the operation could not open `db`: it has its message only */
  bool stock_second; /* b.db is stock SQLite's */
  bool keys;         /* a.db has tables of keys, in a store beside it */
  const char *vfs;   /* of a.db; NULL: pmem */
  const char *aside; /* a store to which the case does not write once the operation is over; NULL: none */
  const char *options; /* of the URI, for every connection of the case */
  const char *target; /* a file that the operation makes besides */
  uint64_t undecided; /* content without a dead writer's commit, while nobody has taken over; 0: no such thing */
  unsigned acknowledged, limit; /* commits told to be done, and to do at most */
  pid_t peer;
  int to_peer, from_peer;
} world;

/* What the other process found. */
typedef struct peer_report {
  int read_code, write_code;
  uint64_t content;
} peer_report;

_Noreturn void world_broken(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define world_must(condition, ...) ((condition) ? (void)0 : world_broken(__VA_ARGS__))

/* The folder of the case; valid for some calls more. */
const char *world_path(const world *, const char *name);
void world_clean(const world *);
/* Copy an image with all its files: to a.db, or name.db. */
void world_use(const world *, const char *image, const char *name);
/* A database with keys that a crash left prepared in one commit with its tables. */
void world_use_prepared_keys(const world *);
/* Two databases that a crash left prepared in one commit, with its super-journal. */
void world_use_prepared(const world *);
bool world_remove_super(const world *); /* false: there is none */
void world_make_images(const world *);
/* Keep what a crash would leave now, and put it back in place of what there is. */
void world_keep(const world *);
void world_restore(const world *);
bool world_exists(const world *, const char *name);
/* A file that has no business there once everything is closed; NULL: there is none. */
const char *world_stray(const world *);

/* Open a database of the case; `parameters` of the URI besides the options, or NULL. */
int world_open(const world *, const char *name, const char *vfs, const char *parameters, sqlite3 **);
/* A connection to pmem that has attached; it must come about. */
sqlite3 *world_attached(const world *, const char *name);
/* The main database's to its store; NULL: it has none. */
spm_conn *world_conn(sqlite3 *);
int world_sql(sqlite3 *, const char *sql); /* extended result code */
void world_run(sqlite3 *, const char *sql);
/* A commit of the operation: does nothing when enough have been done. */
int world_commit(world *, sqlite3 *, const char *sql);

/* Has a store that the connection uses been poisoned, be it the database's or one of keys?
** `but`: whatever befell that one; NULL: none. */
bool world_poisoned(sqlite3 *, const char *but);
/* A hash over every row of every table but `after` and `later`; 0: there are none. */
int world_content_of(sqlite3 *, uint64_t *);
/* The same over all databases of the case, opened anew on this VFS, each store checked too;
** `write`: and add a row to `after`, with a key in `later` if there are keys. */
int world_examine(const world *, const char *vfs, bool write, uint64_t *content);

/* Another process, attached to a.db.  Once asked it tells what it finds, and ends. */
void world_start_peer(world *);
void world_ask_peer(world *, peer_report *);
/* A process that attaches and dies in a commit, at its n-th write. */
void world_dead_writer(const world *, const char *sql, unsigned long n);

#endif
