/*
** memory.c - a key-value store to which memory is refused.
**
**     kv-memory FOLDER
**
** A series of steps is made once as it is, and the content of the store is noted after
** each.  Then it is made again and again, and the first, the second, the third ...
** allocation of this project's code is refused, until there is no such allocation any
** more.  A step that fails must say SQLITE_NOMEM, and the store must be as it was before
** the step, valid, and ready to make the same step again.
*/
#include "../../ext/kv/kvcheck.h"
#include "../../ext/kv/kvstore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[4096];
static spm_kv *kv;
static unsigned long allocations, refuse_at; /* 0: none */
static bool counting;

/* ------------------------------------------------------------ the allocator -- */

void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void *__real_aligned_alloc(size_t, size_t);
char *__real_strdup(const char *);
void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);
void *__wrap_aligned_alloc(size_t, size_t);
char *__wrap_strdup(const char *);

static bool refused(void) { return counting && ++allocations == refuse_at; }
void *__wrap_malloc(size_t n) { return refused() ? NULL : __real_malloc(n); }
void *__wrap_calloc(size_t count, size_t n) { return refused() ? NULL : __real_calloc(count, n); }
void *__wrap_realloc(void *p, size_t n) { return refused() ? NULL : __real_realloc(p, n); }
void *__wrap_aligned_alloc(size_t to, size_t n) { return refused() ? NULL : __real_aligned_alloc(to, n); }
char *__wrap_strdup(const char *s) { return refused() ? NULL : __real_strdup(s); }

/* ------------------------------------------------------------------- steps -- */

__attribute__((noreturn)) static void fail(const char *what, int rc) {
  (void)printf("FAILED: allocation %lu refused: %s: %d, %s\n", refuse_at, what, rc, spm_last_error());
  exit(EXIT_FAILURE);
}

static int put_some(spm_tree *t, uint32_t from, uint32_t to, uint32_t size) {
  static uint8_t value[100000];
  int rc = SQLITE_OK;
  for (uint32_t i = from; rc == SQLITE_OK && i < to; i++) {
    uint32_t key = i * 2654435761u;
    memset(value, (int)i, sizeof value);
    rc = spm_tree_put(t, &key, sizeof key, value, size);
  }
  return rc;
}

static int delete_some(spm_tree *t, uint32_t from, uint32_t to) {
  int rc = SQLITE_OK;
  for (uint32_t i = from; rc == SQLITE_OK && i < to; i++) {
    uint32_t key = i * 2654435761u;
    rc = spm_tree_delete(t, &key, sizeof key);
  }
  return rc;
}

static int end(int rc) {
  if (rc == SQLITE_OK) rc = spm_kv_stage(kv);
  if (rc == SQLITE_OK) return spm_kv_commit(kv);
  spm_kv_rollback(kv);
  return rc;
}

static int begin(spm_tree *t, const char *name) {
  int rc = spm_kv_begin(kv);
  if (rc == SQLITE_OK) rc = spm_kv_tree(kv, name, t);
  return rc;
}

static int open_store(void) {
  return kv != NULL ? SQLITE_OK : spm_kv_open(path, &(spm_kv_options){.create = true}, &kv);
}

static int create(void) {
  spm_tree t;
  int rc = spm_kv_begin(kv);
  if (rc == SQLITE_OK) rc = spm_kv_tree_create(kv, "a", &t);
  if (rc == SQLITE_OK) rc = spm_kv_tree_create(kv, "b", &t);
  return end(rc);
}

static int put_small(void) {
  spm_tree t;
  int rc = begin(&t, "a");
  return end(rc == SQLITE_OK ? put_some(&t, 0, 900, 60) : rc);
}

static int put_one(void) {
  spm_tree t;
  int rc = begin(&t, "a");
  return end(rc == SQLITE_OK ? put_some(&t, 2000, 2001, 60) : rc);
}

static int put_large(void) {
  spm_tree t;
  int rc = begin(&t, "b");
  return end(rc == SQLITE_OK ? put_some(&t, 0, 16, 50000) : rc);
}

static int overwrite(void) {
  spm_tree t;
  int rc = begin(&t, "b");
  if (rc == SQLITE_OK) rc = put_some(&t, 0, 8, 200);
  return end(rc == SQLITE_OK ? put_some(&t, 8, 16, 50001) : rc);
}

static int delete_many(void) {
  spm_tree t;
  int rc = begin(&t, "a");
  return end(rc == SQLITE_OK ? delete_some(&t, 0, 870) : rc);
}

static int rename_tree(void) {
  int rc = spm_kv_begin(kv);
  if (rc == SQLITE_OK) rc = spm_kv_tree_rename(kv, "a", "c");
  return end(rc);
}

static int shrink(void) {
  int rc = spm_kv_shrink(kv);
  spm_kv_rollback(kv);
  return rc;
}

