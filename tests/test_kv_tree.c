/*
** test_kv_tree.c - trees of chosen shapes: how full they are, how they shrink, what they
** do with values and keys of every size, and what they refuse.
*/
#include "test_kv.h"

#include "../ext/kv/space.h"

#include <stdlib.h>
#include <string.h>

#define VALUE 100u
#define LIVE(keys, nkey) ((uint64_t)(keys) * ((nkey) + VALUE))

static void big_endian(uint8_t *to, uint64_t value) {
  for (int i = 7; i >= 0; i--, value >>= 8) to[i] = (uint8_t)value;
}

static uint64_t scatter(uint64_t i) { return (i + 1) * UINT64_C(0x9e3779b97f4a7c15); }

typedef uint64_t (*order)(uint64_t i);
static uint64_t ascending(uint64_t i) { return i; }
static uint64_t descending(uint64_t i) { return UINT32_MAX - i; }

static void put_number(const spm_tree *t, uint64_t number, uint64_t seed) {
  uint8_t key[8], value[VALUE];
  big_endian(key, number);
  kv_fill(value, sizeof value, seed);
  int rc = spm_tree_put(t, key, sizeof key, value, sizeof value);
  if (rc != SQLITE_OK) kv_fail("put: %d, %s", rc, spm_last_error());
}

static void fill_tree(spm_kv *kv, uint64_t from, uint64_t to, order place, uint64_t seed) {
  for (uint64_t i = from; i < to; i++) {
    if (i % 100 == 0) kv_begin(kv);
    spm_tree t = kv_tree(kv, "t");
    put_number(&t, place(i), seed + i);
    if (i % 100 == 99 || i + 1 == to) kv_commit(kv);
  }
}

static void expect_numbers(spm_kv *kv, uint64_t from, uint64_t to, order place, uint64_t seed) {
  uint8_t key[8], wanted[VALUE];
  x_ok(spm_kv_snapshot_begin(kv));
  spm_tree t = kv_tree(kv, "t");
  for (uint64_t i = from; i < to; i++) {
    spm_value v;
    big_endian(key, place(i));
    kv_fill(wanted, sizeof wanted, seed + i);
    if (spm_tree_get(&t, key, sizeof key, &v) != SQLITE_OK || v.size != VALUE || memcmp(v.bytes, wanted, VALUE) != 0)
      kv_fail("key %llu is not as it was put", (unsigned long long)i);
  }
  spm_kv_snapshot_end(kv);
}

/* Blocks of the file against the bytes of keys and values. */
static double ratio(spm_kv *kv, uint64_t live) { return (double)kv_size(kv) / (double)live; }

#define MANY 20000u

START_TEST(keys_in_order_fill_nodes) {
  spm_kv *kv = kv_open(kv_path("x.kv"));
  (void)kv_create(kv, "t");
  fill_tree(kv, 0, MANY, ascending, 1);
  expect_numbers(kv, 0, MANY, ascending, 1);
  kv_check(kv);
  double full = ratio(kv, LIVE(MANY, 8));
  if (full > 1.16) kv_fail("keys in order take %.3f times their bytes", full);
  spm_kv_close(kv, false);
}
END_TEST

START_TEST(keys_out_of_order_fill_nodes_well) {
  static const order orders[] = {scatter, descending};
  spm_kv *kv = kv_open(kv_path("x.kv"));
  (void)kv_create(kv, "t");
  fill_tree(kv, 0, MANY, orders[_i], 1);
  expect_numbers(kv, 0, MANY, orders[_i], 1);
  kv_check(kv);
  double first = ratio(kv, LIVE(MANY, 8));
  for (int round = 0; round < 3; round++) fill_tree(kv, 0, MANY, orders[_i], (uint64_t)round);
  expect_numbers(kv, 0, MANY, orders[_i], 2);
  kv_check(kv);
  if (_i == 1 && first > 1.16) kv_fail("keys in descending order take %.3f times their bytes", first);
  if (first > 1.6 || ratio(kv, LIVE(MANY, 8)) > 1.6)
    kv_fail("%.3f times the bytes, %.3f when overwritten", first, ratio(kv, LIVE(MANY, 8)));
  spm_kv_close(kv, false);
}
END_TEST

