/*
** test_kv_damage.c - nothing on media is trusted.  Bytes are changed where the format has
** something to say about them, and where it has not: what follows is an answer or
** SQLITE_CORRUPT, and an end; and the check finds what there is to find.
*/
#include "test_kv.h"

#include "../ext/kv/walk.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEYS 700u
#define ROUNDS 400u

/* Three trees: small values, large ones, long keys. */
static void make_store(const char *path) {
  static const char *const names[] = {"small", "large", "long"};
  static const kv_sort sorts[] = {KV_RANDOM16, KV_COUNTED, KV_LONG};
  spm_kv *kv = kv_open(path);
  uint64_t random = 12345;
  kv_begin(kv);
  for (int i = 0; i < 3; i++) {
    spm_tree t;
    kv_model m = {0};
    kv_key key;
    x_ok(spm_kv_tree_create(kv, names[i], &t));
    for (uint32_t j = 0; j < KEYS; j++) {
      kv_random_key(&key, sorts[i], &random, 10 * KEYS);
      kv_put(&t, &m, &key, i == 1 ? (uint32_t)(j * 37 % 9000) : 90, j);
    }
    for (uint32_t j = 0; j < m.count; j += 5) x_ok(spm_tree_delete(&t, m.pair[j].key->bytes, m.pair[j].key->n));
    kv_model_free(&m);
  }
  kv_commit(kv);
  kv_check(kv);
  spm_kv_close(kv, false);
}

/* ----------------------------------------------------- whatever happens -- */

static bool fine(int rc) { return rc == SQLITE_OK || rc == SQLITE_NOTFOUND || rc == SQLITE_CORRUPT; }

#define EXPECT_FINE(rc, what) \
  do { \
    if (!fine(rc)) kv_fail("%s: %d, %s", what, rc, spm_last_error()); \
  } while (0)

/* Steps are bounded by what fits the store; *keys: how many there were, if all could be
** reached. */
static int scan(const spm_tree *t, bool up, uint64_t *keys) {
  spm_tree_cursor c;
  spm_value v;
  uint8_t byte;
  spm_cursor_open(&c, t);
  *keys = 0;
  int rc = spm_cursor_seek(&c, up ? SPM_SEEK_FIRST : SPM_SEEK_LAST, NULL, 0);
  for (; rc == SQLITE_OK; rc = up ? spm_cursor_next(&c) : spm_cursor_prev(&c)) {
    int read = spm_cursor_value(&c, &v);
    if (read == SQLITE_OK && v.size > 0) read = spm_value_read(t->conn, &v, v.size - 1, 1, &byte);
    EXPECT_FINE(read, "reading a value");
    if (++*keys > 1000000) kv_fail("a scan does not end");
  }
  return rc;
}

static uint64_t read_all(spm_kv *kv) {
  char name[SPM_KV_NAME_MAX + 1] = "";
  uint64_t all = 0, up, down;
  int rc;
  for (int names = 0; (rc = spm_kv_tree_next(kv, name, name)) == SQLITE_OK; names++) {
    spm_tree t;
    spm_value v;
    if (names > 10000) kv_fail("the names do not end");
    rc = spm_kv_tree(kv, name, &t);
    EXPECT_FINE(rc, "a tree");
    if (rc != SQLITE_OK) continue;
    int forth = scan(&t, true, &up), back = scan(&t, false, &down);
    EXPECT_FINE(forth, "a scan");
    EXPECT_FINE(back, "a scan back");
    all += up;
    EXPECT_FINE(spm_tree_get(&t, "some key", 8, &v), "a get");
  }
  EXPECT_FINE(rc, "the names");
  return all;
}

/* In a transaction of its own; after an error that drops it there is nothing to see. */
static void write_something(spm_kv *kv, uint64_t *random) {
  static const char *const names[] = {"small", "large", "long"};
  static uint8_t value[9000];
  spm_tree t;
  int rc = spm_kv_begin(kv);
  if (rc == SQLITE_OK) rc = spm_kv_tree(kv, names[x_random(random) % 3], &t);
  for (int i = 0; rc == SQLITE_OK && i < 60; i++) {
    kv_key key;
    kv_random_key(&key, (kv_sort)(x_random(random) % KV_SORTS), random, 10 * KEYS);
    rc = x_random(random) % 2 ? spm_tree_put(&t, key.bytes, key.n, value, x_random(random) % sizeof value)
                              : spm_tree_delete(&t, key.bytes, key.n);
    if (rc == SQLITE_NOTFOUND) rc = SQLITE_OK;
  }
  if (rc == SQLITE_OK && x_random(random) % 4 == 0) rc = spm_kv_tree_drop(kv, names[x_random(random) % 3]);
  if (rc == SQLITE_OK) rc = spm_kv_commit(kv);
  EXPECT_FINE(rc, "writing");
  spm_kv_rollback(kv);
}

