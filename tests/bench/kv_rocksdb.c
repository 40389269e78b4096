/*
** kv_rocksdb.c - RocksDB with its log, each write synced.
**
** What differs from its defaults is in its favour: a cache as large as the data, bloom
** filters for keys that are not there, no compression of values that do not compress.
*/
#include "kv.h"

#include <rocksdb/c.h>
#include <stdlib.h>

struct kv {
  rocksdb_t *db;
  rocksdb_options_t *options;
  rocksdb_writeoptions_t *writing;
  rocksdb_readoptions_t *reading;
  rocksdb_writebatch_t *batch;
  bool in_batch;
  char path[4096];
};

#define CACHE_SIZE ((size_t)1 << 30)

static void check(char *error) {
  if (error != NULL) bench_fail("RocksDB: %s", error);
}

static rocksdb_options_t *make_options(void) {
  rocksdb_options_t *options = rocksdb_options_create();
  rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
  rocksdb_block_based_options_set_block_cache(table, rocksdb_cache_create_lru(CACHE_SIZE));
  rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_bloom_full(10));
  rocksdb_options_set_block_based_table_factory(options, table);
  rocksdb_block_based_options_destroy(table);
  rocksdb_options_set_create_if_missing(options, 1);
  rocksdb_options_set_compression(options, rocksdb_no_compression);
  return options;
}

static kv *open_folder(const char *folder) {
  kv *s = calloc(1, sizeof *s);
  char *error = NULL;
  if (s == NULL) bench_fail("out of memory");
  (void)snprintf(s->path, sizeof s->path, "%s/rocksdb", folder);
  s->options = make_options();
  s->writing = rocksdb_writeoptions_create();
  rocksdb_writeoptions_set_sync(s->writing, 1);
  s->reading = rocksdb_readoptions_create();
  s->batch = rocksdb_writebatch_create();
  s->db = rocksdb_open(s->options, s->path, &error);
  check(error);
  return s;
}

static void close_folder(kv *s) {
  rocksdb_close(s->db);
  rocksdb_writebatch_destroy(s->batch);
  rocksdb_readoptions_destroy(s->reading);
  rocksdb_writeoptions_destroy(s->writing);
  rocksdb_options_destroy(s->options);
  free(s);
}

static void begin(kv *s) { s->in_batch = true; }

static void commit(kv *s) {
  char *error = NULL;
  rocksdb_write(s->db, s->writing, s->batch, &error);
  check(error);
  rocksdb_writebatch_clear(s->batch);
  s->in_batch = false;
}

static void put(kv *s, const char *key, const char *value) {
  char *error = NULL;
  if (s->in_batch)
    rocksdb_writebatch_put(s->batch, key, KV_KEY_SIZE, value, KV_VALUE_SIZE);
  else
    rocksdb_put(s->db, s->writing, key, KV_KEY_SIZE, value, KV_VALUE_SIZE, &error);
  check(error);
}

/* It writes a tombstone and does not look whether there was a key. */
static bool delete(kv *s, const char *key) {
  char *error = NULL;
  rocksdb_delete(s->db, s->writing, key, KV_KEY_SIZE, &error);
  check(error);
  return true;
}

static bool get(kv *s, const char *key, char value[KV_VALUE_SIZE]) {
  char *error = NULL;
  size_t n = 0;
  rocksdb_pinnableslice_t *slice = rocksdb_get_pinned(s->db, s->reading, key, KV_KEY_SIZE, &error);
  check(error);
  if (slice == NULL) return false;
  const char *bytes = rocksdb_pinnableslice_value(slice, &n);
  if (n != KV_VALUE_SIZE) bench_fail("RocksDB: a value of another size");
  memcpy(value, bytes, KV_VALUE_SIZE);
  rocksdb_pinnableslice_destroy(slice);
  return true;
}

static unsigned scan(kv *s, const char *key, unsigned most) {
  unsigned n = 0;
  size_t size;
  rocksdb_iterator_t *i = rocksdb_create_iterator(s->db, s->reading);
  for (rocksdb_iter_seek(i, key, KV_KEY_SIZE); n < most && rocksdb_iter_valid(i); n++) {
    kv_look(rocksdb_iter_key(i, &size), rocksdb_iter_value(i, &size));
    rocksdb_iter_next(i);
  }
  rocksdb_iter_destroy(i);
  return n;
}

static double size(kv *s) { return kv_folder_size(s->path, ""); }

const kv_driver kv_rocksdb = {"RocksDB", open_folder, close_folder, begin, commit, put, delete, get, scan, size};
