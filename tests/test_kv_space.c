/*
** test_kv_space.c - blocks taken and given back: the lowest first, runs inside a group,
** groups, limits, the end cut off.
*/
#define _GNU_SOURCE
#include "test_kv.h"

#include "../ext/kv/space.h"

#include <stdlib.h>
#include <string.h>

static uint32_t take(spm_conn *c, uint32_t count) {
  uint32_t block;
  uint8_t *bytes;
  int rc = spm_space_allocate(c, SPM_NO_LIMIT, count, &block);
  if (rc != SQLITE_OK) kv_fail("taking %u blocks: %d, %s", count, rc, spm_last_error());
  for (uint32_t i = 0; i < count; i++) x_ok(spm_write_edit(c, block + i, &bytes));
  return block;
}

START_TEST(lowest_first) {
  spm_kv *kv = kv_open(kv_path("x.kv"));
  spm_conn *c = spm_kv_conn(kv);
  kv_begin(kv);
  for (uint32_t i = 0; i < 20; i++) ck_assert_uint_eq(take(c, 1), 10 + i);
  x_ok(spm_space_free(c, 17, 1));
  x_ok(spm_space_free(c, 13, 2));
  x_ok(spm_space_free(c, 25, 3));
  ck_assert_uint_eq(take(c, 3), 25); /* the first hole that is long enough */
  ck_assert_uint_eq(take(c, 1), 13);
  ck_assert_uint_eq(take(c, 2), 30);
  ck_assert_uint_eq(take(c, 1), 14);
  ck_assert_uint_eq(take(c, 1), 17);
  ck_assert_uint_eq(take(c, 1), 32);
  x_ok(spm_space_free(c, 31, 2));
  ck_assert_uint_eq(take(c, 4), 31); /* and on behind the end */
  spm_kv_rollback(kv);
  kv_check(kv);
  spm_kv_close(kv, false);
}
END_TEST

START_TEST(what_is_free_is_not_freed) {
  spm_kv *kv = kv_open(kv_path("x.kv"));
  spm_conn *c = spm_kv_conn(kv);
  kv_begin(kv);
  uint32_t block = take(c, 4);
  x_ok(spm_space_free(c, block + 1, 1));
  ck_assert_int_eq(spm_space_free(c, block + 1, 1), SQLITE_CORRUPT);
  ck_assert_int_eq(spm_space_free(c, block, 4), SQLITE_CORRUPT);
  ck_assert_int_eq(spm_space_free(c, block + 3, 2), SQLITE_CORRUPT); /* behind the end */
  ck_assert_int_eq(spm_space_free(c, 3, 1), SQLITE_CORRUPT);         /* a bitmap */
  ck_assert_int_eq(spm_space_free(c, UINT32_MAX, 2), SQLITE_CORRUPT);
  ck_assert_int_eq(spm_space_free(c, block, 0), SQLITE_CORRUPT);
  spm_kv_rollback(kv);
  spm_kv_close(kv, false);
}
END_TEST

START_TEST(limit_is_kept) {
  spm_kv *kv = kv_open(kv_path("x.kv"));
  spm_conn *c = spm_kv_conn(kv);
  uint32_t block;
  kv_begin(kv);
  for (uint32_t i = 0; i < 10; i++) (void)take(c, 1);
  ck_assert_int_eq(spm_space_allocate(c, 20, 1, &block), SQLITE_FULL);
  ck_assert_int_eq(spm_space_allocate(c, 24, 5, &block), SQLITE_FULL);
  x_ok(spm_space_free(c, 12, 1));
  x_ok(spm_space_allocate(c, 20, 1, &block));
  ck_assert_uint_eq(block, 12);
  ck_assert_int_eq(spm_space_allocate_below(c, 20, 1, &block), SQLITE_NOTFOUND);
  x_ok(spm_space_free(c, 15, 2));
  ck_assert_int_eq(spm_space_allocate_below(c, 16, 2, &block), SQLITE_NOTFOUND);
  x_ok(spm_space_allocate_below(c, 17, 2, &block));
  ck_assert_uint_eq(block, 15);
  spm_kv_rollback(kv);
  spm_kv_close(kv, false);
}
END_TEST

