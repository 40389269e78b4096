/*
** test_kv_node.c - a node alone: order, room, holes, prefixes, and what is no node.
*/
#include "test_kv.h"

#include "../ext/kv/node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static _Alignas(64) uint8_t node[SPM_BLOCK_SIZE];

static void empty(uint32_t level) {
  static const spm_cell first = {.key = (const uint8_t *)"", .child = 99};
  spm_node_build(node, 7, level, &first, level > 0);
}

static int insert(const char *key, uint32_t nkey, uint32_t nvalue, uint8_t fill) {
  static uint8_t value[SPM_BLOCK_SIZE];
  uint32_t at;
  bool found;
  memset(value, fill, nvalue);
  if (!spm_node_search(node, key, nkey, &at, &found)) return SPM_DAMAGED;
  ck_assert(!found);
  return spm_node_insert(
      node, at,
      &(spm_cell){.key = (const uint8_t *)key, .nkey = (uint16_t)nkey, .value = value, .nvalue = (uint16_t)nvalue});
}

static void remove_key(const char *key) {
  uint32_t at;
  bool found;
  ck_assert(spm_node_search(node, key, (uint32_t)strlen(key), &at, &found));
  ck_assert(found);
  x_ok(spm_node_remove(node, at));
}

static bool has(const char *key, uint32_t nvalue, uint8_t fill) {
  static uint8_t wanted[SPM_BLOCK_SIZE];
  uint32_t at;
  bool found;
  spm_cell c;
  memset(wanted, fill, nvalue);
  if (!spm_node_search(node, key, (uint32_t)strlen(key), &at, &found)) ck_abort_msg("no search for %s", key);
  if (!found) return false;
  if (!spm_node_cell(node, at, &c) || c.nvalue != nvalue || memcmp(c.value, wanted, nvalue) != 0)
    ck_abort_msg("%s has another value", key);
  return true;
}

START_TEST(keys_are_ordered) {
  static const char *const keys[] = {"b", "", "ba", "a", "c", "abcdefgh", "abcdefg", "abcdefgi"};
  empty(0);
  for (uint32_t i = 0; i < 8; i++) x_ok(insert(keys[i], (uint32_t)strlen(keys[i]), i, (uint8_t)i));
  ck_assert(spm_node_valid(node, 7, 0));
  for (uint32_t i = 0; i < 8; i++) ck_assert(has(keys[i], i, (uint8_t)i));
  ck_assert(!has("bb", 0, 0));
  spm_cell before, c;
  ck_assert(spm_node_cell(node, 0, &before));
  ck_assert_uint_eq(before.nkey, 0);
  for (uint32_t i = 1; i < 8; i++) {
    ck_assert(spm_node_cell(node, i, &c));
    ck_assert_int_lt(spm_key_compare(before.key, before.nkey, c.key, c.nkey), 0);
    before = c;
  }
}
END_TEST

/* Keys that differ in zeros at their end only have equal heads. */
START_TEST(zeros_at_the_end_count) {
  empty(0);
  for (uint32_t n = 6; n > 0; n--) x_ok(insert("a\0\0\0\0\0", n, n, 1));
  ck_assert(spm_node_valid(node, 7, 0));
  for (uint32_t n = 1; n <= 6; n++) {
    uint32_t at;
    bool found;
    ck_assert(spm_node_search(node, "a\0\0\0\0\0", n, &at, &found));
    ck_assert(found);
    ck_assert_uint_eq(at, n - 1);
  }
}
END_TEST

START_TEST(heads_of_ones) {
  empty(0);
  for (uint32_t n = 1; n < 9; n++) x_ok(insert("\377\377\377\377\377\377\377\377", n, 0, 0));
  ck_assert(spm_node_valid(node, 7, 0));
  uint32_t at;
  bool found;
  ck_assert(spm_node_search(node, "\377\377\377\377\377\377", 6, &at, &found));
  ck_assert(found);
  ck_assert_uint_eq(at, 5);
}
END_TEST

/* A second key sets the prefix, others make it shorter. */
START_TEST(prefix_follows_the_keys) {
  const spm_node *n = (const spm_node *)(const void *)node;
  empty(0);
  x_ok(insert("prefix:one", 10, 1, 1));
  x_ok(insert("prefix:two", 10, 1, 1));
  ck_assert_uint_eq(n->nprefix, 7);
  x_ok(insert("prefixes", 8, 1, 1));
  ck_assert_uint_eq(n->nprefix, 6);
  x_ok(insert("p", 1, 1, 1));
  ck_assert_uint_eq(n->nprefix, 1);
  x_ok(insert("", 0, 1, 1));
  ck_assert_uint_eq(n->nprefix, 0);
  ck_assert(spm_node_valid(node, 7, 0));
  ck_assert(has("prefix:two", 1, 1));
  ck_assert(!has("prefix:tw", 1, 1));
  ck_assert(!has("q", 1, 1));
}
END_TEST

