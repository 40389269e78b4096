/*
** kv.c - see kv.h.
*/
#include "kv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPTIONS (&(spm_kv_options){.create = true})
#define BUSY_TRIES 2000

/* ------------------------------------------------------------------ stores -- */

const char *kv_path(const char *name) {
  char *path = strdup(pmem_path(name));
  ck_assert_ptr_nonnull(path);
  return path;
}

int kv_try_open(const char *path, spm_kv **kv) {
  *kv = NULL;
  return spm_kv_open(path, OPTIONS, kv);
}

spm_kv *kv_open(const char *path) {
  spm_kv *kv;
  int rc = kv_try_open(path, &kv);
  if (rc != SQLITE_OK) kv_fail("opening %s: %d, %s", path, rc, spm_last_error());
  return kv;
}

static int refuse(void *argument) { return (void)argument, SQLITE_BUSY; }

/* The rest of the attachment is lost, as in a crash. */
void kv_leave(spm_kv *kv) { spm_store_detach(spm_kv_conn(kv), refuse, NULL); }

void kv_snapshot(spm_kv *kv) {
  int rc = SQLITE_BUSY;
  for (int i = 0; i < BUSY_TRIES && rc == SQLITE_BUSY; i++) rc = spm_kv_snapshot_begin(kv);
  if (rc != SQLITE_OK) kv_fail("a snapshot: %d, %s", rc, spm_last_error());
}

int kv_try_begin(spm_kv *kv) {
  int rc = SQLITE_BUSY;
  for (int i = 0; i < BUSY_TRIES && rc == SQLITE_BUSY; i++) rc = spm_kv_begin(kv);
  return rc;
}

void kv_begin(spm_kv *kv) {
  int rc = kv_try_begin(kv);
  if (rc != SQLITE_OK) kv_fail("beginning: %d, %s", rc, spm_last_error());
}

void kv_commit(spm_kv *kv) {
  int rc = spm_kv_commit(kv);
  if (rc != SQLITE_OK) kv_fail("committing: %d, %s", rc, spm_last_error());
}

spm_tree kv_tree(spm_kv *kv, const char *name) {
  spm_tree t;
  int rc = spm_kv_tree(kv, name, &t);
  if (rc != SQLITE_OK) kv_fail("tree %s: %d, %s", name, rc, spm_last_error());
  return t;
}

spm_tree kv_create(spm_kv *kv, const char *name) {
  spm_tree t;
  kv_begin(kv);
  x_ok(spm_kv_tree_create(kv, name, &t));
  kv_commit(kv);
  return t;
}

typedef struct faults {
  uint32_t count;
  char first[512];
} faults;

static bool note(void *argument, const char *text) {
  faults *f = argument;
  if (f->count++ == 0) (void)snprintf(f->first, sizeof f->first, "%s", text);
  return true;
}

uint32_t kv_faults(spm_kv *kv, int *rc) {
  faults f = {0};
  *rc = spm_kv_check(kv, note, &f);
  return f.count;
}

void kv_check(spm_kv *kv) {
  faults f = {0};
  int rc = spm_kv_check(kv, note, &f);
  if (rc != SQLITE_OK || f.count > 0) kv_fail("check: %d, %u faults, the first: %s", rc, f.count, f.first);
}

static void sizes(spm_kv *kv, uint64_t *total, uint64_t *used) {
  bool own = spm_kv_lsn(kv) == 0;
  if (own) x_ok(spm_kv_snapshot_begin(kv));
  x_ok(spm_kv_size(kv, total, used));
  if (own) spm_kv_snapshot_end(kv);
}

uint64_t kv_size(spm_kv *kv) {
  uint64_t total, used;
  sizes(kv, &total, &used);
  return total;
}

uint64_t kv_used(spm_kv *kv) {
  uint64_t total, used;
  sizes(kv, &total, &used);
  return used;
}

/* ---------------------------------------------------------- keys and values -- */

static void big_endian(uint8_t *to, uint64_t value) {
  for (int i = 7; i >= 0; i--, value >>= 8) to[i] = (uint8_t)value;
}

/* Two bits decide a byte: most keys of this sort are prefixes of others. */
static void short_key(kv_key *k, uint64_t number) {
  k->n = (uint32_t)(number % 9);
  number /= 9;
  for (uint32_t i = 0; i < k->n; i++, number >>= 2) k->bytes[i] = (uint8_t[]){0, 1, 'a', 255}[number & 3];
}

