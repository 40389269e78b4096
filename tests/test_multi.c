/*
** test_multi.c - one transaction over several databases, here and stock ones mixed:
** killed at every step, it is in all of them or in none (S20).
**
** A *cast* is a string with a letter for each database, main first: p for one on the
** VFS pmem, s for a stock one.  Every database holds one row, v = 1; the transaction
** makes it 2.
*/
#include "database.h"
#include "steps.h"

#include "../vfs/store/error.h"

#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define MEMBERS_MAX 3
#define STEPS_MAX 2000
#define FILE_LIMIT 300000 /* bytes: the log and small databases fit, the failing one does not */

typedef struct company {
  const char *cast;
  int count, medium;
  const char *path[MEMBERS_MAX];
  const char *journal_mode; /* of the stock ones */
  bool fails;               /* the last stock member cannot be written */
} company;

static bool is_pmem(const company *c, int i) { return c->cast[i] == 'p'; }
static sqlite3 *open_member(const company *c, int i) {
  return is_pmem(c, i) ? open_pmem(c->path[i]) : open_stock(c->path[i]);
}

/* ---------------------------------------------------------- the company -- */

static company gather(const char *cast, int medium, const char *journal_mode) {
  static const char *const names[] = {"main.db", "one.db", "two.db"};
  company c = {.cast = cast, .count = (int)strlen(cast), .medium = medium, .journal_mode = journal_mode};
  for (int i = 0; i < c.count; i++) c.path[i] = path_on(medium, names[i]);
  return c;
}

/* New databases, v = 1, some pages long; nothing of the last round is left. */
static void begin_round(const company *c) {
  for (int i = 0; i < c->count; i++) {
    static const char *const suffixes[] = {"", "-journal", "-pmlog", "-pmshm"};
    for (int s = 0; s < 4; s++) (void)unlink(beside(c->path[i], suffixes[s]));
    sqlite3 *db = open_stock(c->path[i]);
    bool fails = c->fails && i == c->count - 1;
    run(db, "PRAGMA synchronous = OFF; PRAGMA page_size = %d; CREATE TABLE t(v, fill);"
            "INSERT INTO t VALUES(1, zeroblob(%d))", fails ? 65536 : 4096, fails ? 500000 : 9000);
    close_db(db);
  }
}

static sqlite3 *meet(const company *c) {
  static const char *const schema[] = {"main", "m1", "m2"};
  sqlite3 *db = open_member(c, 0);
  for (int i = 1; i < c->count; i++)
    run(db, "ATTACH 'file:%s?vfs=%s' AS m%d", c->path[i], is_pmem(c, i) ? "pmem" : "unix", i);
  for (int i = 0; i < c->count; i++)
    if (!is_pmem(c, i)) run(db, "PRAGMA %s.journal_mode = %s", schema[i], c->journal_mode);
  return db;
}

static void change(const company *c, sqlite3 *db) {
  run(db, "BEGIN; UPDATE main.t SET v = 2, fill = zeroblob(10001)");
  for (int i = 1; i < c->count; i++)
    run(db, c->fails && i == c->count - 1 ? "UPDATE m%d.t SET v = 2, fill = zeroblob(500001)"
                                          : "UPDATE m%d.t SET v = 2, fill = zeroblob(10001)", i);
}

/* ------------------------------------------------------------- afterwards -- */

static int value_of(const company *c, int i) {
  sqlite3 *db = open_member(c, i);
  integrity(db);
  int value = (int)number(db, "SELECT v FROM t");
  close_db(db);
  return value;
}

static bool contains(const char *path, const char *word) {
  static char buffer[1 << 16];
  FILE *file = fopen(path, "rb");
  if (file == NULL) return false;
  size_t n = fread(buffer, 1, sizeof buffer, file), length = strlen(word);
  (void)fclose(file);
  for (size_t at = 0; at + length <= n; at++)
    if (memcmp(buffer + at, word, length) == 0) return true;
  return false;
}