/* Mark blocks as taken without writing them: the store's end is moved there. */
static uint32_t take_far(spm_conn *c, uint32_t count) {
  uint32_t block;
  uint8_t *bytes;
  x_ok(spm_space_allocate(c, SPM_NO_LIMIT, count, &block));
  x_ok(spm_write_edit(c, block + count - 1, &bytes));
  x_ok(spm_write_settle(c));
  return block;
}

/* Runs do not cross a group's front, what they leave before it is used, and a group that
** is empty goes with its bitmap. */
START_TEST(groups_begin_with_their_bitmap) {
  spm_kv *kv = kv_open(kv_path("x.kv"));
  spm_conn *c = spm_kv_conn(kv);
  kv_begin(kv);
  ck_assert_uint_eq(take_far(c, 200000), 10);
  ck_assert_uint_eq(take_far(c, 70000), SPM_GROUP_BLOCKS + SPM_BITMAP_BLOCKS);
  ck_assert_uint_eq(take(c, 1), 200010);
  ck_assert_uint_eq(take_far(c, 62132), 200011);
  ck_assert_uint_eq(take(c, 2), SPM_GROUP_BLOCKS + SPM_BITMAP_BLOCKS + 70000);
  ck_assert_uint_eq(take(c, 1), 262143);
  ck_assert_uint_eq(take(c, 1), SPM_GROUP_BLOCKS + SPM_BITMAP_BLOCKS + 70002);
  ck_assert_int_eq(spm_space_free(c, SPM_GROUP_BLOCKS, 1), SQLITE_CORRUPT);
  ck_assert_int_eq(spm_space_free(c, 262143, 2), SQLITE_CORRUPT);
  x_ok(spm_space_free(c, SPM_GROUP_BLOCKS + SPM_BITMAP_BLOCKS, 70003));
  x_ok(spm_space_trim(c));
  ck_assert_uint_eq(spm_space_end(c), SPM_GROUP_BLOCKS);
  x_ok(spm_space_free(c, 10, 262134));
  x_ok(spm_space_trim(c));
  ck_assert_uint_eq(spm_space_end(c), 10);
  kv_commit(kv);
  kv_check(kv);
  spm_kv_close(kv, false);
}
END_TEST

/* Against an array of who has what. */
START_TEST(random_runs) {
  enum { BLOCKS = 4096, RUNS = 300 };
  static uint8_t taken[BLOCKS];
  uint32_t block[RUNS], count[RUNS] = {0};
  uint64_t random = x_seed();
  spm_kv *kv = kv_open(kv_path("x.kv"));
  spm_conn *c = spm_kv_conn(kv);
  memset(taken, 1, 10);
  for (int round = 0; round < 300; round++) {
    kv_begin(kv);
    for (int i = 0; i < 20; i++) {
      uint64_t r = x_random(&random) % RUNS;
      if (count[r] > 0) {
        x_ok(spm_space_free(c, block[r], count[r]));
        memset(taken + block[r], 0, count[r]);
        count[r] = 0;
        continue;
      }
      count[r] = (uint32_t)(x_random(&random) % 2 ? 1 : x_random(&random) % 9 + 1);
      block[r] = take(c, count[r]);
      if (count[r] == 1 && memchr(taken, 0, block[r]) != NULL) kv_fail("block %u is not the lowest", block[r]);
      if (memchr(taken + block[r], 1, count[r]) != NULL) kv_fail("block %u is taken twice", block[r]);
      memset(taken + block[r], 1, count[r]);
    }
    x_ok(spm_space_trim(c));
    const uint8_t *last = memrchr(taken, 1, BLOCKS);
    if (spm_space_end(c) != (uint32_t)(last - taken) + 1) kv_fail("round %d: the end is not cut", round);
    kv_commit(kv);
  }
  kv_begin(kv);
  for (int r = 0; r < RUNS; r++)
    if (count[r] > 0) x_ok(spm_space_free(c, block[r], count[r]));
  x_ok(spm_space_trim(c));
  kv_commit(kv);
  kv_check(kv);
  ck_assert_uint_eq(kv_size(kv), 10 * SPM_BLOCK_SIZE);
  spm_kv_close(kv, false);
}
END_TEST

void kv_space_cases(TCase *tcase) {
  tcase_add_test(tcase, lowest_first);
  tcase_add_test(tcase, what_is_free_is_not_freed);
  tcase_add_test(tcase, limit_is_kept);
  tcase_add_test(tcase, groups_begin_with_their_bitmap);
  tcase_add_test(tcase, random_runs);
}
