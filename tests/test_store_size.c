/*
** test_store_size.c - growing, shrinking, and any history of both: S9 and S22.
*/
#define _GNU_SOURCE
#include "test_store.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BLOCK SPM_BLOCK_SIZE

/* ------------------------------------------------------- S9: shrink and grow -- */

START_TEST(s9_nothing_stale_comes_back) {
  x_medium(_i);
  const char *x = x_new("x.db", 100);
  spm_conn *c = x_create(x);
  x_commit(c, 0, 99, 7);
  x_ok(x_truncate(c, X_AT(10) + 100)); /* in the middle of a block */
  x_ok(x_begin(c));
  x_ok(x_fill(c, 50, 1, 8));
  x_ok(spm_commit_finish(c));
  x_end(c);
  for (int crashed = 0; crashed < 2; crashed++) {
    uint8_t block[BLOCK], zeros[BLOCK] = {0};
    x_ok(spm_snapshot_begin(c));
    ck_assert_uint_eq(x_value(c, 9), 7);
    x_ok(spm_conn_read(c, X_AT(10), BLOCK, block));
    ck_assert_int_eq(block[99], 7 * (99 % 8 == 0));
    ck_assert_mem_eq(block + 100, zeros, BLOCK - 100);
    for (uint32_t b = 11; b < 50; b++) ck_assert_uint_eq(x_value(c, b), 0);
    ck_assert_uint_eq(x_value(c, 50), 8);
    ck_assert_uint_eq(spm_conn_size(c), X_AT(51));
    spm_snapshot_end(c);
    x_detach_dirty(c);
    c = x_join(x);
  }
  x_detach(c);
  ck_assert_uint_eq(x_length(x, ""), X_AT(51));
}
END_TEST

/* A snapshot of before the shrinking still has the blocks that were cut, although the
** database has grown over them since. */
START_TEST(s9_snapshots_keep_what_is_cut) {
  x_medium(_i);
  const char *x = x_new("x.db", 200);
  spm_conn *c = x_create(x), *reader = x_join(x);
  x_commit(c, 0, 199, 7);
  x_ok(spm_snapshot_begin(reader));
  x_ok(x_truncate(c, X_AT(10)));
  ck_assert_uint_eq(x_peek(reader, 0, 199), 7);
  for (uint64_t i = 0; i < 3; i++) {
    x_commit(c, 0, 150, 8 + i);
    ck_assert_uint_eq(x_peek(reader, 0, 199), 7);
    x_ok(x_truncate(c, X_AT(20)));
    ck_assert_uint_eq(x_peek(reader, 0, 199), 7);
  }
  spm_snapshot_end(reader);
  x_detach(reader);
  x_detach(c);
}
END_TEST

static uint64_t log_bytes(const spm_conn *c, const spm_log_pos *from) {
  return spm_committed(c->store->shm)->tail.offset - from->offset;
}

/* What lies above the committed end is logged whole, however much of it a longer
** database left there, for after a power loss that may be gone. */
START_TEST(s9_growth_is_logged_whole) {
  x_medium(_i);
  spm_conn *c = x_create(x_new("x.db", 20));
  x_commit(c, 20, 10, 5);
  x_ok(x_truncate(c, X_AT(20)));
  spm_log_pos from = spm_committed(c->store->shm)->tail;
  x_ok(x_begin(c));
  x_ok(x_fill(c, 20, 10, 5));
  x_ok(spm_write(c, X_AT(25), 8, "another"));
  x_ok(spm_commit_finish(c));
  x_end(c);
  ck_assert_uint_ge(log_bytes(c, &from), 10 * BLOCK);
  x_detach(c);
}
END_TEST

#define SPILLED 9000u /* blocks: more than a transaction keeps in memory */

/* A block that went to the log and is written again; and a transaction that is cut after
** it had gone there. */
START_TEST(s9_spilled_blocks_are_as_written_last) {
  x_medium(_i);
  const char *x = x_new("x.db", 20);
  spm_conn *c = x_create(x);
  x_commit(c, 0, 20, 1);
  x_ok(x_begin(c));
  x_ok(x_fill(c, 0, SPILLED, 2));
  x_ok(x_fill(c, 0, 20, 1)); /* what is committed, but for a word */
  x_ok(spm_write(c, X_AT(3) + 80, 8, "another"));
  x_ok(spm_write_truncate(c, X_AT(20)));
  x_ok(spm_commit_finish(c));
  x_end(c);
  x_detach_dirty(c);
  for (int opened = 0; opened < 2; opened++) {
    c = x_join(x);
    char word[8];
    ck_assert_uint_eq(x_read(c, 0, 3), 1);
    ck_assert_uint_eq(x_read(c, 4, 16), 1);
    x_ok(spm_snapshot_begin(c));
    ck_assert_uint_eq(spm_conn_size(c), X_AT(20));
    x_ok(spm_conn_read(c, X_AT(3) + 80, 8, word));
    ck_assert_mem_eq(word, "another", 8);
    spm_snapshot_end(c);
    if (opened == 0) x_detach_dirty(c);
  }
  x_detach(c);
}
END_TEST

