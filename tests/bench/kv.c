/*
** kv.c - the key-value workloads, the same for tables in SQL and libraries in C.
**
** The pairs are numbered; a number's key is its bits well mixed, so all walk through the
** keys in random order.  The live ones are [oldest, next): new keys are put at the end,
** and the oldest are deleted, as many in each round, so the number of keys stays.
*/
#include "kv.h"

#include "bench.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BATCH 100u
#define SCAN 100u
#define LOAD_BATCH 1000u
#define LOAD_ROUNDS 10u /* the load is cut in so many parts, interleaved like all else */

typedef struct subject {
  const kv_driver *driver;
  kv *kv;
  uint64_t oldest, next, overwritten;
} subject;

static void make_key(uint64_t number, char key[KV_KEY_SIZE]) {
  static const char digits[16] = "0123456789abcdef";
  uint64_t bits = bench_mix(number + 1);
  for (unsigned i = 0; i < KV_KEY_SIZE; i++) key[i] = digits[(bits >> (60 - 4 * i)) & 15];
}

static void make_value(const char *key, char value[KV_VALUE_SIZE]) {
  memcpy(value, key, KV_KEY_SIZE);
  for (unsigned i = KV_KEY_SIZE; i < KV_VALUE_SIZE; i += 4) {
    uint32_t bits = (uint32_t)bench_random();
    memcpy(value + i, &bits, sizeof bits);
  }
}

static void put(subject *s, uint64_t number) {
  char key[KV_KEY_SIZE], value[KV_VALUE_SIZE];
  make_key(number, key);
  make_value(key, value);
  s->driver->put(s->kv, key, value);
}

static uint64_t some_number(const subject *s) { return s->oldest + bench_random() % (s->next - s->oldest); }

/* --------------------------------------------------------------- workloads -- */

static void load(void *self) {
  subject *s = self;
  s->driver->begin(s->kv);
  for (unsigned i = 0; i < LOAD_BATCH; i++) put(s, s->next++);
  s->driver->commit(s->kv);
}

static void overwrite(void *self) {
  subject *s = self;
  s->driver->begin(s->kv);
  for (unsigned i = 0; i < LOAD_BATCH; i++) put(s, s->oldest + s->overwritten++);
  s->driver->commit(s->kv);
}

static void put_again(void *self) { put(self, some_number(self)); }

static void put_new(void *self) {
  subject *s = self;
  put(s, s->next++);
}

static void put_batch(void *self) {
  subject *s = self;
  s->driver->begin(s->kv);
  for (unsigned i = 0; i < BATCH; i++) put_again(s);
  s->driver->commit(s->kv);
}

static void delete_oldest(void *self) {
  subject *s = self;
  char key[KV_KEY_SIZE];
  make_key(s->oldest++, key);
  if (!s->driver->delete(s->kv, key)) bench_fail("%s: no key %.16s to delete", s->driver->name, key);
}

static void get_hit(void *self) {
  subject *s = self;
  char key[KV_KEY_SIZE], value[KV_VALUE_SIZE];
  make_key(some_number(s), key);
  if (!s->driver->get(s->kv, key, value)) bench_fail("%s: no key %.16s", s->driver->name, key);
  if (memcmp(value, key, KV_KEY_SIZE) != 0) bench_fail("%s: the wrong value for %.16s", s->driver->name, key);
}

static void get_miss(void *self) {
  subject *s = self;
  char key[KV_KEY_SIZE], value[KV_VALUE_SIZE];
  make_key(bench_random() | UINT64_C(1) << 63, key);
  if (s->driver->get(s->kv, key, value)) bench_fail("%s: a value for %.16s, which nobody put", s->driver->name, key);
}

static void scan(void *self) {
  subject *s = self;
  char key[KV_KEY_SIZE];
  make_key(some_number(s), key);
  if (s->driver->scan(s->kv, key, SCAN) == 0) bench_fail("%s: nothing from %.16s on", s->driver->name, key);
}

static void mixed(void *self) {
  if (bench_random() & 1)
    put_again(self);
  else
    get_hit(self);
}

