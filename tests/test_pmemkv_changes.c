/*
** test_pmemkv_changes.c - the write set against a model that keeps every version.
*/
#include "fixture.h"
#include "scarce.h"
#include "test_pmemkv.h"

#include "../ext/kv/arena.h"
#include "../ext/kv/changes.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* check tells its parent of each assertion, which is slow where there are millions. */
#define MUST(what) ((what) ? (void)0 : ck_abort_msg("%s", #what))

/* ------------------------------------------------------------------- model -- */

/* Every write there was and that was not rolled back, in their order. */
#define KEYS 60u /* in two trees */
#define WRITES_MAX 4000u
typedef struct write {
  uint64_t sequence;
  unsigned key;
  int value;    /* -1: deleted */
  int previous; /* of the same key; -1: none */
} write;
static struct {
  write writes[WRITES_MAX];
  unsigned count;
  int last[KEYS];
} model;

static void model_clear(void) {
  model.count = 0;
  for (unsigned key = 0; key < KEYS; key++) model.last[key] = -1;
}

static void model_write(uint64_t sequence, unsigned key, int value) {
  MUST(model.count < WRITES_MAX);
  model.writes[model.count] = (write){sequence, key, value, model.last[key]};
  model.last[key] = (int)model.count++;
}

static void model_rollback(uint64_t sequence) {
  while (model.count > 0 && model.writes[model.count - 1].sequence > sequence) {
    const write *w = &model.writes[--model.count];
    model.last[w->key] = w->previous;
  }
}

static uint32_t tree_of(unsigned key) { return 1 + key / (KEYS / 2); }

/* Keys of several lengths, some of which begin others, and some longer than eight. */
static uint32_t key_bytes(unsigned key, char to[32]) {
  static const char *const forms[] = {"%u", "a%u", "a%u\377", "prefix-of-them-all-%u", "z"};
  unsigned n = key % (KEYS / 2);
  int length = snprintf(to, 32, forms[n % 4], n / 8);
  if (n % 8 >= 4) to[length++] = 0;
  return (uint32_t)length;
}

static int compare_as_bytes(unsigned a, unsigned b) {
  char x[32], y[32];
  uint32_t nx = key_bytes(a, x), ny = key_bytes(b, y);
  if (tree_of(a) != tree_of(b)) return tree_of(a) < tree_of(b) ? -1 : 1;
  int order = memcmp(x, y, nx < ny ? nx : ny);
  return order != 0 ? order : (nx > ny) - (nx < ny);
}

/* The value at `sequence`; -2: not written by then. */
static int model_value(unsigned key, uint64_t sequence) {
  for (int i = model.last[key]; i >= 0; i = model.writes[i].previous)
    if (model.writes[i].sequence <= sequence) return model.writes[i].value;
  return -2;
}

static int version_value(const spm_version *v) {
  if (v == NULL) return -2;
  if (v->deleted) return -1;
  int value;
  MUST(v->size >= sizeof value);
  memcpy(&value, v->bytes, sizeof value);
  for (uint64_t i = sizeof value; i < v->size; i++) MUST(v->bytes[i] == (uint8_t)(value + (int)i));
  return value;
}

/* ----------------------------------------------------------------- actions -- */

static int put(spm_changes *s, unsigned key, int value, uint64_t size) {
  if (value < 0) value = -1;
  char bytes[32];
  uint32_t n = key_bytes(key, bytes);
  uint8_t *to;
  int rc = value < 0 ? spm_changes_delete(s, tree_of(key), bytes, n)
                     : spm_changes_put(s, tree_of(key), bytes, n, size, &to);
  if (rc != SQLITE_OK) return rc;
  if (value >= 0) {
    memcpy(to, &value, sizeof value);
    for (uint64_t i = sizeof value; i < size; i++) to[i] = (uint8_t)(value + (int)i);
  }
  model_write(spm_changes_sequence(s), key, value);
  return SQLITE_OK;
}

static void roll_back(spm_changes *s, uint64_t sequence) {
  spm_changes_rollback(s, sequence);
  model_rollback(sequence);
}

static void check_point_reads(const spm_changes *s, uint64_t sequence) {
  for (unsigned key = 0; key < KEYS; key++) {
    char bytes[32];
    uint32_t n = key_bytes(key, bytes);
    MUST(version_value(spm_changes_find(s, tree_of(key), bytes, n, sequence)) == model_value(key, sequence));
  }
}

