/*
** kv_pmemkv.c - this project's key-value store, through its C interface.
*/
#include "kv.h"

#include "../../ext/kv/kvstore.h"

#include <stdlib.h>

struct kv {
  spm_kv *store;
  spm_tree tree; /* in the transaction or snapshot that is open */
  bool in_transaction;
  const char *folder;
};

#define FILE_NAME "library.kv"

static void check(int rc) {
  if (rc != SQLITE_OK) bench_fail("pmemkv: %s", spm_last_error());
}

static void begin(kv *s) {
  check(spm_kv_begin(s->store));
  check(spm_kv_tree(s->store, "kv", &s->tree));
  s->in_transaction = true;
}

static void commit(kv *s) {
  check(spm_kv_stage(s->store));
  check(spm_kv_commit(s->store));
  s->in_transaction = false;
}

static void read_begin(kv *s) {
  check(spm_kv_snapshot_begin(s->store));
  check(spm_kv_tree(s->store, "kv", &s->tree));
}

static void put(kv *s, const char *key, const char *value) {
  bool alone = !s->in_transaction;
  if (alone) begin(s);
  check(spm_tree_put(&s->tree, key, KV_KEY_SIZE, value, KV_VALUE_SIZE));
  if (alone) commit(s);
}

static bool delete(kv *s, const char *key) {
  bool alone = !s->in_transaction;
  if (alone) begin(s);
  int rc = spm_tree_delete(&s->tree, key, KV_KEY_SIZE);
  if (rc != SQLITE_NOTFOUND) check(rc);
  if (alone) commit(s);
  return rc == SQLITE_OK;
}

static bool get(kv *s, const char *key, char value[KV_VALUE_SIZE]) {
  spm_value found;
  read_begin(s);
  int rc = spm_tree_get(&s->tree, key, KV_KEY_SIZE, &found);
  if (rc != SQLITE_NOTFOUND) check(rc);
  if (rc == SQLITE_OK) {
    if (found.size != KV_VALUE_SIZE || found.bytes == NULL) bench_fail("pmemkv: a value of another size");
    memcpy(value, found.bytes, KV_VALUE_SIZE);
  }
  spm_kv_snapshot_end(s->store);
  return rc == SQLITE_OK;
}

static unsigned scan(kv *s, const char *key, unsigned most) {
  spm_tree_cursor cursor;
  spm_value value;
  uint32_t nkey;
  unsigned n = 0;
  read_begin(s);
  spm_cursor_open(&cursor, &s->tree);
  int rc = spm_cursor_seek(&cursor, SPM_SEEK_GE, key, KV_KEY_SIZE);
  for (; rc == SQLITE_OK && n < most; n++) {
    check(spm_cursor_value(&cursor, &value));
    kv_look(spm_cursor_key(&cursor, &nkey), value.bytes);
    rc = spm_cursor_next(&cursor);
  }
  if (rc != SQLITE_NOTFOUND) check(rc);
  spm_kv_snapshot_end(s->store);
  return n;
}

static double size(kv *s) { return kv_folder_size(s->folder, FILE_NAME); }

static kv *open_store(const char *folder) {
  const spm_kv_options options = {.create = true};
  kv *s = calloc(1, sizeof *s);
  char path[4096];
  if (s == NULL) bench_fail("out of memory");
  (void)snprintf(path, sizeof path, "%s/" FILE_NAME, folder);
  check(spm_kv_open(path, &options, &s->store));
  check(spm_kv_begin(s->store));
  check(spm_kv_tree_create(s->store, "kv", &s->tree));
  commit(s);
  s->folder = folder;
  return s;
}

static void close_store(kv *s) {
  spm_kv_close(s->store, false);
  free(s);
}

const kv_driver kv_pmemkv = {"pmemkv", open_store, close_store, begin, commit, put, delete, get, scan, size};