/* SQLite writes the name, its sum and its magic number in turn: it names nothing before
** the last of them is there. */
static bool names(const char *journal, const char *super) {
  static const uint8_t magic[8] = {0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7};
  uint8_t end[sizeof magic];
  if (!contains(journal, super) || file_size(journal) < (int64_t)sizeof end) return false;
  raw_read(journal, file_size(journal) - (int64_t)sizeof end, end, sizeof end);
  return memcmp(end, magic, sizeof end) == 0;
}

/* A stock journal that was killed before its first sync begins with zeros: it is not
** hot, and stays where it is until the next transaction. */
static bool cold(const char *journal) {
  uint8_t first;
  raw_read(journal, 0, &first, 1);
  return first == 0;
}

/* Remove the super-journal unless it is told of where somebody will look: SQLite never
** looks for one that nobody names yet, nor, once the others are done with it, for one
** that only a cold journal of its own names. */
static void forgive_super(const company *c, bool before_recovery) {
  glob_t found;
  if (glob(beside(c->path[0], "-mj*"), 0, NULL, &found) != 0) return;
  for (size_t s = 0; s < found.gl_pathc; s++) {
    bool named = false, by_cold = false;
    for (int i = 0; i < c->count; i++) {
      const char *journal = beside(c->path[i], "-journal");
      if (!names(journal, strrchr(found.gl_pathv[s], '/'))) continue;
      named = true;
      by_cold |= !is_pmem(c, i) && cold(journal);
    }
    if (before_recovery ? !named : by_cold) (void)unlink(found.gl_pathv[s]);
  }
  globfree(&found);
}

static void nothing_is_left(const company *c, int n) {
  glob_t found;
  int rc = glob(beside(c->path[0], "-mj*"), 0, NULL, &found);
  ck_assert_msg(rc == GLOB_NOMATCH, "%s, step %d: %s is left", c->cast, n, found.gl_pathv[0]);
  for (int i = 0; i < c->count; i++)
    if (is_pmem(c, i)) only_plain_file(c->path[i]);
}

/* Stock SQLite looks at the members here before they are recovered.  It is refused (or,
** at the end of a clean close, welcome), and must not take a stub for a hot journal: it would "roll it back", and with the stub the
** super-journal goes, which is to say that the transaction is committed. */
static void stock_looks(const company *c) {
  for (int i = 0; i < c->count; i++) {
    int rc = is_pmem(c, i) ? open_code(c->path[i], "unix", NULL) : SQLITE_OK;
    ck_assert_msg(rc == SQLITE_OK || rc == SQLITE_NOTADB, "stock SQLite says %d", rc);
  }
}

/* Open every member once in this order; all must agree. */
static void verify(const company *c, const int *order, int n, bool acknowledged) {
  int values[MEMBERS_MAX];
  for (int i = 0; i < c->count; i++) values[order[i]] = value_of(c, order[i]);
  for (int i = 0; i < c->count; i++)
    ck_assert_msg(values[i] == values[0], "%s, step %d, first %d: main has %d, member %d has %d", c->cast, n, order[0],
                  values[0], i, values[i]);
  ck_assert_msg(!acknowledged || values[0] == 2, "%s, step %d: acknowledged and lost", c->cast, n);
  forgive_super(c, false);
  nothing_is_left(c, n);
  for (int i = 0; i < c->count; i++) ck_assert_int_eq(value_of(c, i), values[0]);
}

/* -------------------------------------------------------- killed at steps -- */

static const int orders[][MEMBERS_MAX] = {{0, 1, 2}, {1, 0, 2}, {2, 1, 0}, {0, 2, 1}, {1, 2, 0}, {2, 0, 1}};

/* Both orders of two at every step; of three, two of the six in turn. */
static const int *order_of(const company *c, int n, int o) { return orders[c->count == 2 ? o : (2 * n + o) % 6]; }

static void limit_files(rlim_t bytes) {
  struct rlimit limit = {bytes, RLIM_INFINITY};
  (void)signal(SIGXFSZ, SIG_IGN);
  (void)setrlimit(RLIMIT_FSIZE, &limit);
}