/* The keys of the tree as the model sees them from `from` on, in their order. */
static unsigned model_scan(uint32_t tree, uint64_t sequence, int from, bool included, bool down, unsigned list[KEYS]) {
  unsigned count = 0;
  for (unsigned key = 0; key < KEYS; key++) {
    int order = from < 0 ? 1 : compare_as_bytes(key, (unsigned)from);
    if (down && from >= 0) order = -order;
    if (tree_of(key) != tree || order < 0 || (order == 0 && !included) || model_value(key, sequence) == -2) continue;
    unsigned i = count++;
    for (; i > 0 && (compare_as_bytes(list[i - 1], key) > 0) != down; i--) list[i] = list[i - 1];
    list[i] = key;
  }
  return count;
}

static void check_scan(const spm_changes *s, uint32_t tree, uint64_t sequence, int from, bool included, bool down) {
  unsigned list[KEYS], count = model_scan(tree, sequence, from, included, down, list), seen = 0;
  char bytes[32] = "";
  uint32_t n = from < 0 ? 0 : key_bytes((unsigned)from, bytes);
  const spm_change *c = down ? spm_changes_last(s, tree, bytes, n, included)
                             : spm_changes_first(s, tree, bytes, n, included);
  for (; c != NULL; c = down ? spm_change_prev(c) : spm_change_next(c)) {
    const spm_version *v = spm_change_version(c, sequence);
    if (v == NULL) continue;
    MUST(seen < count);
    char wanted[32];
    uint32_t nwanted = key_bytes(list[seen], wanted), nkey;
    const uint8_t *key = spm_change_key(c, &nkey);
    MUST(nkey == nwanted);
    MUST(memcmp(key, wanted, nkey) == 0);
    MUST(version_value(v) == model_value(list[seen++], sequence));
  }
  MUST(seen == count);
}

static void check_all(const spm_changes *s, uint64_t sequence, uint64_t *seed) {
  check_point_reads(s, sequence);
  for (uint32_t tree = 0; tree <= 3; tree++) check_scan(s, tree, sequence, -1, true, false);
  int from = (int)(x_random(seed) % KEYS);
  bool included = x_random(seed) % 2 == 0;
  check_scan(s, tree_of((unsigned)from), sequence, from, included, false);
  check_scan(s, tree_of((unsigned)from), sequence, from, included, true);
}

/* No version is kept that no mark and no reader of now needs. */
static void check_lengths(const spm_changes *s, unsigned marks) {
  for (const spm_change *c = spm_changes_begin(s); c != NULL; c = spm_change_following(c)) {
    unsigned versions = 0;
    for (const spm_version *v = spm_change_newest(c); v != NULL; v = v->older) versions++;
    MUST(versions <= marks + 1);
  }
}

/* ------------------------------------------------------------------- tests -- */

#define MARKS 6u

/* Marks are removed in any order, and rolled back to in any order. */
static void one_transaction(spm_changes *s, uint64_t *seed, unsigned steps) {
  spm_mark marks[MARKS];
  bool set[MARKS] = {0};
  uint64_t begin = spm_changes_sequence(s);
  model_clear();
  unsigned most_marks = 0;
  for (unsigned i = 0; i < steps; i++) {
    unsigned m = (unsigned)(x_random(seed) % MARKS), now = 0;
    uint64_t action = x_random(seed) % 20;
    if (action < 14) {
      MUST(SQLITE_OK == put(s, (unsigned)(x_random(seed) % KEYS), (int)(x_random(seed) % 1000) - 100,
               sizeof(int) + (x_random(seed) % 8 == 0 ? x_random(seed) % 3000 : x_random(seed) % 40)));
    } else if (action < 17) {
      set[m] ? spm_changes_unmark(s, &marks[m]) : spm_changes_mark(s, &marks[m]);
      set[m] = !set[m];
    } else if (action == 17 && set[m]) {
      roll_back(s, marks[m].sequence);
    } else if (action == 18 && x_random(seed) % 30 == 0) {
      roll_back(s, begin);
    }
    for (m = 0; m < MARKS; m++) now += set[m];
    if (now > most_marks) most_marks = now;
    if (i % 7 != 0) continue;
    check_all(s, spm_changes_sequence(s), seed);
    for (m = 0; m < MARKS; m++)
      if (set[m]) check_all(s, marks[m].sequence, seed);
    check_lengths(s, most_marks);
  }
  for (unsigned m = 0; m < MARKS; m++)
    if (set[m]) spm_changes_unmark(s, &marks[m]);
}

