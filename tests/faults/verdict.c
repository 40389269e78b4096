/*
** verdict.c - see verdict.h.
*/
#define _GNU_SOURCE
#include "verdict.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The case under way. */
static struct {
  const operation *op;
  const world *w;
  const fault *plan;
  const expectation *expected;
  int code;
  char text[600];
} now;

static _Noreturn void violation(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void violation(const char *format, ...) {
  static const char *const series[] = {"engine", "parent", "memory"};
  const fault *f = now.plan;
  va_list arguments;
  va_start(arguments, format);
  (void)fprintf(stderr, "FAILED: %s, %s: ", now.op->name, now.w->on_file ? "FILE" : "PMEM");
  (void)vfprintf(stderr, format, arguments);
  (void)fprintf(stderr, "\n  %s %s: call %lu of the series %s; the operation said %d, %s; last error: %s\n",
                f->for_good ? "for good" : "once", fault_error_name(fault_what()), f->at, series[f->series],
                now.code, now.text, spm_last_error());
  (void)fprintf(stderr, "  %s; again with SPM_FAULT='%s|%s|%s|%s|%lu|%u'\n", fault_call_name(fault_where()),
                now.op->name, now.w->on_file ? "FILE" : "PMEM", series[f->series],
                f->for_good ? "good" : "once", f->at, f->variant);
  va_end(arguments);
  _exit(1);
}

/* ------------------------------------------------------------------ leaks -- */

typedef struct belongings {
  long engine, sqlite, descriptors, mappings;
} belongings;

static long count_descriptors(void) {
  long n = 0;
  DIR *d = opendir("/proc/self/fd");
  world_must(d != NULL, "no /proc");
  while (readdir(d) != NULL) n++;
  (void)closedir(d);
  return n;
}

static long count_mappings(const world *w) {
  static char line[4096];
  long n = 0;
  FILE *maps = fopen("/proc/self/maps", "r");
  world_must(maps != NULL, "no /proc");
  while (fgets(line, sizeof line, maps) != NULL) n += strstr(line, w->base) != NULL;
  (void)fclose(maps);
  return n;
}

static belongings take_stock(const world *w) {
  return (belongings){fault_live(), (long)sqlite3_memory_used(), count_descriptors(), count_mappings(w)};
}

static void check_leaks(const belongings *before) {
  belongings after = take_stock(now.w);
  if (after.engine != before->engine)
    violation("%ld allocations of the engine are left", after.engine - before->engine);
  if (after.sqlite != before->sqlite)
    violation("%ld bytes of SQLite's are left", after.sqlite - before->sqlite);
  if (after.descriptors != before->descriptors)
    violation("%ld descriptors are left", after.descriptors - before->descriptors);
  if (after.mappings != before->mappings && !fault_hit(F_munmap))
    violation("%ld mappings are left", after.mappings - before->mappings);
}

/* ------------------------------------------------------------------ codes -- */

static bool flush_may_be_lost(void) {
  bool hit = fault_hit(F_pwrite) || fault_hit(F_fsync) || fault_hit(F_fdatasync);
  return hit && fault_what() != EINTR && fault_what() != FAULT_SHORT;
}

/* So stock SQLite tells that it could not lock a WAL, whatever the reason was. */
static bool wal_not_locked(int code) {
  bool locks_one = now.w->vfs != NULL || now.op->adopts_wal;
  return locks_one && fault_hit(F_s_fcntl) && (code == SQLITE_BUSY || code == SQLITE_PROTOCOL);
}

/* May an operation that met this error end with this code?  A flush that failed is an I/O
** error whatever its reason was: nobody knows what is on media (S8). */
static bool fits(int error, fault_call call, int rc) {
  int code = rc & 0xff;
  bool opening = call == F_open || call == F_create || call == F_s_open || fault_hit(F_s_create);
  switch (error) {
    case EINTR:
    case FAULT_SHORT: return false; /* there is no reason to fail */
    case ENOMEM: return code == SQLITE_NOMEM || code == SQLITE_IOERR || code == SQLITE_CANTOPEN;
    case ENOSPC:
      /* SQLite's VFS calls a WAL index that finds no room an I/O error. */
      if (code == SQLITE_IOERR) return flush_may_be_lost() || fault_hit(F_s_write);
      if (code == SQLITE_CANTOPEN && fault_hit(F_fsync)) return true; /* a decision that is not durable */
      return code == SQLITE_FULL || (opening && (code == SQLITE_CANTOPEN || code == SQLITE_READONLY));
    case EAGAIN:
      if (fault_hit(F_pthread_create)) return code == SQLITE_IOERR;
      /* A lock is made weaker, and nobody can be in its way; adopting, SQLite's own recovery says so. */
      if (code == SQLITE_IOERR) return fault_hit(F_s_fcntl) && (rc == SQLITE_IOERR_RDLOCK || now.op->adopts_wal);
      return code == SQLITE_BUSY || code == SQLITE_CANTOPEN || wal_not_locked(code);
    default:
      if (wal_not_locked(code)) return true;
      if (code == SQLITE_BUSY) return call == F_getlock; /* who cannot be asked counts as alive */
      if (code == SQLITE_CORRUPT) return fault_hit(F_s_read); /* so SQLite tells an EIO of read() */
      return code == SQLITE_IOERR || code == SQLITE_CANTOPEN || code == SQLITE_READONLY || code == SQLITE_PERM;
  }
}

static void check_code(void) {
  if (now.code == SQLITE_OK) {
    if (now.w->acknowledged != now.op->commits)
      violation("success after %u of %u commits", now.w->acknowledged, now.op->commits);
    return;
  }
  if (!fault_fired()) violation("it failed without a fault");
  if (!fits(fault_what(), fault_where(), now.code)) violation("that code does not fit the fault");
  if (now.text[0] == 0 || strstr(now.text, "not an error") || strstr(now.text, "unknown error"))
    violation("the message says nothing");
  bool generic = (now.code & 0xff) == SQLITE_IOERR || (now.code & 0xff) == SQLITE_CANTOPEN;
  if (generic && !now.plan->for_good && now.plan->series == FAULT_ENGINE && now.code != SQLITE_IOERR_NOMEM &&
      spm_last_error()[0] == 0)
    violation("neither the message nor PRAGMA pmem_error says why");
}

/* ---------------------------------------------------------------- content -- */

/* A commit whose sync failed is taken back by another write.  Where the device refuses that
** too, for good, nobody can know: the commit may stand.  And stock SQLite's COMMIT fails if its
** lock cannot be made weaker afterwards. */
static bool in_doubt(void) {
  bool stock = now.w->vfs != NULL || now.w->stock_second;
  if (stock && now.code == SQLITE_IOERR_RDLOCK && fault_hit(F_s_fcntl)) return true;
  return now.plan->for_good && now.code != SQLITE_OK && flush_may_be_lost() && fault_times() > 1;
}

static void check_content(uint64_t content, const uint64_t *expected, const char *whose) {
  unsigned done = now.w->acknowledged;
  if (content == expected[done] || (in_doubt() && content == expected[done + 1])) return;
  for (unsigned i = 0; i <= now.op->commits; i++)
    if (content == expected[i]) violation("%s: content of %u commits, %u were acknowledged", whose, i, done);
  violation("%s: content of no state between %u commits", whose, now.op->commits);
}

static const char *vfs_of(const world *w) { return w->vfs != NULL ? w->vfs : "pmem"; }

/* The connection that met the fault, or one beside it, goes on. */
static bool goes_on(sqlite3 *db, const char *whose, const uint64_t *expected) {
  uint64_t content;
  if (db == NULL || now.w->unopened) return false;
  if (!sqlite3_get_autocommit(db)) (void)world_sql(db, "ROLLBACK");
  if (!sqlite3_get_autocommit(db)) violation("%s: the transaction cannot be rolled back", whose);
  bool poisoned = world_poisoned(db, NULL), refuses = world_poisoned(db, now.w->aside);
  if (poisoned && !flush_may_be_lost())
    violation("%s: the store is poisoned, and no flush can have been lost", whose);
  /* SQLite's VFS opens for reading only, and a store of keys is open for reading only, where that
  ** is all that was allowed. */
  bool reads_only = (now.w->keys && fault_hit(F_access) && fault_what() == EACCES) || sqlite3_db_readonly(db, "main") == 1 || (world_conn(db) == NULL && now.w->vfs == NULL);
  int rc = world_content_of(db, &content);
  /* What SQLite's VFS could not open for writing it has opened for reading. */
  bool excused = reads_only && (rc & 0xff) == SQLITE_READONLY;
  if (rc == SQLITE_OK && content != now.w->undecided)
    check_content(content, expected, whose);
  else if (rc != SQLITE_OK && !poisoned && !excused)
    violation("%s cannot read any more: %d, %s", whose, rc, sqlite3_errmsg(db));
  const char *write = now.w->keys ? "BEGIN; INSERT INTO after VALUES('went on'); INSERT OR REPLACE INTO later VALUES('went on', 1); COMMIT"
                                  : "CREATE TABLE IF NOT EXISTS after(x); INSERT INTO after VALUES('went on')";
  rc = world_sql(db, write);
  /* The dead writer's commit, taken over only now, overtakes its heir once. */
  if ((rc & 0xff) == SQLITE_BUSY && now.w->undecided != 0) rc = world_sql(db, write);
  if (rc != SQLITE_OK && !poisoned && !reads_only)
    violation("%s cannot write any more: %d, %s", whose, rc, sqlite3_errmsg(db));
  if (rc == SQLITE_OK && refuses) violation("%s: a poisoned store acknowledges a commit", whose);
  return poisoned;
}

static void close_all(world *w) {
  if (sqlite3_close(w->db) != SQLITE_OK || sqlite3_close(w->other) != SQLITE_OK) violation("closing fails");
  w->db = w->other = NULL;
}

static void ask_peer(world *w) {
  peer_report report;
  world_ask_peer(w, &report);
  bool excused = flush_may_be_lost();
  if (report.read_code == SQLITE_OK)
    check_content(report.content, now.expected->main, "another process");
  else if (!excused)
    violation("another process cannot read: %d", report.read_code);
  if (report.write_code != SQLITE_OK && !excused)
    violation("another process cannot write: %d", report.write_code);
}

/* A store that was made for a table that could not be, when nothing could be had to close it. */
static bool store_of_nobody(const char *name) {
  const char *aside = now.w->aside;
  return aside != NULL && now.plan->for_good && strncmp(name, aside, strlen(aside)) == 0;
}

static void check_opened_anew(const char *when) {
  uint64_t content;
  if (world_examine(now.w, vfs_of(now.w), true, &content) != SQLITE_OK)
    violation("%s it is damaged or cannot be opened", when);
  check_content(content, now.expected->all, when);
  const char *stray = world_stray(now.w);
  /* SQLite's own shared memory, where its own unlink() failed, disturbs nobody; neither does a
  ** super-journal that no journal names, where nothing could be had to delete it. */
  bool excused = stray != NULL && ((strcmp(stray, "a.db-shm") == 0 && fault_hit(F_s_unlink)) ||
                                   (strstr(stray, "-mj") != NULL && now.plan->for_good) || store_of_nobody(stray));
  if (stray != NULL && !excused) violation("%s %s is left after a clean close", when, stray);
  if (world_examine(now.w, "unix", false, &content) != SQLITE_OK)
    violation("%s stock SQLite finds fault with it", when);
  check_content(content, now.expected->all, when);
}

/* ------------------------------------------------------------------- case -- */

static void set_out(const operation *op, world *w, unsigned limit) {
  world_clean(w);
  w->db = w->other = NULL;
  w->target = w->options = w->vfs = w->aside = NULL;
  w->stock_second = w->unopened = w->keys = false;
  w->acknowledged = 0;
  w->undecided = 0;
  w->limit = limit;
  op->prepare(w);
  if (op->peer) world_start_peer(w);
}

void verdict_expect(const operation *op, world *w, unsigned commits, expectation *expected) {
  peer_report ignored;
  set_out(op, w, commits);
  int rc = op->act(w);
  world_must(rc == SQLITE_OK && w->acknowledged == commits, "%s fails without a fault: %d, %s", op->name, rc,
             w->db ? sqlite3_errmsg(w->db) : "");
  sqlite3 *db = w->db;
  world_must(sqlite3_close(w->other) == SQLITE_OK && sqlite3_close(db) == SQLITE_OK, "closing fails");
  if (op->peer) world_ask_peer(w, &ignored);
  world_must(world_examine(w, vfs_of(w), false, &expected->all[commits]) == SQLITE_OK, "%s leaves damage",
             op->name);
  world_must(world_open(w, "a.db", vfs_of(w), NULL, &db) == SQLITE_OK, "reopening");
  world_must(world_content_of(db, &expected->main[commits]) == SQLITE_OK, "rereading");
  world_must(sqlite3_close(db) == SQLITE_OK, "closing fails");
}

static void note_outcome(outcome *o) {
  o->fired = fault_fired();
  o->where = fault_where();
  o->what = fault_what();
  o->refused = now.code != SQLITE_OK;
}

/* A checkpoint is no SQL: its text is the store's own. */
static const char *message(const world *w) {
  if (w->db == NULL) return sqlite3_errstr(now.code);
  if (sqlite3_errcode(w->db) != SQLITE_OK) return sqlite3_errmsg(w->db);
  if (w->other != NULL && sqlite3_errcode(w->other) != SQLITE_OK) return sqlite3_errmsg(w->other);
  return now.code == SQLITE_NOMEM ? sqlite3_errstr(now.code) : spm_last_error();
}

void verdict_of(const operation *op, world *w, const fault *plan, const expectation *expected, outcome *o) {
  now.op = op;
  now.w = w;
  now.plan = plan;
  now.expected = expected;
  (void)alarm(20);
  belongings before = take_stock(w);
  set_out(op, w, op->commits);

  fault_arm(plan);
  now.code = op->act(w);
  fault_hold(true);
  note_outcome(o);
  (void)snprintf(now.text, sizeof now.text, "%s", message(w));
  check_code();
  world_keep(w);

  if (plan->for_good) {
    fault_hold(false);
  } else {
    fault_disarm();
    o->poisoned = goes_on(w->db, "the connection", expected->main);
    if (w->other != NULL && world_conn(w->other) != NULL)
      (void)goes_on(w->other, "the other connection", expected->main);
  }
  close_all(w);
  fault_disarm();
  if (op->peer) ask_peer(w);
  check_leaks(&before);
  if (op->unlogged && flush_may_be_lost()) return;
  check_opened_anew("opened anew");
  if (plan->series == FAULT_MEMORY || op->unlogged) return; /* SQLite's allocations say nothing about files */
  world_restore(w);
  check_opened_anew("after a crash");
}
