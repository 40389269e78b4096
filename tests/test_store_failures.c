/*
** test_store_failures.c - what a commit, a checkpoint and a close do when a write, a sync
** or an allocation fails: S8 and S10.
*/
#define _GNU_SOURCE
#include "test_store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK SPM_BLOCK_SIZE

/* ------------------------------------------------------------- S8: failures -- */

static void refused_elsewhere(void *path) {
  spm_conn *c = x_join(path);
  ck_assert_int_eq(x_try_commit(c, 1, 1, 99) & 0xff, SQLITE_IOERR);
  x_ok(spm_snapshot_begin(c));
  ck_assert_int_eq(spm_conn_checkpoint(c) & 0xff, SQLITE_IOERR);
  spm_snapshot_end(c);
  x_detach(c);
}

/* After a failed flush nothing is acknowledged, by nobody, until the store has been
** recovered from media; what was acknowledged is there then, and what failed is not. */
static void check_poisoned(spm_conn *c, uint64_t expected) {
  const char *x = c->store->path;
  char *path = strdup(x);
  media_calm();
  ck_assert_uint_eq(x_read(c, 0, 4), expected);
  ck_assert(x_finished(x_child(refused_elsewhere, path)));
  ck_assert_int_eq(x_try_commit(c, 1, 1, 99) & 0xff, SQLITE_IOERR);
  x_detach(c);
  ck_assert(x_exists(path, "-pmlog"));
  c = x_join(path);
  ck_assert_uint_eq(x_read(c, 0, 4), expected);
  x_commit(c, 0, 4, 50);
  x_detach(c);
  ck_assert(!x_exists(path, "-pmlog"));
}

static const struct failing {
  unsigned kinds;
  const char *files;
  media_action action;
} failing[] = {
    {MEDIA_BIT(MEDIA_FDATASYNC), "l", MEDIA_FAIL},
    {MEDIA_BIT(MEDIA_FDATASYNC), "lx", MEDIA_FAIL_ON}, /* nothing can be made durable any more */
    {MEDIA_BIT(MEDIA_PWRITE), "l", MEDIA_FAIL},
};
#define FAILING ((int)(sizeof failing / sizeof *failing))

/* A large commit with little to log, so that only its own sync is left to fail. */
static int commit_words(spm_conn *c, uint32_t blocks, uint64_t value) {
  int rc = x_begin(c);
  for (uint32_t i = 0; rc == SQLITE_OK && i < blocks; i++) rc = spm_write(c, X_AT(i) + 8, 8, &value);
  if (rc == SQLITE_OK) rc = spm_commit_finish(c);
  x_end(c);
  return rc;
}

START_TEST(s8_failed_commit_stays_failed) {
  const struct failing *f = &failing[_i % FAILING];
  uint32_t blocks = _i < FAILING ? 4 : LARGE;
  x_medium(X_FILE);
  spm_conn *c = x_create(x_new("x.db", LARGE));
  x_commit(c, 0, 4, 1);
  media_install();
  x_commit(c, 0, 4, 2);
  media_at(f->kinds, f->files, 1, f->action);
  ck_assert_int_eq(commit_words(c, blocks, 3) & 0xff, SQLITE_IOERR);
  check_poisoned(c, 2);
}
END_TEST

/* A PREPARE whose sync failed may be on media or not.  Its super-journal goes now, which would
** say that it is committed: so nobody may find it. */
START_TEST(s8_failed_prepare_is_nothing) {
  x_medium(_i);
  spm_conn *c = x_create(x_new("x.db", 8));
  x_commit(c, 0, 4, 1);
  media_install();
  x_ok(x_begin(c));
  x_ok(x_fill(c, 0, 4, 2));
  media_at(MEDIA_BIT(MEDIA_SYNC), "l", 1, MEDIA_FAIL);
  ck_assert_int_eq(spm_commit_stage(c, "/super") & 0xff, SQLITE_IOERR);
  x_end(c);
  x_decision = true;
  check_poisoned(c, 1);
  ck_assert_uint_eq(x_decided, 0);
}
END_TEST

/* Poisoned by somebody else after it was staged. */
START_TEST(s8_a_staged_commit_is_refused_too) {
  x_medium(_i);
  spm_conn *c = x_create(x_new("x.db", 8));
  x_commit(c, 0, 4, 1);
  x_ok(x_begin(c));
  x_ok(x_fill(c, 0, 4, 2));
  x_ok(spm_commit_stage(c, NULL));
  spm_conn_poison(c);
  ck_assert_int_eq(spm_commit_finish(c) & 0xff, SQLITE_IOERR);
  x_end(c);
  check_poisoned(c, 1);
}
END_TEST

