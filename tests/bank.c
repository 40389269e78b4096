/*
** bank.c - see bank.h.
**
** What holds in every snapshot, whoever is killed when:
**   - the balances of all accounts add up to what the bank began with;
**   - a writer's counter stands at n, its total at 1 + 2 + ... + n, and its notes are
**     as many as its counter says: three tables of one transaction, never a mixture;
**   - asked again in the same transaction, the same answer; in a later one, no counter
**     stands lower.
** And for the parent, who hears of a commit only after it returned: the numbers of a
** writer come in order, none is acknowledged twice, and none is missing at the end.
*/
#define _GNU_SOURCE
#include "bank.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ACCOUNTS 1000
#define OPENING_BALANCE 1000
#define HOLD_MAX_MS 2500 /* of a lock or a snapshot, now and then */

/* --------------------------------------------------------------- helpers -- */

static void complain(bank_board *b, const char *format, va_list arguments) {
  int nobody = 0;
  if (!atomic_compare_exchange_strong(&b->wrong, &nobody, 1)) return;
  (void)vsnprintf(b->text, sizeof b->text, format, arguments);
  atomic_store(&b->wrong, 2);
}

void bank_complain(bank_board *b, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  complain(b, format, arguments);
  va_end(arguments);
}

void bank_wrong(bank_board *b, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  complain(b, format, arguments);
  va_end(arguments);
  _exit(1);
}

void bank_load(bank_board *b, const char *library) {
  sqlite3 *db;
  char *error = NULL;
  int rc = sqlite3_open(":memory:", &db);
  if (rc == SQLITE_OK) rc = sqlite3_enable_load_extension(db, 1);
  if (rc == SQLITE_OK) rc = sqlite3_load_extension(db, library, NULL, &error);
  if (rc != SQLITE_OK) bank_wrong(b, "loading %s: %s", library, error ? error : sqlite3_errmsg(db));
  (void)sqlite3_close(db);
}

sqlite3 *bank_open(bank_board *b, const char *path, const char *vfs, const char *options) {
  char uri[1024];
  sqlite3 *db;
  (void)snprintf(uri, sizeof uri, "file:%s?vfs=%s%s", path, vfs, options);
  int rc = sqlite3_open_v2(uri, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI, NULL);
  if (rc != SQLITE_OK) bank_wrong(b, "opening %s: %s", uri, sqlite3_errmsg(db));
  (void)sqlite3_extended_result_codes(db, 1);
  return db;
}

void bank_insist(bank_board *b, sqlite3 *db, const char *sql) {
  int rc;
  uint64_t deadline = bank_now_ms() + 60000;
  while (((rc = sqlite3_exec(db, sql, NULL, NULL, NULL)) & 0xff) == SQLITE_BUSY && bank_now_ms() < deadline) {
    if (rc == SQLITE_BUSY_SNAPSHOT && !sqlite3_get_autocommit(db)) break;
    bank_sleep_ms(1);
  }
  if (rc != SQLITE_OK) bank_wrong(b, "%s: %s (%d)", sql, sqlite3_errmsg(db), rc);
}

int64_t bank_value(sqlite3 *db, const char *sql, int *rc) {
  sqlite3_stmt *statement = NULL;
  int64_t value = 0;
  *rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
  if (*rc == SQLITE_OK) {
    *rc = sqlite3_step(statement);
    if (*rc == SQLITE_ROW) {
      value = sqlite3_column_int64(statement, 0);
      *rc = SQLITE_OK;
    }
  }
  (void)sqlite3_finalize(statement);
  return value;
}

uint64_t bank_random(uint64_t *state) {
  *state += UINT64_C(0x9E3779B97F4A7C15);
  uint64_t z = *state;
  z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
  return z ^ (z >> 31);
}

void bank_sleep_ms(unsigned ms) {
  struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
  while (nanosleep(&pause, &pause) != 0 && errno == EINTR) continue;
}

