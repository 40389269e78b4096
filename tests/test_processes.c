/*
** test_processes.c - many processes and threads at one database: killed, stopped,
** forked, holding snapshots, coming and going.
**
**   SPM_BANK_SECONDS   how long the bank runs on persistent memory; a quarter of it on the
**                      other medium (default: 30, and 8; `make check-kills` goes on from there)
**   SPM_SEED           the second seed; the first is always the same
*/
#include "bank.h"
#include "tests.h"

#include "../vfs/store/shm_layout.h"
#include "../vfs/vfs.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define FIXED_SEED 20260101u

/* --------------------------------------------------------------- helpers -- */

static bank_board *board;
static char path[512];
static void setup(void) {
  board = bank_board_new();
  (void)snprintf(path, sizeof path, "%s", pmem_path("shared.db"));
}

static unsigned seconds(void) {
  const char *text = getenv("SPM_BANK_SECONDS");
  return text != NULL && atoi(text) > 0 ? (unsigned)atoi(text) : 30;
}

static uint64_t seed_of(int turn) {
  const char *text = getenv("SPM_SEED");
  return turn == 0 || text == NULL ? FIXED_SEED : strtoull(text, NULL, 10);
}

/* Bytes of media a sidecar takes, holes not counted. */
static long kept_by(const char *suffix) {
  char name[600];
  struct stat status;
  (void)snprintf(name, sizeof name, "%s%s", path, suffix);
  return stat(name, &status) == 0 ? (long)status.st_blocks * 512 : -1;
}

/* Two processes in step: a byte each way. */
typedef struct step {
  int there[2], back[2];
} step;
static void step_open(step *s) {
  ck_assert_int_eq(pipe(s->there), 0);
  ck_assert_int_eq(pipe(s->back), 0);
}
static void say(int fd) {
  if (write(fd, "x", 1) != 1) _exit(3);
}
static void wait_for(int fd) {
  char byte;
  if (read(fd, &byte, 1) != 1) _exit(3);
}

/* The test's own connection, after all forks that must not inherit it. */
static sqlite3 *open_here(const char *options) {
  ck_assert_int_eq(spm_vfs_register(false), SQLITE_OK);
  sqlite3 *db = bank_open(board, path, "pmem", options);
  bank_insist(board, db, "SELECT 1 FROM sqlite_schema"); /* attached, whoever was just doing the same */
  return db;
}
static void must(sqlite3 *db, const char *sql) {
  ck_assert_msg(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db));
}
static void must_be(sqlite3 *db, const char *sql, int64_t wanted) {
  int rc;
  int64_t value = bank_value(db, sql, &rc);
  ck_assert_msg(rc == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db));
  ck_assert_msg(value == wanted, "%s: %lld instead of %lld", sql, (long long)value, (long long)wanted);
}
static int run(sqlite3 *db, const char *sql) { return sqlite3_exec(db, sql, NULL, NULL, NULL); }

/* -------------------------------------------------------------- the bank -- */

START_TEST(bank_on_pmem) { bank_run(path, (seconds() + 1) / 2, seed_of(_i)); }
END_TEST

/* Without the variable that makes libpmem believe that a disk is persistent memory. */
START_TEST(bank_on_a_file) {
  char disk[512];
  (void)unsetenv("PMEM_IS_PMEM_FORCE");
  (void)snprintf(disk, sizeof disk, "%s", file_path("shared.db"));
  bank_run(disk, (seconds() + 7) / 8, seed_of(_i));
}
END_TEST

/* ----------------------------------------------- stopped and dead members -- */

static void make_table(bank_board *b, void *argument) {
  (void)argument;
  sqlite3 *db = bank_open(b, path, "pmem", "");
  bank_insist(b, db, "CREATE TABLE t(id INTEGER PRIMARY KEY, x, pad);"
                     "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<2000)"
                     " INSERT INTO t SELECT i, 0, zeroblob(3000) FROM n;");
  (void)sqlite3_close(db);
}