void kv_random_key(kv_key *k, kv_sort sort, uint64_t *random, uint32_t universe) {
  uint64_t number = x_random(random) % universe, spread = number * UINT64_C(0x9e3779b97f4a7c15);
  memset(k->bytes, 'k', sizeof k->bytes);
  switch (sort) {
    case KV_SHORT:
      short_key(k, spread >> 8);
      break;
    case KV_RANDOM16:
      k->n = 16;
      big_endian(k->bytes, spread);
      big_endian(k->bytes + 8, ~spread);
      break;
    case KV_COUNTED:
      k->n = 9;
      big_endian(k->bytes + 1, number);
      break;
    case KV_PREFIXED:
      k->n = (uint32_t)snprintf((char *)k->bytes, sizeof k->bytes, "a common prefix of some length %u:%llu",
                                (unsigned)(number % 3), (unsigned long long)number);
      break;
    default:
      k->n = SPM_KV_KEY_MAX - (uint32_t)(number % 200);
      big_endian(k->bytes + (number % 5) * 200, spread);
      break;
  }
}

/* Around every bound there is, and in between. */
uint32_t kv_random_size(uint64_t *random) {
  static const uint32_t around[] = {0, 8, SPM_KV_CELL_MAX, SPM_BLOCK_SIZE, 2 * SPM_BLOCK_SIZE};
  uint64_t r = x_random(random);
  uint32_t base = around[r / 8 % (sizeof around / sizeof *around)], spread = (uint32_t)(r >> 32) % 41;
  switch (r % 8) {
    case 0: return base + 20 > spread ? base + 20 - spread : 0;
    case 1: return (uint32_t)(r >> 32) % SPM_KV_CELL_MAX;
    case 2: return r >> 40 & 15 ? 100 : (uint32_t)(r >> 32) % 50000;
    case 3: return 0;
    default: return spread * 4;
  }
}

void kv_fill(uint8_t *to, uint32_t n, uint64_t seed) {
  uint64_t state = seed * 2 + 1;
  while (n > 0) {
    uint64_t word = x_random(&state);
    uint32_t part = n < 8 ? n : 8;
    memcpy(to, &word, part);
    to += part;
    n -= part;
  }
}

/* --------------------------------------------------------------- the model -- */

void kv_model_copy(kv_model *to, const kv_model *from) {
  if (to->capacity < from->count) {
    to->capacity = from->count;
    to->pair = realloc(to->pair, to->capacity * sizeof *to->pair);
  }
  to->count = from->count;
  if (from->count > 0) memcpy(to->pair, from->pair, from->count * sizeof *to->pair);
}

void kv_model_free(kv_model *m) {
  free(m->pair);
  *m = (kv_model){0};
}

static int compare(const kv_key *a, const kv_key *b) {
  int difference = memcmp(a->bytes, b->bytes, a->n < b->n ? a->n : b->n);
  return difference != 0 ? difference : (a->n > b->n) - (a->n < b->n);
}

uint32_t kv_model_find(const kv_model *m, const kv_key *key, bool *found) {
  uint32_t from = 0, to = m->count;
  while (from < to) {
    uint32_t middle = (from + to) / 2;
    if (compare(m->pair[middle].key, key) < 0)
      from = middle + 1;
    else
      to = middle;
  }
  *found = from < m->count && compare(m->pair[from].key, key) == 0;
  return from;
}

void kv_model_put(kv_model *m, const kv_key *key, uint32_t size, uint64_t seed) {
  bool found;
  uint32_t at = kv_model_find(m, key, &found);
  if (!found) {
    if (m->count == m->capacity) {
      m->capacity = m->capacity * 2 + 64;
      m->pair = realloc(m->pair, m->capacity * sizeof *m->pair);
    }
    memmove(m->pair + at + 1, m->pair + at, (m->count++ - at) * sizeof *m->pair);
    m->pair[at].key = malloc(sizeof *key);
    *m->pair[at].key = *key;
  }
  m->pair[at].size = size;
  m->pair[at].seed = seed;
}

bool kv_model_delete(kv_model *m, const kv_key *key) {
  bool found;
  uint32_t at = kv_model_find(m, key, &found);
  if (found) memmove(m->pair + at, m->pair + at + 1, (--m->count - at) * sizeof *m->pair);
  return found;
}

void kv_put(const spm_tree *t, kv_model *m, const kv_key *key, uint32_t size, uint64_t seed) {
  uint8_t *value = malloc(size + 1);
  kv_fill(value, size, seed);
  int rc = spm_tree_put(t, key->bytes, key->n, value, size);
  free(value);
  if (rc != SQLITE_OK) kv_fail("put of %u bytes: %d, %s", size, rc, spm_last_error());
  kv_model_put(m, key, size, seed);
}