static const bench_workload workloads[] = {
    {"put, replacing", put_again, 2000, NULL, NULL},
    {"put of a new key", put_new, 1000, NULL, NULL},
    {"delete", delete_oldest, 1000, NULL, NULL},
    {"100 puts in a transaction", put_batch, 20, NULL, NULL},
    {"get, hit", get_hit, 4000, NULL, NULL},
    {"get, miss", get_miss, 4000, NULL, NULL},
    {"scan of 100 from a random key", scan, 200, NULL, NULL},
    {"half put, half get", mixed, 2000, NULL, NULL},
};

/* -------------------------------------------------------------------- sizes -- */

double kv_folder_size(const char *folder, const char *prefix) {
  double bytes = 0;
  DIR *d = opendir(folder);
  if (d == NULL) bench_fail("%s cannot be read", folder);
  for (struct dirent *entry; (entry = readdir(d)) != NULL;) {
    struct stat s;
    if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0) continue;
    if (fstatat(dirfd(d), entry->d_name, &s, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(s.st_mode))
      bytes += 512.0 * (double)s.st_blocks;
  }
  (void)closedir(d);
  return bytes;
}

static void size_row(bench_table *t, const char *name) {
  double sizes[BENCH_ENGINES_MAX];
  for (unsigned e = 0; e < t->count; e++) {
    const subject *s = t->engines[e].self;
    sizes[e] = s->driver->size(s->kv) / ((double)(s->next - s->oldest) * (KV_KEY_SIZE + KV_VALUE_SIZE));
  }
  bench_row(t, name, sizes);
}

/* -------------------------------------------------------------- comparisons -- */

static void compare(const kv_driver *const *drivers, unsigned count, const char *name, const char *title,
                    const char *folder, unsigned rounds, unsigned keys) {
  subject subjects[BENCH_ENGINES_MAX];
  bench_engine engines[BENCH_ENGINES_MAX];
  for (unsigned e = 0; e < count; e++) {
    subjects[e] = (subject){.driver = drivers[e], .kv = drivers[e]->open(folder)};
    engines[e] = (bench_engine){drivers[e]->name, &subjects[e]};
  }
  const bench_workload loading = {"load, 1000 at a time", load, keys / LOAD_BATCH / LOAD_ROUNDS, NULL, NULL};
  const bench_workload overwriting = {"replace all, 1000 at a time", overwrite, loading.count, NULL, NULL};
  bench_table t;
  bench_table_begin(&t, name, title, engines, count);
  bench_compare(&t, &loading, 1, LOAD_ROUNDS);
  size_row(&t, "bytes on media per live byte");
  bench_compare(&t, workloads, sizeof workloads / sizeof *workloads, rounds);
  bench_compare(&t, &overwriting, 1, LOAD_ROUNDS);
  size_row(&t, "bytes on media per live byte");
  bench_table_end(&t);
  for (unsigned e = 0; e < count; e++) drivers[e]->close(subjects[e].kv);
}

static void compare_at(const kv_driver *const *drivers, unsigned count, const char *name, const char *what,
                       const char *folder, unsigned rounds, unsigned keys) {
  char file[64], title[256];
  if (keys % (LOAD_BATCH * LOAD_ROUNDS) != 0) bench_fail("KEYS=%u: a multiple of %u is wanted", keys, LOAD_BATCH * LOAD_ROUNDS);
  (void)snprintf(file, sizeof file, "%s-%u", name, keys);
  (void)snprintf(title, sizeof title, "%s, %u keys: time relative to %s", what, keys, drivers[0]->name);
  compare(drivers, count, file, title, folder, rounds, keys);
}

void bench_kv_sql(const char *folder, unsigned rounds, unsigned keys) {
  static const kv_driver *const drivers[] = {&kv_sql_memory, &kv_sql_pmemkv, &kv_sql_pmem, &kv_sql_wal, &kv_sql_lsm1};
  unsigned count = sizeof drivers / sizeof *drivers;
  if (getenv("LSM_LIBRARY") == NULL) count--; /* its source was not to be had */
  compare_at(drivers, count, "kv-sql", "Key-value tables in SQL, on tmpfs", folder, rounds, keys);
}

void bench_kv_c(const char *folder, unsigned rounds, unsigned keys) {
  static const kv_driver *const drivers[] = {&kv_lmdb, &kv_pmemkv, &kv_lmdb_nosync, &kv_rocksdb, &kv_pmemobj};
  compare_at(drivers, sizeof drivers / sizeof *drivers, "kv-c", "Key-value libraries in C, on tmpfs", folder, rounds, keys);
}