static void hold_the_lock(bank_board *b, void *argument) {
  step *s = argument;
  sqlite3 *db = bank_open(b, path, "pmem", "");
  bank_insist(b, db, "BEGIN IMMEDIATE; UPDATE t SET x=x+1 WHERE id=1;");
  say(s->there[1]);
  wait_for(s->back[0]);
  bank_insist(b, db, "COMMIT;");
  (void)sqlite3_close(db);
}

START_TEST(a_stopped_writer_is_not_dead) {
  step s;
  step_open(&s);
  bank_reap(board, bank_spawn(board, make_table, NULL), false);
  pid_t holder = bank_spawn(board, hold_the_lock, &s);
  wait_for(s.there[0]);
  sqlite3 *db = open_here("");
  ck_assert_int_eq(kill(holder, SIGSTOP), 0);
  for (int i = 0; i < 5; i++) {
    uint64_t begun = bank_now_ms();
    ck_assert_int_eq(run(db, "BEGIN IMMEDIATE"), SQLITE_BUSY);
    ck_assert_uint_lt(bank_now_ms() - begun, 1000);
    must_be(db, "SELECT sum(x) FROM t", 0);
  }
  ck_assert_int_eq(kill(holder, SIGCONT), 0);
  say(s.back[1]);
  bank_reap(board, holder, false);
  must_be(db, "SELECT sum(x) FROM t", 1);
  must(db, "UPDATE t SET x=x+1");
  must_be(db, "SELECT sum(x) FROM t", 2001);
  ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}
END_TEST

static void commit_forever(bank_board *b, void *argument) {
  (void)argument;
  sqlite3 *db = bank_open(b, path, "pmem", "");
  while (!atomic_load(&b->stop)) {
    if (run(db, "UPDATE t SET x=x+1") == SQLITE_OK) atomic_fetch_add(&b->commits, 1);
  }
  (void)sqlite3_close(db);
}

/* Stopped anywhere, in the middle of a commit too: an answer comes in time, and what
** is answered is true. */
START_TEST(a_writer_stopped_anywhere) {
  pid_t holder = bank_spawn(board, commit_forever, NULL);
  sqlite3 *db = open_here("");
  bank_insist(board, db, "CREATE TABLE t(id INTEGER PRIMARY KEY, x, pad);"
           "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<200)"
           " INSERT INTO t SELECT i, 0, zeroblob(1000) FROM n;");
  atomic_store(&board->commits, 0);
  for (int i = 0; i < 20000 && atomic_load(&board->commits) < 5; i++) bank_sleep_ms(1);
  uint64_t random = seed_of(1);
  for (int i = 0; i < 300; i++) {
    struct timespec pause = {.tv_nsec = (long)(bank_random(&random) % 3000000)};
    (void)nanosleep(&pause, NULL);
    ck_assert_int_eq(kill(holder, SIGSTOP), 0);
    uint64_t begun = bank_now_ms();
    int rc;
    int64_t spread = bank_value(db, "SELECT max(x)-min(x) FROM t", &rc);
    ck_assert_msg(rc == SQLITE_OK || rc == SQLITE_BUSY, "%s", sqlite3_errmsg(db));
    ck_assert_msg(rc != SQLITE_OK || spread == 0, "half a transaction was seen");
    rc = run(db, "UPDATE t SET x=x+1");
    ck_assert_msg(rc == SQLITE_OK || rc == SQLITE_BUSY, "%s (%d)", sqlite3_errmsg(db), rc);
    ck_assert_uint_lt(bank_now_ms() - begun, 2000);
    ck_assert_int_eq(kill(holder, SIGCONT), 0);
  }
  atomic_store(&board->stop, true);
  bank_reap(board, holder, false);
  must_be(db, "SELECT max(x)-min(x) FROM t", 0);
  ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}
END_TEST