static void delete_numbers(spm_kv *kv, uint64_t from, uint64_t to, uint64_t each, order place) {
  uint8_t key[8];
  kv_begin(kv);
  spm_tree t = kv_tree(kv, "t");
  for (uint64_t i = from; i < to; i++) {
    if (i % each != 0) continue;
    big_endian(key, place(i));
    int rc = spm_tree_delete(&t, key, sizeof key);
    if (rc != SQLITE_OK) kv_fail("delete: %d, %s", rc, spm_last_error());
  }
  kv_commit(kv);
}

/* What is deleted comes back: to other keys, and with a shrink to the file system. */
START_TEST(deleted_space_is_used_again) {
  spm_kv *kv = kv_open(kv_path("x.kv"));
  (void)kv_create(kv, "t");
  fill_tree(kv, 0, MANY, scatter, 1);
  uint64_t size = kv_size(kv), used = kv_used(kv);
  delete_numbers(kv, 0, MANY / 2, 1, scatter);
  kv_check(kv);
  ck_assert_uint_lt(kv_used(kv), used * 7 / 10);
  fill_tree(kv, MANY, MANY + MANY / 2, scatter, 1);
  ck_assert_uint_le(kv_size(kv), size * 102 / 100);
  expect_numbers(kv, MANY / 2, MANY + MANY / 2, scatter, 1);
  delete_numbers(kv, MANY / 2, MANY + MANY / 2, 1, scatter);
  ck_assert_uint_eq(kv_used(kv), 11 * SPM_BLOCK_SIZE);
  x_ok(spm_kv_shrink(kv));
  ck_assert_uint_eq(kv_size(kv), 11 * SPM_BLOCK_SIZE);
  kv_check(kv);
  spm_kv_close(kv, false);
}
END_TEST

/* Nine keys of ten, here and there: every node is nearly empty, and they join. */
START_TEST(thin_nodes_join) {
  spm_kv *kv = kv_open(kv_path("x.kv"));
  (void)kv_create(kv, "t");
  fill_tree(kv, 0, MANY, ascending, 1);
  for (uint64_t each = 2; each <= 10; each++) { /* all but those divisible by none of 2 to 10 */
    kv_begin(kv);
    spm_tree t = kv_tree(kv, "t");
    for (uint64_t i = 0; i < MANY; i += each) {
      uint8_t key[8];
      big_endian(key, i);
      int rc = spm_tree_delete(&t, key, sizeof key);
      ck_assert(rc == SQLITE_OK || rc == SQLITE_NOTFOUND);
    }
    kv_commit(kv);
  }
  uint64_t left = 0, expected = 0;
  for (uint64_t i = 0; i < MANY; i++) expected += i % 2 && i % 3 && i % 5 && i % 7;
  spm_tree_cursor c;
  x_ok(spm_kv_snapshot_begin(kv));
  spm_tree t = kv_tree(kv, "t");
  spm_cursor_open(&c, &t);
  for (int rc = spm_cursor_seek(&c, SPM_SEEK_FIRST, NULL, 0); rc == SQLITE_OK; rc = spm_cursor_next(&c)) left++;
  spm_kv_snapshot_end(kv);
  ck_assert_uint_eq(left, expected);
  if ((double)kv_used(kv) > 1.8 * (double)LIVE(left, 8))
    kv_fail("%llu bytes for %llu", (unsigned long long)kv_used(kv), (unsigned long long)LIVE(left, 8));
  x_ok(spm_kv_shrink(kv));
  ck_assert_uint_eq(kv_size(kv), kv_used(kv));
  kv_check(kv);
  spm_kv_close(kv, false);
}
END_TEST

