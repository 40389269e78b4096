/*
** node.h - one node of a tree: looked up in, and changed, within its block.
**
** What is read may be anything: a node damaged on media, or one that a writer is just
** changing.  So each field is read once and checked before it is used, every search
** ends, and a function that meets something impossible returns false (or
** SPM_DAMAGED); its caller knows which block that was, and whether it is to be believed
** (walk.h).  Nothing here knows of other nodes.
*/
#ifndef SPM_NODE_H
#define SPM_NODE_H

#include "kvformat.h"

#define SPM_ANY_LEVEL UINT32_MAX

/* What reads a node in place may race with a writer's stores, by design: validation decides
** whether what came of it counts (walk.h). */
#define SPM_RACY __attribute__((no_sanitize("thread")))

/* Damage that nobody has explained yet; a code of SQLite's that it does not use itself. */
#define SPM_DAMAGED SQLITE_FORMAT

/* A cell, of a node or to become one of it; it points to where its bytes are. */
typedef struct spm_cell {
  const uint8_t *key;
  const uint8_t *value; /* leaf: the value, or its spm_kv_run */
  uint32_t child;       /* branch */
  uint16_t nkey;
  uint16_t nvalue; /* leaf: as it is on media, so SPM_CELL_RUN means a spm_kv_run */
} spm_cell;

static inline uint32_t spm_cell_value_size(const spm_cell *c) {
  return c->nvalue == SPM_CELL_RUN ? (uint32_t)sizeof(spm_kv_run) : c->nvalue;
}
/* Bytes of the cell, without its slot, in a node of this level. */
static inline uint32_t spm_cell_size(const spm_cell *c, uint32_t level) {
  return level > 0 ? SPM_BRANCH_CELL_HEAD + c->nkey : SPM_LEAF_CELL_HEAD + c->nkey + spm_cell_value_size(c);
}

int spm_key_compare(const void *a, uint32_t na, const void *b, uint32_t nb);
/* Bytes that both begin with. */
uint32_t spm_key_common(const uint8_t *a, uint32_t na, const uint8_t *b, uint32_t nb);

/* ---- reading: in place, in a copy, in the write set ---- */

/* Is it the header of a node that stands in this block, at this level? */
bool spm_node_sane(const uint8_t *node, uint32_t self, uint32_t level) SPM_MUST_CHECK;
SPM_RACY static inline uint32_t spm_node_level(const uint8_t *node) {
  return ((const volatile spm_node *)(const void *)node)->level;
}
SPM_RACY static inline uint32_t spm_node_count(const uint8_t *node) {
  return ((const volatile spm_node *)(const void *)node)->count;
}

/* In a leaf: the first slot whose key is not below `key`; *found: it is that key. */
bool spm_node_search(const uint8_t *node, const void *key, uint32_t nkey, uint32_t *at, bool *found) SPM_MUST_CHECK;
/* In a branch: the slot of the child below which `key` belongs. */
bool spm_node_route(const uint8_t *node, const void *key, uint32_t nkey, uint32_t *at) SPM_MUST_CHECK;
bool spm_node_cell(const uint8_t *node, uint32_t at, spm_cell *) SPM_MUST_CHECK;
/* Bytes of a node, copied. */
void spm_node_copy(void *to, const uint8_t *from, size_t n);
/* Everything kvformat.h says of a single node. */
bool spm_node_valid(const uint8_t *node, uint32_t self, uint32_t level) SPM_MUST_CHECK;

/* ---- changing: in the write set only ---- */

/* Bytes of its room that slots and cells take up. */
uint32_t spm_node_used(const uint8_t *node);
/* Make it a node of these cells, in their order; they fit, and point elsewhere. */
void spm_node_build(uint8_t *node, uint32_t self, uint32_t level, const spm_cell *, uint32_t count);
/* SQLITE_FULL: it does not fit, and nothing was changed.  The cell points elsewhere. */
int spm_node_insert(uint8_t *node, uint32_t at, const spm_cell *) SPM_MUST_CHECK;
int spm_node_remove(uint8_t *node, uint32_t at) SPM_MUST_CHECK;
/* Replace a leaf's value where it stands.  SQLITE_FULL: the new one is longer. */
int spm_node_set_value(uint8_t *node, uint32_t at, uint16_t nvalue, const uint8_t *value) SPM_MUST_CHECK;
int spm_node_set_child(uint8_t *node, uint32_t at, uint32_t child) SPM_MUST_CHECK;

#endif
