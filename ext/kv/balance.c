/*
** balance.c - see balance.h.
*/
#include "balance.h"

#include <stdlib.h>
#include <string.h>

/* Fills, in bytes of a node's room. */
#define EVEN_MAX (SPM_NODE_ROOM * 90 / 100) /* two nodes that share: each must have room left */
#define PACK_MAX (SPM_NODE_ROOM * 97 / 100) /* two nodes of which one is filled up           */
#define LOW (SPM_NODE_ROOM * 45 / 100)      /* below it a node looks for neighbours to join  */
#define JOIN_MAX (SPM_NODE_ROOM * 85 / 100) /* of nodes that were joined                     */

#define WINDOW_MAX 3u              /* siblings that are rebuilt together   */
#define NODES_MAX (WINDOW_MAX + 2) /* that may come of them                */
#define CELLS_MAX (WINDOW_MAX * SPM_NODE_SLOTS_MAX + NODES_MAX)

/* Where keys come in order, those they have passed are packed, for nothing will be put
** between them; else the nodes are made equal. */
typedef enum lean { LEAN_LEFT = -1, LEAN_NONE, LEAN_RIGHT } lean;

/* Siblings [first, first + count) below one parent, to become `wanted` nodes. */
typedef struct window {
  uint32_t first, count, wanted;
  lean pack; /* the left ones are full, or the right ones */
} window;

typedef struct scratch {
  uint32_t count;
  spm_cell cell[CELLS_MAX];
  uint8_t node[WINDOW_MAX][SPM_BLOCK_SIZE];
  uint32_t block[NODES_MAX];
  uint32_t end[NODES_MAX]; /* of each node, in cells */
  /* What goes up from one level must stand until the next has taken it in. */
  spm_cell up[2][NODES_MAX];
  uint8_t key[2][NODES_MAX][SPM_KV_KEY_MAX];
} scratch;

typedef struct balance {
  const spm_tree *tree;
  spm_path *path;
  spm_walk walk;
  spm_change change;
  scratch *scratch;
} balance;

/* ------------------------------------------------------- within a node -- */

/* SQLITE_FULL: what is left of the change did not fit. */
static int apply(spm_change *change, uint8_t *node) {
  int rc = SQLITE_OK;
  for (; rc == SQLITE_OK && change->removed > 0; change->removed--) rc = spm_node_remove(node, change->at);
  while (rc == SQLITE_OK && change->count > 0) {
    rc = spm_node_insert(node, change->at, change->cells);
    if (rc != SQLITE_OK) break;
    change->at++;
    change->cells++;
    change->count--;
  }
  return rc;
}

/* ------------------------------------------------------------ the root -- */

/* All it has moves to a child of its own; the node to change is then that child. */
static int deepen(balance *b, uint8_t **node) {
  spm_conn *c = b->tree->conn;
  spm_path *path = b->path;
  uint32_t top = path->top, block;
  uint8_t *child;
  if (top == SPM_KV_LEVEL_MAX) return SPM_DAMAGED;
  int rc = spm_space_allocate(c, b->tree->limit, 1, &block);
  if (rc == SQLITE_OK) rc = spm_write_edit(c, block, &child);
  if (rc != SQLITE_OK) return rc;
  memcpy(child, *node, SPM_BLOCK_SIZE);
  ((spm_node *)(void *)child)->self = block;
  spm_node_build(*node, b->tree->root, top + 1, &(spm_cell){.key = child, .child = block}, 1);
  path->level[top].block = block;
  path->top = top + 1;
  path->level[top + 1].block = b->tree->root;
  path->level[top + 1].at = 0;
  path->level[top + 1].count = 1;
  b->walk.end = spm_space_end(c);
  *node = child;
  return SQLITE_OK;
}

/* A branch with one child becomes that child, one with none an empty leaf. */
static int collapse(balance *b, uint8_t *root) {
  uint32_t level;
  while ((level = spm_node_level(root)) > 0 && spm_node_count(root) <= 1) {
    const uint8_t *child;
    spm_cell c;
    if (spm_node_count(root) == 0) {
      spm_node_build(root, b->tree->root, 0, NULL, 0);
      break;
    }
    if (!spm_node_cell(root, 0, &c)) return SPM_DAMAGED;
    int rc = spm_walk_visit(&b->walk, c.child, level - 1, &child);
    if (rc != SQLITE_OK) return rc;
    memcpy(root, child, SPM_BLOCK_SIZE);
    ((spm_node *)(void *)root)->self = b->tree->root;
    rc = spm_space_free(b->tree->conn, c.child, 1);
    if (rc != SQLITE_OK) return rc;
  }
  return SQLITE_OK;
}