uint64_t bank_now_ms(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* --------------------------------------------------------------- members -- */

typedef struct acknowledgement {
  int64_t writer, sequence;
} acknowledgement;

/* SQLITE_OK, or SQLITE_BUSY: start the transaction again; anything else is wrong. */
static int try_sql(bank_board *b, sqlite3 *db, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char *sql = sqlite3_vmprintf(format, arguments);
  va_end(arguments);
  int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
  if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_BUSY) bank_wrong(b, "%s: %s (%d)", sql, sqlite3_errmsg(db), rc);
  if (rc == SQLITE_BUSY_SNAPSHOT) atomic_fetch_add(&b->upgrades_lost, 1);
  if (rc == SQLITE_BUSY) atomic_fetch_add(&b->busy, 1);
  sqlite3_free(sql);
  return rc & 0xff;
}

static int transfer(bank_board *b, sqlite3 *db, uint64_t *random) {
  unsigned from = (unsigned)(bank_random(random) % ACCOUNTS), to = (unsigned)(bank_random(random) % ACCOUNTS);
  unsigned amount = 1 + (unsigned)(bank_random(random) % 50), pad = (unsigned)(bank_random(random) % 700);
  return try_sql(b, db,
                 "UPDATE account SET balance=balance-%u WHERE id=%u;"
                 "UPDATE account SET balance=balance+%u, pad=zeroblob(%u) WHERE id=%u;",
                 amount, from, amount, pad, to);
}

/* Many blocks, spilled by a small cache, committed as a large transaction. */
static int transfer_widely(bank_board *b, sqlite3 *db, uint64_t *random) {
  unsigned pad = (unsigned)(bank_random(random) % 900);
  return try_sql(b, db,
                 "UPDATE account SET balance=balance+CASE WHEN id%%2 THEN 1 ELSE -1 END, pad=randomblob(%u)"
                 " WHERE id<%u;", pad, ACCOUNTS / 2 * 2 - 500 + (unsigned)(bank_random(random) % 250) * 2);
}

/* Money made from nothing, and taken back by the savepoint. */
static int forge_and_regret(bank_board *b, sqlite3 *db, uint64_t *random) {
  unsigned id = (unsigned)(bank_random(random) % ACCOUNTS);
  return try_sql(b, db,
                 "SAVEPOINT regret;"
                 "UPDATE account SET balance=balance+1000000, pad=randomblob(2000) WHERE id BETWEEN %u AND %u;"
                 "DELETE FROM note; ROLLBACK TO regret; RELEASE regret;",
                 id, id + 60);
}

static int take_notes(bank_board *b, sqlite3 *db, int writer, uint64_t *random) {
  if (bank_random(random) % 8 == 0)
    return try_sql(b, db, "DELETE FROM note WHERE writer=%d; UPDATE counter SET notes=0 WHERE writer=%d;", writer, writer);
  unsigned count = 1 + (unsigned)(bank_random(random) % 6);
  return try_sql(b, db,
                 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%u)"
                 " INSERT INTO note(writer, text) SELECT %d, randomblob(%u) FROM n;"
                 "UPDATE counter SET notes=notes+%u WHERE writer=%d;",
                 count, writer, (unsigned)(bank_random(random) % 3000), count, writer);
}

/* *sequence: what the transaction made it, as it sees it: what a predecessor committed
** in dying can arrive at any time up to the next writer's first lock. */
static int count_up(bank_board *b, sqlite3 *db, int writer, int64_t *sequence) {
  char sql[80];
  int rc = try_sql(b, db, "UPDATE counter SET sequence=sequence+1, total=total+sequence+1 WHERE writer=%d;", writer);
  (void)snprintf(sql, sizeof sql, "SELECT sequence FROM counter WHERE writer=%d", writer);
  if (rc != SQLITE_OK) return rc;
  *sequence = bank_value(db, sql, &rc);
  if (rc != SQLITE_OK) bank_wrong(b, "%s: %s", sql, sqlite3_errmsg(db));
  return rc;
}