/* A name that may be gone after a power loss is no log: X stays an ordinary file. */
START_TEST(s2_a_folder_must_be_synced) {
  x_medium(_i);
  const char *x = x_new("x.db", 8);
  uint64_t before = x_hash(x, "");
  spm_conn *c = NULL;
  media_install();
  media_at(MEDIA_BIT(MEDIA_FSYNC), "?", 1, MEDIA_FAIL);
  ck_assert_int_eq(x_try_attach(x, &c), SQLITE_IOERR_DIR_FSYNC);
  ck_assert(!x_exists(x, "-pmlog") && !x_exists(x, "-pmshm"));
  ck_assert_uint_eq(x_hash(x, ""), before);
  x_detach(x_attach(x));
}
END_TEST

START_TEST(s8_failed_checkpoint_poisons) {
  x_medium(X_FILE);
  spm_conn *c = x_create(x_new("x.db", 8));
  x_commit(c, 0, 4, 1);
  media_install();
  media_at(MEDIA_BIT(MEDIA_FDATASYNC) | MEDIA_BIT(MEDIA_PWRITE), "xl", (unsigned long)_i + 1, MEDIA_FAIL);
  x_ok(spm_snapshot_begin(c));
  ck_assert_int_eq(spm_conn_checkpoint(c) & 0xff, SQLITE_IOERR);
  spm_snapshot_end(c);
  check_poisoned(c, 1);
}
END_TEST

/* Every operation of a commit fails in turn: refused means absent, acknowledged means
** there, and it is the one or the other. */
START_TEST(s8_every_failure_of_a_commit) {
  static const uint32_t blocks[] = {3, LARGE, 300};
  x_medium(X_FILE);
  media_install();
  for (unsigned size = 0; size < 3; size++) {
    int rc = SQLITE_IOERR;
    for (unsigned long n = 1; rc != SQLITE_OK || n < 4; n++) {
      const char *x = x_new("x.db", 320);
      spm_conn *c = x_create(x), *reader = x_join(x);
      x_commit(c, 0, 300, 1);
      x_ok(spm_snapshot_begin(reader));
      media_at(MEDIA_CALLS, NULL, n, MEDIA_FAIL);
      rc = x_try_commit(c, 0, blocks[size], 2);
      media_calm();
      ck_assert(rc == SQLITE_OK || rc == SQLITE_FULL || (rc & 0xff) == SQLITE_IOERR);
      ck_assert_uint_eq(x_peek(reader, 0, 300), 1);
      spm_snapshot_end(reader);
      x_detach(reader);
      x_detach(c);
      c = x_attach(x);
      ck_assert_msg(x_read(c, 0, blocks[size]) == (rc == SQLITE_OK ? 2u : 1u),
                    "%u blocks, operation %lu failed: %d, and the commit is %s", blocks[size], n, rc,
                    rc == SQLITE_OK ? "lost" : "there");
      x_detach(c);
      ck_assert_uint_lt(n, 2000);
    }
  }
}
END_TEST

/* X could be changed only by half: the commit is durable and so it is one, but nobody may
** read X before recovery, whatever the writer still tries in the same go. */
START_TEST(s8_half_applied_is_never_read) {
  x_medium(X_FILE);
  const char *x = x_new("x.db", 8);
  spm_conn *c = x_create(x), *reader = x_join(x);
  x_commit(c, 0, 8, 1);
  media_install();
  x_ok(x_begin(c));
  x_ok(x_fill(c, 0, 8, 2));
  media_at(MEDIA_BIT(MEDIA_PWRITE), "x", 4, MEDIA_FAIL);
  x_ok(spm_commit_finish(c));
  x_ok(x_fill(c, 0, 8, 3));
  ck_assert_int_eq(spm_commit_finish(c) & 0xff, SQLITE_IOERR);
  x_end(c);
  ck_assert_int_eq(spm_snapshot_begin(reader) & 0xff, SQLITE_IOERR);
  x_detach(reader);
  x_detach(c);
  c = x_join(x);
  ck_assert_uint_eq(x_read(c, 0, 8), 2);
  x_detach(c);
}
END_TEST