/* ----------------------------------------------------- which neighbours -- */

/* The parent, and of a sibling of the path's node how much it has; UINT32_MAX: none. */
static int used_aside(balance *b, uint32_t level, const uint8_t *parent, int direction, uint32_t *used) {
  uint32_t at = b->path->level[level + 1].at;
  const uint8_t *node;
  spm_cell c;
  *used = UINT32_MAX;
  if (direction < 0 ? at == 0 : at + 1 >= spm_node_count(parent)) return SQLITE_OK;
  if (!spm_node_cell(parent, direction < 0 ? at - 1 : at + 1, &c)) return SPM_DAMAGED;
  int rc = spm_walk_visit(&b->walk, c.child, level, &node);
  if (rc == SQLITE_OK) *used = spm_node_used(node);
  return rc;
}

static int look_around(balance *b, uint32_t level, const uint8_t **parent, uint32_t *left, uint32_t *right) {
  int rc = spm_walk_visit(&b->walk, b->path->level[level + 1].block, level + 1, parent);
  if (rc == SQLITE_OK) rc = used_aside(b, level, *parent, -1, left);
  return rc == SQLITE_OK ? used_aside(b, level, *parent, +1, right) : rc;
}

static uint32_t change_size(const spm_change *change, uint32_t level) {
  uint32_t size = 0;
  for (uint32_t i = 0; i < change->count; i++)
    size += spm_cell_size(&change->cells[i], level) + (uint32_t)sizeof(spm_node_slot);
  return size;
}

/* What does not fit the node is at its end: the keys seem to ascend; at its front: to
** descend.  Then it is the sibling they come from that is worth filling up, and if that
** is full, so stays the node, and what is new begins another. */
static void window_to_pack(uint32_t used, uint32_t added, uint32_t sibling, lean pack, uint32_t at, window *w) {
  *w = (window){.first = at, .count = 1, .wanted = 2, .pack = pack};
  if (sibling == UINT32_MAX || sibling + added > PACK_MAX) return;
  w->count = 2;
  w->wanted = used + added + sibling <= 2 * PACK_MAX ? 2 : 3;
  if (pack == LEAN_LEFT) w->first--;
}

static int window_to_split(balance *b, uint32_t level, const uint8_t *node, window *w) {
  const uint8_t *parent;
  uint32_t left, right, at = b->path->level[level + 1].at;
  uint32_t used = spm_node_used(node), added = change_size(&b->change, level);
  int rc = look_around(b, level, &parent, &left, &right);
  if (rc != SQLITE_OK) return rc;
  *w = (window){.first = at, .count = 1, .wanted = 2};
  if (b->change.at == spm_node_count(node)) {
    window_to_pack(used, added, left, LEAN_LEFT, at, w);
    return SQLITE_OK;
  }
  if (b->change.at == 0) {
    window_to_pack(used, added, right, LEAN_RIGHT, at, w);
    return SQLITE_OK;
  }
  if (left == UINT32_MAX && right == UINT32_MAX) return SQLITE_OK;
  uint32_t total = used + added + (left < right ? left : right);
  w->count = 2;
  w->wanted = total <= 2 * EVEN_MAX ? 2 : 3;
  if (left < right) w->first--;
  return SQLITE_OK;
}

/* count 0: leave it alone. */
static int window_to_join(balance *b, uint32_t level, const uint8_t *node, window *w) {
  const uint8_t *parent;
  uint32_t left, right, used = spm_node_used(node), at = b->path->level[level + 1].at;
  *w = (window){.first = at, .count = 0};
  int rc = look_around(b, level, &parent, &left, &right);
  if (rc != SQLITE_OK) return rc;
  if (spm_node_count(node) == 0) {
    w->count = 1;
  } else if (left != UINT32_MAX && left + used <= JOIN_MAX) {
    *w = (window){.first = at - 1, .count = 2, .wanted = 1};
  } else if (right != UINT32_MAX && right + used <= JOIN_MAX) {
    *w = (window){.first = at, .count = 2, .wanted = 1};
  } else if (left != UINT32_MAX && right != UINT32_MAX && left + used + right <= 2 * JOIN_MAX) {
    *w = (window){.first = at - 1, .count = 3, .wanted = 2};
  }
  return SQLITE_OK;
}

