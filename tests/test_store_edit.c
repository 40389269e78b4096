/*
** test_store_edit.c - blocks changed in place in the write set, and looked at without a
** copy: what the key-value store is made of.
*/
#include "test_store.h"

#include <string.h>

#define BLOCK SPM_BLOCK_SIZE
#define RESIDENT 8192 /* blocks a write set keeps in memory: commit.c */

static void edit(spm_conn *c, uint32_t block, uint64_t value) {
  uint8_t *bytes;
  x_ok(spm_write_edit(c, block, &bytes));
  for (uint32_t at = 0; at < BLOCK; at += sizeof value) memcpy(bytes + at, &value, sizeof value);
}

static void begin_latest(spm_conn *c) {
  x_ok(spm_write_begin_latest(c));
  ck_assert_uint_eq(spm_conn_lsn(c), spm_conn_latest_lsn(c));
}

static uint64_t value_at(spm_conn *c, uint32_t block) { return x_value(c, block - 1); }

START_TEST(edited_blocks_are_committed) {
  x_medium(_i);
  spm_conn *c = x_create(x_new("x.db", 20));
  begin_latest(c);
  edit(c, 6, 5);
  edit(c, 6, 7);
  edit(c, 40, 8); /* behind the end: what lies between reads as zeros */
  ck_assert_uint_eq(spm_conn_size(c), 41 * BLOCK);
  x_ok(spm_commit_finish(c));
  x_end(c);
  x_ok(spm_snapshot_begin(c));
  ck_assert_uint_eq(value_at(c, 6), 7);
  ck_assert_uint_eq(value_at(c, 30), 0);
  ck_assert_uint_eq(value_at(c, 40), 8);
  spm_snapshot_end(c);
  x_detach(c);
}
END_TEST

START_TEST(rolled_back_edits_are_gone) {
  x_medium(_i);
  spm_conn *c = x_create(x_new("x.db", 20));
  x_commit(c, 5, 1, 3);
  begin_latest(c);
  edit(c, 6, 5);
  edit(c, 60, 5);
  x_ok(spm_commit_rollback(c));
  x_end(c);
  ck_assert_uint_eq(x_read(c, 5, 1), 3);
  x_detach(c);
}
END_TEST

/* Cut off and grown over in one transaction: nothing of what was edited shows. */
START_TEST(what_was_cut_comes_back_as_zeros) {
  x_medium(_i);
  spm_conn *c = x_create(x_new("x.db", 20));
  x_commit(c, 0, 20, 3);
  begin_latest(c);
  edit(c, 10, 5);
  x_ok(spm_write_truncate(c, 8 * BLOCK));
  for (uint32_t block = 9; block < 12; block++) {
    uint8_t *bytes, zeros[BLOCK] = {0};
    x_ok(spm_write_edit(c, block, &bytes));
    ck_assert_mem_eq(bytes, zeros, BLOCK);
  }
  x_ok(spm_commit_finish(c));
  x_end(c);
  ck_assert_uint_eq(x_read(c, 0, 7), 3);
  ck_assert_uint_eq(x_read(c, 7, 4), 0);
  x_detach(c);
}
END_TEST

/* A write set that passes its limit goes to the log and is edited again from there. */
START_TEST(a_large_set_settles_in_the_log) {
  x_medium(_i);
  spm_conn *c = x_create(x_new("x.db", 4));
  begin_latest(c);
  for (uint32_t block = 1; block <= RESIDENT + 1; block++) edit(c, block, block);
  x_ok(spm_write_settle(c));
  ck_assert_uint_eq(c->set.resident, 0);
  ck_assert_ptr_null(spm_conn_peek(c, 7));
  uint8_t *bytes;
  x_ok(spm_write_edit(c, 7, &bytes));
  ck_assert_uint_eq(bytes[0], 7);
  ck_assert_ptr_eq(spm_conn_peek(c, 7), bytes);
  edit(c, 8, 1);
  x_ok(spm_commit_finish(c));
  x_end(c);
  x_ok(spm_snapshot_begin(c));
  ck_assert_uint_eq(value_at(c, 7), 7);
  ck_assert_uint_eq(value_at(c, 8), 1);
  ck_assert_uint_eq(value_at(c, 9), 9);
  spm_snapshot_end(c);
  x_detach(c);
}
END_TEST