static void see_no_half(sqlite3 *db) {
  int rc;
  bank_insist(board, db, "BEGIN");
  int64_t spread = bank_value(db, "SELECT max(x)-min(x) FROM t", &rc), sum = 0;
  if (rc == SQLITE_OK) sum = bank_value(db, "SELECT sum(x) FROM t", &rc);
  if (rc == SQLITE_OK) ck_assert_msg(spread == 0, "half a transaction was seen");
  if (rc == SQLITE_OK) ck_assert_msg(sum == bank_value(db, "SELECT sum(x) FROM t", &rc), "a snapshot changed");
  ck_assert_msg(rc == SQLITE_OK || rc == SQLITE_BUSY, "%s (%d)", sqlite3_errmsg(db), rc);
  must(db, "COMMIT");
}

/* Until a commit says that it is under way, and a little longer. */
static void await_a_commit(uint64_t *random) {
  char name[600];
  (void)snprintf(name, sizeof name, "%s-pmshm", path);
  int fd = open(name, O_RDONLY);
  spm_shm *shm = mmap(NULL, sizeof *shm, PROT_READ, MAP_SHARED, fd, 0);
  ck_assert_ptr_ne(shm, MAP_FAILED);
  uint64_t deadline = bank_now_ms() + 200;
  while (SPM_PUBLISHED_PHASE(atomic_load(&shm->published)) == SPM_PHASE_IDLE && bank_now_ms() < deadline) continue;
  for (uint64_t spin = bank_random(random) % 300000; spin > 0; spin--) atomic_signal_fence(memory_order_seq_cst);
  (void)munmap(shm, sizeof *shm);
  (void)close(fd);
}

/* Large commits, killed in the middle; one old snapshot for whose sake images are kept,
** and young ones that begin while a commit is under way. */
START_TEST(large_commits_are_killed) {
  uint64_t random = seed_of(_i);
  bank_reap(board, bank_spawn(board, make_table, NULL), false);
  sqlite3 *old = open_here(""), *db = open_here("");
  must(old, "PRAGMA cache_size=10; BEGIN");
  must(db, "PRAGMA cache_size=10");
  must_be(old, "SELECT sum(x) FROM t", 0);
  for (int i = 0; i < 60; i++) {
    pid_t holder = bank_spawn(board, commit_forever, NULL);
    uint64_t end = bank_now_ms() + 10 + bank_random(&random) % 50;
    while (bank_now_ms() < end) see_no_half(db);
    await_a_commit(&random);
    ck_assert_int_eq(kill(holder, SIGKILL), 0);
    bank_reap(board, holder, true);
    see_no_half(db);
    bank_insist(board, db, "UPDATE t SET x=x+1");
    see_no_half(db);
    must_be(old, "SELECT sum(x) FROM t", 0);
  }
  must(old, "COMMIT");
  ck_assert_int_eq(sqlite3_close(old), SQLITE_OK);
  ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}
END_TEST

static void hold_a_snapshot(bank_board *b, void *argument) {
  step *s = argument;
  sqlite3 *db = bank_open(b, path, "pmem", "");
  int rc;
  bank_insist(b, db, "BEGIN;");
  int64_t first = bank_value(db, "SELECT sum(x) FROM t", &rc);
  if (rc != SQLITE_OK) bank_wrong(b, "no snapshot: %s", sqlite3_errmsg(db));
  say(s->there[1]);
  wait_for(s->back[0]);
  if (bank_value(db, "SELECT sum(x) FROM t", &rc) != first || rc != SQLITE_OK)
    bank_wrong(b, "the snapshot changed: %s", sqlite3_errmsg(db));
  bank_insist(b, db, "COMMIT;");
  (void)sqlite3_close(db);
}

static void update_rows(sqlite3 *db, int count, uint64_t *random) {
  sqlite3_stmt *update;
  ck_assert_int_eq(sqlite3_prepare_v2(db, "UPDATE t SET x=x+1 WHERE id=?", -1, &update, NULL), SQLITE_OK);
  for (int i = 0; i < count; i++) {
    (void)sqlite3_bind_int(update, 1, 1 + (int)(bank_random(random) % 2000));
    ck_assert_int_eq(sqlite3_step(update), SQLITE_DONE);
    (void)sqlite3_reset(update);
  }
  (void)sqlite3_finalize(update);
}