/* The same with a large commit, whose images let others read what was before it: not once
** it has been acknowledged.  A snapshot that began earlier keeps what it saw. */
START_TEST(s8_acknowledged_is_never_unread) {
  x_medium(X_FILE);
  const char *x = x_new("x.db", LARGE);
  spm_conn *c = x_create(x), *reader = x_join(x), *late = x_join(x);
  x_commit(c, 0, LARGE, 1);
  x_ok(spm_snapshot_begin(reader));
  media_install();
  x_ok(x_begin(c));
  x_ok(x_fill(c, 0, LARGE, 2));
  media_at(MEDIA_BIT(MEDIA_PWRITE), "x", 4, MEDIA_FAIL);
  x_ok(spm_commit_finish(c));
  uint64_t word; /* as in exclusive mode, which keeps its snapshot */
  ck_assert_int_eq(spm_conn_read(c, X_AT(0), sizeof word, &word) & 0xff, SQLITE_IOERR);
  x_end(c);
  ck_assert_uint_eq(x_peek(reader, 0, LARGE), 1);
  ck_assert_int_eq(spm_snapshot_begin(late) & 0xff, SQLITE_IOERR);
  ck_assert_int_eq(spm_snapshot_begin(c) & 0xff, SQLITE_IOERR);
  spm_snapshot_end(reader);
  x_detach(late);
  x_detach(reader);
  x_detach(c);
  c = x_join(x);
  ck_assert_uint_eq(x_read(c, 0, LARGE), 2);
  x_detach(c);
}
END_TEST

/* And its records stay what they are, although the end of the log has not moved behind
** them: a connection that keeps the lock, as in exclusive mode, cannot write over them. */
START_TEST(s8_acknowledged_is_never_overwritten) {
  x_medium(X_FILE);
  const char *x = x_new("x.db", LARGE);
  spm_conn *c = x_create(x);
  x_commit(c, 0, LARGE, 1);
  media_install();
  x_ok(x_begin(c));
  x_ok(x_fill(c, 0, LARGE, 2));
  media_at(MEDIA_BIT(MEDIA_PWRITE), "x", 4, MEDIA_FAIL);
  x_ok(spm_commit_finish(c));
  for (uint64_t value = 3; value < 5; value++) {
    int rc = x_fill(c, 0, LARGE, value);
    if (rc == SQLITE_OK) rc = spm_commit_stage(c, NULL);
    ck_assert_int_eq(rc & 0xff, SQLITE_IOERR);
    (void)spm_commit_rollback(c);
  }
  x_end(c);
  x_detach(c);
  c = x_join(x);
  ck_assert_uint_eq(x_read(c, 0, LARGE), 2);
  x_detach(c);
}
END_TEST

/* Every operation of a clean close fails in turn. */
START_TEST(s8_every_failure_of_a_close) {
  x_medium(_i);
  media_install();
  bool done = false;
  for (unsigned long n = 1; !done; n++) {
    const char *x = x_new("x.db", 20);
    spm_conn *c = x_create(x);
    x_commit(c, 0, 12, n + 1);
    media_forget();
    media_at(MEDIA_ALL & ~MEDIA_BIT(MEDIA_FLUSH), NULL, n, MEDIA_FAIL);
    x_detach(c);
    media_calm();
    done = media_count(MEDIA_ALL & ~MEDIA_BIT(MEDIA_FLUSH), NULL) < n;
    c = x_attach(x);
    ck_assert_uint_eq(x_read(c, 0, 12), n + 1);
    x_detach(c);
    ck_assert(!x_exists(x, "-pmlog"));
    ck_assert_int_eq(x_kind(x), SPM_HEADER_PLAIN);
  }
}
END_TEST

/* ------------------------------------------------------------ S10: full disks -- */