START_TEST(write_set_behaves_as_its_model) {
  uint64_t seed = _i == 0 ? 4 : x_seed();
  spm_changes *s;
  x_ok(spm_changes_new(&s));
  for (unsigned i = 0; i < 40; i++) {
    one_transaction(s, &seed, 1 + (unsigned)(x_random(&seed) % 400));
    spm_changes_clear(s);
    MUST(spm_changes_empty(s));
    MUST(spm_changes_begin(s) == NULL);
  }
  spm_changes_free(s);
}
END_TEST

/* Every allocation fails in its turn; what was there before stays, and stays right. */
START_TEST(write_set_survives_lack_of_memory) {
  uint64_t seed = 5;
  spm_changes *s = NULL;
  scarce_install();
  unsigned refused = 0;
  for (long n = 0; n < 60; n++) {
    scarce_left = n % 2;
    int rc = spm_changes_new(&s);
    MUST(rc == (n % 2 == 0 ? SQLITE_NOMEM : SQLITE_OK));
    if (rc != SQLITE_OK) continue;
    model_clear();
    scarce_left = n / 4;
    for (unsigned i = 0; i < 1500; i++) {
      rc = put(s, (unsigned)(x_random(&seed) % KEYS), (int)i, i % 50 == 0 ? 5000 : 900);
      MUST(rc == SQLITE_OK || rc == SQLITE_NOMEM);
      refused += rc == SQLITE_NOMEM;
      if (i % 100 == 0) check_all(s, spm_changes_sequence(s), &seed);
    }
    scarce_left = -1;
    x_ok(put(s, 0, 1, 8));
    check_all(s, spm_changes_sequence(s), &seed);
    spm_changes_free(s);
  }
  MUST(refused > 100);
  MUST(sqlite3_memory_used() == 0);
}
END_TEST

/* One key written again and again, and a small transaction repeated, need no more memory. */
START_TEST(memory_is_used_again) {
  spm_changes *s;
  uint8_t *bytes;
  x_ok(spm_changes_new(&s));
  x_ok(spm_changes_put(s, 1, "k", 1, 700, &bytes));
  int64_t used = 0;
  for (unsigned i = 0; i < 1000; i++) {
    spm_mark cursor;
    spm_changes_mark(s, &cursor);
    x_ok(spm_changes_put(s, 1, "k", 1, 700, &bytes));
    spm_changes_unmark(s, &cursor);
    if (i == 10) used = sqlite3_memory_used();
  }
  MUST(sqlite3_memory_used() == used);
  spm_changes_clear(s);
  used = sqlite3_memory_used();
  for (unsigned i = 0; i < 100; i++) {
    x_ok(spm_changes_put(s, 1, "k", 1, 700, &bytes));
    MUST(sqlite3_memory_used() == used);
    spm_changes_clear(s);
  }
  spm_changes_free(s);
  MUST(sqlite3_memory_used() == 0);
}
END_TEST

/* Ascending, descending and random keys, many of them: all there, in order. */
START_TEST(many_changes_stay_in_order) {
  enum { MANY = 50000 };
  uint64_t seed = 6;
  spm_changes *s;
  x_ok(spm_changes_new(&s));
  for (uint32_t i = 0; i < MANY; i++) {
    uint32_t keys[3] = {__builtin_bswap32(i), __builtin_bswap32(MANY - 1 - i), (uint32_t)x_random(&seed)};
    for (uint32_t tree = 0; tree < 3; tree++) {
      uint8_t *bytes;
      MUST(spm_changes_put(s, tree, &keys[tree], 4, 4, &bytes) == SQLITE_OK);
      memcpy(bytes, &keys[tree], 4);
    }
  }
  uint32_t counts[3] = {0};
  const uint8_t *last = NULL;
  for (const spm_change *c = spm_changes_begin(s); c != NULL; c = spm_change_following(c)) {
    uint32_t n, tree = spm_change_tree(c);
    const uint8_t *key = spm_change_key(c, &n);
    MUST(tree < 3);
    if (counts[tree]++ > 0) MUST(memcmp(last, key, 4) < 0);
    MUST(memcmp(spm_change_newest(c)->bytes, key, 4) == 0);
    last = key;
  }
  MUST(counts[0] == MANY);
  MUST(counts[1] == MANY);
  MUST(counts[2] > MANY - 100);
  spm_changes_free(s);
}
END_TEST

TCase *pmemkv_changes_case(void) {
  TCase *c = tcase_create("changes");
  tcase_set_timeout(c, 120);
  tcase_add_loop_test(c, write_set_behaves_as_its_model, 0, 2);
  tcase_add_test(c, write_set_survives_lack_of_memory);
  tcase_add_test(c, memory_is_used_again);
  tcase_add_test(c, many_changes_stay_in_order);
  return c;
}