int bank_go_on(bank_board *b, sqlite3 *db, int writer, uint64_t *random, int64_t *sequence) {
  int rc = transfer(b, db, random);
  if (rc == SQLITE_OK && bank_random(random) % 4 == 0) rc = forge_and_regret(b, db, random);
  if (rc == SQLITE_OK && bank_random(random) % 40 == 0) rc = transfer_widely(b, db, random);
  if (rc == SQLITE_OK && bank_random(random) % 3 == 0) rc = take_notes(b, db, writer, random);
  if (rc == SQLITE_OK && bank_random(random) % 2000 == 0) bank_sleep_ms((unsigned)(bank_random(random) % HOLD_MAX_MS));
  if (rc == SQLITE_OK) rc = count_up(b, db, writer, sequence);
  if (rc == SQLITE_OK && bank_random(random) % 16 == 0) {
    atomic_fetch_add(&b->rolled_back, 1);
    rc = SQLITE_BUSY;
  }
  return rc == SQLITE_OK ? try_sql(b, db, "COMMIT;") : rc;
}

int bank_transaction(bank_board *b, sqlite3 *db, int writer, uint64_t *random, int64_t *sequence) {
  bool upgrade = bank_random(random) % 3 == 0;
  int rc = try_sql(b, db, upgrade ? "BEGIN; SELECT sum(balance) FROM account;" : "BEGIN IMMEDIATE;");
  return rc == SQLITE_OK ? bank_go_on(b, db, writer, random, sequence) : rc;
}

/* What a dead one left prepared has been settled by then. */
void bank_compare_pairs(bank_board *b, sqlite3 *db) {
  int rc;
  int64_t apart = bank_value(db, "SELECT count(*) FROM main.pair AS x JOIN other.pair AS y USING(writer)"
                                 " WHERE x.sequence<>y.sequence", &rc);
  if (rc != SQLITE_OK) bank_wrong(b, "comparing the pairs: %s", sqlite3_errmsg(db));
  if (apart != 0) bank_wrong(b, "%lld writers committed in one database and not in the other", (long long)apart);
}

int bank_transaction_of_two(bank_board *b, sqlite3 *db, int writer, uint64_t *random, int64_t *sequence) {
  int rc = try_sql(b, db, "BEGIN IMMEDIATE;");
  if (rc == SQLITE_OK) bank_compare_pairs(b, db);
  if (rc == SQLITE_OK) rc = transfer(b, db, random);
  if (rc == SQLITE_OK)
    rc = try_sql(b, db, "UPDATE main.pair SET sequence=sequence+1, pad=randomblob(%u) WHERE writer=%d;"
                        "UPDATE other.pair SET sequence=sequence+1, pad=randomblob(%u) WHERE writer=%d;",
                 (unsigned)(bank_random(random) % 900), writer, (unsigned)(bank_random(random) % 900), writer);
  if (rc == SQLITE_OK) rc = count_up(b, db, writer, sequence);
  return rc == SQLITE_OK ? try_sql(b, db, "COMMIT;") : rc;
}

int bank_grow(bank_board *b, sqlite3 *db, int writer, uint64_t *random) {
  int rc = try_sql(b, db,
                   "BEGIN IMMEDIATE;"
                   "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%u)"
                   " INSERT INTO note SELECT %d, randomblob(5000) FROM n;"
                   "UPDATE counter SET notes=(SELECT count(*) FROM note WHERE writer=%d) WHERE writer=%d; COMMIT;",
                   (unsigned)(bank_random(random) % 500), writer, writer, writer);
  if (rc == SQLITE_OK)
    rc = try_sql(b, db, "BEGIN IMMEDIATE; DELETE FROM note WHERE writer=%d;"
                        "UPDATE counter SET notes=0 WHERE writer=%d; COMMIT;", writer, writer);
  if (rc == SQLITE_OK && bank_random(random) % 3 == 0) rc = try_sql(b, db, "VACUUM;");
  return rc;
}

void bank_abandon(bank_board *b, sqlite3 *db) {
  if (!sqlite3_get_autocommit(db) && sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK)
    bank_wrong(b, "ROLLBACK: %s", sqlite3_errmsg(db));
}

void bank_tell(bank_board *b, const bank_member *m, int64_t sequence) {
  acknowledgement done = {m->number, sequence};
  if (write(m->pipe, &done, sizeof done) != (ssize_t)sizeof done) bank_wrong(b, "the parent is gone");
}

