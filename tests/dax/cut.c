/*
** cut.c - writes until the power is cut, and finds out afterwards what is left.
**
**     cut LIBRARY write SCENARIO FOLDER SEED
**     cut LIBRARY check FOLDER MEDIUM WRITER:SEQUENCE...
**
** write acknowledges each commit with a line, "ack WRITER SEQUENCE", that has left the
** machine before the writer goes on: so of what is in the database, at most one commit a
** writer was not told of.  check wants every acknowledged commit, nothing by halves, and
** after a clean close one plain file that stock SQLite reads.
**
** What may be under way when the power goes:
**
**     commit   one writer, small transactions, now and then a large one
**     two      two writers in two processes, and a reader
**     lives    a connection for each transaction: adoption, clean close
**     growth   database and log grow and shrink, VACUUM
**     pair     transactions over two databases
*/
#define _GNU_SOURCE
#include "../bank.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static const char *library, *medium;
static char main_path[512], other_path[512];

static sqlite3 *open_main(bank_board *b, const char *options) {
  sqlite3 *db = bank_open(b, main_path, "pmem", options);
  (void)sqlite3_busy_timeout(db, 60000);
  return db;
}

static sqlite3 *open_pair(bank_board *b) {
  sqlite3 *db = open_main(b, "");
  char *sql = sqlite3_mprintf("ATTACH 'file:%q?vfs=pmem' AS other", other_path);
  bank_insist(b, db, sql);
  sqlite3_free(sql);
  return db;
}

static void acknowledge(bank_board *b, const bank_member *m, int64_t sequence) {
  char line[64];
  int n = snprintf(line, sizeof line, "ack %d %lld\n", m->number, (long long)sequence);
  if (write(STDOUT_FILENO, line, (size_t)n) != n) bank_wrong(b, "nobody listens");
  (void)tcdrain(STDOUT_FILENO);
}

/* ------------------------------------------------------------- scenarios -- */

static void lives(bank_board *b, void *member) {
  bank_member *m = member;
  int64_t sequence;
  for (;;) {
    sqlite3 *db = open_main(b, "");
    int rc = bank_transaction(b, db, m->number, &m->seed, &sequence);
    bank_abandon(b, db);
    if (sqlite3_close(db) != SQLITE_OK) bank_wrong(b, "closing: %s", sqlite3_errmsg(db));
    if (rc == SQLITE_OK) acknowledge(b, m, sequence);
  }
}

static void growth(bank_board *b, void *member) {
  bank_member *m = member;
  int64_t sequence;
  sqlite3 *db = open_main(b, "&pmem_max_log_size=1M");
  bank_insist(b, db, "PRAGMA cache_size=10");
  for (;;) {
    if (bank_transaction(b, db, m->number, &m->seed, &sequence) == SQLITE_OK) acknowledge(b, m, sequence);
    bank_abandon(b, db);
    (void)bank_grow(b, db, m->number, &m->seed);
    bank_abandon(b, db);
  }
}

static void pair(bank_board *b, void *member) {
  bank_member *m = member;
  int64_t sequence;
  sqlite3 *db = open_pair(b);
  for (;;) {
    if (bank_transaction_of_two(b, db, m->number, &m->seed, &sequence) == SQLITE_OK) acknowledge(b, m, sequence);
    bank_abandon(b, db);
  }
}

static const struct scenario {
  const char *name;
  void (*work[3])(bank_board *, void *);
} scenarios[] = {
    {"commit", {bank_write}}, {"two", {bank_write, bank_write, bank_read}},
    {"lives", {lives}}, {"growth", {growth}}, {"pair", {pair, pair}},
};

static const struct scenario *scenario_called(const char *name) {
  for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
    if (strcmp(scenarios[i].name, name) == 0) return &scenarios[i];
  return NULL;
}

/* ----------------------------------------------------------------- roles -- */

/* A process of its own, for the VFS that is registered in one is not its children's. */
static void in_child(bank_board *b, void (*work)(bank_board *, void *), void *argument) {
  pid_t pid = fork();
  if (pid > 0) return;
  if (pid < 0) bank_wrong(b, "no fork");
  bank_load(b, library);
  work(b, argument);
  _exit(0);
}

/* Until all children have ended, or the first of them badly. */
static int children_end(bank_board *b) {
  int status;
  while (wait(&status) > 0)
    if (status != 0) {
      printf("wrong: %s (wait status 0x%x)\n", b->text, (unsigned)status);
      return EXIT_FAILURE;
    }
  return EXIT_SUCCESS;
}