/* -------------------------------------------------------- redistribution -- */

static bool gather_node(balance *b, uint32_t level, const uint8_t *node, const spm_cell *parent_cell, bool changed) {
  scratch *s = b->scratch;
  uint32_t count = spm_node_count(node);
  if (count > SPM_NODE_SLOTS_MAX) return false;
  for (uint32_t i = 0; i <= count; i++) {
    if (changed && i == b->change.at)
      for (uint32_t j = 0; j < b->change.count; j++) s->cell[s->count++] = b->change.cells[j];
    if (i == count) break;
    spm_cell *c = &s->cell[s->count++];
    if (!spm_node_cell(node, i, c)) return false;
    if (i == 0 && level > 0) { /* its key stands in the parent */
      c->key = parent_cell->key;
      c->nkey = parent_cell->nkey;
    }
  }
  return true;
}

/* All cells of the window, those to come among them, and the blocks they stand in. */
static int gather(balance *b, uint32_t level, const window *w) {
  scratch *s = b->scratch;
  const uint8_t *parent, *node;
  s->count = 0;
  s->block[0] = b->path->level[level].block;
  if (w->wanted == 0) return SQLITE_OK; /* it is empty */
  int rc = spm_walk_visit(&b->walk, b->path->level[level + 1].block, level + 1, &parent);
  for (uint32_t i = 0; rc == SQLITE_OK && i < w->count; i++) {
    spm_cell c;
    if (!spm_node_cell(parent, w->first + i, &c)) return SPM_DAMAGED;
    rc = spm_walk_visit(&b->walk, c.child, level, &node);
    if (rc != SQLITE_OK) break;
    s->block[i] = c.child;
    memcpy(s->node[i], node, SPM_BLOCK_SIZE);
    bool changed = w->first + i == b->path->level[level + 1].at;
    if (!gather_node(b, level, s->node[i], &c, changed)) return SPM_DAMAGED;
  }
  return rc;
}

static uint32_t size_of(const scratch *s, uint32_t level, uint32_t i) {
  return spm_cell_size(&s->cell[i], level) + (uint32_t)sizeof(spm_node_slot);
}

/* Where each of `nodes` nodes ends, none of them empty: all about equal, or the left ones
** full, or the right ones.  False: the cells do not fit so few. */
static bool divide_evenly(scratch *s, uint32_t level, uint32_t nodes) {
  uint32_t total = 0, sum = 0, i = 0;
  for (uint32_t j = 0; j < s->count; j++) total += size_of(s, level, j);
  for (uint32_t n = 0; n < nodes; n++) {
    uint32_t boundary = (uint32_t)((uint64_t)total * (n + 1) / nodes), from = sum, first = i;
    for (uint32_t last = s->count - (nodes - n - 1); i < last; i++) {
      if (n + 1 < nodes && i > first && sum + size_of(s, level, i) / 2 > boundary) break;
      sum += size_of(s, level, i);
    }
    if (sum - from > SPM_NODE_ROOM) return false;
    s->end[n] = i;
  }
  return true;
}

static bool pack_left(scratch *s, uint32_t level, uint32_t nodes) {
  uint32_t i = 0;
  for (uint32_t n = 0; n < nodes; n++) {
    uint32_t last = s->count - (nodes - n - 1), used = 0;
    for (; i < last && used + size_of(s, level, i) <= SPM_NODE_ROOM; i++) used += size_of(s, level, i);
    s->end[n] = i;
  }
  return i == s->count;
}

static bool pack_right(scratch *s, uint32_t level, uint32_t nodes) {
  uint32_t i = s->count;
  for (uint32_t n = nodes; n-- > 0;) {
    uint32_t used = 0;
    s->end[n] = i;
    for (; i > n && used + size_of(s, level, i - 1) <= SPM_NODE_ROOM; i--) used += size_of(s, level, i - 1);
  }
  return i == 0;
}

static bool divide(scratch *s, uint32_t level, uint32_t nodes, lean pack) {
  if (s->count < nodes) return false;
  return pack == LEAN_LEFT    ? pack_left(s, level, nodes)
         : pack == LEAN_RIGHT ? pack_right(s, level, nodes)
                              : divide_evenly(s, level, nodes);
}

