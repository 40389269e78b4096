/*
** tree.c - see tree.h.
*/
#include "tree.h"

#include "balance.h"
#include "space.h"

#include <string.h>

#define AT(block) ((uint64_t)(block) * SPM_BLOCK_SIZE)

/* -------------------------------------------------------------- values -- */

int spm_value_read(spm_conn *c, const spm_value *v, uint64_t offset, uint32_t n, void *to) {
  if (offset > v->size || n > v->size - offset)
    return spm_error(SQLITE_RANGE, "bytes behind the end of a value");
  if (v->bytes == NULL) return spm_conn_read(c, AT(v->block) + offset, n, to);
  memcpy(to, v->bytes + offset, n);
  return SQLITE_OK;
}

/* The walk counts: point to a run where it stands, if that may be. */
static void point(spm_conn *c, spm_value *v) {
  if (v->block != 0) v->bytes = spm_conn_pointer(c, AT(v->block), (uint32_t)v->size);
}

/* ----------------------------------------------------------------- get -- */

static int get(spm_walk *w, uint32_t root, const void *key, uint32_t nkey, spm_value *v) {
  const uint8_t *leaf;
  spm_path path;
  spm_cell c;
  uint32_t at;
  bool found;
  int rc = spm_walk_down(w, root, SPM_BY_KEY, key, nkey, &path, &leaf);
  if (rc != SQLITE_OK) return rc;
  if (!spm_node_search(leaf, key, nkey, &at, &found)) return SPM_DAMAGED;
  if (!found) return SQLITE_NOTFOUND;
  if (!spm_node_cell(leaf, at, &c)) return SPM_DAMAGED;
  rc = spm_walk_value(w, &c, v);
  if (rc == SQLITE_OK && v->block == 0) {
    spm_node_copy(v->room, v->bytes, (size_t)v->size);
    v->bytes = v->room;
  }
  return rc;
}

static int get_copying(const spm_tree *t, const void *key, uint32_t nkey, spm_value *v) {
  _Alignas(SPM_LINE_SIZE) uint8_t copy[SPM_BLOCK_SIZE];
  spm_walk w = spm_walk_new(t->conn, SPM_WALK_COPY, copy);
  int rc = spm_walk_result(&w, get(&w, t->root, key, nkey, v));
  if (rc == SQLITE_OK) point(t->conn, v);
  return rc;
}

int spm_tree_get(const spm_tree *t, const void *key, uint32_t nkey, spm_value *v) {
  spm_walk w = spm_walk_new(t->conn, SPM_WALK_IN_PLACE, NULL);
  if (!spm_conn_peeked(t->conn)) return get_copying(t, key, nkey, v);
  int rc = get(&w, t->root, key, nkey, v);
  if (!spm_walk_counts(&w, rc)) return get_copying(t, key, nkey, v);
  if (rc == SQLITE_OK) point(t->conn, v);
  return spm_walk_result(&w, rc);
}

/* ----------------------------------------------------------------- put -- */

/* A key's place, and what is there. */
typedef struct place {
  spm_path path;
  const uint8_t *leaf;
  uint32_t at;
  bool found;
  spm_cell cell;  /* if found */
  spm_value value; /* if found; not copied */
} place;

static int find_place(spm_walk *w, const spm_tree *t, const void *key, uint32_t nkey, place *p) {
  int rc = spm_walk_down(w, t->root, SPM_BY_KEY, key, nkey, &p->path, &p->leaf);
  if (rc != SQLITE_OK) return rc;
  if (!spm_node_search(p->leaf, key, nkey, &p->at, &p->found)) return SPM_DAMAGED;
  p->value.block = 0;
  if (!p->found) return SQLITE_OK;
  if (!spm_node_cell(p->leaf, p->at, &p->cell)) return SPM_DAMAGED;
  return spm_walk_value(w, &p->cell, &p->value);
}

/* The last block is filled up with zeros: whatever it held before is nobody's. */
static int write_run(spm_conn *c, uint32_t block, const uint8_t *value, uint64_t n) {
  uint32_t tail = (uint32_t)(n % SPM_BLOCK_SIZE);
  uint8_t *bytes;
  int rc = n > tail ? spm_write(c, AT(block), (uint32_t)(n - tail), value) : SQLITE_OK;
  if (rc != SQLITE_OK || tail == 0) return rc;
  rc = spm_write_edit(c, block + (uint32_t)(n / SPM_BLOCK_SIZE), &bytes);
  if (rc != SQLITE_OK) return rc;
  memcpy(bytes, value + (n - tail), tail);
  memset(bytes + tail, 0, SPM_BLOCK_SIZE - tail);
  return SQLITE_OK;
}

/* The run of the old value is used again if it is as long, and free otherwise. */
static int store_run(const spm_tree *t, const place *old, const void *value, uint64_t n, spm_kv_run *run) {
  uint32_t count = spm_run_blocks(n);
  int rc = SQLITE_OK;
  *run = (spm_kv_run){.size = n, .block = old->value.block};
  if (run->block == 0 || spm_run_blocks(old->value.size) != count) {
    if (run->block != 0) rc = spm_space_free(t->conn, run->block, spm_run_blocks(old->value.size));
    if (rc == SQLITE_OK) rc = spm_space_allocate(t->conn, t->limit, count, &run->block);
  }
  return rc == SQLITE_OK ? write_run(t->conn, run->block, value, n) : rc;
}

