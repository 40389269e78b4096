/*
** walk.c - see walk.h.
*/
#include "walk.h"

/* Each line of a leaf that is not in the cache is waited for: ask for all at once.  A
** search needs the header and the slots of some forty cells, a change the whole block. */
static inline void prefetch(const spm_walk *w, const uint8_t *leaf) {
  uint32_t n = w->mode == SPM_WALK_WRITE ? SPM_BLOCK_SIZE : 6 * SPM_LINE_SIZE;
  for (uint32_t i = 0; i < n; i += SPM_LINE_SIZE) __builtin_prefetch(leaf + i);
}

int spm_walk_visit(spm_walk *w, uint32_t block, uint32_t level, const uint8_t **node) {
  w->block = block;
  if (block >= w->end) return SPM_DAMAGED;
  if (w->mode == SPM_WALK_COPY) {
    int rc = spm_conn_read(w->conn, (uint64_t)block * SPM_BLOCK_SIZE, SPM_BLOCK_SIZE, w->copy);
    if (rc != SQLITE_OK) return rc;
    *node = w->copy;
  } else {
    *node = spm_conn_peek(w->conn, block);
    if (*node == NULL) { /* in the log */
      if (w->mode == SPM_WALK_IN_PLACE) return SPM_WALK_AGAIN;
      uint8_t *bytes;
      int rc = spm_write_edit(w->conn, block, &bytes);
      if (rc != SQLITE_OK) return rc;
      *node = bytes;
    }
  }
  if (level == 0) prefetch(w, *node);
  return spm_node_sane(*node, block, level) ? SQLITE_OK : SPM_DAMAGED;
}

/* The slot to go down by. */
static bool choose(const uint8_t *node, spm_way way, const void *key, uint32_t nkey, uint32_t count, uint32_t *at) {
  if (way == SPM_BY_KEY) return spm_node_route(node, key, nkey, at);
  if (count == 0) return false;
  *at = way == SPM_TO_FIRST ? 0 : count - 1;
  return true;
}

/* From a node that was just visited. */
static int down_from(spm_walk *w, uint32_t level, spm_way way, const void *key, uint32_t nkey, spm_path *path,
                     const uint8_t **node) {
  for (;;) {
    uint32_t count = spm_node_count(*node), at;
    path->level[level].block = w->block;
    path->level[level].count = count;
    path->level[level].at = 0;
    if (level == 0) return count == 0 && path->top > 0 ? SPM_DAMAGED : SQLITE_OK;
    spm_cell c;
    if (!choose(*node, way, key, nkey, count, &at) || !spm_node_cell(*node, at, &c)) return SPM_DAMAGED;
    path->level[level].at = at;
    int rc = spm_walk_visit(w, c.child, --level, node);
    if (rc != SQLITE_OK) return rc;
  }
}

int spm_walk_down(spm_walk *w, uint32_t root, spm_way way, const void *key, uint32_t nkey, spm_path *path,
                  const uint8_t **leaf) {
  int rc = spm_walk_visit(w, root, SPM_ANY_LEVEL, leaf);
  if (rc != SQLITE_OK) return rc;
  path->top = spm_node_level(*leaf);
  if (path->top > SPM_KV_LEVEL_MAX) return SPM_DAMAGED;
  return down_from(w, path->top, way, key, nkey, path, leaf);
}

int spm_walk_aside(spm_walk *w, int direction, spm_path *path, const uint8_t **leaf) {
  uint32_t level = 1;
  for (; level <= path->top; level++)
    if (direction > 0 ? path->level[level].at + 1 < path->level[level].count : path->level[level].at > 0) break;
  if (level > path->top) return SQLITE_NOTFOUND;
  spm_cell c;
  int rc = spm_walk_visit(w, path->level[level].block, level, leaf);
  if (rc != SQLITE_OK) return rc;
  uint32_t at = direction > 0 ? path->level[level].at + 1 : path->level[level].at - 1;
  if (!spm_node_cell(*leaf, at, &c)) return SPM_DAMAGED;
  path->level[level].at = at;
  rc = spm_walk_visit(w, c.child, level - 1, leaf);
  if (rc != SQLITE_OK) return rc;
  return down_from(w, level - 1, direction > 0 ? SPM_TO_FIRST : SPM_TO_LAST, NULL, 0, path, leaf);
}

int spm_walk_result(const spm_walk *w, int rc) {
  if (rc == SQLITE_IOERR_NOMEM) return SQLITE_NOMEM;
  if (rc != SPM_DAMAGED) return rc;
  return spm_error(SQLITE_CORRUPT,
                   "block %u of the key-value store is damaged: it is not the node that belongs there", w->block);
}

int spm_walk_value(const spm_walk *w, const spm_cell *c, spm_value *v) {
  v->block = 0;
  v->size = c->nvalue;
  v->bytes = c->value;
  if (c->nvalue != SPM_CELL_RUN) return c->nvalue <= SPM_KV_CELL_MAX ? SQLITE_OK : SPM_DAMAGED;
  spm_kv_run run;
  spm_node_copy(&run, c->value, sizeof run);
  v->block = run.block;
  v->size = run.size;
  v->bytes = NULL;
  if (run.size == 0 || run.size > SPM_KV_VALUE_MAX || run.block < SPM_KV_FIRST_BLOCKS) return SPM_DAMAGED;
  return (uint64_t)run.block + spm_run_blocks(run.size) <= w->end ? SQLITE_OK : SPM_DAMAGED;
}