/* Images do not pile up for a reader that is dead, nor the log for one that lives. */
START_TEST(a_dead_reader_holds_nothing) {
  step s;
  uint64_t random = seed_of(1);
  step_open(&s);
  bank_reap(board, bank_spawn(board, make_table, NULL), false);
  pid_t holder = bank_spawn(board, hold_a_snapshot, &s);
  wait_for(s.there[0]);
  sqlite3 *db = open_here("");
  update_rows(db, 100, &random);
  ck_assert_int_eq(kill(holder, SIGKILL), 0);
  bank_reap(board, holder, true);
  update_rows(db, 2000, &random);
  long settled = kept_by("-pmshm");
  for (int i = 0; i < 10; i++) {
    update_rows(db, 2000, &random);
    ck_assert_int_le(kept_by("-pmshm"), settled + (1 << 20));
  }
  ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}
END_TEST

START_TEST(the_log_is_bounded_under_a_reader) {
  step s;
  uint64_t random = seed_of(1);
  step_open(&s);
  bank_reap(board, bank_spawn(board, make_table, NULL), false);
  pid_t holder = bank_spawn(board, hold_a_snapshot, &s);
  wait_for(s.there[0]);
  sqlite3 *db = open_here("&pmem_max_log_size=1M");
  for (int i = 0; i < 10; i++) {
    update_rows(db, 2000, &random);
    ck_assert_int_le(kept_by("-pmlog"), (1 << 20) + (1 << 19));
  }
  say(s.back[1]);
  bank_reap(board, holder, false);
  ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}
END_TEST

/* One transaction may pass the limit; committed, rolled back or dead, it gives the
** space back. */
static void write_much(bank_board *b, void *argument) {
  step *s = argument;
  sqlite3 *db = bank_open(b, path, "pmem", "&pmem_max_log_size=1M");
  bank_insist(b, db, "PRAGMA cache_size=10; BEGIN IMMEDIATE; UPDATE t SET pad=randomblob(30000);");
  say(s->there[1]);
  wait_for(s->back[0]);
}

START_TEST(a_large_transaction_gives_the_log_back) {
  step s;
  uint64_t random = seed_of(1);
  step_open(&s);
  bank_reap(board, bank_spawn(board, make_table, NULL), false);
  pid_t holder = bank_spawn(board, write_much, &s);
  wait_for(s.there[0]);
  ck_assert_int_eq(kill(holder, SIGKILL), 0);
  bank_reap(board, holder, true);
  sqlite3 *db = open_here("&pmem_max_log_size=1M");
  must(db, "PRAGMA cache_size=10");
  for (int i = 0; i < 2; i++) {
    must(db, "BEGIN; UPDATE t SET pad=randomblob(30000);");
    ck_assert_int_gt(kept_by("-pmlog"), 8 << 20);
    must(db, i == 0 ? "COMMIT" : "ROLLBACK");
    update_rows(db, 10, &random);
    ck_assert_int_le(kept_by("-pmlog"), (1 << 20) + (1 << 19));
  }
  must_be(db, "SELECT sum(length(pad)) FROM t", 2000 * 30000);
  ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}
END_TEST

/* The same while others are attached, who take over from a dead one. */
START_TEST(a_large_dead_transaction_gives_the_log_back) {
  step s;
  uint64_t random = seed_of(1);
  step_open(&s);
  bank_reap(board, bank_spawn(board, make_table, NULL), false);
  pid_t holder = bank_spawn(board, write_much, &s);
  sqlite3 *db = open_here("&pmem_max_log_size=1M");
  must_be(db, "SELECT sum(x) FROM t", 0);
  wait_for(s.there[0]);
  ck_assert_int_eq(kill(holder, SIGKILL), 0);
  bank_reap(board, holder, true);
  update_rows(db, 10, &random);
  ck_assert_int_le(kept_by("-pmlog"), (1 << 20) + (1 << 19));
  must_be(db, "SELECT sum(length(pad)) FROM t", 2000 * 3000);
  ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}
END_TEST

/* ------------------------------------------------------------------ forks -- */

