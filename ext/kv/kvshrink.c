/*
** kvshrink.c - making a store's file as short as what is in it.
**
** Blocks above where a packed store would end move to free places below, the lowest
** first.  A node is found through its parent and a value through its cell, so the trees
** are walked from the left; each transaction moves a bounded number of blocks and notes
** the key it got to, where the next one, which may find the trees changed, goes on.
*/
#include "kvstore.h"

#include "balance.h"
#include "space.h"

#include <string.h>

#define BLOCKS_A_TRANSACTION 512u
#define BUSY_TRIES 100u

typedef struct mover {
  spm_kv *kv;
  spm_conn *conn;
  uint32_t target; /* blocks at or above are to move            */
  uint32_t moved;  /* blocks, in this transaction               */
  bool full;       /* nothing below the target is free any more */
  /* Where the next transaction goes on. */
  char name[SPM_KV_NAME_MAX + 1]; /* "": the directory */
  uint8_t key[SPM_KV_KEY_MAX];
  uint32_t nkey;
} mover;

/* ---------------------------------------------------------- single moves -- */

static int read_node(mover *m, uint32_t block, uint32_t level, uint8_t *copy) {
  const uint8_t *bytes;
  spm_walk w = spm_walk_new(m->conn, SPM_WALK_COPY, copy);
  return spm_walk_result(&w, spm_walk_visit(&w, block, level, &bytes));
}

static int bad_node(uint32_t block) {
  return spm_error(SQLITE_CORRUPT, "block %u of the key-value store is damaged", block);
}

/* *block becomes its new place, if there is one. */
static int move_node(mover *m, uint32_t *block, uint32_t level) {
  _Alignas(SPM_LINE_SIZE) uint8_t copy[SPM_BLOCK_SIZE];
  uint32_t old = *block, place;
  uint8_t *bytes;
  int rc = read_node(m, old, level, copy);
  if (rc == SQLITE_OK) rc = spm_space_allocate_below(m->conn, m->target, 1, &place);
  if (rc == SQLITE_NOTFOUND) m->full = true;
  if (rc != SQLITE_OK) return rc == SQLITE_NOTFOUND ? SQLITE_OK : rc;
  rc = spm_write_edit(m->conn, place, &bytes);
  if (rc != SQLITE_OK) return rc;
  memcpy(bytes, copy, SPM_BLOCK_SIZE);
  ((spm_node *)(void *)bytes)->self = place;
  m->moved++;
  *block = place;
  return spm_space_free(m->conn, old, 1);
}

static int copy_run(mover *m, uint32_t from, uint32_t to, uint32_t count) {
  uint8_t bytes[SPM_BLOCK_SIZE];
  int rc = SQLITE_OK;
  for (uint32_t i = 0; rc == SQLITE_OK && i < count; i++) {
    rc = spm_conn_read(m->conn, (uint64_t)(from + i) * SPM_BLOCK_SIZE, SPM_BLOCK_SIZE, bytes);
    if (rc == SQLITE_OK) rc = spm_write(m->conn, (uint64_t)(to + i) * SPM_BLOCK_SIZE, SPM_BLOCK_SIZE, bytes);
  }
  return rc;
}

/* A run is moved to any lower place, also one that the target cuts. */
static int move_run(mover *m, uint32_t leaf, uint32_t at, const spm_cell *c) {
  spm_value v;
  spm_walk w = spm_walk_new(m->conn, SPM_WALK_WRITE, NULL);
  w.block = leaf;
  int rc = spm_walk_result(&w, spm_walk_value(&w, c, &v));
  uint32_t count = spm_run_blocks(v.size), place;
  if (rc != SQLITE_OK || v.block == 0 || v.block + count <= m->target) return rc;
  rc = spm_space_allocate_below(m->conn, v.block, count, &place);
  if (rc != SQLITE_OK) return rc == SQLITE_NOTFOUND ? SQLITE_OK : rc;
  rc = copy_run(m, v.block, place, count);
  if (rc == SQLITE_OK) rc = spm_space_free(m->conn, v.block, count);
  spm_kv_run run = {.size = v.size, .block = place};
  uint8_t *bytes;
  if (rc == SQLITE_OK) rc = spm_write_edit(m->conn, leaf, &bytes);
  if (rc == SQLITE_OK && spm_node_set_value(bytes, at, SPM_CELL_RUN, (const uint8_t *)&run) != SQLITE_OK)
    rc = bad_node(leaf);
  m->moved += count;
  return rc;
}

/* ---------------------------------------------------------------- walking -- */

static bool paused(const mover *m) { return m->full || m->moved >= BLOCKS_A_TRANSACTION; }

static int walk_leaf(mover *m, uint32_t block, const uint8_t *node, uint32_t at) {
  int rc = SQLITE_OK;
  for (; rc == SQLITE_OK && at < spm_node_count(node); at++) {
    spm_cell c;
    if (!spm_node_cell(node, at, &c)) return bad_node(block);
    memcpy(m->key, c.key, c.nkey);
    m->nkey = c.nkey;
    if (paused(m)) return SQLITE_OK; /* the next transaction begins with this key */
    rc = move_run(m, block, at, &c);
  }
  return rc;
}