START_TEST(full_is_told_and_nothing_changed) {
  char key[2] = "a";
  empty(0);
  for (; insert(key, 1, 200, 3) == SQLITE_OK; key[0]++) continue;
  ck_assert_int_eq(key[0] - 'a', SPM_NODE_ROOM / (200 + 1 + 2 + 8));
  uint8_t copy[SPM_BLOCK_SIZE];
  memcpy(copy, node, sizeof copy);
  ck_assert_int_eq(insert(key, 1, 200, 3), SQLITE_FULL);
  ck_assert_mem_eq(copy, node, sizeof copy);
  ck_assert(spm_node_valid(node, 7, 0));
}
END_TEST

/* Room between cells is used, as it is if one fits, and moved together otherwise. */
START_TEST(holes_are_filled) {
  char key[2] = "a";
  empty(0);
  for (; insert(key, 1, 200, (uint8_t)key[0]) == SQLITE_OK; key[0]++) continue;
  uint16_t heap = ((const spm_node *)(const void *)node)->heap;
  remove_key("c");
  remove_key("f");
  x_ok(insert("cc", 2, 199, 9)); /* exactly */
  ck_assert_uint_eq(((const spm_node *)(const void *)node)->heap, heap);
  x_ok(insert("ff", 2, 100, 8));
  ck_assert_uint_eq(((const spm_node *)(const void *)node)->dead, 99);
  remove_key("j");
  x_ok(insert("jj", 2, 250, 7)); /* in no hole: all are moved */
  ck_assert_uint_eq(((const spm_node *)(const void *)node)->dead, 0);
  ck_assert(spm_node_valid(node, 7, 0));
  ck_assert(has("a", 200, 'a') && has("cc", 199, 9) && has("ff", 100, 8) && has("jj", 250, 7) && has("k", 200, 'k'));
}
END_TEST

START_TEST(values_shrink_in_place) {
  static const uint8_t value[300] = {1};
  empty(0);
  x_ok(insert("a", 1, 200, 1));
  x_ok(insert("b", 1, 200, 2));
  x_ok(spm_node_set_value(node, 0, 200, value));
  x_ok(spm_node_set_value(node, 0, 50, value));
  ck_assert_int_eq(spm_node_set_value(node, 0, 300, value), SQLITE_FULL);
  ck_assert(spm_node_valid(node, 7, 0));
  ck_assert_uint_eq(spm_node_used(node), 2 * 8 + 53 + 203);
  ck_assert(has("b", 200, 2));
}
END_TEST

START_TEST(branches_route) {
  uint32_t at;
  empty(2);
  for (uint32_t i = 1; i < 20; i++) {
    char key[3] = {'k', (char)('a' + i), 0};
    x_ok(spm_node_insert(node, i, &(spm_cell){.key = (const uint8_t *)key, .nkey = 2, .child = i}));
  }
  ck_assert(spm_node_valid(node, 7, 2));
  static const struct {
    const char *key;
    uint32_t at;
  } routes[] = {{"", 0}, {"k", 0}, {"ka", 0}, {"kazzz", 0}, {"kb", 1}, {"kbb", 1}, {"kt", 19}, {"z", 19}};
  for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
    ck_assert(spm_node_route(node, routes[i].key, (uint32_t)strlen(routes[i].key), &at));
    ck_assert_uint_eq(at, routes[i].at);
  }
  x_ok(spm_node_remove(node, 0)); /* the next one stands for "below all" */
  ck_assert(spm_node_valid(node, 7, 2));
  ck_assert(spm_node_route(node, "a", 1, &at));
  ck_assert_uint_eq(at, 0);
}
END_TEST