static void damage(const char *path, uint64_t *random) {
  struct stat status;
  ck_assert_int_eq(stat(path, &status), 0);
  uint64_t blocks = (uint64_t)status.st_size / SPM_BLOCK_SIZE;
  for (uint64_t n = x_random(random) % 4 + 1; n > 0; n--) {
    uint64_t block = x_random(random) % 4 == 0 ? x_random(random) % 12 : x_random(random) % blocks,
             r = x_random(random);
    uint64_t offset = r % 3 == 0   ? x_random(random) % 48
                      : r % 3 == 1 ? 48 + x_random(random) % 200
                                   : x_random(random) % SPM_BLOCK_SIZE;
    uint8_t bytes[8];
    memcpy(bytes, &(uint64_t){x_random(random) >> x_random(random) % 57}, sizeof bytes);
    x_patch(path, "", block * SPM_BLOCK_SIZE + offset, bytes, x_random(random) % 4 + 1);
  }
}

START_TEST(damage_anywhere_is_survived) {
  const char *path = kv_path("x.kv"), *copy = kv_path("y.kv");
  uint64_t random = (_i == 0 ? 4711 : x_seed()), found = 0, opened = 0;
  make_store(path);
  spm_kv *kv = kv_open(path);
  x_ok(spm_kv_snapshot_begin(kv));
  uint64_t keys = read_all(kv);
  spm_kv_snapshot_end(kv);
  spm_kv_close(kv, false);
  for (uint32_t round = 0; round < ROUNDS; round++) {
    x_copy(path, copy);
    damage(copy, &random);
    int rc = kv_try_open(copy, &kv);
    if (rc != SQLITE_OK) {
      ck_assert(rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB || rc == SQLITE_CANTOPEN || rc == SQLITE_IOERR_READ);
      continue;
    }
    opened++;
    uint32_t faults = kv_faults(kv, &rc);
    if (rc != (faults > 0 ? SQLITE_CORRUPT : SQLITE_OK)) kv_fail("check: %d with %u faults", rc, faults);
    found += faults > 0;
    x_ok(spm_kv_snapshot_begin(kv));
    uint64_t seen = read_all(kv);
    spm_kv_snapshot_end(kv);
    if (faults == 0 && seen != keys)
      kv_fail("round %u: no fault, but %llu keys of %llu", round, (unsigned long long)seen,
              (unsigned long long)keys);
    for (int i = 0; i < 3; i++) write_something(kv, &random);
    if (round % 4 == 0) EXPECT_FINE(spm_kv_shrink(kv), "shrinking");
    spm_kv_rollback(kv);
    (void)kv_faults(kv, &rc);
    spm_kv_close(kv, round % 2);
    (void)unlink(copy);
  }
  ck_assert_uint_gt(opened, ROUNDS / 2);
  ck_assert_uint_gt(found, ROUNDS / 8);
}
END_TEST

/* ------------------------------------------------------- what check finds -- */

/* The block of a branch, or of a leaf, that is no root. */
static uint32_t find_node(const char *path, uint32_t level, uint32_t nth) {
  uint8_t block[SPM_BLOCK_SIZE];
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  for (uint32_t b = 12; pread(fd, block, sizeof block, (off_t)b * SPM_BLOCK_SIZE) == sizeof block; b++)
    if (spm_node_sane(block, b, level) && nth-- == 0) {
      close(fd);
      return b;
    }
  kv_fail("there is no node of level %u", level);
}

static uint64_t field(uint32_t block, size_t offset) { return (uint64_t)block * SPM_BLOCK_SIZE + offset; }
static uint16_t get2(const char *path, uint64_t at) {
  uint16_t value;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ck_assert_int_eq(pread(fd, &value, sizeof value, (off_t)at), sizeof value);
  close(fd);
  return value;
}
static void put2(const char *path, uint64_t at, uint16_t value) { x_patch(path, "", at, &value, sizeof value); }
static void put4(const char *path, uint64_t at, uint32_t value) { x_patch(path, "", at, &value, sizeof value); }
static uint64_t slot(uint32_t block, uint32_t n) {
  return field(block, sizeof(spm_node) + n * sizeof(spm_node_slot));
}
static uint64_t cell(const char *path, uint32_t block, uint32_t n) {
  return field(block, get2(path, slot(block, n) + 4));
}