static int put_large(spm_walk *w, const spm_tree *t, spm_cell *c, const void *value, uint64_t n, spm_kv_run *run,
                     place *p) {
  int rc = store_run(t, p, value, n, run);
  c->value = (const uint8_t *)run;
  c->nvalue = SPM_CELL_RUN;
  w->end = spm_space_end(t->conn);
  /* Writing may have moved the write set, and the leaf with it. */
  return rc == SQLITE_OK ? find_place(w, t, c->key, c->nkey, p) : rc;
}

static int put_cell(const spm_tree *t, place *p, const spm_cell *c) {
  uint8_t *leaf;
  int rc = spm_write_edit(t->conn, p->path.level[0].block, &leaf);
  if (rc != SQLITE_OK) return rc;
  rc = p->found ? spm_node_set_value(leaf, p->at, c->nvalue, c->value) : spm_node_insert(leaf, p->at, c);
  return rc == SQLITE_FULL ? spm_balance(t, &p->path, (spm_change){p->at, p->found, c, 1}) : rc;
}

static int put(spm_walk *w, const spm_tree *t, spm_cell *c, const void *value, uint64_t n) {
  spm_kv_run run;
  place p;
  int rc = find_place(w, t, c->key, c->nkey, &p);
  if (rc != SQLITE_OK) return rc;
  if (SPM_LEAF_CELL_HEAD + c->nkey + n > SPM_KV_CELL_MAX) {
    rc = put_large(w, t, c, value, n, &run, &p);
  } else {
    c->value = value;
    c->nvalue = (uint16_t)n;
    if (p.value.block != 0) rc = spm_space_free(t->conn, p.value.block, spm_run_blocks(p.value.size));
  }
  return rc == SQLITE_OK ? put_cell(t, &p, c) : rc;
}

int spm_tree_put(const spm_tree *t, const void *key, uint32_t nkey, const void *value, uint64_t nvalue) {
  if (nkey > SPM_KV_KEY_MAX)
    return spm_error(SQLITE_TOOBIG, "a key of %u bytes passes the limit of %u", nkey, SPM_KV_KEY_MAX);
  if (nvalue > SPM_KV_VALUE_MAX)
    return spm_error(SQLITE_TOOBIG, "a value of %llu bytes passes the limit of %llu", (unsigned long long)nvalue,
                     (unsigned long long)SPM_KV_VALUE_MAX);
  int rc = spm_write_settle(t->conn);
  if (rc != SQLITE_OK) return rc;
  spm_walk w = spm_walk_new(t->conn, SPM_WALK_WRITE, NULL);
  spm_cell c = {.key = key, .nkey = (uint16_t)nkey};
  return spm_walk_result(&w, put(&w, t, &c, value, nvalue));
}

/* -------------------------------------------------------------- delete -- */

static int delete(spm_walk *w, const spm_tree *t, const void *key, uint32_t nkey) {
  place p;
  int rc = find_place(w, t, key, nkey, &p);
  if (rc == SQLITE_OK && !p.found) rc = SQLITE_NOTFOUND;
  if (rc == SQLITE_OK && p.value.block != 0)
    rc = spm_space_free(t->conn, p.value.block, spm_run_blocks(p.value.size));
  return rc == SQLITE_OK ? spm_balance(t, &p.path, (spm_change){.at = p.at, .removed = 1}) : rc;
}

int spm_tree_delete(const spm_tree *t, const void *key, uint32_t nkey) {
  int rc = spm_write_settle(t->conn);
  if (rc != SQLITE_OK) return rc;
  spm_walk w = spm_walk_new(t->conn, SPM_WALK_WRITE, NULL);
  return spm_walk_result(&w, delete (&w, t, key, nkey));
}

/* --------------------------------------------------------- whole trees -- */

int spm_tree_create(spm_conn *c, uint32_t limit, uint32_t *root) {
  uint8_t *bytes;
  int rc = spm_space_allocate(c, limit, 1, root);
  if (rc == SQLITE_OK) rc = spm_write_edit(c, *root, &bytes);
  if (rc == SQLITE_OK) spm_node_build(bytes, *root, 0, NULL, 0);
  return rc;
}

/* The block goes first: one that a damaged tree has twice is found out at once. */
static int drop(spm_conn *c, uint32_t block, uint32_t level) {
  _Alignas(SPM_LINE_SIZE) uint8_t node[SPM_BLOCK_SIZE];
  const uint8_t *bytes;
  spm_walk w = spm_walk_new(c, SPM_WALK_COPY, node);
  int rc = spm_walk_visit(&w, block, level, &bytes);
  if (rc == SQLITE_OK) rc = spm_space_free(c, block, 1);
  level = spm_node_level(node);
  for (uint32_t i = 0; rc == SQLITE_OK && i < spm_node_count(node); i++) {
    spm_value v;
    spm_cell cell;
    if (!spm_node_cell(node, i, &cell))
      rc = SPM_DAMAGED;
    else if (level > 0)
      rc = drop(c, cell.child, level - 1);
    else if ((rc = spm_walk_value(&w, &cell, &v)) == SQLITE_OK && v.block != 0)
      rc = spm_space_free(c, v.block, spm_run_blocks(v.size));
  }
  return spm_walk_result(&w, rc);
}

int spm_tree_drop(const spm_tree *t) { return drop(t->conn, t->root, SPM_ANY_LEVEL); }