static void found_both(bank_board *b, void *argument) {
  (void)argument;
  const char *paths[] = {main_path, other_path};
  for (int i = 0; i < 2; i++) {
    if (access(paths[i], F_OK) == 0) continue;
    sqlite3 *db = bank_open(b, paths[i], "pmem", "");
    bank_found(b, db);
    (void)sqlite3_close(db);
  }
}

static int write_until_dark(bank_board *b, const struct scenario *s, uint64_t seed) {
  bank_member members[3];
  in_child(b, found_both, NULL);
  if (children_end(b) != EXIT_SUCCESS) return EXIT_FAILURE;
  for (int i = 0; i < 3 && s->work[i] != NULL; i++) {
    members[i] = (bank_member){main_path, i, -1, seed + (uint64_t)i, acknowledge};
    in_child(b, s->work[i], &members[i]);
  }
  return children_end(b);
}

/* The counters stand in main. */
static void check_other(bank_board *b, const char *vfs) {
  const bank_books none = {0};
  sqlite3 *db = bank_open(b, other_path, vfs, "");
  bank_check_whole(b, db, &none);
  if (sqlite3_close(db) != SQLITE_OK) bank_wrong(b, "closing: %s", sqlite3_errmsg(db));
}

static void check_here(bank_board *b, void *books) {
  sqlite3 *db = open_pair(b);
  sqlite3_stmt *statement;
  if (sqlite3_prepare_v2(db, "PRAGMA pmem_medium", -1, &statement, NULL) != SQLITE_OK ||
      sqlite3_step(statement) != SQLITE_ROW)
    bank_wrong(b, "PRAGMA pmem_medium: %s", sqlite3_errmsg(db));
  const char *found = (const char *)sqlite3_column_text(statement, 0);
  if (strcmp(found, medium) != 0) bank_wrong(b, "the medium is %s instead of %s", found, medium);
  (void)sqlite3_finalize(statement);
  bank_check_whole(b, db, books);
  bank_insist(b, db, "BEGIN IMMEDIATE");
  bank_compare_pairs(b, db);
  bank_insist(b, db, "COMMIT");
  if (sqlite3_close(db) != SQLITE_OK) bank_wrong(b, "closing: %s", sqlite3_errmsg(db));
  check_other(b, "pmem");
}

static void check_stock(bank_board *b, void *books) {
  static const char *const suffix[] = {"-pmlog", "-pmshm", "-journal", "-wal"};
  for (size_t i = 0; i < 8; i++) {
    char name[1024];
    (void)snprintf(name, sizeof name, "%s%s", i % 2 ? main_path : other_path, suffix[i / 2]);
    if (access(name, F_OK) == 0) bank_wrong(b, "%s is left after the last close", name);
  }
  sqlite3 *db = bank_open(b, main_path, "unix", "");
  bank_check_whole(b, db, books);
  (void)sqlite3_close(db);
  check_other(b, "unix");
}

static int check(bank_board *b, char **told) {
  bank_books books = {0};
  for (int i = 0; i < BANK_WRITERS; i++) books.lost[i] = 1;
  for (; *told != NULL; told++) {
    char *colon = strchr(*told, ':');
    long writer = strtol(*told, NULL, 10);
    if (colon == NULL || writer < 0 || writer >= BANK_WRITERS) return EXIT_FAILURE;
    books.acknowledged[writer] = strtoll(colon + 1, NULL, 10);
  }
  in_child(b, check_here, &books);
  if (children_end(b) != EXIT_SUCCESS) return EXIT_FAILURE;
  in_child(b, check_stock, &books);
  return children_end(b);
}

int main(int argc, char **argv) {
  bank_board *b = mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  bool writes = argc == 6 && strcmp(argv[2], "write") == 0, checks = argc >= 5 && strcmp(argv[2], "check") == 0;
  if (b == MAP_FAILED || (!writes && !checks)) return EXIT_FAILURE;
  const struct scenario *s = writes ? scenario_called(argv[3]) : NULL;
  const char *folder = argv[writes ? 4 : 3];
  library = argv[1];
  medium = writes ? NULL : argv[4];
  (void)snprintf(main_path, sizeof main_path, "%s/main.db", folder);
  (void)snprintf(other_path, sizeof other_path, "%s/other.db", folder);
  (void)setvbuf(stdout, NULL, _IOLBF, 0);
  if (writes) return s != NULL ? write_until_dark(b, s, strtoull(argv[5], NULL, 10)) : EXIT_FAILURE;
  return check(b, argv + 5);
}
