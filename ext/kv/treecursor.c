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
  if (leaf != c->leaf) memcpy(c->leaf, leaf, SPM_BLOCK_SIZE);
  c->count = (uint16_t)spm_node_count(c->leaf);
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

/* From the key it is on, which stands in the leaf that is about to be replaced. */
static int seek_on(spm_tree_cursor *c, spm_seek how) {
  uint8_t key[SPM_KV_KEY_MAX];
  memcpy(key, c->key, c->nkey);
  return spm_cursor_seek(c, how, key, c->nkey);
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
