/*
** kv.h - what the key-value benchmark asks of an engine, and the engines.
**
** Keys are 16 bytes, and printable, so that SQL can take them for text; values are 100
** bytes that begin with their key, so that a wrong answer is noticed.  `put` and `delete`
** are durable on return, unless they stand between begin and commit.
*/
#ifndef SPM_BENCH_KV_H
#define SPM_BENCH_KV_H

#include "harness.h"

#include <string.h>

#define KV_KEY_SIZE 16u
#define KV_VALUE_SIZE 100u

typedef struct kv kv;

typedef struct kv_driver {
  const char *name;
  kv *(*open)(const char *folder); /* empty */
  void (*close)(kv *);
  void (*begin)(kv *);
  void (*commit)(kv *);
  void (*put)(kv *, const char *key, const char *value); /* insert or replace */
  bool (*delete)(kv *, const char *key);
  bool (*get)(kv *, const char *key, char value[KV_VALUE_SIZE]);
  /* Read up to `most` pairs from `key` on; their number. */
  unsigned (*scan)(kv *, const char *key, unsigned most);
  double (*size)(kv *); /* bytes on media */
} kv_driver;

extern const kv_driver kv_sql_memory, kv_sql_pmemkv, kv_sql_pmem, kv_sql_wal, kv_sql_lsm1;
extern const kv_driver kv_pmemkv, kv_lmdb, kv_lmdb_nosync, kv_rocksdb, kv_pmemobj;

/* Bytes the file system has given to all the files of a folder; and to those whose names
** begin with `prefix`. */
double kv_folder_size(const char *folder, const char *prefix);

/* What a scan does with each pair: look at both, whatever the compiler thinks of it. */
static inline void kv_look(const void *key, const void *value) {
  int seen = *(const char *)key ^ *(const char *)value;
  __asm__ volatile("" : : "r"(seen));
}

#endif