/* The n-th allocation of a transaction meets a full disk, wherever it is: FULL, the
** transaction gone, and the store goes on. */
START_TEST(s10_full_disk_before_the_commit_record) {
  static const char *const files[] = {"l", "x", "s"};
  x_medium(_i % 2);
  media_install();
  int rc = SQLITE_FULL, full = 0;
  for (unsigned long n = 1; rc != SQLITE_OK; n++) {
    const char *x = x_new("x.db", 700);
    spm_conn *c = x_create(x), *reader = x_join(x);
    x_commit(c, 0, 400, 1);
    x_ok(spm_snapshot_begin(reader));
    uint32_t used = c->store->shm->segments_used;
    media_errno(ENOSPC);
    media_at(MEDIA_BIT(MEDIA_ALLOCATE), files[_i / 2], n, MEDIA_FAIL_ON);
    rc = x_try_commit(c, 0, 3000, 2);
    media_calm();
    if (rc != SQLITE_OK) {
      ck_assert_int_eq(rc, SQLITE_FULL);
      ck_assert_uint_le(c->store->shm->segments_used, used);
      ck_assert_uint_eq(x_read(c, 0, 400), 1);
      ck_assert_uint_eq(x_peek(reader, 0, 400), 1);
      full++;
    }
    x_commit(c, 0, 400, 3);
    ck_assert_uint_eq(x_peek(reader, 0, 400), 1);
    spm_snapshot_end(reader);
    x_detach(reader);
    x_detach_dirty(c);
    c = x_join(x);
    ck_assert_uint_eq(x_read(c, 0, 400), 3);
    x_detach(c);
  }
  ck_assert_int_gt(full, 0);
}
END_TEST

/* With no room for a second segment the first one must do: a transaction may be refused,
** the next one finds what was checkpointed to be free. */
START_TEST(s10_full_disk_does_not_wedge_the_log) {
  x_medium(_i);
  spm_conn *c = x_create(x_new("x.db", 10));
  media_install();
  media_errno(ENOSPC);
  media_at(MEDIA_BIT(MEDIA_ALLOCATE), "l", 1, MEDIA_FAIL_ON);
  uint32_t refused = 0;
  for (uint64_t i = 1; i < 200; i++) {
    int rc = x_try_commit(c, 0, 5, i);
    if (rc == SQLITE_OK) continue;
    ck_assert_int_eq(rc, SQLITE_FULL);
    refused++;
    ck_assert_uint_eq(x_read(c, 0, 5), i - 1);
    x_commit(c, 0, 5, i);
  }
  ck_assert_uint_gt(refused, 5);
  media_calm();
  x_detach(c);
}
END_TEST

/* Every small commit has room for its images, and says FULL before it is a commit. */
START_TEST(s10_room_for_the_images_of_small_commits) {
  x_medium(_i);
  spm_conn *c = x_create(x_new("x.db", 900));
  x_commit(c, 0, 900, 1); /* alone: no image is reserved */
  spm_conn *reader = x_join(c->store->path);
  x_ok(spm_snapshot_begin(reader));
  for (uint32_t i = 0; i < 10; i++) x_commit(c, i * 50, 50, 2);
  ck_assert_uint_eq(x_peek(reader, 0, 900), 1);
  ck_assert_uint_eq(x_read(c, 0, 500), 2);
  media_install();
  media_errno(ENOSPC);
  media_at(MEDIA_BIT(MEDIA_ALLOCATE), "s", 1, MEDIA_FAIL_ON);
  int rc = SQLITE_OK;
  for (uint32_t i = 500; rc == SQLITE_OK && i < 900; i++) rc = x_try_commit(c, i - 20, 20, 3);
  ck_assert_int_eq(rc, SQLITE_FULL);
  media_calm();
  ck_assert_uint_eq(x_peek(reader, 0, 900), 1);
  spm_snapshot_end(reader);
  x_detach(reader);
  x_detach(c);
}
END_TEST

void store_failures(TCase *tcase) {
  tcase_add_loop_test(tcase, s8_failed_commit_stays_failed, 0, 2 * FAILING);
  tcase_add_loop_test(tcase, s8_failed_prepare_is_nothing, 0, X_MEDIA);
  tcase_add_loop_test(tcase, s8_a_staged_commit_is_refused_too, 0, X_MEDIA);
  tcase_add_loop_test(tcase, s2_a_folder_must_be_synced, 0, X_MEDIA);
  tcase_add_loop_test(tcase, s8_failed_checkpoint_poisons, 0, 3);
  tcase_add_test(tcase, s8_every_failure_of_a_commit);
  tcase_add_test(tcase, s8_half_applied_is_never_read);
  tcase_add_test(tcase, s8_acknowledged_is_never_unread);
  tcase_add_test(tcase, s8_acknowledged_is_never_overwritten);
  tcase_add_loop_test(tcase, s8_every_failure_of_a_close, 0, X_MEDIA);
  tcase_add_loop_test(tcase, s10_full_disk_before_the_commit_record, 0, 3 * X_MEDIA);
  tcase_add_loop_test(tcase, s10_room_for_the_images_of_small_commits, 0, X_MEDIA);
  tcase_add_loop_test(tcase, s10_full_disk_does_not_wedge_the_log, 0, X_MEDIA);
}