/* A block with nothing before and behind it: who reads or stores there dies. */
static uint8_t *fenced_block(void) {
  uint8_t *at = mmap(NULL, 3 * SPM_BLOCK_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ck_assert_ptr_ne(at, MAP_FAILED);
  ck_assert_int_eq(mprotect(at + SPM_BLOCK_SIZE, SPM_BLOCK_SIZE, PROT_READ | PROT_WRITE), 0);
  return at + SPM_BLOCK_SIZE;
}

static void check_cells(const uint8_t *block) {
  spm_cell c;
  for (uint32_t i = 0; i < spm_node_count(block); i++) {
    if (!spm_node_cell(block, i, &c)) continue;
    if (c.value + spm_cell_value_size(&c) > block + SPM_BLOCK_SIZE) ck_abort_msg("cell %u lies outside", i);
    if (c.nkey > SPM_KV_KEY_MAX) ck_abort_msg("cell %u has a key of %u bytes", i, c.nkey);
  }
}

/* One byte after the other is wrong; as the high one of a length, 5 is more than a key has. */
START_TEST(any_byte_may_be_wrong) {
  uint8_t *block = fenced_block();
  empty(0);
  for (char last = 'a'; last < 'm'; last++) x_ok(insert((char[]){'k', 'e', 'y', last}, 4, 150, 1));
  for (uint32_t at = 0; at < SPM_BLOCK_SIZE; at++) {
    memcpy(block, node, SPM_BLOCK_SIZE);
    block[at] = 5;
    if (spm_node_sane(block, 7, SPM_ANY_LEVEL)) check_cells(block);
  }
}
END_TEST

/* Whatever a block holds: an answer, and inside the block. */
START_TEST(any_bytes_are_survived) {
  uint8_t *block = fenced_block();
  uint64_t random = x_seed();
  uint32_t sane = 0;
  for (int round = 0; round < 20000; round++) {
    empty(round & 1);
    for (int i = 0; i < 12; i++) {
      char key[8] = "key0000";
      key[6] = (char)('a' + i);
      if (round & 1)
        x_ok(spm_node_insert(node, (uint32_t)i + 1, &(spm_cell){.key = (const uint8_t *)key, .nkey = 7, .child = 5}));
      else
        x_ok(insert(key, 7, 150, 1));
    }
    for (uint64_t flips = x_random(&random) % 6 + 1; flips > 0; flips--)
      node[x_random(&random) % (x_random(&random) % 3 ? 160 : SPM_BLOCK_SIZE)] = (uint8_t)(x_random(&random) >> 20);
    memcpy(block, node, SPM_BLOCK_SIZE);
    if (!spm_node_sane(block, 7, SPM_ANY_LEVEL)) continue;
    sane++;
    uint32_t at;
    bool found;
    if (spm_node_search(block, "key000c", 7, &at, &found)) ck_assert_uint_le(at, spm_node_count(block));
    if (spm_node_route(block, "key000c", 7, &at)) ck_assert_uint_lt(at, spm_node_count(block));
    check_cells(block);
    bool valid = spm_node_valid(block, 7, SPM_ANY_LEVEL);
    static const uint8_t value[700];
    int rc = spm_node_insert(
        block, 1, &(spm_cell){.key = (const uint8_t *)"key000bb", .nkey = 8, .value = value, .nvalue = 700});
    ck_assert(rc == SQLITE_OK || rc == SQLITE_FULL || rc == SPM_DAMAGED);
    if (rc == SQLITE_OK) rc = spm_node_remove(block, 0);
    if (rc == SQLITE_OK) rc = spm_node_level(block) > 0 ? spm_node_set_child(block, 0, 9) : spm_node_set_value(block, 0, 90, value);
    ck_assert(rc == SQLITE_OK || rc == SQLITE_FULL || rc == SPM_DAMAGED);
    if (valid && rc == SPM_DAMAGED) ck_abort_msg("round %d: a valid node is said to be damaged", round);
  }
  ck_assert_uint_gt(sane, 1000);
}
END_TEST

/* Against an array, until everything was full and empty many times. */
START_TEST(random_inserts_and_removes) {
  uint64_t random = x_seed();
  char keys[64][12];
  bool in[64] = {false};
  uint32_t size[64] = {0}, nkey[64];
  empty(0);
  for (int i = 0; i < 64; i++)
    nkey[i] = (uint32_t)snprintf(keys[i], sizeof keys[i], "%s%d", i % 3 ? "same:" : "", i * 7919 % 64);
  for (int round = 0; round < 30000; round++) {
    uint64_t i = x_random(&random) % 64;
    if (!in[i]) {
      size[i] = (uint32_t)(x_random(&random) % (round % 1000 < 500 ? 30 : 300));
      int rc = insert(keys[i], nkey[i], size[i], (uint8_t)i);
      in[i] = rc == SQLITE_OK;
      if (rc != SQLITE_OK) ck_assert_int_eq(rc, SQLITE_FULL);
    } else if (x_random(&random) % 2 == 0) {
      remove_key(keys[i]);
      in[i] = false;
    }
    if (round % 16 != 0) continue;
    if (!spm_node_valid(node, 7, 0)) ck_abort_msg("round %d: the node is not valid", round);
    for (uint32_t j = 0; j < 64; j++)
      if (has(keys[j], size[j], (uint8_t)j) != in[j]) ck_abort_msg("round %d: key %u", round, j);
  }
}
END_TEST

void kv_node_cases(TCase *tcase) {
  tcase_add_test(tcase, keys_are_ordered);
  tcase_add_test(tcase, zeros_at_the_end_count);
  tcase_add_test(tcase, heads_of_ones);
  tcase_add_test(tcase, prefix_follows_the_keys);
  tcase_add_test(tcase, full_is_told_and_nothing_changed);
  tcase_add_test(tcase, holes_are_filled);
  tcase_add_test(tcase, values_shrink_in_place);
  tcase_add_test(tcase, branches_route);
  tcase_add_test(tcase, any_byte_may_be_wrong);
  tcase_add_test(tcase, any_bytes_are_survived);
  tcase_add_test(tcase, random_inserts_and_removes);
}
