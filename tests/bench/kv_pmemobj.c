/*
** kv_pmemobj.c - an ordered map on libpmemobj, as one would write it: a B+tree whose nodes
** and values are objects in a pool, changed in libpmemobj's transactions.
**
** Only what is overwritten is snapshotted; a value is replaced in place.  Leaves are never
** merged: a delete is as cheap as it can be.  Readers are not isolated from a writer, and
** nothing has a checksum, which the other engines pay for.
*/
#include "kv.h"

#include <endian.h>
#include <libpmemobj.h>
#include <stdlib.h>

#define ORDER 32u
#define POOL_SIZE ((size_t)3 << 30)

typedef struct item {
  char key[KV_KEY_SIZE]; /* of a branch: the lowest below `to`; its first stands for none */
  uint64_t to;           /* offset in the pool of a value, or of a node */
} item;

typedef struct node {
  uint32_t count, leaf;
  uint64_t next; /* leaves are linked */
  item items[ORDER];
} node;

struct kv {
  PMEMobjpool *pool;
  uint64_t *root; /* offset of the top node */
  bool in_transaction;
};

static void check(int rc) {
  if (rc != 0) bench_fail("libpmemobj: %s", pmemobj_errormsg());
}

static void *at(const kv *s, uint64_t offset) { return (char *)s->pool + offset; }

static void begin(kv *s) {
  check(pmemobj_tx_begin(s->pool, NULL, TX_PARAM_NONE));
  s->in_transaction = true;
}

static void commit(kv *s) {
  pmemobj_tx_commit();
  check(pmemobj_tx_end());
  s->in_transaction = false;
}

static uint64_t allocate(size_t size) {
  PMEMoid oid = pmemobj_tx_alloc(size, 0);
  check(OID_IS_NULL(oid));
  return oid.off;
}

static void change(void *bytes, size_t n) { check(pmemobj_tx_add_range_direct(bytes, n)); }

/* ------------------------------------------------------------------- the map -- */

static int compare(const char *a, const char *b) {
  uint64_t x, y;
  for (unsigned i = 0; i < KV_KEY_SIZE; i += 8) {
    memcpy(&x, a + i, 8);
    memcpy(&y, b + i, 8);
    if (x != y) return be64toh(x) < be64toh(y) ? -1 : 1;
  }
  return 0;
}

