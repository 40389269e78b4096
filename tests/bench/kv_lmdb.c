/*
** kv_lmdb.c - LMDB, with its defaults (each commit is synced), and with MDB_NOSYNC.
**
** A get renews one read transaction, which is what LMDB recommends.
*/
#include "kv.h"

#include <lmdb.h>
#include <stdlib.h>

struct kv {
  MDB_env *env;
  MDB_dbi dbi;
  MDB_txn *write, *read;
  MDB_cursor *cursor;
  const char *folder, *file;
};

#define MAP_SIZE ((size_t)8 << 30)

static void check(int rc) {
  if (rc != MDB_SUCCESS) bench_fail("LMDB: %s", mdb_strerror(rc));
}

static void begin(kv *s) { check(mdb_txn_begin(s->env, NULL, 0, &s->write)); }

static void commit(kv *s) {
  check(mdb_txn_commit(s->write));
  s->write = NULL;
}

static kv *open_file(const char *folder, const char *file, unsigned flags) {
  kv *s = calloc(1, sizeof *s);
  char path[4096];
  if (s == NULL) bench_fail("out of memory");
  (void)snprintf(path, sizeof path, "%s/%s", folder, file);
  check(mdb_env_create(&s->env));
  check(mdb_env_set_mapsize(s->env, MAP_SIZE));
  check(mdb_env_open(s->env, path, MDB_NOSUBDIR | flags, 0600));
  begin(s);
  check(mdb_dbi_open(s->write, NULL, 0, &s->dbi));
  commit(s);
  check(mdb_txn_begin(s->env, NULL, MDB_RDONLY, &s->read));
  check(mdb_cursor_open(s->read, s->dbi, &s->cursor));
  mdb_txn_reset(s->read);
  s->folder = folder;
  s->file = file;
  return s;
}

static kv *open_synced(const char *folder) { return open_file(folder, "kv.lmdb", 0); }
static kv *open_not_synced(const char *folder) { return open_file(folder, "kv-nosync.lmdb", MDB_NOSYNC); }

static void close_file(kv *s) {
  mdb_cursor_close(s->cursor);
  mdb_txn_abort(s->read);
  mdb_env_close(s->env);
  free(s);
}

static MDB_val key_of(const char *key) { return (MDB_val){KV_KEY_SIZE, (void *)(uintptr_t)key}; }

static void put(kv *s, const char *key, const char *value) {
  MDB_val k = key_of(key), v = {KV_VALUE_SIZE, (void *)(uintptr_t)value};
  bool alone = s->write == NULL;
  if (alone) begin(s);
  check(mdb_put(s->write, s->dbi, &k, &v, 0));
  if (alone) commit(s);
}

static bool delete(kv *s, const char *key) {
  MDB_val k = key_of(key);
  bool alone = s->write == NULL;
  if (alone) begin(s);
  int rc = mdb_del(s->write, s->dbi, &k, NULL);
  if (rc != MDB_NOTFOUND) check(rc);
  if (alone) commit(s);
  return rc == MDB_SUCCESS;
}

static bool get(kv *s, const char *key, char value[KV_VALUE_SIZE]) {
  MDB_val k = key_of(key), v;
  check(mdb_txn_renew(s->read));
  int rc = mdb_get(s->read, s->dbi, &k, &v);
  if (rc != MDB_NOTFOUND) check(rc);
  if (rc == MDB_SUCCESS) memcpy(value, v.mv_data, KV_VALUE_SIZE);
  mdb_txn_reset(s->read);
  return rc == MDB_SUCCESS;
}

static unsigned scan(kv *s, const char *key, unsigned most) {
  MDB_val k = key_of(key), v;
  unsigned n = 0;
  check(mdb_txn_renew(s->read));
  check(mdb_cursor_renew(s->read, s->cursor));
  int rc = mdb_cursor_get(s->cursor, &k, &v, MDB_SET_RANGE);
  for (; rc == MDB_SUCCESS && n < most; n++) {
    kv_look(k.mv_data, v.mv_data);
    rc = mdb_cursor_get(s->cursor, &k, &v, MDB_NEXT);
  }
  if (rc != MDB_NOTFOUND) check(rc);
  mdb_txn_reset(s->read);
  return n;
}

static double size(kv *s) { return kv_folder_size(s->folder, s->file); }

#define METHODS close_file, begin, commit, put, delete, get, scan, size

const kv_driver kv_lmdb = {"LMDB", open_synced, METHODS};
const kv_driver kv_lmdb_nosync = {"LMDB NOSYNC", open_not_synced, METHODS};