void kv_delete(const spm_tree *t, kv_model *m, const kv_key *key) {
  int rc = spm_tree_delete(t, key->bytes, key->n);
  if (rc != (kv_model_delete(m, key) ? SQLITE_OK : SQLITE_NOTFOUND)) kv_fail("delete: %d, %s", rc, spm_last_error());
}

/* ------------------------------------------------------------- expectations -- */

void kv_expect_value(spm_conn *c, const spm_value *v, const kv_pair *p) {
  if (v->size != p->size) kv_fail("a value has %llu bytes instead of %u", (unsigned long long)v->size, p->size);
  uint8_t *wanted = malloc(2 * (size_t)p->size + 2), *got = wanted + p->size + 1;
  kv_fill(wanted, p->size, p->seed);
  uint32_t half = p->size / 2;
  int rc = spm_value_read(c, v, 0, half, got);
  if (rc == SQLITE_OK) rc = spm_value_read(c, v, half, p->size - half, got + half);
  if (rc != SQLITE_OK) kv_fail("reading a value: %d, %s", rc, spm_last_error());
  if (memcmp(wanted, got, p->size) != 0) kv_fail("a value of %u bytes is another one", p->size);
  free(wanted);
}

void kv_expect_get(const spm_tree *t, const kv_model *m, const kv_key *key) {
  bool found;
  uint32_t at = kv_model_find(m, key, &found);
  spm_value v;
  int rc = spm_tree_get(t, key->bytes, key->n, &v);
  if (rc != (found ? SQLITE_OK : SQLITE_NOTFOUND)) kv_fail("get: %d, %s", rc, spm_last_error());
  if (found) kv_expect_value(t->conn, &v, &m->pair[at]);
}

static void expect_at(const spm_tree_cursor *c, int rc, const kv_model *m, int64_t at) {
  bool inside = at >= 0 && at < m->count;
  if (rc != (inside ? SQLITE_OK : SQLITE_NOTFOUND))
    kv_fail("a cursor at %d of %u: %d, %s", (int)at, m->count, rc, spm_last_error());
  if (spm_cursor_valid(c) != inside) kv_fail("a cursor is on a key when it is not");
  if (!inside) return;
  spm_value v;
  uint32_t n;
  const uint8_t *key = spm_cursor_key(c, &n);
  const kv_pair *p = &m->pair[at];
  if (n != p->key->n || memcmp(key, p->key->bytes, n) != 0)
    kv_fail("a cursor at %d of %u is on another key", (int)at, m->count);
  rc = spm_cursor_value(c, &v);
  if (rc != SQLITE_OK) kv_fail("a cursor's value: %d, %s", rc, spm_last_error());
  kv_expect_value(c->tree.conn, &v, p);
}

void kv_expect(const spm_tree *t, const kv_model *m) {
  spm_tree_cursor c;
  spm_cursor_open(&c, t);
  int rc = spm_cursor_seek(&c, SPM_SEEK_FIRST, NULL, 0);
  for (int64_t i = 0; i <= m->count; i++, rc = spm_cursor_next(&c)) expect_at(&c, rc, m, i);
  rc = spm_cursor_seek(&c, SPM_SEEK_LAST, NULL, 0);
  for (int64_t i = (int64_t)m->count - 1; i >= -1; i--, rc = spm_cursor_prev(&c)) expect_at(&c, rc, m, i);
}

void kv_expect_cursor(const spm_tree *t, const kv_model *m, const kv_key *key, uint64_t *random) {
  static const spm_seek ways[] = {SPM_SEEK_GE, SPM_SEEK_GT, SPM_SEEK_LE, SPM_SEEK_LT};
  spm_seek how = ways[x_random(random) % 4];
  spm_tree_cursor c;
  bool found;
  int64_t at = kv_model_find(m, key, &found);
  if (how == SPM_SEEK_GT && found) at++;
  if (how == SPM_SEEK_LT || (how == SPM_SEEK_LE && !found)) at--;
  spm_cursor_open(&c, t);
  expect_at(&c, spm_cursor_seek(&c, how, key->bytes, key->n), m, at);
  for (uint64_t steps = x_random(random) % 40; steps > 0 && spm_cursor_valid(&c); steps--) {
    bool up = x_random(random) % 3 != 0;
    at += up ? 1 : -1;
    expect_at(&c, up ? spm_cursor_next(&c) : spm_cursor_prev(&c), m, at);
  }
}