/* What a child does with its parent's connection: it may fail, it may not die, and
** nothing of it may arrive. */
static void misuse(sqlite3 *db, bool writes_first) {
  if (writes_first) (void)run(db, "UPDATE t SET x=x+100 WHERE id=1");
  (void)run(db, "SELECT sum(x) FROM t");
  (void)run(db, "UPDATE t SET x=x+100");
  (void)run(db, "BEGIN IMMEDIATE; UPDATE t SET x=x+100;");
  (void)run(db, "COMMIT");
  (void)run(db, "ROLLBACK");
  (void)run(db, "PRAGMA integrity_check; PRAGMA pmem_wal; PRAGMA pmem_medium");
  int reading = 1;
  bool refused = run(db, "PRAGMA pmem_wal=off") != SQLITE_OK && run(db, "PRAGMA pmem_mode=async") != SQLITE_OK;
  (void)sqlite3_file_control(db, "main", SQLITE_FCNTL_EXTERNAL_READER, &reading);
  (void)sqlite3_close(db);
  _exit(refused && !reading ? 0 : 1);
}

static void fork_and_misuse(sqlite3 *db) {
  for (int turn = 0; turn < 2; turn++) {
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) misuse(db, turn == 1);
    bank_reap(board, pid, false);
  }
}

START_TEST(a_fork_inherits_nothing) {
  static const char *const states[][3] = {
      {"SELECT 1", "SELECT 1", "idle"},
      {"BEGIN; SELECT x FROM t WHERE id=1", "UPDATE t SET x=x+1; COMMIT", "reading"},
      {"BEGIN IMMEDIATE", "UPDATE t SET x=x+1; COMMIT", "locked"},
      {"BEGIN; UPDATE t SET x=x+1", "COMMIT", "written"},
      {"PRAGMA cache_size=1; BEGIN; UPDATE t SET x=x+1", "COMMIT", "spilled"},
      {"PRAGMA locking_mode=EXCLUSIVE; UPDATE t SET x=x+1", "PRAGMA locking_mode=NORMAL; SELECT * FROM t", "exclusive"},
  };
  bank_reap(board, bank_spawn(board, make_table, NULL), false);
  for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
    sqlite3 *db = open_here("");
    int rc;
    int64_t before = bank_value(db, "SELECT sum(x) FROM t", &rc);
    must(db, states[i][0]);
    fork_and_misuse(db);
    must(db, states[i][1]);
    int64_t after = bank_value(db, "SELECT sum(x) FROM t", &rc);
    ck_assert_msg(after - before == (i == 0 ? 0 : 2000), "%s: %lld more", states[i][2], (long long)(after - before));
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
    ck_assert_int_eq(kept_by("-pmlog"), -1);
  }
}
END_TEST

/* ------------------------------------------------------- many connections -- */

#define CROWD_PROCESSES 4
#define CROWD_CONNECTIONS 60

static void crowd(bank_board *b, void *argument) {
  step *s = argument;
  sqlite3 *db[CROWD_CONNECTIONS];
  int rc;
  for (int i = 0; i < CROWD_CONNECTIONS; i++) {
    db[i] = bank_open(b, path, "pmem", "");
    (void)sqlite3_busy_timeout(db[i], 30000);
    bank_insist(b, db[i], "UPDATE t SET x=x+1 WHERE id=1");
  }
  say(s->there[1]);
  wait_for(s->back[0]);
  for (int i = 0; i < CROWD_CONNECTIONS; i++) {
    if (bank_value(db[i], "SELECT x FROM t WHERE id=1", &rc) != CROWD_PROCESSES * CROWD_CONNECTIONS)
      bank_wrong(b, "a connection of the crowd sees something else: %s", sqlite3_errmsg(db[i]));
    if (sqlite3_close(db[i]) != SQLITE_OK) bank_wrong(b, "closing");
  }
}

