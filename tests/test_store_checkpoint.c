/*
** test_store_checkpoint.c - checkpoints that time calls for (checkpoint_interval).  The
** clock stays as it is: the tests move the moment of the last checkpoint.
*/
#include "test_store.h"

#include "../vfs/store/counters.h"
#include "../vfs/store/superblock.h"

#include <stdlib.h>
#include <string.h>

#define COMMITS 600u /* of one block each: a step sees some two of them */

static void set_interval(spm_conn *c, uint64_t ns) {
  x_ok(spm_store_configure(c, &(spm_store_options){.log_size_max = 10u << 20, .checkpoint_interval_ns = ns}));
}

/* As if the last checkpoint had been so many eighths of the interval ago, and, at 8, a bit. */
static void let_pass(spm_conn *c, unsigned eighths) {
  uint64_t now = spm_clock_coarse_ns(), interval = now / 4; /* the clock is no younger than that */
  set_interval(c, interval);
  c->store->shm->checkpointed_ns = now - interval / 8 * eighths - (eighths == 8 ? interval / 16 : 0);
}

static uint64_t durable_lsn(spm_conn *c) {
  spm_superblock block;
  x_ok(spm_superblock_read(&c->store->log, &block));
  return block.checkpoint.lsn;
}

static spm_conn *with_a_long_log(void) {
  spm_conn *c = x_create(x_new("x.db", 400));
  for (uint32_t i = 0; i < COMMITS; i++) x_commit(c, i % 300, 1, i + 1);
  ck_assert_uint_le(durable_lsn(c), 1);
  return c;
}

START_TEST(nothing_is_due_before_its_time) {
  x_medium(_i);
  spm_conn *c = with_a_long_log();
  uint64_t before = c->store->shm->checkpoint.lsn;
  let_pass(c, 7);
  x_commit(c, 0, 1, 1);
  set_interval(c, 0);
  c->store->shm->checkpointed_ns = 0;
  x_commit(c, 0, 1, 2);
  ck_assert_uint_eq(c->store->shm->checkpoint.lsn, before);
  x_detach(c);
}
END_TEST

/* On PMEM each commit pays for a step, and what comes meanwhile is not waited for; on FILE
** one sync does it. */
START_TEST(steps_go_on_to_what_was_due) {
  x_medium(_i);
  spm_conn *c = with_a_long_log();
  let_pass(c, 8);
  uint64_t due = spm_conn_latest_lsn(c) + 1, superblock = c->store->shm->superblock_sequence;
  uint32_t steps = 0;
  for (; durable_lsn(c) < due; steps++) {
    ck_assert_uint_lt(steps, COMMITS);
    x_commit(c, steps % 300, 1, steps);
  }
  ck_assert_uint_ge(steps, _i == X_PMEM ? 20 : 1);
  ck_assert_uint_le(steps, _i == X_PMEM ? 400 : 1);
  ck_assert_uint_gt(c->store->shm->superblock_sequence, superblock);
  ck_assert_uint_eq(c->store->shm->checkpoint_due, 0);
  uint64_t rest = c->store->shm->checkpoint.lsn;
  x_commit(c, 0, 1, 1); /* the next one is far */
  ck_assert_uint_eq(c->store->shm->checkpoint.lsn, rest);
  const char *path = spm_store_path(c);
  char *copy = strdup(path);
  x_detach_dirty(c);
  c = x_join(copy);
  ck_assert_uint_ge(c->store->shm->report.from_lsn, due);
  ck_assert_uint_le(c->store->shm->report.records, steps + 10); /* some lead to the next segment */
  x_detach(c);
  free(copy);
}
END_TEST

START_TEST(rare_commits_do_not_put_it_off) {
  x_medium(_i);
  spm_conn *c = with_a_long_log();
  let_pass(c, 11);
  x_commit(c, 0, 1, 1);
  ck_assert_uint_eq(durable_lsn(c), spm_conn_latest_lsn(c));
  x_detach(c);
}
END_TEST

/* What was due under a shorter interval is no excuse for less under a longer one. */
START_TEST(a_longer_interval_begins_anew) {
  x_medium(X_PMEM);
  spm_conn *c = with_a_long_log();
  let_pass(c, 8);
  x_commit(c, 0, 1, 1);
  uint64_t due = c->store->shm->checkpoint_due;
  ck_assert_uint_eq(due, spm_conn_latest_lsn(c));
  set_interval(c, UINT64_MAX);
  x_commit(c, 0, 1, 2);
  let_pass(c, 8);
  x_commit(c, 0, 1, 3);
  ck_assert_uint_eq(c->store->shm->checkpoint_due, due + 2);
  x_detach(c);
}
END_TEST

/* Time that another container's clock wrote. */
START_TEST(a_clock_behind_the_last_checkpoint) {
  x_medium(_i);
  spm_conn *c = with_a_long_log();
  let_pass(c, 0);
  c->store->shm->checkpointed_ns = UINT64_MAX;
  x_commit(c, 0, 1, 1);
  ck_assert_uint_le(c->store->shm->checkpointed_ns, spm_clock_coarse_ns());
  ck_assert_uint_le(durable_lsn(c), 1);
  x_detach(c);
}
END_TEST

/* The log never gets to its limit, where one commit would have to pay for all of it; nor does
** any free more than a few segments, whatever commits add. */
START_TEST(steps_keep_up_with_commits) {
  static const uint32_t blocks[] = {1, 3, 10, 30, 100};
  x_medium(X_PMEM);
  spm_conn *c = x_create(x_new("x.db", 400));
  const spm_shm *shm = c->store->shm;
  const uint32_t limit = (10u << 20) / SPM_SEGMENT_SIZE;
  set_interval(c, 0);
  uint32_t n = blocks[_i], most = 0;
  for (uint32_t i = 0; i < 30000000u / (n * SPM_BLOCK_SIZE); i++) {
    uint32_t before = shm->segments_used;
    x_commit(c, i * 7 % 300, n, i + 1);
    ck_assert_uint_lt(shm->segments_used, limit);
    ck_assert_uint_le(before, shm->segments_used + 4);
    if (shm->segments_used > most) most = shm->segments_used;
  }
  ck_assert_uint_gt(most, limit / 2);
  ck_assert_uint_gt(shm->counters.checkpoints, 20);
  x_detach(c);
}
END_TEST

void store_checkpoint(TCase *tcase) {
  tcase_add_loop_test(tcase, steps_keep_up_with_commits, 0, 5);
  tcase_add_loop_test(tcase, nothing_is_due_before_its_time, 0, X_MEDIA);
  tcase_add_loop_test(tcase, steps_go_on_to_what_was_due, 0, X_MEDIA);
  tcase_add_loop_test(tcase, rare_commits_do_not_put_it_off, 0, X_MEDIA);
  tcase_add_test(tcase, a_longer_interval_begins_anew);
  tcase_add_loop_test(tcase, a_clock_behind_the_last_checkpoint, 0, X_MEDIA);
}