/* The shortest key that tells the leaf of `b` from that of `a`. */
static uint32_t separator(const spm_cell *a, const spm_cell *b) {
  uint32_t n = spm_key_common(a->key, a->nkey, b->key, b->nkey) + 1;
  return n < b->nkey ? n : b->nkey;
}

/* Build node n; for all but the first, the parent gets a cell. */
static int rebuild(balance *b, uint32_t level, uint32_t n, bool extra) {
  scratch *s = b->scratch;
  uint8_t *bytes;
  int rc = extra ? spm_space_allocate(b->tree->conn, b->tree->limit, 1, &s->block[n]) : SQLITE_OK;
  if (rc == SQLITE_OK) rc = spm_write_edit(b->tree->conn, s->block[n], &bytes);
  if (rc != SQLITE_OK) return rc;
  uint32_t first = n == 0 ? 0 : s->end[n - 1];
  const spm_cell *cell = &s->cell[first];
  spm_node_build(bytes, s->block[n], level, cell, s->end[n] - first);
  if (n == 0) return SQLITE_OK;
  uint32_t nkey = level == 0 ? separator(cell - 1, cell) : cell->nkey;
  uint8_t *key = s->key[level % 2][n];
  memcpy(key, cell->key, nkey);
  s->up[level % 2][n] = (spm_cell){.key = key, .nkey = (uint16_t)nkey, .child = s->block[n]};
  return SQLITE_OK;
}

/* The window's cells in as many nodes as wanted, and the change that is for the parent. */
static int redistribute(balance *b, uint32_t level, const window *w) {
  scratch *s = b->scratch;
  uint32_t nodes = w->wanted;
  while (nodes > 0 && !divide(s, level, nodes, w->pack))
    if (++nodes > NODES_MAX) return SPM_DAMAGED;
  int rc = SQLITE_OK;
  for (uint32_t n = nodes; rc == SQLITE_OK && n < w->count; n++) rc = spm_space_free(b->tree->conn, s->block[n], 1);
  for (uint32_t n = 0; rc == SQLITE_OK && n < nodes; n++) rc = rebuild(b, level, n, n >= w->count);
  b->walk.end = spm_space_end(b->tree->conn);
  b->change = nodes == 0 ? (spm_change){.at = w->first, .removed = 1}
                         : (spm_change){w->first + 1, w->count - 1, &s->up[level % 2][1], nodes - 1};
  return rc;
}

/* The change to the node at `level` is made; *window: what has to follow. */
static int change_node(balance *b, uint32_t level, window *w) {
  uint8_t *node;
  bool shrinks = b->change.removed > b->change.count;
  int rc = spm_write_edit(b->tree->conn, b->path->level[level].block, &node);
  if (rc == SQLITE_OK) rc = apply(&b->change, node);
  if (rc == SQLITE_FULL) {
    rc = level == b->path->top ? deepen(b, &node) : SQLITE_OK;
    return rc == SQLITE_OK ? window_to_split(b, level, node, w) : rc;
  }
  if (rc != SQLITE_OK || !shrinks) return rc;
  if (level == b->path->top) return collapse(b, node);
  return spm_node_used(node) < LOW ? window_to_join(b, level, node, w) : SQLITE_OK;
}

static int make_scratch(balance *b) {
  if (b->scratch == NULL) b->scratch = malloc(sizeof *b->scratch);
  return b->scratch == NULL ? SQLITE_NOMEM : SQLITE_OK;
}

int spm_balance(const spm_tree *t, spm_path *path, spm_change change) {
  balance b = {.tree = t, .path = path, .walk = spm_walk_new(t->conn, SPM_WALK_WRITE, NULL), .change = change};
  int rc = SQLITE_OK;
  for (uint32_t level = 0;; level++) {
    window w = {0};
    rc = change_node(&b, level, &w);
    if (rc != SQLITE_OK || w.count == 0) break;
    rc = make_scratch(&b);
    if (rc == SQLITE_OK) rc = gather(&b, level, &w);
    if (rc == SQLITE_OK && w.wanted == 1 && !divide(b.scratch, level, 1, LEAN_NONE)) break; /* too large after all */
    if (rc == SQLITE_OK) rc = redistribute(&b, level, &w);
    if (rc != SQLITE_OK) break;
  }
  free(b.scratch);
  return spm_walk_result(&b.walk, rc);
}