START_TEST(hundreds_of_connections) {
  step s;
  pid_t pids[CROWD_PROCESSES];
  step_open(&s);
  bank_reap(board, bank_spawn(board, make_table, NULL), false);
  for (int i = 0; i < CROWD_PROCESSES; i++) pids[i] = bank_spawn(board, crowd, &s);
  for (int i = 0; i < CROWD_PROCESSES; i++) wait_for(s.there[0]);
  for (int i = 0; i < CROWD_PROCESSES; i++) say(s.back[1]);
  for (int i = 0; i < CROWD_PROCESSES; i++) bank_reap(board, pids[i], false);
  sqlite3 *db = open_here("");
  must_be(db, "SELECT x FROM t WHERE id=1", CROWD_PROCESSES * CROWD_CONNECTIONS);
  ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}
END_TEST

#define THREAD_COMMITS 3000

static void *hammer(void *argument) {
  sqlite3 *db = bank_open(board, path, "pmem", "");
  (void)sqlite3_busy_timeout(db, 30000);
  int64_t seen = 0;
  for (int i = 0; i < THREAD_COMMITS; i++) {
    bank_insist(board, db, argument == NULL ? "UPDATE t SET x=x+1 WHERE id=1" : "UPDATE t SET x=x+1 WHERE id=2");
    int rc;
    int64_t sum = bank_value(db, "SELECT sum(x) FROM t WHERE id<3", &rc);
    if ((rc & 0xff) == SQLITE_BUSY) continue;
    if (rc != SQLITE_OK || sum <= seen) bank_wrong(board, "a thread lost its own commit: %s", sqlite3_errmsg(db));
    seen = sum;
  }
  if (sqlite3_close(db) != SQLITE_OK) bank_wrong(board, "closing in a thread");
  return NULL;
}

START_TEST(two_threads_with_connections_of_their_own) {
  pthread_t threads[2];
  bank_reap(board, bank_spawn(board, make_table, NULL), false);
  ck_assert_int_eq(spm_vfs_register(false), SQLITE_OK);
  for (int i = 0; i < 2; i++) ck_assert_int_eq(pthread_create(&threads[i], NULL, hammer, i ? path : NULL), 0);
  for (int i = 0; i < 2; i++) ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
  bank_check_board(board);
  sqlite3 *db = open_here("");
  must_be(db, "SELECT sum(x) FROM t", 2 * THREAD_COMMITS);
  ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}
END_TEST

START_TEST(twice_in_one_process) {
  bank_reap(board, bank_spawn(board, make_table, NULL), false);
  sqlite3 *a = open_here(""), *b = open_here("");
  must(a, "BEGIN");
  must_be(a, "SELECT sum(x) FROM t", 0);
  must(b, "UPDATE t SET x=1");
  must_be(a, "SELECT sum(x) FROM t", 0);
  ck_assert_int_eq(run(a, "UPDATE t SET x=2"), SQLITE_BUSY_SNAPSHOT);
  must(a, "ROLLBACK; BEGIN IMMEDIATE");
  ck_assert_int_eq(run(b, "UPDATE t SET x=3"), SQLITE_BUSY);
  must_be(b, "SELECT sum(x) FROM t", 2000);
  must(a, "UPDATE t SET x=4; COMMIT");
  must_be(b, "SELECT sum(x) FROM t", 8000);
  ck_assert_int_eq(sqlite3_close(a), SQLITE_OK);
  must(b, "UPDATE t SET x=5");
  ck_assert_int_eq(sqlite3_close(b), SQLITE_OK);
  ck_assert_int_eq(kept_by("-pmlog"), -1);
}
END_TEST

/* ---------------------------------------------------------- coming, going -- */

