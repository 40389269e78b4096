/*
** scale.c - a key-value store with millions of keys: how much of the medium it takes, and
** that everything in it is where it belongs.
**
**     kv-scale FOLDER [KEYS [MANY]]
**
** KEYS (1000000) keys of 16 bytes with values of 100 are inserted in random order, each in
** a durable transaction of its own, and all overwritten ten times, again in random order.
** After each, file and log together take at most 1.6 times the bytes of keys and values,
** and so does the file that a clean close leaves.
**
** MANY (5000000) keys are inserted, the store is opened again after a clean close and after
** a crash, scanned both ways, read at random, deleted at random, checked after each step,
** and shrunk to nothing.
**
** Times are printed for the reader; nothing depends on them.
*/
#include "../../ext/kv/kvcheck.h"
#include "../../ext/kv/kvstore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NKEY 16u
#define NVALUE 100u
#define RATIO_MAX 1.6
#define OVERWRITES 10u
#define BATCH 1000u
#define LOG_SIZE (UINT64_C(10) << 20) /* its default limit */

static char path[4096];
static spm_kv *kv;

__attribute__((noreturn)) static void fail(const char *what, int rc) {
  (void)printf("FAILED: %s: %d, %s\n", what, rc, spm_last_error());
  exit(EXIT_FAILURE);
}

static void ok(int rc, const char *what) {
  if (rc != SQLITE_OK) fail(what, rc);
}