static void commit_and_leave(void *argument) {
  const company *c = argument;
  sqlite3 *db = meet(c);
  change(c, db);
  step_mark();
  if (c->fails) limit_files(FILE_LIMIT);
  int rc = code_of(db, "COMMIT");
  if (c->fails) {
    if (rc == SQLITE_OK) _exit(2);
    limit_files(RLIM_INFINITY);
    if (!sqlite3_get_autocommit(db)) run(db, "ROLLBACK");
  } else {
    if (rc != SQLITE_OK) _exit(3);
    step_mark();
  }
  if (sqlite3_close(db) != SQLITE_OK) _exit(4);
}

static void kill_at_every_step(const company *c) {
  int n = 1;
  for (bool killed = true; killed; n++) {
    ck_assert_int_lt(n, STEPS_MAX);
    for (int o = 0; o < 2; o++) {
      if (c->medium == ON_DISK && o != n % 2) continue; /* slow: the orders in turn */
      begin_round(c);
      step_result result = kill_at_step(n, commit_and_leave, (void *)(uintptr_t)c);
      killed = result.killed;
      forgive_super(c, true);
      if (n / 2 % 2 == o) stock_looks(c);
      verify(c, order_of(c, n, o), n, result.marks > 1);
    }
  }
  ck_assert_int_gt(n, 20); /* or the steps were not seen */
}

/* A disk adds the log's own system calls, and is slow: one cast of three must do. */
static const char *const casts[] = {"pp", "ps", "sp", "psp", "ppp", "pps", "spp", "sps", "ssp", "pss"};
enum { CASTS = 10, PAIRS = 3, CASTS_ON_DISK = 4 };

START_TEST(killed_at_every_step) {
  company c = gather(casts[_i % CASTS], _i < CASTS ? ON_PMEM : ON_DISK, "DELETE");
  kill_at_every_step(&c);
}
END_TEST

/* The stock members keep their journals' files. */
START_TEST(killed_at_every_step_with_other_journal_modes) {
  static const char *const modes[] = {"PERSIST", "TRUNCATE"};
  company c = gather(casts[1 + _i / 2], ON_PMEM, modes[_i % 2]);
  kill_at_every_step(&c);
}
END_TEST

/* The last member fails after those before it have been prepared. */
START_TEST(killed_at_every_step_of_a_failing_commit) {
  static const char *const failing[] = {"ps", "pps", "sps", "ps"};
  company c = gather(failing[_i], _i < 3 ? ON_PMEM : ON_DISK, "DELETE");
  c.fails = true;
  kill_at_every_step(&c);
}
END_TEST

/* Somebody else has the pmem members open when the writer dies: a take-over, and not
** a recovery, has to ask for the super-journal. */
START_TEST(killed_at_every_step_before_witnesses) {
  company c = gather(casts[_i / MEDIA], _i % MEDIA, "DELETE");
  int n = 1;
  for (bool killed = true; killed; n++)
    for (int o = 0; o < 2; o++) {
      sqlite3 *witness[MEMBERS_MAX] = {NULL};
      begin_round(&c);
      for (int i = 0; i < c.count; i++)
        if (is_pmem(&c, i)) expect(witness[i] = open_pmem(c.path[i]), "SELECT v FROM t", "1");
      /* Who finishes a dead writer's commit was reading from before it: once BUSY. */
      for (int i = 0; i < c.count; i++)
        if (witness[i] != NULL) (void)sqlite3_busy_timeout(witness[i], 2000);
      step_result result = kill_at_step(n, commit_and_leave, &c);
      killed = result.killed;
      forgive_super(&c, true);
      for (int i = 0; i < c.count; i++)
        if (witness[i] != NULL) {
          run(witness[i], "BEGIN IMMEDIATE; CREATE TABLE after(a); COMMIT");
          integrity(witness[i]);
        }
      for (int i = 0; i < c.count; i++)
        if (witness[i] != NULL && o == 0) close_db(witness[i]);
      if (o == 0) verify(&c, orders[1], n, result.marks > 1);
      for (int i = 0; i < c.count; i++)
        if (witness[i] != NULL && o == 1) close_db(witness[i]);
      if (o == 1) verify(&c, orders[0], n, result.marks > 1);
    }
}
END_TEST