/* Opens, adds one, closes; through the VFS or, where that finds an ordinary file,
** through stock SQLite.  Some die on the way. */
static void visit(bank_board *b, void *argument) {
  uint64_t random = *(uint64_t *)argument;
  while (!atomic_load(&b->stop)) {
    bool stock = bank_random(&random) % 3 == 0;
    sqlite3 *db = bank_open(b, path, stock ? "unix" : "pmem", "");
    int rc = run(db, "BEGIN IMMEDIATE");
    if (rc == SQLITE_OK) rc = run(db, "UPDATE t SET x=x+1 WHERE id=1; UPDATE t SET pad=randomblob(5000) WHERE id=2");
    if (rc == SQLITE_OK && bank_random(&random) % 4 == 0) rc = run(db, "INSERT INTO t(x,pad) VALUES(0,randomblob(9000))");
    if (rc == SQLITE_OK && bank_random(&random) % 8 == 0) rc = run(db, "DELETE FROM t WHERE id>2000");
    if (rc == SQLITE_OK && (rc = run(db, "COMMIT")) == SQLITE_OK) atomic_fetch_add(&b->commits, 1);
    if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_BUSY && !(stock && rc == SQLITE_NOTADB))
      bank_wrong(b, "a %s visitor: %s (%d)", stock ? "stock" : "pmem", sqlite3_errmsg(db), rc);
    if (rc != SQLITE_OK) atomic_fetch_add(&b->busy, 1);
    if (sqlite3_close(db) != SQLITE_OK) bank_wrong(b, "closing");
  }
}

START_TEST(lives_begin_and_end) {
  pid_t pids[4];
  uint64_t random = seed_of(_i % 2), seeds[4];
  bool killing = _i >= 2;
  long killed = 0;
  bank_reap(board, bank_spawn(board, make_table, NULL), false);
  for (int i = 0; i < 4; i++) {
    seeds[i] = bank_random(&random);
    pids[i] = bank_spawn(board, visit, &seeds[i]);
  }
  uint64_t end = bank_now_ms() + 3000;
  while (bank_now_ms() < end) {
    bank_sleep_ms((unsigned)(bank_random(&random) % 30));
    if (!killing) continue;
    int victim = (int)(bank_random(&random) % 4);
    (void)kill(pids[victim], SIGKILL);
    bank_reap(board, pids[victim], true);
    seeds[victim] = bank_random(&random);
    pids[victim] = bank_spawn(board, visit, &seeds[victim]);
    killed++;
  }
  atomic_store(&board->stop, true);
  for (int i = 0; i < 4; i++) bank_reap(board, pids[i], false);
  sqlite3 *db = open_here("");
  int rc;
  int64_t sum = bank_value(db, "SELECT x FROM t WHERE id=1", &rc), told = atomic_load(&board->commits);
  ck_assert_int_eq(rc, SQLITE_OK);
  ck_assert_msg(sum >= told && sum <= told + killed, "%lld commits were told of, %lld are there", (long long)told, (long long)sum);
  must_be(db, "SELECT integrity_check='ok' FROM pragma_integrity_check", 1);
  ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
  printf("  visits: %lld commits, %ld refused, %ld killed\n", (long long)told, atomic_load(&board->busy), killed);
}
END_TEST

Suite *processes_suite(void) {
  const TTest *const tests[] = {
      a_stopped_writer_is_not_dead, a_writer_stopped_anywhere, a_dead_reader_holds_nothing,
      the_log_is_bounded_under_a_reader, a_large_transaction_gives_the_log_back,
      a_large_dead_transaction_gives_the_log_back, a_fork_inherits_nothing,
      hundreds_of_connections, two_threads_with_connections_of_their_own, twice_in_one_process,
  };
  Suite *suite = suite_create("processes");
  TCase *bank = tcase_create("bank"), *others = tcase_create("others"), *lives = tcase_create("lives");
  tcase_add_checked_fixture(bank, setup, NULL);
  tcase_add_checked_fixture(others, setup, NULL);
  tcase_add_checked_fixture(lives, setup, NULL);
  tcase_set_timeout(bank, seconds() + 120);
  tcase_set_timeout(others, 120);
  tcase_set_timeout(lives, 120);
  tcase_add_loop_test(bank, bank_on_pmem, 0, 2);
  tcase_add_loop_test(bank, bank_on_a_file, 0, 2);
  for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) tcase_add_test(others, tests[i]);
  tcase_add_loop_test(others, large_commits_are_killed, 0, 2);
  tcase_add_loop_test(lives, lives_begin_and_end, 0, 4);
  suite_add_tcase(suite, bank);
  suite_add_tcase(suite, others);
  suite_add_tcase(suite, lives);
  return suite;
}