void bank_write(bank_board *b, void *member) {
  const bank_member *m = member;
  uint64_t random = m->seed;
  int64_t sequence;
  const char *later = m->number % 3 == 0 ? "&pmem_mode=async&pmem_flush_interval=0.1" : "";
  char options[100];
  (void)snprintf(options, sizeof options, "&pmem_max_log_size=2M%s", later);
  sqlite3 *db = bank_open(b, m->path, "pmem", options);
  if (m->number % 2 == 0) bank_insist(b, db, "PRAGMA cache_size=10");
  while (!atomic_load(&b->stop)) {
    if (bank_transaction(b, db, m->number, &random, &sequence) == SQLITE_OK) {
      m->tell(b, m, sequence);
      atomic_fetch_add(&b->commits, 1);
    } else {
      if (sqlite3_get_autocommit(db)) bank_sleep_ms(1);
      bank_abandon(b, db);
    }
  }
  if (sqlite3_close(db) != SQLITE_OK) bank_wrong(b, "closing: %s", sqlite3_errmsg(db));
}

/* ----------------------------------------------------------- what is seen -- */

typedef struct sight {
  int64_t accounts, balance, weighted, sequence[BANK_WRITERS];
} sight;

static int look_at_counters(bank_board *b, sqlite3 *db, sight *s) {
  sqlite3_stmt *statement;
  int rc = sqlite3_prepare_v2(db,
      "SELECT writer, sequence, total, notes, (SELECT count(*) FROM note WHERE note.writer=counter.writer)"
      " FROM counter ORDER BY writer", -1, &statement, NULL);
  int rows = 0;
  while (rc == SQLITE_OK && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
    int64_t n = sqlite3_column_int64(statement, 1), total = sqlite3_column_int64(statement, 2);
    if (sqlite3_column_int(statement, 0) != rows) bank_wrong(b, "writer %d is missing", rows);
    if (total != n * (n + 1) / 2)
      bank_wrong(b, "writer %d stands at %lld with a total of %lld", rows, (long long)n, (long long)total);
    if (sqlite3_column_int64(statement, 3) != sqlite3_column_int64(statement, 4))
      bank_wrong(b, "writer %d has %lld notes, its counter says %lld", rows,
                 (long long)sqlite3_column_int64(statement, 4), (long long)sqlite3_column_int64(statement, 3));
    s->sequence[rows++] = n;
    rc = SQLITE_OK;
  }
  (void)sqlite3_finalize(statement);
  if (rc == SQLITE_DONE && rows != BANK_WRITERS) bank_wrong(b, "%d writers instead of %d", rows, BANK_WRITERS);
  return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int look(bank_board *b, sqlite3 *db, sight *s) {
  sqlite3_stmt *statement;
  int rc = sqlite3_prepare_v2(db, "SELECT count(*), sum(balance), sum(balance*id+length(pad)) FROM account", -1, &statement, NULL);
  if (rc == SQLITE_OK) rc = sqlite3_step(statement);
  if (rc == SQLITE_ROW) {
    s->accounts = sqlite3_column_int64(statement, 0);
    s->balance = sqlite3_column_int64(statement, 1);
    s->weighted = sqlite3_column_int64(statement, 2);
  }
  (void)sqlite3_finalize(statement);
  if (rc != SQLITE_ROW) return rc;
  if (s->accounts != ACCOUNTS || s->balance != (int64_t)ACCOUNTS * OPENING_BALANCE)
    bank_wrong(b, "%lld accounts with %lld together", (long long)s->accounts, (long long)s->balance);
  return look_at_counters(b, db, s);
}

/* One transaction, looked at several times.  Once it has its snapshot nothing may
** stop it, not even for a moment. */
static bool read_once(bank_board *b, sqlite3 *db, const sight *before, sight *first, uint64_t *random) {
  sight again = {0};
  int times = 2 + (int)(bank_random(random) % 4), rc;
  bool lingers = bank_random(random) % 20 == 0;
  bank_insist(b, db, "BEGIN");
  (void)bank_value(db, "SELECT 1 FROM sqlite_schema", &rc);
  bool busy = (rc & 0xff) == SQLITE_BUSY;
  for (int i = 0; i < times && !busy; i++) {
    rc = look(b, db, i == 0 ? first : &again);
    if (rc != SQLITE_OK) bank_wrong(b, "reading in a snapshot: %s (%d)", sqlite3_errmsg(db), rc);
    if (i > 0 && memcmp(&again, first, sizeof again) != 0) bank_wrong(b, "a snapshot changed while it was read");
    if (lingers) bank_sleep_ms((unsigned)(bank_random(random) % (HOLD_MAX_MS / 4)));
  }
  bank_insist(b, db, "COMMIT");
  if (busy) return false;
  for (int i = 0; i < BANK_WRITERS; i++)
    if (first->sequence[i] < before->sequence[i]) bank_wrong(b, "writer %d went back in time", i);
  atomic_fetch_add(&b->snapshots, 1);
  return true;
}

void bank_read(bank_board *b, void *member) {
  const bank_member *m = member;
  uint64_t random = m->seed;
  sqlite3 *db = bank_open(b, m->path, "pmem", "");
  if (m->number % 2 == 0) bank_insist(b, db, "PRAGMA cache_size=10");
  sight before = {0}, now = {0};
  while (!atomic_load(&b->stop)) {
    if (read_once(b, db, &before, &now, &random))
      before = now;
    else
      bank_sleep_ms(1);
  }
  if (sqlite3_close(db) != SQLITE_OK) bank_wrong(b, "closing: %s", sqlite3_errmsg(db));
}

/* ------------------------------------------------- beginning, end, hearing -- */

void bank_found(bank_board *b, sqlite3 *db) {
  bank_insist(b, db,
              "PRAGMA auto_vacuum=FULL;"
              "CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER, pad BLOB);"
              "CREATE TABLE counter(writer INTEGER PRIMARY KEY, sequence INTEGER, total INTEGER, notes INTEGER);"
              "CREATE TABLE note(writer INTEGER, text BLOB);"
              "CREATE INDEX note_writer ON note(writer);"
              "CREATE TABLE pair(writer INTEGER PRIMARY KEY, sequence INTEGER, pad BLOB);");
  char *sql = sqlite3_mprintf(
      "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i<%d)"
      " INSERT INTO account SELECT i, %d, randomblob(300) FROM n;"
      "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i<%d)"
      " INSERT INTO counter SELECT i, 0, 0, 0 FROM n;"
      "INSERT INTO pair SELECT writer, 0, x'' FROM counter;", ACCOUNTS - 1, OPENING_BALANCE, BANK_WRITERS - 1);
  bank_insist(b, db, sql);
  sqlite3_free(sql);
}

void bank_check_whole(bank_board *b, sqlite3 *db, const bank_books *books) {
  sight s = {0};
  bank_insist(b, db, "BEGIN");
  int rc = look(b, db, &s);
  if (rc != SQLITE_OK) bank_wrong(b, "at the end: %s (%d)", sqlite3_errmsg(db), rc);
  sqlite3_stmt *statement;
  rc = sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &statement, NULL);
  if (rc != SQLITE_OK || sqlite3_step(statement) != SQLITE_ROW) bank_wrong(b, "integrity_check: %s", sqlite3_errmsg(db));
  const char *text = (const char *)sqlite3_column_text(statement, 0);
  if (strcmp(text, "ok") != 0) bank_wrong(b, "integrity_check: %s", text);
  (void)sqlite3_finalize(statement);
  for (int i = 0; i < BANK_WRITERS; i++)
    if (s.sequence[i] < books->acknowledged[i] || s.sequence[i] > books->acknowledged[i] + books->lost[i])
      bank_wrong(b, "writer %d: commit %lld was acknowledged, the database has %lld", i,
                 (long long)books->acknowledged[i], (long long)s.sequence[i]);
  bank_insist(b, db, "COMMIT");
}

/* Numbers come one by one; each killed writer can have taken one with it. */
void bank_hear(bank_board *b, int pipe, bank_books *books) {
  acknowledgement done;
  while (read(pipe, &done, sizeof done) == (ssize_t)sizeof done) {
    int64_t *acknowledged = &books->acknowledged[done.writer], *lost = &books->lost[done.writer];
    int64_t step = done.sequence - *acknowledged;
    if (step < 1 || step > 1 + *lost)
      bank_complain(b, "writer %d: commit %lld after %lld", (int)done.writer, (long long)done.sequence,
                    (long long)*acknowledged);
    *acknowledged = done.sequence;
    *lost = 0;
  }
}