/* It is rolled back, the log is cut to its limit, and the process dies: nothing of it leads
** recovery behind the end. */
START_TEST(a_large_set_that_is_rolled_back_leaves_no_way) {
  x_medium(_i);
  const char *x = x_new("x.db", 20);
  spm_conn *c = x_create(x);
  x_commit(c, 5, 1, 3);
  begin_latest(c);
  for (uint32_t block = 1; block <= RESIDENT + 1; block++) edit(c, block, block);
  x_ok(spm_write_settle(c));
  uint64_t log_size = x_length(x, "-pmlog");
  x_ok(spm_commit_rollback(c));
  x_end(c);
  ck_assert_uint_lt(x_length(x, "-pmlog"), log_size); /* or there is nothing to see */
  x_detach_dirty(c);
  c = x_join(x);
  ck_assert_uint_eq(x_read(c, 5, 1), 3);
  x_detach(c);
}
END_TEST

/* A reader that peeks is told when a commit has changed what it looked at, and reads a
** copy of its own snapshot then. */
START_TEST(peeking_notices_a_commit) {
  x_medium(_i);
  const char *x = x_new("x.db", 20);
  spm_conn *c = x_create(x), *reader = x_join(x);
  x_commit(c, 5, 1, 3);
  x_ok(spm_snapshot_begin(reader));
  uint64_t seen;
  memcpy(&seen, spm_conn_peek(reader, 6), sizeof seen);
  ck_assert(spm_conn_peeked(reader));
  ck_assert_uint_eq(seen, 3);
  x_commit(c, 5, 1, 4);
  ck_assert(!spm_conn_peeked(reader));
  ck_assert_uint_lt(spm_conn_lsn(reader), spm_conn_latest_lsn(reader));
  ck_assert_uint_eq(x_value(reader, 5), 3);
  spm_snapshot_end(reader);
  x_detach(reader);
  x_detach(c);
}
END_TEST

/* Where spm_write_begin() is refused for an overtaken snapshot, the latest one is given. */
START_TEST(the_latest_is_never_overtaken) {
  x_medium(_i);
  const char *x = x_new("x.db", 20);
  spm_conn *a = x_create(x), *b = x_join(x);
  x_ok(spm_snapshot_begin(a));
  x_commit(b, 5, 1, 4);
  ck_assert_int_eq(spm_write_begin(a), SQLITE_BUSY_SNAPSHOT);
  spm_snapshot_end(a);
  begin_latest(a);
  ck_assert_int_eq(spm_write_begin_latest(b), SQLITE_BUSY);
  ck_assert_uint_eq(spm_conn_lsn(b), 0);
  ck_assert_uint_eq(x_value(a, 5), 4);
  x_end(a);
  x_detach(b);
  x_detach(a);
}
END_TEST

void store_edit(TCase *tcase) {
  tcase_add_loop_test(tcase, edited_blocks_are_committed, 0, X_MEDIA);
  tcase_add_loop_test(tcase, rolled_back_edits_are_gone, 0, X_MEDIA);
  tcase_add_loop_test(tcase, what_was_cut_comes_back_as_zeros, 0, X_MEDIA);
  tcase_add_loop_test(tcase, a_large_set_settles_in_the_log, 0, X_MEDIA);
  tcase_add_loop_test(tcase, a_large_set_that_is_rolled_back_leaves_no_way, 0, X_MEDIA);
  tcase_add_loop_test(tcase, peeking_notices_a_commit, 0, X_MEDIA);
  tcase_add_loop_test(tcase, the_latest_is_never_overtaken, 0, X_MEDIA);
}