#define MODEL_BYTES (80 * BLOCK)

typedef struct model {
  uint8_t bytes[MODEL_BYTES];
  uint64_t size;
} model;

static void model_write(model *m, spm_conn *c, uint64_t *seed) {
  uint64_t at = BLOCK + x_random(seed) % (MODEL_BYTES - 3 * BLOCK);
  uint32_t n = 1 + (uint32_t)x_random(seed) % (x_random(seed) % 4 ? 200 : 2 * BLOCK);
  uint8_t bytes[2 * BLOCK + 200];
  for (uint32_t i = 0; i < n; i++) bytes[i] = (uint8_t)x_random(seed);
  x_ok(spm_write(c, at, n, bytes));
  memcpy(m->bytes + at, bytes, n);
  if (at + n > m->size) m->size = at + n;
}

static void model_truncate(model *m, spm_conn *c, uint64_t *seed) {
  uint64_t size = BLOCK + x_random(seed) % (MODEL_BYTES - BLOCK);
  x_ok(spm_write_truncate(c, size));
  if (size < m->size) memset(m->bytes + size, 0, m->size - size);
  m->size = size;
}

static void model_compare(const model *m, spm_conn *c) {
  static uint8_t bytes[MODEL_BYTES];
  ck_assert_uint_eq(spm_conn_size(c), m->size);
  x_ok(spm_conn_read(c, BLOCK, (uint32_t)(m->size - BLOCK), bytes + BLOCK));
  for (uint64_t i = BLOCK; i < m->size; i++)
    if (bytes[i] != m->bytes[i])
      ck_abort_msg("byte %llu of %llu differs", (unsigned long long)i, (unsigned long long)m->size);
}

static spm_conn *model_reopen(spm_conn *c, const char *x, uint64_t choice) {
  if (choice % 8 > 1) return c;
  if (choice % 8 == 0) x_detach(c);
  else x_detach_dirty(c);
  return x_attach(x);
}

/* Random writes, cuts, stages, rollbacks, commits, crashes and closes. */
START_TEST(s9_any_history_is_as_in_memory) {
  static model committed, now;
  x_medium(_i);
  const char *x = x_new("x.db", 4);
  spm_conn *c = x_create(x);
  uint64_t seed = x_seed();
  committed.size = 5 * BLOCK;
  for (int round = 0; round < 700; round++) {
    now = committed;
    x_ok(x_begin(c));
    for (uint64_t steps = x_random(&seed) % 8; steps > 0; steps--) {
      uint64_t choice = x_random(&seed) % 10;
      if (choice < 7) model_write(&now, c, &seed);
      else if (choice < 9) model_truncate(&now, c, &seed);
      else x_ok(spm_commit_stage(c, NULL));
    }
    model_compare(&now, c);
    if (x_random(&seed) % 4 != 0) {
      x_ok(spm_commit_finish(c));
      committed = now;
    } else {
      x_ok(spm_commit_rollback(c));
    }
    model_compare(&committed, c);
    x_end(c);
    c = model_reopen(c, x, x_random(&seed));
    x_ok(spm_snapshot_begin(c));
    model_compare(&committed, c);
    spm_snapshot_end(c);
  }
  x_detach(c);
}
END_TEST

/* ------------------------------------------------------------- S22: shrinking -- */

static uint64_t blocks_held(const char *path, const char *suffix) {
  struct stat status;
  ck_assert_int_eq(stat(x_beside(path, suffix), &status), 0);
  return (uint64_t)status.st_blocks * 512;
}

static void stay_attached(void *argument) {
  x_party *w = argument;
  spm_conn *c = x_join(w->path);
  w->shared->stage = 1;
  x_await(w->shared, 2);
  x_detach(c);
}

START_TEST(s22_no_file_is_cut_while_others_are_there) {
  x_medium(_i);
  x_party w = {x_new("x.db", 3000), x_shared_new()};
  spm_conn *c = x_create(w.path);
  x_limit_log(c, 1u << 20);
  x_commit(c, 0, 3000, 1);
  pid_t pid = x_start(stay_attached, &w);
  x_await(w.shared, 1);
  uint64_t data = x_length(w.path, ""), held = blocks_held(w.path, "");
  media_install();
  media_forget();
  x_commit(c, 0, 3000, 2);
  uint64_t log = x_length(w.path, "-pmlog");
  x_ok(x_truncate(c, X_AT(10)));
  for (uint32_t i = 0; i < 50; i++) x_commit(c, 0, 5, i);
  ck_assert_uint_eq(media_count(MEDIA_BIT(MEDIA_TRUNCATE), NULL), 0);
  ck_assert_uint_ge(x_length(w.path, ""), data);
  ck_assert_uint_ge(x_length(w.path, "-pmlog"), log);
  ck_assert_uint_lt(blocks_held(w.path, ""), held / 4); /* the space is back all the same */
  ck_assert_uint_lt(blocks_held(w.path, "-pmlog"), 3u << 20);
  x_commit(c, 0, 3000, 3); /* and can be taken again */
  ck_assert_uint_eq(x_read(c, 0, 3000), 3);
  x_ok(x_truncate(c, X_AT(10)));
  w.shared->stage = 2;
  ck_assert(x_finished(x_wait(pid)));
  x_detach(c);
  ck_assert_uint_eq(x_length(w.path, ""), X_AT(10));
}
END_TEST

