/*
** test_adopt_refusals.c - what may not be opened: logs that are missing, damaged, of
** another life or a later version, files that were shortened or replaced, links, and
** what a user may not write to.  A refusal says why and changes no byte.
*/
#include "database.h"

#include "../vfs/store/error.h"
#include "../vfs/store/format.h"
#include "../vfs/vfs.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOBODY 65534
#define ROWS 300

TCase *adopt_refusals_case(void);

static void commit_rows(void *path) {
  sqlite3 *db = open_pmem(path);
  run(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t VALUES(0, zeroblob(100000))");
  for (int i = 1; i < ROWS; i++) run(db, "INSERT INTO t VALUES(%d, 'row %d')", i, i);
}

/* Stamped, with a log that matters. */
static const char *crashed(int medium, const char *name) {
  const char *path = path_on(medium, name);
  crash_after(commit_rows, (void *)(uintptr_t)path);
  return path;
}

static void recovers(const char *path) {
  sqlite3 *db = open_pmem(path);
  integrity(db);
  ck_assert_int_eq(number(db, "SELECT count(*) FROM t"), ROWS);
  close_db(db);
  stock_accepts(path);
}

/* ------------------------------------------------------------- fingerprints -- */

static uint64_t fingerprint(const char *path) {
  static char buffer[1 << 16];
  uint64_t sum = 1;
  FILE *file = fopen(path, "rb");
  if (file == NULL) return 0;
  for (size_t n; (n = fread(buffer, 1, sizeof buffer, file)) > 0;) sum = XXH3_64bits_withSeed(buffer, n, sum);
  (void)fclose(file);
  return sum;
}

typedef struct state {
  uint64_t data, log;
} state;
static state state_of(const char *path) { return (state){fingerprint(path), fingerprint(beside(path, "-pmlog"))}; }

/* Opening fails, the reason has these words in it, and neither file has changed. */
static void refused(const char *path, const char *word, const char *second_word) {
  state before = state_of(path);
  sqlite3 *db = open_pmem(path);
  int rc = code_of(db, "SELECT count(*) FROM t");
  ck_assert_msg(rc != SQLITE_OK, "opened, with %d rows", (int)number(db, "SELECT count(*) FROM t"));
  ck_assert_msg(rc != SQLITE_BUSY, "busy is no refusal: %s", spm_last_error());
  ck_assert_msg(strstr(spm_last_error(), word) && strstr(spm_last_error(), second_word), "%d: %s", rc, spm_last_error());
  ck_assert_int_ne(code_of(db, "CREATE TABLE u(a)"), SQLITE_OK);
  (void)sqlite3_close(db);
  state after = state_of(path);
  ck_assert_msg(before.data == after.data, "the data file has changed");
  ck_assert_msg(before.log == after.log, "the log has changed");
}

/* ------------------------------------------------------------------ the log -- */

START_TEST(a_missing_log) {
  const char *path = crashed(_i, "a.db"), *log = beside(path, "-pmlog"), *kept = path_on(_i, "kept");
  ck_assert_int_eq(rename(log, kept), 0);
  refused(path, "-pmlog", "missing");
  ck_assert(!exists(log));
  ck_assert_int_eq(rename(kept, log), 0);
  recovers(path);
}
END_TEST

START_TEST(a_log_of_another_life) {
  const char *path = crashed(_i, "a.db"), *other = crashed(_i, "b.db");
  const char *log = beside(path, "-pmlog"), *kept = path_on(_i, "kept");
  raw_copy(log, kept);
  raw_copy(beside(other, "-pmlog"), log);
  refused(path, "-pmlog", "life");
  raw_copy(kept, log);
  recovers(path);
  recovers(other);
}
END_TEST

/* An older log of the same database, as a careless restore would bring it back. */
START_TEST(a_log_of_an_earlier_life) {
  const char *path = crashed(_i, "a.db"), *log = beside(path, "-pmlog"), *old = path_on(_i, "old");
  raw_copy(log, old);
  recovers(path);
  sqlite3 *db = open_stock(path);
  run(db, "DROP TABLE t");
  close_db(db);
  crash_after(commit_rows, (void *)(uintptr_t)path);
  raw_copy(log, path_on(_i, "kept"));
  raw_copy(old, log);
  refused(path, "-pmlog", "life");
  raw_copy(path_on(_i, "kept"), log);
  recovers(path);
}
END_TEST

static void make_random(const char *path, int64_t size) {
  unsigned seed = 7;
  uint8_t bytes[4096];
  raw_copy("/dev/null", path);
  for (int64_t at = 0; at < size; at += (int64_t)sizeof bytes) {
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(rand_r(&seed) >> 8);
    raw_write(path, at, bytes, sizeof bytes);
  }
}

START_TEST(a_log_of_noise) {
  const char *path = crashed(_i, "a.db");
  make_random(beside(path, "-pmlog"), 270336);
  refused(path, "-pmlog", "superblock");
  make_random(beside(path, "-pmlog"), 0);
  refused(path, "-pmlog", "superblock");
}
END_TEST

/* Whatever is cut, nothing that was committed may be missing without an error. */
START_TEST(a_truncated_log) {
  static const int64_t sizes[] = {0, 1, 127, 128, 4095, 4096, 4224, 8191, 8192, 8256, 9000, 20000, 100000, 200000};
  const char *path = crashed(_i, "a.db"), *log = beside(path, "-pmlog"), *kept = path_on(_i, "kept");
  const char *copy = path_on(_i, "copy");
  raw_copy(log, kept);
  raw_copy(path, copy);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    raw_copy(copy, path);
    raw_copy(kept, log);
    ck_assert_int_eq(truncate(log, sizes[i]), 0);
    refused(path, "-pmlog", "");
  }
  raw_copy(copy, path);
  raw_copy(kept, log);
  recovers(path);
}
END_TEST