/* Recovery itself dies at every step, whatever step it was that began it. */
static void open_and_leave(void *argument) {
  const company *c = argument;
  step_mark();
  for (int i = 0; i < c->count; i++) (void)value_of(c, i);
}

START_TEST(recovery_is_killed_too) {
  company c = gather(casts[_i], ON_PMEM, "DELETE");
  for (int n = 3; n < 60; n += 6)
    for (int m = 1; m < 200; m += 5) {
      begin_round(&c);
      bool killed = kill_at_step(n, commit_and_leave, &c).killed;
      forgive_super(&c, true);
      killed &= kill_at_step(m, open_and_leave, &c).killed;
      /* Stock SQLite deletes its journal first and the super-journal then: killed in
      ** between it leaves the latter to nobody.  Here the order is the other one. */
      if (strchr(c.cast, 's') != NULL) forgive_super(&c, true);
      verify(&c, orders[m % 2], n * 1000 + m, false);
      if (!killed) break;
    }
}
END_TEST

/* ------------------------------------------------------------ no crash -- */

static void values_are(const company *c, int value) {
  for (int i = 0; i < c->count; i++) ck_assert_int_eq(value_of(c, i), value);
}

START_TEST(commit_and_rollback) {
  company c = gather(casts[_i / MEDIA], _i % MEDIA, "DELETE");
  begin_round(&c);
  sqlite3 *db = meet(&c);
  change(&c, db);
  run(db, "ROLLBACK");
  change(&c, db);
  run(db, "SAVEPOINT s; DELETE FROM main.t; ROLLBACK TO s; COMMIT");
  run(db, "BEGIN; DELETE FROM m1.t; ROLLBACK");
  close_db(db);
  nothing_is_left(&c, 0);
  values_are(&c, 2);
}
END_TEST

/* COMMIT meets a reader of a stock member: it can be tried again, or given up. */
START_TEST(a_busy_member) {
  company c = gather(_i / MEDIA % 2 ? "sp" : "ps", _i % MEDIA, "DELETE");
  bool again = _i / MEDIA / 2;
  begin_round(&c);
  sqlite3 *db = meet(&c), *reader = open_stock(c.path[is_pmem(&c, 0) ? 1 : 0]);
  sqlite3 *witness = open_pmem(c.path[is_pmem(&c, 0) ? 0 : 1]);
  run(reader, "BEGIN");
  expect(reader, "SELECT v FROM t", "1");
  change(&c, db);
  for (int i = 0; i < 3; i++) {
    expect_code(db, "COMMIT", SQLITE_BUSY);
    expect(witness, "SELECT v FROM t", "1");
  }
  run(reader, "COMMIT");
  run(db, again ? "COMMIT" : "ROLLBACK");
  expect(witness, "SELECT v FROM t", again ? "2" : "1");
  run(witness, "CREATE TABLE goes_on(a)");
  close_db(reader);
  close_db(witness);
  close_db(db);
  nothing_is_left(&c, 0);
  values_are(&c, again ? 2 : 1);
}
END_TEST

/* A member that fails takes the prepared ones back; the connection goes on. */
START_TEST(a_failing_member) {
  company c = gather(_i / MEDIA ? "pps" : "ps", _i % MEDIA, "DELETE");
  c.fails = true;
  begin_round(&c);
  sqlite3 *db = meet(&c), *witness = open_pmem(c.path[0]);
  for (int i = 0; i < 3; i++) {
    change(&c, db);
    limit_files(FILE_LIMIT);
    int rc = code_of(db, "COMMIT");
    limit_files(RLIM_INFINITY);
    ck_assert_int_ne(rc, SQLITE_OK);
    if (!sqlite3_get_autocommit(db)) run(db, "ROLLBACK");
    expect(db, "SELECT v FROM main.t", "1");
    expect(db, "SELECT v FROM m1.t", "1");
    expect(witness, "SELECT v FROM t", "1");
    run(witness, "CREATE TABLE goes_on_%d(a)", i); /* the writer's place is free */
  }
  change(&c, db);
  run(db, "COMMIT");
  expect(witness, "SELECT v FROM t", "2");
  close_db(witness);
  close_db(db);
  nothing_is_left(&c, 0);
  values_are(&c, 2);
}
END_TEST