static int reopen(void) {
  if (kv != NULL) spm_kv_close(kv, false);
  kv = NULL;
  return open_store();
}

static bool no_report(void *argument, const char *text) {
  (void)argument, (void)text;
  return true;
}
static int check(void) { return spm_kv_check(kv, no_report, NULL); }

static int drop(void) {
  int rc = spm_kv_begin(kv);
  if (rc == SQLITE_OK) rc = spm_kv_tree_drop(kv, "b");
  return end(rc);
}

static const struct step {
  const char *name;
  int (*make)(void);
} steps[] = {
    {"open", open_store},   {"create", create},       {"put_small", put_small}, {"put_one", put_one},
    {"put_large", put_large}, {"overwrite", overwrite}, {"check", check},         {"reopen", reopen},
    {"delete_many", delete_many}, {"rename", rename_tree}, {"shrink", shrink},   {"drop", drop},
    {"reopen", reopen},
};
#define STEPS (sizeof steps / sizeof *steps)

/* ----------------------------------------------------------------- content -- */

static uint64_t mix(uint64_t hash, const void *bytes, uint64_t n) {
  const uint8_t *p = bytes;
  for (uint64_t i = 0; i < n; i++) hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
  return hash;
}

static uint64_t tree_content(uint64_t hash, const spm_tree *t) {
  static uint8_t value[100000];
  spm_tree_cursor c;
  spm_value v;
  spm_cursor_open(&c, t);
  int rc = spm_cursor_seek(&c, SPM_SEEK_FIRST, NULL, 0);
  for (; rc == SQLITE_OK; rc = spm_cursor_next(&c)) {
    uint32_t n;
    const uint8_t *key = spm_cursor_key(&c, &n);
    int read = spm_cursor_value(&c, &v);
    if (read == SQLITE_OK) read = spm_value_read(t->conn, &v, 0, (uint32_t)v.size, value);
    if (read != SQLITE_OK) fail("reading a value", read);
    hash = mix(mix(hash, key, n), value, v.size);
  }
  if (rc != SQLITE_NOTFOUND) fail("a scan", rc);
  return hash;
}

/* Of all trees; 0: the store is not open.  It must be valid. */
static uint64_t content(void) {
  char name[SPM_KV_NAME_MAX + 1] = "";
  uint64_t hash = 1;
  if (kv == NULL) return 0;
  if (check() != SQLITE_OK) fail("the store is damaged", SQLITE_CORRUPT);
  int rc = spm_kv_snapshot_begin(kv);
  if (rc != SQLITE_OK) fail("a snapshot", rc);
  while ((rc = spm_kv_tree_next(kv, name, name)) == SQLITE_OK) {
    spm_tree t;
    if (spm_kv_tree(kv, name, &t) != SQLITE_OK) fail("a tree", 0);
    hash = tree_content(mix(hash, name, strlen(name)), &t);
  }
  spm_kv_snapshot_end(kv);
  return hash;
}

/* ---------------------------------------------------------------- the runs -- */

static uint64_t expected[STEPS];
static unsigned long failed[STEPS];

/* One step, perhaps with an allocation refused in it; then it is made anew. */
static void make(size_t i, bool first) {
  unsigned long before = allocations;
  counting = true;
  int rc = steps[i].make();
  counting = false;
  bool met = before < refuse_at && allocations >= refuse_at;
  if (rc != SQLITE_OK) {
    if (!met || rc != SQLITE_NOMEM) fail(steps[i].name, rc);
    failed[i]++;
    if (kv != NULL && i > 0 && content() != expected[i - 1]) fail("the store is not as it was before the step", 0);
    rc = steps[i].make();
    if (rc != SQLITE_OK) fail("the same step made again", rc);
  }
  if (first) expected[i] = content();
  if (content() != expected[i]) fail(steps[i].name, 0);
}

/* Did it come as far as the allocation to be refused? */
static bool run(bool first, unsigned long at) {
  (void)unlink(path);
  allocations = 0;
  refuse_at = at;
  for (size_t i = 0; i < STEPS; i++) make(i, first);
  spm_kv_close(kv, true);
  kv = NULL;
  return allocations >= at;
}

int main(int argc, char **argv) {
  if (argc < 2) return EXIT_FAILURE;
  (void)snprintf(path, sizeof path, "%s/memory.kv", argv[1]);
  unsigned long at = 1, total = 0;
  (void)run(true, 0);
  for (; run(false, at); at++) continue;
  for (size_t i = 0; i < STEPS; i++) {
    (void)printf("  %-12s failed %lu times\n", steps[i].name, failed[i]);
    total += failed[i];
  }
  (void)printf("memory: %lu allocations refused, %lu steps failed and were made again\n", at - 1, total);
  return total > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