static void commit_large_rows(void *path) {
  sqlite3 *db = open_pmem(path);
  run(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
  for (int i = 0; i < 12; i++) run(db, "INSERT INTO t VALUES(%d, randomblob(100000))", i);
}

/* The same in the middle of a log of several segments. */
START_TEST(a_truncated_log_of_many_segments) {
  const char *path = path_on(_i, "a.db"), *log = beside(path, "-pmlog"), *kept = path_on(_i, "kept");
  crash_after(commit_large_rows, (void *)(uintptr_t)path);
  int64_t size = file_size(log);
  ck_assert_int_gt(size, 3 * SPM_SEGMENT_SIZE);
  raw_copy(log, kept);
  for (int64_t cut = 1; cut < 3 * SPM_SEGMENT_SIZE; cut += 100001) {
    raw_copy(kept, log);
    ck_assert_int_eq(truncate(log, SPM_LOG_HEADER_SIZE + cut), 0);
    refused(path, "-pmlog", "");
  }
}
END_TEST

/* Beside a plain database a log is nobody's, whatever is in it. */
START_TEST(a_stale_log_beside_a_plain_database) {
  const char *other = crashed(_i, "other.db");
  for (int i = 0; i < 4; i++) {
    const char *path = path_on(_i, "plain.db"), *log = beside(path, "-pmlog");
    sqlite3 *db = open_stock(path);
    run(db, "DROP TABLE IF EXISTS t; CREATE TABLE t(a); INSERT INTO t VALUES(%d)", i);
    close_db(db);
    make_random(log, i == 1 ? 270336 : 0);
    make_random(beside(path, "-pmshm"), i == 1 ? 8192 : 0);
    if (i == 2) raw_copy(beside(other, "-pmlog"), log);
    if (i == 3) ck_assert(unlink(log) == 0 && symlink(other, log) == 0);
    uint64_t before = fingerprint(other);
    db = open_pmem(path);
    ck_assert_int_eq(number(db, "SELECT a FROM t"), i);
    run(db, "INSERT INTO t VALUES(100)");
    close_db(db);
    stock_accepts(path);
    ck_assert(fingerprint(other) == before);
  }
  recovers(other);
}
END_TEST

/* ------------------------------------------------------------ the superblock -- */

static uint64_t checksum(const spm_superblock *block) {
  return XXH3_64bits((const uint8_t *)block + sizeof block->checksum, sizeof *block - sizeof block->checksum);
}

static void edit_superblocks(const char *log, void (*edit)(spm_superblock *)) {
  spm_superblock block;
  for (int64_t at = 0; at < SPM_LOG_HEADER_SIZE; at += SPM_SUPERBLOCK_STRIDE) {
    raw_read(log, at, &block, sizeof block);
    if (block.magic != SPM_SUPERBLOCK_MAGIC) continue;
    ck_assert_uint_eq(block.checksum, checksum(&block));
    edit(&block);
    block.checksum = checksum(&block);
    raw_write(log, at, &block, sizeof block);
  }
}

static void later_version(spm_superblock *block) { block->version = SPM_FORMAT_VERSION + 6; }
static void other_blocks(spm_superblock *block) { block->block_size = 8192; }
static void no_lsn(spm_superblock *block) { block->checkpoint.lsn = 0; }
static void inside_the_header(spm_superblock *block) { block->checkpoint.offset = 64; }

START_TEST(a_later_version_is_named) {
  const char *path = crashed(_i, "a.db");
  char theirs[32], ours[32];
  (void)snprintf(theirs, sizeof theirs, "version %u", SPM_FORMAT_VERSION + 6);
  (void)snprintf(ours, sizeof ours, "version %u", SPM_FORMAT_VERSION);
  edit_superblocks(beside(path, "-pmlog"), later_version);
  refused(path, theirs, ours);
}
END_TEST

START_TEST(superblocks_that_make_no_sense) {
  static void (*const edits[])(spm_superblock *) = {other_blocks, no_lsn, inside_the_header};
  for (size_t i = 0; i < 3; i++) {
    const char *path = crashed(_i, i == 0 ? "a.db" : i == 1 ? "b.db" : "c.db");
    edit_superblocks(beside(path, "-pmlog"), edits[i]);
    refused(path, "superblock", "");
  }
}
END_TEST

/* ------------------------------------------------------------- the data file -- */

/* To below what the checkpoint knows: a checkpoint first, or there is nothing below. */
START_TEST(a_shortened_data_file) {
  const char *path = path_on(_i, "a.db");
  sqlite3 *db = open_pmem(path);
  run(db, "CREATE TABLE u(a); INSERT INTO u VALUES(zeroblob(300000))");
  close_db(db);
  crash_after(commit_rows, (void *)(uintptr_t)path);
  const char *kept = path_on(_i, "kept");
  raw_copy(path, kept);
  ck_assert_int_eq(truncate(path, 100000), 0);
  refused(path, "shortened", "100000");
  raw_copy(kept, path);
  recovers(path);
}
END_TEST

/* mv: to a plain database the old log means nothing, to a stamped one it is foreign. */
START_TEST(a_replaced_data_file) {
  const char *path = crashed(_i, "a.db"), *other = crashed(_i, "other.db"), *plain = path_on(_i, "plain.db");
  sqlite3 *db = open_stock(plain);
  run(db, "CREATE TABLE t(a); INSERT INTO t VALUES('other')");
  close_db(db);
  ck_assert_int_eq(rename(other, path), 0);
  refused(path, "-pmlog", "life");
  ck_assert_int_eq(rename(plain, path), 0);
  db = open_pmem(path);
  expect(db, "SELECT a FROM t", "other");
  close_db(db);
  stock_accepts(path);
}
END_TEST

/* While it is open: whoever comes by the path must not join what is gone, and the one
** who has it must not write a log beside a stranger. */
START_TEST(replaced_while_it_is_open) {
  const char *path = path_on(_i, "a.db"), *plain = path_on(_i, "plain.db");
  sqlite3 *db = open_pmem(path), *other = open_stock(plain);
  run(db, "CREATE TABLE t(a); INSERT INTO t VALUES('first')");
  run(other, "CREATE TABLE t(a); INSERT INTO t VALUES('second')");
  close_db(other);
  ck_assert_int_eq(rename(plain, path), 0);
  (void)code_of(db, "INSERT INTO t VALUES('more')"); /* done or refused, but not in the other */
  (void)sqlite3_close(db);
  db = open_pmem(path);
  expect(db, "SELECT a FROM t", "second");
  close_db(db);
  stock_accepts(path);
}
END_TEST

/* ----------------------------------------------------------- links and modes -- */

START_TEST(sidecars_are_no_links) {
  const char *path = crashed(_i, "a.db"), *log = beside(path, "-pmlog"), *kept = path_on(_i, "kept");
  ck_assert_int_eq(rename(log, kept), 0);
  ck_assert_int_eq(symlink(kept, log), 0);
  uint64_t before = fingerprint(kept);
  refused(path, "-pmlog", "");
  ck_assert(fingerprint(kept) == before);
  ck_assert_int_eq(unlink(log), 0);
  ck_assert_int_eq(rename(kept, log), 0);
  /* Shared memory is only content: a link there is put away, its target is not. */
  const char *victim = path_on(_i, "victim"), *shared = beside(path, "-pmshm");
  raw_copy("/dev/null", victim);
  raw_write(victim, 0, "untouched", 9);
  (void)unlink(shared);
  ck_assert_int_eq(symlink(victim, shared), 0);
  recovers(path);
  ck_assert_int_eq(file_size(victim), 9);
}
END_TEST

START_TEST(sidecars_have_mode_and_owner_of_the_database) {
  static const mode_t modes[] = {0600, 0640, 0660, 0644, 0666};
  static const char *const suffixes[] = {"-pmlog", "-pmshm"};
  const char *path = path_on(_i, "a.db");
  (void)umask(077);
  for (size_t m = 0; m < 5; m++) {
    struct stat status;
    sqlite3 *db = open_stock(path);
    run(db, "CREATE TABLE IF NOT EXISTS t(a)");
    close_db(db);
    ck_assert_int_eq(chmod(path, modes[m]), 0);
    if (geteuid() == 0) ck_assert_int_eq(chown(path, NOBODY, 7), 0);
    db = open_pmem(path);
    run(db, "INSERT INTO t VALUES(1)");
    for (int i = 0; i < 2; i++) {
      ck_assert_int_eq(stat(beside(path, suffixes[i]), &status), 0);
      ck_assert_uint_eq(status.st_mode & 07777, modes[m]);
      if (geteuid() == 0) ck_assert(status.st_uid == NOBODY && status.st_gid == 7);
    }
    close_db(db);
    ck_assert_int_eq(stat(path, &status), 0);
    ck_assert_uint_eq(status.st_mode & 07777, modes[m]);
  }
}
END_TEST

/* Let another user reach the test's folder; false if a folder above keeps him out. */
static void look(void *path) { _exit(access(path, F_OK) == 0 ? 0 : 1); }
static void become_nobody(void) {
  if (setgroups(0, NULL) != 0 || setgid(NOBODY) != 0 || setuid(NOBODY) != 0) _exit(9);
}
static void look_as_nobody(void *path) {
  become_nobody();
  look(path);
}
static bool open_folders(int medium, const char *path) {
  char folder[640];
  (void)snprintf(folder, sizeof folder, "%s", path);
  *strrchr(folder, '/') = 0;
  ck_assert_int_eq(chmod(folder, 0755), 0);
  ck_assert_int_eq(chmod(getenv(medium == ON_PMEM ? "SPM_PMEM_FOLDER" : "SPM_FILE_FOLDER"), 0711), 0);
  return child_status(in_child(geteuid() == 0 ? look_as_nobody : look, (void *)(uintptr_t)path)) == 0;
}

static void read_only_work(void *path) {
  if (geteuid() == 0) become_nobody();
  sqlite3 *db = open_pmem(path);
  if (number(db, "SELECT count(*) FROM t") != 1) _exit(2);
  if ((code_of(db, "INSERT INTO t VALUES(2)") & 0xff) != SQLITE_READONLY) _exit(3);
  if (exists(beside(path, "-pmlog")) || exists(beside(path, "-pmshm"))) _exit(4);
  close_db(db);
}

static void write_protect(const char *path, mode_t folder_mode, mode_t mode) {
  char folder[640];
  (void)snprintf(folder, sizeof folder, "%s", path);
  *strrchr(folder, '/') = 0;
  ck_assert_int_eq(chmod(path, mode), 0);
  ck_assert_int_eq(chmod(folder, folder_mode), 0);
}

/* A file that may not be written, and one that may in a folder that may not. */
START_TEST(read_only_for_this_user) {
  const char *path = path_on(_i, "a.db");
  sqlite3 *db = open_stock(path);
  run(db, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
  close_db(db);
  if (!open_folders(_i, path)) return;
  write_protect(path, 0555, 0444);
  ck_assert_int_eq(child_status(in_child(read_only_work, (void *)(uintptr_t)path)), 0);
  write_protect(path, 0777, 0444);
  ck_assert_int_eq(child_status(in_child(read_only_work, (void *)(uintptr_t)path)), 0);
  write_protect(path, 0555, 0666);
  ck_assert_int_eq(child_status(in_child(read_only_work, (void *)(uintptr_t)path)), 0);
  write_protect(path, 0755, 0644);
  stock_accepts(path);
}
END_TEST

static void stamped_work(void *path) {
  if (geteuid() == 0) become_nobody();
  sqlite3 *db = open_pmem(path);
  int rc = code_of(db, "SELECT count(*) FROM t");
  bool told = strstr(spm_last_error(), path) != NULL;
  (void)sqlite3_close(db);
  _exit(rc == SQLITE_OK ? 2 : rc == SQLITE_NOTADB ? 3 : rc == SQLITE_BUSY ? 4 : told ? 0 : 5);
}

/* One that needs recovery by somebody who may not do it: a clear error, no change. */
START_TEST(stamped_and_not_writable_for_this_user) {
  const char *path = crashed(_i, "a.db");
  if (!open_folders(_i, path)) return;
  ck_assert_int_eq(chmod(path, 0444), 0);
  ck_assert_int_eq(chmod(beside(path, "-pmlog"), 0444), 0);
  state before = state_of(path);
  ck_assert_int_eq(child_status(in_child(stamped_work, (void *)(uintptr_t)path)), 0);
  state after = state_of(path);
  ck_assert(before.data == after.data && before.log == after.log);
  ck_assert_int_eq(chmod(path, 0644), 0);
  recovers(path);
}
END_TEST

/* ------------------------------------------------------------------- options -- */

START_TEST(bad_options_are_named) {
  static const char *const bad[][2] = {
      {"pmem_bogus=1", "pmem_bogus"},       {"pmem_mode=turbo", "pmem_mode=turbo"},
      {"pmem_max_log_size=12x", "12x"},     {"pmem_max_log_size=", "pmem_max_log_size"},
      {"pmem_max_log_size=-1", "-1"},       {"pmem_max_log_size=99999999999999999999G", "99999999999999999999G"},
      {"pmem_wal=maybe", "pmem_wal=maybe"}, {"pmem_recovery=perhaps&pmem_bogus=1", "perhaps"},
      {"nolock=1", "nolock"},
  };
  const char *path = path_on(_i, "options.db");
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    sqlite3 *db = open_with(path, "pmem", bad[i][0]);
    char *refusal = spm_vfs_refusal(db);
    ck_assert_msg(refusal != NULL && strstr(refusal, bad[i][1]), "%s: %s", bad[i][0], refusal ? refusal : "accepted");
    ck_assert_str_eq(text(db, "PRAGMA pmem_error"), refusal);
    ck_assert_int_eq(code_of(db, "SELECT * FROM sqlite_schema"), SQLITE_CANTOPEN);
    ck_assert_int_ne(code_of(db, "CREATE TABLE t(a)"), SQLITE_OK);
    ck_assert_int_ne(code_of(db, "BEGIN EXCLUSIVE"), SQLITE_OK);
    sqlite3_free(refusal);
    close_db(db);
    ck_assert_msg(!exists(path), "%s made a file", bad[i][0]);
    db = open_pmem(path_on(_i, "main.db"));
    ck_assert_int_ne(code_of(db, "ATTACH 'file:%s?vfs=pmem&%s' AS a; SELECT * FROM a.sqlite_schema", path, bad[i][0]), SQLITE_OK);
    close_db(db);
  }
}
END_TEST

TCase *adopt_refusals_case(void) {
  TCase *refusals = tcase_create("refusals");
  tcase_set_timeout(refusals, 60);
  tcase_add_loop_test(refusals, a_missing_log, 0, MEDIA);
  tcase_add_loop_test(refusals, a_log_of_another_life, 0, MEDIA);
  tcase_add_loop_test(refusals, a_log_of_an_earlier_life, 0, MEDIA);
  tcase_add_loop_test(refusals, a_log_of_noise, 0, MEDIA);
  tcase_add_loop_test(refusals, a_truncated_log, 0, MEDIA);
  tcase_add_loop_test(refusals, a_truncated_log_of_many_segments, 0, MEDIA);
  tcase_add_loop_test(refusals, a_stale_log_beside_a_plain_database, 0, MEDIA);
  tcase_add_loop_test(refusals, a_later_version_is_named, 0, MEDIA);
  tcase_add_loop_test(refusals, superblocks_that_make_no_sense, 0, MEDIA);
  tcase_add_loop_test(refusals, a_shortened_data_file, 0, MEDIA);
  tcase_add_loop_test(refusals, a_replaced_data_file, 0, MEDIA);
  tcase_add_loop_test(refusals, replaced_while_it_is_open, 0, MEDIA);
  tcase_add_loop_test(refusals, sidecars_are_no_links, 0, MEDIA);
  tcase_add_loop_test(refusals, sidecars_have_mode_and_owner_of_the_database, 0, MEDIA);
  tcase_add_loop_test(refusals, read_only_for_this_user, 0, MEDIA);
  tcase_add_loop_test(refusals, stamped_and_not_writable_for_this_user, 0, MEDIA);
  tcase_add_loop_test(refusals, bad_options_are_named, 0, MEDIA);
  return refusals;
}
