/*
** treecursor.c - cursors of a tree; see tree.h.
*/
#include "walk.h"

#include <string.h>

void spm_cursor_open(spm_tree_cursor *c, const spm_tree *t) {
  c->tree = *t;
  c->count = 0;
}

/* Where in a leaf the search ends: at `count` and at -1 it is in the leaf beside it. */
static bool position(const uint8_t *leaf, spm_seek how, const void *key, uint32_t nkey, int64_t *position_at) {
  uint32_t count = spm_node_count(leaf), at = 0;
  bool found = false;
  if (how != SPM_SEEK_FIRST && how != SPM_SEEK_LAST && !spm_node_search(leaf, key, nkey, &at, &found)) return false;
  switch (how) {
    case SPM_SEEK_GE: *position_at = at; break;
    case SPM_SEEK_GT: *position_at = (int64_t)at + found; break;
    case SPM_SEEK_LE: *position_at = (int64_t)at - !found; break;
    case SPM_SEEK_LT: *position_at = (int64_t)at - 1; break;
    case SPM_SEEK_FIRST: *position_at = 0; break;
    case SPM_SEEK_LAST: *position_at = (int64_t)count - 1; break;
  }
  return true;
}

/* The leaf, in place or copied, and the slot in it. */
static int find(spm_walk *w, uint32_t root, spm_seek how, const void *key, uint32_t nkey, const uint8_t **leaf,
                int64_t *at) {
  spm_path path;
  spm_way way = how == SPM_SEEK_FIRST ? SPM_TO_FIRST : how == SPM_SEEK_LAST ? SPM_TO_LAST : SPM_BY_KEY;
  int rc = spm_walk_down(w, root, way, key, nkey, &path, leaf);
  if (rc != SQLITE_OK) return rc;
  if (!position(*leaf, how, key, nkey, at)) return SPM_DAMAGED;
  if (*at >= 0 && *at < (int64_t)spm_node_count(*leaf)) return SQLITE_OK;
  bool up = *at >= 0;
  rc = spm_walk_aside(w, up ? +1 : -1, &path, leaf);
  if (rc == SQLITE_OK) *at = up ? 0 : (int64_t)spm_node_count(*leaf) - 1;
  return rc;
}

/* Go to a slot of the leaf. */
static int stand(spm_tree_cursor *c, uint32_t at) {
  spm_cell cell;
  if (!spm_node_cell(c->leaf, at, &cell)) {
    c->count = 0;
    return SPM_DAMAGED;
  }
  c->at = (uint16_t)at;
  c->key = cell.key;
  c->nkey = cell.nkey;
  c->cell_value = cell.value;
  c->cell_nvalue = cell.nvalue;
  return SQLITE_OK;
}

static int seek(spm_tree_cursor *c, spm_walk *w, spm_seek how, const void *key, uint32_t nkey) {
  const uint8_t *leaf;
  int64_t at = 0;
  c->count = 0;
  int rc = find(w, c->tree.root, how, key, nkey, &leaf, &at);
  if (rc != SQLITE_OK) return rc;
  if (leaf != c->leaf) spm_node_copy(c->leaf, leaf, SPM_BLOCK_SIZE);
  c->count = (uint16_t)spm_node_count(c->leaf);
  c->entered = (uint16_t)at;
  return stand(c, (uint32_t)at);
}

int spm_cursor_seek(spm_tree_cursor *c, spm_seek how, const void *key, uint32_t nkey) {
  spm_conn *conn = c->tree.conn;
  int rc = SPM_WALK_AGAIN;
  spm_walk w = spm_walk_new(conn, SPM_WALK_IN_PLACE, NULL);
  if (spm_conn_peeked(conn)) rc = seek(c, &w, how, key, nkey);
  if (!spm_walk_counts(&w, rc)) {
    w = spm_walk_new(conn, SPM_WALK_COPY, c->leaf);
    rc = seek(c, &w, how, key, nkey);
  }
  if (rc != SQLITE_OK) c->count = 0;
  return spm_walk_result(&w, rc);
}

/* Are two keys in the order in which the cursor goes?  A damaged tree must not lead it
** in a circle. */
static bool ahead(spm_seek how, const uint8_t *from, uint32_t nfrom, const uint8_t *to, uint32_t nto, bool strictly) {
  int difference = spm_key_compare(from, nfrom, to, nto);
  if (difference == 0) return !strictly;
  return how == SPM_SEEK_GT ? difference < 0 : difference > 0;
}

static int lost(spm_tree_cursor *c) {
  spm_walk w = {.block = ((const spm_node *)(const void *)c->leaf)->self};
  c->count = 0;
  return spm_walk_result(&w, SPM_DAMAGED);
}

/* From the key it is on, which stands in the leaf that is about to be replaced.  Each leaf
** is left with a key not behind the one it was entered with, and the next one is entered
** with a key before that: so there is an end. */
static int seek_on(spm_tree_cursor *c, spm_seek how) {
  uint8_t key[SPM_KV_KEY_MAX];
  spm_cell entered;
  uint32_t nkey = c->nkey;
  if (!spm_node_cell(c->leaf, c->entered, &entered) || !ahead(how, entered.key, entered.nkey, c->key, nkey, false))
    return lost(c);
  memcpy(key, c->key, nkey);
  int rc = spm_cursor_seek(c, how, key, nkey);
  return rc == SQLITE_OK && !ahead(how, key, nkey, c->key, c->nkey, true) ? lost(c) : rc;
}

static int step(spm_tree_cursor *c, uint32_t at) {
  spm_walk w = {.block = ((const spm_node *)(const void *)c->leaf)->self};
  return spm_walk_result(&w, stand(c, at));
}

int spm_cursor_next(spm_tree_cursor *c) {
  if (c->count == 0) return SQLITE_NOTFOUND;
  return c->at + 1u < c->count ? step(c, c->at + 1u) : seek_on(c, SPM_SEEK_GT);
}

int spm_cursor_prev(spm_tree_cursor *c) {
  if (c->count == 0) return SQLITE_NOTFOUND;
  return c->at > 0 ? step(c, c->at - 1u) : seek_on(c, SPM_SEEK_LT);
}

int spm_cursor_value(const spm_tree_cursor *c, spm_value *v) {
  spm_walk w = spm_walk_new(c->tree.conn, SPM_WALK_COPY, NULL);
  spm_cell cell = {.value = c->cell_value, .nvalue = (uint16_t)c->cell_nvalue};
  w.block = ((const spm_node *)(const void *)c->leaf)->self;
  int rc = spm_walk_result(&w, spm_walk_value(&w, &cell, v));
  if (rc == SQLITE_OK && v->block != 0)
    v->bytes = spm_conn_pointer(c->tree.conn, (uint64_t)v->block * SPM_BLOCK_SIZE, (uint32_t)v->size);
  return rc;
}