/* A file smaller than a block is as long as it was when it is given back. */
START_TEST(s2_small_files_keep_their_length) {
  x_medium(_i);
  const char *x = x_new("x.db", 0);
  spm_conn *c = x_create(x);
  x_ok(x_truncate(c, 3 * 512));
  x_detach(c);
  ck_assert_uint_eq(x_length(x, ""), 3 * 512);
  c = x_attach(x);
  x_ok(spm_snapshot_begin(c));
  ck_assert_uint_eq(spm_conn_size(c), 3 * 512);
  spm_snapshot_end(c);
  x_detach(c);
}
END_TEST

/* ------------------------------------------------------------- the limit -- */

static void limit_size(spm_conn *c, uint64_t bytes) {
  x_ok(spm_store_configure(c, &(spm_store_options){.log_size_max = 10u << 20, .size_max = bytes}));
}

START_TEST(a_limit_is_kept) {
  x_medium(_i);
  const char *x = x_new("x.db", 0);
  spm_conn *c = x_create(x);
  limit_size(c, X_AT(100));
  x_commit(c, 0, 100, 1); /* to the last byte */
  ck_assert_int_eq(x_try_commit(c, 100, 1, 2), SQLITE_FULL);
  ck_assert_ptr_nonnull(strstr(spm_last_error(), "413696"));
  ck_assert_int_eq(x_try_commit(c, 0, 101, 2), SQLITE_FULL);
  ck_assert_uint_eq(x_read(c, 0, 100), 1);
  ck_assert_uint_eq(x_length(x, ""), X_AT(100)); /* nor was space taken ahead */
  x_commit(c, 0, 100, 3);
  x_ok(x_truncate(c, X_AT(50)));
  x_commit(c, 50, 50, 3);
  x_detach_dirty(c);
  c = x_join(x);
  ck_assert_uint_eq(x_read(c, 0, 100), 3);
  x_commit(c, 100, 1, 3); /* the limit is the one of those who write */
  x_detach(c);
}
END_TEST

START_TEST(what_is_larger_already_does_not_grow) {
  x_medium(_i);
  spm_conn *c = x_create(x_new("x.db", 0));
  x_commit(c, 0, 200, 1);
  limit_size(c, X_AT(100));
  x_commit(c, 0, 200, 2);
  ck_assert_int_eq(x_try_commit(c, 200, 1, 3), SQLITE_FULL);
  x_ok(x_truncate(c, X_AT(150)));
  ck_assert_int_eq(x_try_commit(c, 150, 1, 3), SQLITE_FULL);
  ck_assert_uint_eq(x_read(c, 0, 150), 2);
  x_ok(x_truncate(c, X_AT(90)));
  x_commit(c, 90, 10, 2);
  ck_assert_int_eq(x_try_commit(c, 0, 101, 3), SQLITE_FULL);
  limit_size(c, 0);
  x_commit(c, 0, 300, 4);
  x_detach(c);
}
END_TEST

/* A large transaction is refused before it has filled the log. */
START_TEST(a_limit_is_noticed_on_the_way) {
  x_medium(_i);
  const char *x = x_new("x.db", 0);
  spm_conn *c = x_create(x);
  x_commit(c, 0, 10, 1);
  limit_size(c, X_AT(5000));
  uint64_t log = x_length(x, "-pmlog");
  x_ok(x_begin(c));
  ck_assert_int_eq(x_fill(c, 0, 20000, 2), SQLITE_FULL);
  x_end(c);
  ck_assert_uint_eq(x_length(x, "-pmlog"), log);
  ck_assert_uint_eq(x_read(c, 0, 10), 1);
  x_commit(c, 0, 5000, 3);
  x_detach(c);
}
END_TEST

void store_size(TCase *tcase) {
  tcase_add_loop_test(tcase, a_limit_is_kept, 0, X_MEDIA);
  tcase_add_loop_test(tcase, what_is_larger_already_does_not_grow, 0, X_MEDIA);
  tcase_add_loop_test(tcase, a_limit_is_noticed_on_the_way, 0, X_MEDIA);
  tcase_add_loop_test(tcase, s2_small_files_keep_their_length, 0, X_MEDIA);
  tcase_add_loop_test(tcase, s9_nothing_stale_comes_back, 0, X_MEDIA);
  tcase_add_loop_test(tcase, s9_snapshots_keep_what_is_cut, 0, X_MEDIA);
  tcase_add_loop_test(tcase, s9_growth_is_logged_whole, 0, X_MEDIA);
  tcase_add_loop_test(tcase, s9_spilled_blocks_are_as_written_last, 0, X_MEDIA);
  tcase_add_loop_test(tcase, s9_any_history_is_as_in_memory, 0, X_MEDIA);
  tcase_add_loop_test(tcase, s22_no_file_is_cut_while_others_are_there, 0, X_MEDIA);
}