static double seconds(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ------------------------------------------------------- keys and values -- */

/* A permutation of 64-bit numbers: neighbours come to lie anywhere. */
static uint64_t scatter(uint64_t z) {
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

/* The number of the key is in it, so that a scan can tell which it met. */
static void make_key(uint8_t key[NKEY], uint64_t number) {
  uint64_t spread = __builtin_bswap64(scatter(number + 1));
  memcpy(key, &spread, 8);
  memcpy(key + 8, &number, 8);
}

static void make_value(uint8_t value[NVALUE], uint64_t number, uint64_t round) {
  for (uint32_t i = 0; i < NVALUE; i += 4) {
    uint32_t word = (uint32_t)scatter(number * 64 + round + i * UINT64_C(0x100000000));
    memcpy(value + i, &word, 4);
  }
}

/* 0 to n - 1 in some other order; n need not be a power of two. */
static uint64_t shuffled(uint64_t i, uint64_t n, uint64_t round) {
  uint64_t stride = (n * 618 / 1000) | 1;
  for (uint64_t a = n, b = stride; b != 0;) { /* until they have no divisor in common */
    uint64_t rest = a % b;
    a = b;
    b = rest;
    if (b != 0 || a == 1) continue;
    a = n;
    b = stride += 2;
  }
  return (i * stride + round * 7919) % n;
}

/* ------------------------------------------------------------ operations -- */

static void open_store(void) { ok(spm_kv_open(path, &(spm_kv_options){.create = true}, &kv), "opening"); }

static spm_tree tree(void) {
  spm_tree t;
  ok(spm_kv_tree(kv, "t", &t), "the tree");
  return t;
}

static bool report(void *argument, const char *text) {
  (void)argument;
  (void)printf("  fault: %s\n", text);
  return true;
}

static void check(void) { ok(spm_kv_check(kv, report, NULL), "the check"); }

static void put_all(uint64_t keys, uint64_t round, uint32_t batch) {
  double start = seconds();
  uint8_t key[NKEY], value[NVALUE];
  for (uint64_t i = 0; i < keys; i++) {
    uint64_t number = shuffled(i, keys, round);
    if (i % batch == 0) ok(spm_kv_begin(kv), "beginning");
    spm_tree t = tree();
    make_key(key, number);
    make_value(value, number, round);
    ok(spm_tree_put(&t, key, NKEY, value, NVALUE), "a put");
    if ((i + 1) % batch == 0 || i + 1 == keys) ok(spm_kv_commit(kv), "a commit");
  }
  (void)printf("  %llu puts, %u a transaction: %.2f us each\n", (unsigned long long)keys, batch,
               (seconds() - start) * 1e6 / (double)keys);
}

static void delete_all(uint64_t keys) {
  double start = seconds();
  uint8_t key[NKEY];
  for (uint64_t i = 0; i < keys; i++) {
    if (i % BATCH == 0) ok(spm_kv_begin(kv), "beginning");
    spm_tree t = tree();
    make_key(key, shuffled(i, keys, 3));
    ok(spm_tree_delete(&t, key, NKEY), "a delete");
    if ((i + 1) % BATCH == 0 || i + 1 == keys) ok(spm_kv_commit(kv), "a commit");
    if (i == keys / 2) check();
  }
  (void)printf("  %llu deletes: %.2f us each\n", (unsigned long long)keys, (seconds() - start) * 1e6 / (double)keys);
}

/* Every key once, in order, with its value. */
static void scan(uint64_t keys, uint64_t round, bool up) {
  double start = seconds();
  uint8_t *seen = calloc(keys / 8 + 1, 1), before[NKEY] = {0}, value[NVALUE];
  uint64_t found = 0;
  spm_tree_cursor c;
  ok(spm_kv_snapshot_begin(kv), "a snapshot");
  spm_tree t = tree();
  spm_cursor_open(&c, &t);
  int rc = spm_cursor_seek(&c, up ? SPM_SEEK_FIRST : SPM_SEEK_LAST, NULL, 0);
  for (; rc == SQLITE_OK; rc = up ? spm_cursor_next(&c) : spm_cursor_prev(&c), found++) {
    uint32_t n;
    uint64_t number;
    spm_value v;
    const uint8_t *key = spm_cursor_key(&c, &n);
    ok(spm_cursor_value(&c, &v), "a value");
    memcpy(&number, key + 8, 8);
    if (n != NKEY || number >= keys || seen[number / 8] >> (number % 8) & 1)
      fail("a key that was not put, or twice", 0);
    if (found > 0 && (memcmp(before, key, NKEY) < 0) != up) fail("keys are not in order", 0);
    make_value(value, number, round);
    if (v.size != NVALUE || memcmp(v.bytes, value, NVALUE) != 0) fail("a value is another one", 0);
    seen[number / 8] |= (uint8_t)(1u << (number % 8));
    memcpy(before, key, NKEY);
  }
  if (rc != SQLITE_NOTFOUND) fail("a scan", rc);
  if (found != keys) fail("keys are missing", 0);
  spm_kv_snapshot_end(kv);
  free(seen);
  (void)printf("  a scan %s, each value compared: %.0f ns a key\n", up ? "up" : "down",
               (seconds() - start) * 1e9 / (double)keys);
}

static void get_some(uint64_t keys, uint64_t round) {
  uint64_t gets = keys / 5;
  double start = seconds();
  uint8_t key[NKEY], value[NVALUE];
  for (uint64_t i = 0; i < gets; i++) {
    uint64_t number = shuffled(i, keys, 5);
    spm_value v;
    ok(spm_kv_snapshot_begin(kv), "a snapshot");
    spm_tree t = tree();
    make_key(key, number);
    ok(spm_tree_get(&t, key, NKEY, &v), "a get");
    make_value(value, number, round);
    if (v.size != NVALUE || memcmp(v.bytes, value, NVALUE) != 0) fail("a value is another one", 0);
    spm_kv_snapshot_end(kv);
  }
  (void)printf("  %llu gets, a snapshot each: %.2f us each\n", (unsigned long long)gets,
               (seconds() - start) * 1e6 / (double)gets);
}

/* ----------------------------------------------------------------- space -- */

static uint64_t length_of(const char *suffix) {
  char name[5000];
  struct stat status;
  (void)snprintf(name, sizeof name, "%s%s", path, suffix);
  return stat(name, &status) == 0 ? (uint64_t)status.st_size : 0;
}

/* The log has its size whatever the store has: it counts where the store is large. */
static void expect_ratio(const char *when, uint64_t keys) {
  uint64_t live = keys * (NKEY + NVALUE), file = length_of(""), log = length_of("-pmlog");
  double ratio = (double)(file + (live >= 10 * LOG_SIZE ? log : 0)) / (double)live;
  (void)printf("  %-28s file %llu, log %llu, live %llu bytes: %.3f times\n", when, (unsigned long long)file,
               (unsigned long long)log, (unsigned long long)live, ratio);
  if (ratio > RATIO_MAX) fail("they are too many", 0);
}

static void close_store(void) {
  spm_kv_close(kv, false);
  if (length_of("-pmlog") != 0) fail("a log is left", 0);
}

static void space(uint64_t keys) {
  (void)printf("space: %llu keys of %u bytes, values of %u\n", (unsigned long long)keys, NKEY, NVALUE);
  put_all(keys, 0, 1);
  expect_ratio("after random inserts", keys);
  close_store();
  expect_ratio("closed", keys);
  open_store();
  for (uint64_t round = 1; round <= OVERWRITES; round++) put_all(keys, round, 1);
  expect_ratio("after ten times overwriting", keys);
  check();
  scan(keys, OVERWRITES, true);
  close_store();
  expect_ratio("closed", keys);
  open_store();
  ok(spm_kv_begin(kv), "beginning");
  ok(spm_kv_tree_drop(kv, "t"), "dropping");
  ok(spm_kv_commit(kv), "a commit");
  check();
}

/* Leave as a process does that dies: the log stays, and is needed. */
static int refuse(void *argument) { return (void)argument, SQLITE_BUSY; }
static void crash_store(void) {
  spm_store_detach(spm_kv_conn(kv), refuse, NULL);
  if (length_of("-pmlog") == 0) fail("there is no log to recover from", 0);
}

static void many(uint64_t keys) {
  (void)printf("many: %llu keys\n", (unsigned long long)keys);
  put_all(keys, 0, BATCH);
  crash_store();
  double start = seconds();
  open_store();
  (void)printf("  recovered in %.0f ms\n", (seconds() - start) * 1e3);
  check();
  close_store();
  start = seconds();
  open_store();
  (void)printf("  opened in %.1f ms\n", (seconds() - start) * 1e3);
  scan(keys, 0, true);
  scan(keys, 0, false);
  get_some(keys, 0);
  delete_all(keys);
  check();
  start = seconds();
  ok(spm_kv_shrink(kv), "shrinking");
  (void)printf("  shrunk to %llu bytes in %.0f ms\n", (unsigned long long)spm_conn_size(spm_kv_conn(kv)),
               (seconds() - start) * 1e3);
}

static void make_tree(void) {
  spm_tree t;
  ok(spm_kv_begin(kv), "beginning");
  ok(spm_kv_tree_create(kv, "t", &t), "the tree");
  ok(spm_kv_commit(kv), "a commit");
}

int main(int argc, char **argv) {
  if (argc < 2) return EXIT_FAILURE;
  uint64_t keys = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000,
           all = argc > 3 ? strtoull(argv[3], NULL, 10) : 5000000;
  (void)snprintf(path, sizeof path, "%s/scale.kv", argv[1]);
  (void)setvbuf(stdout, NULL, _IOLBF, 0);
  open_store();
  (void)printf("medium: %s\n", spm_store_medium(spm_kv_conn(kv)));
  make_tree();
  space(keys);
  make_tree();
  many(all);
  close_store();
  if (length_of("") != 11u * SPM_BLOCK_SIZE) fail("the file is not as short as it could be", 0);
  (void)unlink(path);
  (void)printf("scale: all as it should be\n");
  return EXIT_SUCCESS;
}