static void wrong_self(const char *p) { put4(p, field(find_node(p, 0, 3), offsetof(spm_node, self)), 77); }
static void wrong_level(const char *p) {
  x_patch(p, "", field(find_node(p, 0, 3), offsetof(spm_node, level)), "\3", 1);
}
static void wrong_count(const char *p) { put2(p, field(find_node(p, 0, 3), offsetof(spm_node, count)), 3); }
static void no_count(const char *p) { put2(p, field(find_node(p, 0, 3), offsetof(spm_node, count)), 0); }
static void wrong_heap(const char *p) { put2(p, field(find_node(p, 0, 3), offsetof(spm_node, heap)), 4090); }
static void wrong_dead(const char *p) { put2(p, field(find_node(p, 0, 3), offsetof(spm_node, dead)), 4000); }
static void wrong_prefix(const char *p) {
  x_patch(p, "", field(find_node(p, 1, 0), offsetof(spm_node, nprefix)), "\24", 1);
}
static void wrong_head(const char *p) { put4(p, slot(find_node(p, 0, 3), 2), 0); }
static void far_cell(const char *p) { put2(p, slot(find_node(p, 0, 3), 2) + 4, 4095); }
static void same_cell(const char *p) {
  put2(p, slot(find_node(p, 0, 3), 2) + 4, get2(p, slot(find_node(p, 0, 3), 1) + 4));
}
static void long_key(const char *p) { put2(p, slot(find_node(p, 0, 3), 2) + 6, 60000); }
static void child_of_itself(const char *p) { put4(p, cell(p, find_node(p, 1, 0), 2), find_node(p, 1, 0)); }
static void child_far_away(const char *p) { put4(p, cell(p, find_node(p, 1, 0), 2), UINT32_MAX); }
static void child_twice(const char *p) {
  uint32_t branch = find_node(p, 1, 0), child;
  int fd = open(p, O_RDONLY | O_CLOEXEC);
  ck_assert_int_eq(pread(fd, &child, sizeof child, (off_t)cell(p, branch, 1)), sizeof child);
  close(fd);
  put4(p, cell(p, branch, 2), child);
}
/* The spm_kv_run of the first cell that has one. */
static uint64_t find_run(const char *p) {
  for (uint32_t nth = 0;; nth++) {
    uint32_t leaf = find_node(p, 0, nth);
    for (uint32_t i = 0; i < get2(p, field(leaf, offsetof(spm_node, count))); i++)
      if (get2(p, cell(p, leaf, i)) == SPM_CELL_RUN)
        return cell(p, leaf, i) + SPM_LEAF_CELL_HEAD + get2(p, slot(leaf, i) + offsetof(spm_node_slot, nkey));
  }
}
static void run_far_away(const char *p) { put4(p, find_run(p) + offsetof(spm_kv_run, block), 0x7fffffff); }
static void run_across_the_end(const char *p) {
  put4(p, find_run(p) + offsetof(spm_kv_run, block), (uint32_t)(x_length(p, "") / SPM_BLOCK_SIZE) - 1);
  put4(p, find_run(p), 3 * SPM_BLOCK_SIZE);
}
static void run_of_bitmaps(const char *p) { put4(p, find_run(p) + offsetof(spm_kv_run, block), 3); }
static void run_of_nothing(const char *p) { put4(p, find_run(p), 0); }
static void run_too_long(const char *p) { put4(p, find_run(p) + 4, 1); }
static void used_bit_cleared(const char *p) { x_patch(p, "", field(1, 2), "\0", 1); }
static void free_bit_set(const char *p) { x_patch(p, "", field(8, 4000), "\1", 1); }
static void wrong_used(const char *p) { put4(p, offsetof(spm_kv_header, used), 12); }
static void wrong_trees(const char *p) { put4(p, offsetof(spm_kv_header, trees), 7); }
static void wrong_lowest_free(const char *p) { put4(p, offsetof(spm_kv_header, lowest_free), UINT32_MAX); }
static void wrong_generation(const char *p) {
  x_patch(p, "", offsetof(spm_kv_header, generation), "\0\0\0\0\0\0\0\0", 8);
}
static void wrong_root(const char *p) { put4(p, field(9, SPM_BLOCK_SIZE - 8), 5); }