START_TEST(limits_are_told) {
  static uint8_t key[SPM_KV_KEY_MAX + 1];
  spm_kv *kv = kv_open(kv_path("x.kv"));
  (void)kv_create(kv, "t");
  kv_begin(kv);
  spm_tree t = kv_tree(kv, "t");
  ck_assert_int_eq(spm_tree_put(&t, key, SPM_KV_KEY_MAX + 1, "", 0), SQLITE_TOOBIG);
  ck_assert_ptr_nonnull(strstr(spm_last_error(), "1088"));
  ck_assert_int_eq(spm_tree_put(&t, key, 1, "", SPM_KV_VALUE_MAX + 1), SQLITE_TOOBIG);
  ck_assert_ptr_nonnull(strstr(spm_last_error(), "268439552"));
  x_ok(spm_tree_put(&t, key, SPM_KV_KEY_MAX, "v", 1)); /* and the transaction goes on */
  kv_commit(kv);
  x_ok(spm_kv_snapshot_begin(kv));
  t = kv_tree(kv, "t");
  spm_value v;
  x_ok(spm_tree_get(&t, key, SPM_KV_KEY_MAX, &v));
  ck_assert_int_eq(spm_tree_get(&t, key, SPM_KV_KEY_MAX + 1, &v), SQLITE_NOTFOUND);
  ck_assert_int_eq(spm_value_read(t.conn, &v, 1, 1, key), SQLITE_RANGE);
  spm_kv_snapshot_end(kv);
  spm_kv_close(kv, false);
}
END_TEST

/* The largest value there is, and its space given back. */
START_TEST(largest_value) {
  uint8_t *value = malloc(SPM_KV_VALUE_MAX), piece[1000], wanted[1000];
  spm_kv *kv = kv_open(kv_path("x.kv"));
  (void)kv_create(kv, "t");
  memset(value, 7, SPM_KV_VALUE_MAX);
  for (uint64_t at = 0; at + 8 <= SPM_KV_VALUE_MAX; at += SPM_BLOCK_SIZE) memcpy(value + at, &at, sizeof at);
  for (int round = 0; round < 2; round++) { /* the second time in place */
    kv_begin(kv);
    spm_tree t = kv_tree(kv, "t");
    value[99] = (uint8_t)round;
    x_ok(spm_tree_put(&t, "k", 1, value, SPM_KV_VALUE_MAX));
    kv_commit(kv);
  }
  for (int pointing = 0; pointing < 2; pointing++) {
    spm_conn_want_pointers(spm_kv_conn(kv), pointing);
    x_ok(spm_kv_snapshot_begin(kv));
    spm_tree t = kv_tree(kv, "t");
    spm_value v;
    x_ok(spm_tree_get(&t, "k", 1, &v));
    ck_assert_uint_eq(v.size, SPM_KV_VALUE_MAX);
    ck_assert_int_eq(v.bytes != NULL, pointing);
    uint64_t random = 5;
    for (int i = 0; i < 1000; i++) {
      uint64_t at = i == 0 ? SPM_KV_VALUE_MAX - sizeof piece : x_random(&random) % (SPM_KV_VALUE_MAX - sizeof piece);
      x_ok(spm_value_read(t.conn, &v, at, sizeof piece, piece));
      memcpy(wanted, value + at, sizeof wanted);
      ck_assert_mem_eq(piece, wanted, sizeof piece);
    }
    spm_kv_snapshot_end(kv);
  }
  ck_assert_uint_lt(kv_size(kv), SPM_KV_VALUE_MAX + 20 * SPM_BLOCK_SIZE);
  kv_check(kv);
  kv_begin(kv);
  spm_tree t = kv_tree(kv, "t");
  x_ok(spm_tree_put(&t, "k", 1, "", 0));
  kv_commit(kv);
  x_ok(spm_kv_shrink(kv));
  ck_assert_uint_eq(kv_size(kv), 11 * SPM_BLOCK_SIZE);
  spm_kv_close(kv, false);
  free(value);
}
END_TEST

/* Runs at the end move to holes before it, and their readers keep what they had. */
START_TEST(shrinking_moves_values) {
  enum { VALUES = 200, SIZE = 9000 };
  static uint8_t value[SIZE], wanted[SIZE];
  spm_kv *kv = kv_open(kv_path("x.kv")), *reader = kv_open(kv_path("x.kv"));
  (void)kv_create(kv, "t");
  for (uint64_t i = 0; i < VALUES; i++) {
    uint8_t key[8];
    big_endian(key, i);
    kv_fill(value, SIZE, i);
    kv_begin(kv);
    spm_tree t = kv_tree(kv, "t");
    x_ok(spm_tree_put(&t, key, 8, value, SIZE));
    kv_commit(kv);
  }
  delete_numbers(kv, 0, VALUES, 2, ascending);
  x_ok(spm_kv_snapshot_begin(reader));
  x_ok(spm_kv_shrink(kv));
  kv_check(kv);
  ck_assert_uint_eq(kv_size(kv), kv_used(kv));
  for (int old = 0; old < 2; old++) {
    spm_kv *from = old ? reader : kv;
    if (!old) x_ok(spm_kv_snapshot_begin(kv));
    spm_tree t = kv_tree(from, "t");
    for (uint64_t i = 1; i < VALUES; i += 2) {
      uint8_t key[8];
      spm_value v;
      big_endian(key, i);
      kv_fill(wanted, SIZE, i);
      x_ok(spm_tree_get(&t, key, 8, &v));
      ck_assert_uint_eq(v.size, SIZE);
      x_ok(spm_value_read(t.conn, &v, 0, SIZE, value));
      ck_assert_mem_eq(value, wanted, SIZE);
    }
    spm_kv_snapshot_end(from);
  }
  spm_kv_close(reader, false);
  spm_kv_close(kv, false);
}
END_TEST