/* The first item from `low` on whose key is not below `key`. */
static uint32_t lower_bound(const node *n, uint32_t low, const char *key) {
  uint32_t high = n->count;
  while (low < high) {
    uint32_t middle = (low + high) / 2;
    if (compare(n->items[middle].key, key) < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

static bool has(const node *n, uint32_t i, const char *key) {
  return i < n->count && compare(n->items[i].key, key) == 0;
}

/* The branch item that leads to `key`. */
static uint32_t way_down(const node *n, const char *key) {
  uint32_t i = lower_bound(n, 1, key);
  return has(n, i, key) ? i : i - 1;
}

static node *find_leaf(const kv *s, const char *key) {
  node *n = at(s, *s->root);
  while (!n->leaf) n = at(s, n->items[way_down(n, key)].to);
  return n;
}

static void insert_item(node *n, uint32_t i, const char *key, uint64_t to) {
  change(&n->count, sizeof n->count);
  change(&n->items[i], (n->count - i + 1) * sizeof *n->items);
  memmove(&n->items[i + 1], &n->items[i], (n->count - i) * sizeof *n->items);
  memcpy(n->items[i].key, key, KV_KEY_SIZE);
  n->items[i].to = to;
  n->count++;
}

/* The upper half of a full child goes to a new node on its right. */
static void split(const kv *s, node *parent, uint32_t i) {
  node *child = at(s, parent->items[i].to);
  uint64_t offset = allocate(sizeof(node));
  node *right = at(s, offset);
  *right = (node){.count = ORDER / 2, .leaf = child->leaf, .next = child->next};
  memcpy(right->items, &child->items[ORDER / 2], ORDER / 2 * sizeof *right->items);
  change(child, offsetof(node, items));
  child->count = ORDER / 2;
  child->next = offset;
  insert_item(parent, i + 1, right->items[0].key, offset);
}

static void grow(kv *s) {
  uint64_t offset = allocate(sizeof(node));
  node *top = at(s, offset);
  *top = (node){.count = 1};
  top->items[0].to = *s->root;
  change(s->root, sizeof *s->root);
  *s->root = offset;
}

/* Every node on the way has room for one more item when it is left. */
static node *make_room(kv *s, const char *key) {
  if (((node *)at(s, *s->root))->count == ORDER) grow(s);
  node *n = at(s, *s->root);
  while (!n->leaf) {
    uint32_t i = way_down(n, key);
    if (((node *)at(s, n->items[i].to))->count == ORDER) {
      split(s, n, i);
      i = way_down(n, key);
    }
    n = at(s, n->items[i].to);
  }
  return n;
}

static void put_value(kv *s, const char *key, const char *value) {
  node *leaf = find_leaf(s, key);
  uint32_t i = lower_bound(leaf, 0, key);
  if (has(leaf, i, key)) {
    char *old = at(s, leaf->items[i].to);
    change(old, KV_VALUE_SIZE);
    memcpy(old, value, KV_VALUE_SIZE);
    return;
  }
  uint64_t offset = allocate(KV_VALUE_SIZE);
  memcpy(at(s, offset), value, KV_VALUE_SIZE);
  if (leaf->count == ORDER) {
    leaf = make_room(s, key);
    i = lower_bound(leaf, 0, key);
  }
  insert_item(leaf, i, key, offset);
}

/* -------------------------------------------------------------------- driver -- */

static void put(kv *s, const char *key, const char *value) {
  bool alone = !s->in_transaction;
  if (alone) begin(s);
  put_value(s, key, value);
  if (alone) commit(s);
}

static bool delete(kv *s, const char *key) {
  node *leaf = find_leaf(s, key);
  uint32_t i = lower_bound(leaf, 0, key);
  if (!has(leaf, i, key)) return false;
  bool alone = !s->in_transaction;
  if (alone) begin(s);
  check(pmemobj_tx_free((PMEMoid){pmemobj_oid(leaf).pool_uuid_lo, leaf->items[i].to}));
  change(&leaf->count, sizeof leaf->count);
  change(&leaf->items[i], (leaf->count - i) * sizeof *leaf->items);
  memmove(&leaf->items[i], &leaf->items[i + 1], (leaf->count - i - 1) * sizeof *leaf->items);
  leaf->count--;
  if (alone) commit(s);
  return true;
}

static bool get(kv *s, const char *key, char value[KV_VALUE_SIZE]) {
  const node *leaf = find_leaf(s, key);
  uint32_t i = lower_bound(leaf, 0, key);
  if (!has(leaf, i, key)) return false;
  memcpy(value, at(s, leaf->items[i].to), KV_VALUE_SIZE);
  return true;
}

static unsigned scan(kv *s, const char *key, unsigned most) {
  const node *leaf = find_leaf(s, key);
  uint32_t i = lower_bound(leaf, 0, key);
  for (unsigned n = 0;; leaf = at(s, leaf->next), i = 0) {
    for (; i < leaf->count && n < most; i++, n++) kv_look(leaf->items[i].key, at(s, leaf->items[i].to));
    if (n == most || leaf->next == 0) return n;
  }
}

/* The pool's file has its size from the beginning; what the map takes of it is what its
** objects take. */
static double size(kv *s) {
  uint64_t bytes = 0;
  check(pmemobj_ctl_get(s->pool, "stats.heap.curr_allocated", &bytes));
  return (double)bytes;
}

static kv *open_pool(const char *folder) {
  kv *s = calloc(1, sizeof *s);
  char path[4096];
  int on = 1;
  if (s == NULL) bench_fail("out of memory");
  (void)snprintf(path, sizeof path, "%s/kv.pmemobj", folder);
  s->pool = pmemobj_create(path, "bench", POOL_SIZE, 0600);
  check(s->pool == NULL);
  check(pmemobj_ctl_set(s->pool, "stats.enabled", &on));
  s->root = pmemobj_direct(pmemobj_root(s->pool, sizeof *s->root));
  begin(s);
  uint64_t offset = allocate(sizeof(node));
  *(node *)at(s, offset) = (node){.leaf = 1};
  change(s->root, sizeof *s->root);
  *s->root = offset;
  commit(s);
  return s;
}

static void close_pool(kv *s) {
  pmemobj_close(s->pool);
  free(s);
}

const kv_driver kv_pmemobj = {"libpmemobj", open_pool, close_pool, begin, commit, put, delete, get, scan, size};