static const struct planted {
  void (*plant)(const char *);
  const char *text; /* of a fault that is reported */
} planted[] = {
    {wrong_self, "is no valid node"},
    {wrong_level, "is no valid node"},
    {wrong_count, "is no valid node"},
    {no_count, "is no valid node"},
    {wrong_heap, "is no valid node"},
    {wrong_dead, "is no valid node"},
    {wrong_prefix, "is no valid node"},
    {wrong_head, "is no valid node"},
    {far_cell, "is no valid node"},
    {same_cell, "is no valid node"},
    {long_key, "is no valid node"},
    {child_of_itself, "and to something else"},
    {child_far_away, "lies behind the end"},
    {child_twice, "and to something else"},
    {run_far_away, "a value is said to be"},
    {run_across_the_end, "a value is said to be"},
    {run_of_bitmaps, "a value is said to be"},
    {run_of_nothing, "a value is said to be"},
    {run_too_long, "a value is said to be"},
    {used_bit_cleared, "in use and marked as free"},
    {free_bit_set, "marked as used and belongs to nothing"},
    {wrong_used, "blocks in use"},
    {wrong_trees, "counts 7 trees"},
    {wrong_lowest_free, "below the lowest free block"},
    {wrong_generation, "generation or number"},
    {wrong_root, "and to something else"},
};
#define PLANTED ((int)(sizeof planted / sizeof *planted))

typedef struct wanted {
  const char *text;
  bool found;
  char last[512];
} wanted;

static bool look_for(void *argument, const char *text) {
  wanted *w = argument;
  w->found = w->found || strstr(text, w->text) != NULL;
  (void)snprintf(w->last, sizeof w->last, "%s", text);
  return true;
}

START_TEST(check_finds_what_is_planted) {
  const char *path = kv_path("x.kv");
  make_store(path);
  if (planted[_i].plant == wrong_lowest_free) { /* needs a free block */
    spm_kv *kv = kv_open(path);
    kv_begin(kv);
    spm_tree t = kv_tree(kv, "large");
    for (uint32_t i = 0; i < 10 * KEYS; i++) {
      uint8_t key[9] = {'k', 0, 0, 0, 0, 0, 0, (uint8_t)(i >> 8), (uint8_t)i};
      int rc = spm_tree_delete(&t, key, sizeof key);
      ck_assert(rc == SQLITE_OK || rc == SQLITE_NOTFOUND);
    }
    kv_commit(kv);
    spm_kv_close(kv, false);
  }
  planted[_i].plant(path);
  spm_kv *kv = kv_open(path);
  wanted w = {.text = planted[_i].text};
  ck_assert_int_eq(spm_kv_check(kv, look_for, &w), SQLITE_CORRUPT);
  if (!w.found) kv_fail("check says: %s", w.last);
  x_ok(spm_kv_snapshot_begin(kv));
  (void)read_all(kv);
  spm_kv_snapshot_end(kv);
  spm_kv_close(kv, false);
}
END_TEST

/* The report can end the check. */
static bool enough(void *argument, const char *text) {
  (void)text;
  return ++*(int *)argument < 1;
}

START_TEST(a_report_can_say_enough) {
  const char *path = kv_path("x.kv");
  int reports = 0;
  make_store(path);
  wrong_self(path);
  wrong_heap(path);
  child_of_itself(path);
  spm_kv *kv = kv_open(path);
  ck_assert_int_eq(spm_kv_check(kv, enough, &reports), SQLITE_CORRUPT);
  ck_assert_int_eq(reports, 1);
  spm_kv_close(kv, false);
}
END_TEST

/* The error log names the block. */
START_TEST(errors_name_the_block) {
  const char *path = kv_path("x.kv");
  char name[40];
  uint64_t keys;
  make_store(path);
  uint32_t block = find_node(path, 0, 0);
  put4(path, field(block, offsetof(spm_node, self)), 1);
  (void)snprintf(name, sizeof name, "block %u ", block);
  spm_kv *kv = kv_open(path);
  x_ok(spm_kv_snapshot_begin(kv));
  int corrupt = 0;
  for (int i = 0; i < 3; i++) {
    spm_tree t = kv_tree(kv, (const char *[]){"small", "large", "long"}[i]);
    if (scan(&t, true, &keys) != SQLITE_CORRUPT) continue;
    corrupt++;
    ck_assert_ptr_nonnull(strstr(spm_last_error(), name));
  }
  ck_assert_int_eq(corrupt, 1);
  spm_kv_snapshot_end(kv);
  spm_kv_close(kv, false);
}
END_TEST

void kv_damage_cases(TCase *tcase) {
  tcase_add_loop_test(tcase, damage_anywhere_is_survived, 0, 2);
  tcase_add_loop_test(tcase, check_finds_what_is_planted, 0, PLANTED);
  tcase_add_test(tcase, a_report_can_say_enough);
  tcase_add_test(tcase, errors_name_the_block);
}