/* A root that moves is found by those who knew where it was; who reads an older state
** finds it there. */
START_TEST(shrinking_moves_roots) {
  const char *path = kv_path("x.kv");
  spm_kv *kv = kv_open(path), *other = kv_open(path);
  spm_tree t, u;
  spm_value v;
  (void)kv_create(kv, "t");
  fill_tree(kv, 0, 2000, scatter, 1);
  u = kv_create(kv, "u");
  kv_begin(kv);
  x_ok(spm_tree_put(&u, "k", 1, "v", 1));
  kv_commit(kv);
  x_ok(spm_kv_snapshot_begin(other));
  t = kv_tree(other, "u");
  ck_assert_uint_eq(t.root, u.root);
  delete_numbers(kv, 0, 2000, 1, scatter);
  x_ok(spm_kv_shrink(kv));
  ck_assert_uint_eq(kv_size(kv), 12 * SPM_BLOCK_SIZE);
  t = kv_tree(other, "u");
  ck_assert_uint_eq(t.root, u.root);
  x_ok(spm_tree_get(&t, "k", 1, &v));
  spm_kv_snapshot_end(other);
  x_ok(spm_kv_snapshot_begin(other));
  t = kv_tree(other, "u");
  ck_assert_uint_eq(t.root, 11);
  x_ok(spm_tree_get(&t, "k", 1, &v));
  spm_kv_snapshot_end(other);
  kv_check(kv);
  spm_kv_close(other, false);
  spm_kv_close(kv, false);
}
END_TEST

/* More than fits the write set in memory: it goes through the log, and back. */
START_TEST(transaction_larger_than_memory) {
  enum { KEYS = 400000 };
  spm_kv *kv = kv_open(kv_path("x.kv"));
  (void)kv_create(kv, "t");
  kv_begin(kv);
  spm_tree t = kv_tree(kv, "t");
  for (uint64_t i = 0; i < KEYS; i++) put_number(&t, i, i);
  for (uint64_t i = 0; i < KEYS; i += 3001) put_number(&t, i, i);
  spm_value v;
  uint8_t key[8];
  big_endian(key, KEYS / 2);
  x_ok(spm_tree_get(&t, key, 8, &v));
  spm_kv_rollback(kv);
  kv_check(kv);
  kv_begin(kv);
  t = kv_tree(kv, "t");
  for (uint64_t i = 0; i < KEYS; i++) put_number(&t, i, i);
  kv_commit(kv);
  kv_check(kv);
  expect_numbers(kv, KEYS - 1000, KEYS, ascending, 0);
  kv_begin(kv);
  x_ok(spm_kv_tree_drop(kv, "t"));
  kv_commit(kv);
  ck_assert_uint_eq(kv_size(kv), 10 * SPM_BLOCK_SIZE);
  kv_check(kv);
  spm_kv_close(kv, false);
}
END_TEST

void kv_tree_cases(TCase *tcase) {
  tcase_add_test(tcase, keys_in_order_fill_nodes);
  tcase_add_loop_test(tcase, keys_out_of_order_fill_nodes_well, 0, 2);
  tcase_add_test(tcase, deleted_space_is_used_again);
  tcase_add_test(tcase, thin_nodes_join);
  tcase_add_test(tcase, limits_are_told);
  tcase_add_test(tcase, largest_value);
  tcase_add_test(tcase, shrinking_moves_values);
  tcase_add_test(tcase, shrinking_moves_roots);
  tcase_add_test(tcase, transaction_larger_than_memory);
}