static int set_child(mover *m, uint32_t parent, uint32_t at, uint32_t child) {
  uint8_t *bytes;
  int rc = spm_write_edit(m->conn, parent, &bytes);
  if (rc == SQLITE_OK && spm_node_set_child(bytes, at, child) != SQLITE_OK) rc = bad_node(parent);
  return rc;
}

/* What is below `block`, which has moved itself, from `key` on. */
static int walk(mover *m, uint32_t block, uint32_t level, bool from_key) {
  _Alignas(SPM_LINE_SIZE) uint8_t node[SPM_BLOCK_SIZE];
  uint32_t at = 0;
  bool found, sane = true;
  int rc = read_node(m, block, level, node);
  if (rc != SQLITE_OK) return rc;
  level = spm_node_level(node);
  if (from_key)
    sane = level == 0 ? spm_node_search(node, m->key, m->nkey, &at, &found)
                      : spm_node_route(node, m->key, m->nkey, &at);
  if (!sane) return bad_node(block);
  if (level == 0) return walk_leaf(m, block, node, at);
  for (; rc == SQLITE_OK && at < spm_node_count(node) && !paused(m); at++, from_key = false) {
    spm_cell c;
    if (!spm_node_cell(node, at, &c)) return bad_node(block);
    uint32_t child = c.child;
    if (child >= m->target) rc = move_node(m, &child, level - 1);
    if (rc == SQLITE_OK && child != c.child) rc = set_child(m, block, at, child);
    if (rc == SQLITE_OK) rc = walk(m, child, level - 1, from_key);
  }
  return rc;
}

/* A root that moves is another entry in the directory. */
static int move_root(mover *m, const spm_tree *t) {
  spm_kv_entry entry = {.root = t->root};
  spm_tree directory = {.conn = m->conn, .root = SPM_KV_DIRECTORY_BLOCK, .limit = t->limit};
  spm_kv_header *header;
  int rc = move_node(m, &entry.root, SPM_ANY_LEVEL);
  if (rc != SQLITE_OK || entry.root == t->root) return rc;
  rc = spm_tree_put(&directory, m->name, (uint32_t)strlen(m->name), &entry, sizeof entry);
  if (rc == SQLITE_OK) rc = spm_header_edit(m->conn, &header);
  if (rc == SQLITE_OK) header->generation++;
  return rc;
}

static int walk_tree(mover *m, bool from_key) {
  spm_tree t;
  if (m->name[0] == 0) return walk(m, SPM_KV_DIRECTORY_BLOCK, SPM_ANY_LEVEL, from_key);
  int rc = spm_kv_tree(m->kv, m->name, &t);
  if (rc == SQLITE_OK && t.root >= m->target) rc = move_root(m, &t);
  if (rc == SQLITE_OK) rc = spm_kv_tree(m->kv, m->name, &t);
  if (rc == SQLITE_NOTFOUND) return SQLITE_OK; /* dropped meanwhile */
  return rc == SQLITE_OK ? walk(m, t.root, SPM_ANY_LEVEL, from_key) : rc;
}

/* From where the last transaction got to; *done: to the last tree's end. */
static int walk_trees(mover *m, bool from_key, bool *done) {
  *done = false;
  for (;;) {
    int rc = walk_tree(m, from_key);
    if (rc != SQLITE_OK || paused(m)) return rc;
    from_key = false;
    m->nkey = 0; /* should it end before the next tree's first leaf */
    rc = spm_kv_tree_next(m->kv, m->name, m->name);
    if (rc != SQLITE_OK) {
      *done = rc == SQLITE_NOTFOUND;
      return *done ? SQLITE_OK : rc;
    }
  }
}

/* ------------------------------------------------------------ transactions -- */

static int begin(mover *m) {
  int rc = SQLITE_BUSY;
  for (uint32_t i = 0; rc == SQLITE_BUSY && i < BUSY_TRIES; i++) rc = spm_kv_begin(m->kv);
  return rc;
}

static int move_some(mover *m, bool from_key, bool *done) {
  int rc = begin(m);
  if (rc != SQLITE_OK) return rc;
  m->moved = 0;
  m->full = false;
  rc = spm_space_packed(m->conn, &m->target);
  if (rc == SQLITE_OK) rc = walk_trees(m, from_key, done);
  if (rc == SQLITE_OK) rc = spm_space_trim(m->conn);
  if (rc == SQLITE_OK) return spm_kv_commit(m->kv);
  spm_kv_rollback(m->kv);
  return rc;
}

int spm_kv_shrink(spm_kv *kv) {
  mover m = {.kv = kv, .conn = spm_kv_conn(kv)};
  bool done = false;
  int rc = SQLITE_OK;
  for (bool from_key = false; rc == SQLITE_OK && !done && !m.full; from_key = true) {
    rc = move_some(&m, from_key, &done);
    if (rc == SQLITE_OK && spm_kv_stopped(kv))
      rc = spm_error(SQLITE_INTERRUPT, "%s: interrupted; what has been moved stays there", spm_kv_path(kv));
  }
  return rc == SQLITE_IOERR_NOMEM ? SQLITE_NOMEM : rc;
}