/* What keeps the last member's stub from being made: the first one has been prepared, and is
** taken back.  The super-journal of then stays: whether the last member names it could not
** be seen. */
START_TEST(a_stub_that_cannot_be_made) {
  company c = gather("pp", _i, "DELETE");
  begin_round(&c);
  sqlite3 *db = meet(&c), *witness = open_pmem(c.path[0]);
  const char *stub = beside(c.path[1], "-journal");
  change(&c, db);
  ck_assert_int_eq(mkdir(stub, 0700), 0);
  expect_code(db, "COMMIT", SQLITE_CANTOPEN);
  ck_assert_int_eq(rmdir(stub), 0);
  if (!sqlite3_get_autocommit(db)) run(db, "ROLLBACK");
  expect(db, "SELECT main.t.v, m1.t.v FROM main.t, m1.t", "1|1");
  expect(witness, "SELECT v FROM t", "1");
  change(&c, db);
  run(db, "COMMIT");
  expect(witness, "SELECT v FROM t", "2");
  close_db(witness);
  close_db(db);
  forgive_super(&c, true);
  nothing_is_left(&c, 0);
  values_are(&c, 2);
}
END_TEST

/* Another folder whose super-journal cannot be seen is in doubt, not committed. */
START_TEST(a_vanished_folder_is_in_doubt) {
  const char *folder = path_on(_i, "folder"), *member = path_on(_i, "one.db");
  char command[1400];
  (void)snprintf(command, sizeof command, "mkdir -p %s", folder);
  ck_assert_int_eq(system(command), 0);
  company c = {.cast = "pp", .count = 2, .journal_mode = "DELETE", .path = {beside(folder, "/main.db"), member}};
  const char *away = beside(folder, ".away");
  int doubts = 0;
  for (int n = 1;; n++) {
    begin_round(&c);
    if (!kill_at_step(n, commit_and_leave, &c).killed) break;
    forgive_super(&c, true);
    ck_assert_int_eq(rename(folder, away), 0);
    sqlite3 *db = open_pmem(member);
    int rc = code_of(db, "SELECT * FROM t") & 0xff;
    bool told = strstr(spm_last_error(), "-mj") != NULL;
    (void)sqlite3_close(db);
    ck_assert_int_eq(rename(away, folder), 0);
    ck_assert_msg(rc == SQLITE_OK || (rc == SQLITE_CANTOPEN && told), "step %d: %d %s", n, rc, spm_last_error());
    doubts += rc != SQLITE_OK;
    if (rc != SQLITE_OK) verify(&c, orders[1], n, false);
  }
  ck_assert_int_gt(doubts, 0); /* between PREPARE and its decision */
}
END_TEST

Suite *multi_suite(void) {
  Suite *suite = suite_create("multi");
  TCase *plain = tcase_create("plain"), *killed = tcase_create("killed");
  tcase_set_tags(killed, "every-step");
  tcase_set_timeout(plain, 120);
  tcase_add_loop_test(plain, commit_and_rollback, 0, CASTS * MEDIA);
  tcase_add_loop_test(plain, a_busy_member, 0, 4 * MEDIA);
  tcase_add_loop_test(plain, a_failing_member, 0, 2 * MEDIA);
  tcase_add_loop_test(plain, a_stub_that_cannot_be_made, 0, MEDIA);
  tcase_add_loop_test(plain, a_vanished_folder_is_in_doubt, 0, MEDIA);
  suite_add_tcase(suite, plain);
  tcase_set_timeout(killed, 600);
  tcase_add_loop_test(killed, killed_at_every_step, 0, CASTS + CASTS_ON_DISK);
  tcase_add_loop_test(killed, killed_at_every_step_with_other_journal_modes, 0, 4);
  tcase_add_loop_test(killed, killed_at_every_step_of_a_failing_commit, 0, 4);
  tcase_add_loop_test(killed, killed_at_every_step_before_witnesses, 0, PAIRS * MEDIA);
  tcase_add_loop_test(killed, recovery_is_killed_too, 0, PAIRS);
  suite_add_tcase(suite, killed);
  return suite;
}
