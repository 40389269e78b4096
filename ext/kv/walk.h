/*
** walk.h - from the root of a tree down to a leaf, for reading and for writing.
**
** A walk is made in place first, on blocks that may be changing; what it finds, damage
** included, counts only if spm_conn_peeked() says so afterwards.  Otherwise it is made
** again on copies.  A writer's blocks are still, so it walks once.
*/
#ifndef SPM_WALK_H
#define SPM_WALK_H

#include "node.h"
#include "space.h"
#include "tree.h"

typedef enum spm_walk_mode {
  SPM_WALK_IN_PLACE,
  SPM_WALK_COPY, /* each node to `copy` */
  SPM_WALK_WRITE /* nodes stay where they are until they are edited */
} spm_walk_mode;

typedef struct spm_walk {
  spm_conn *conn;
  spm_walk_mode mode;
  uint32_t end;   /* blocks the store has                         */
  uint32_t block; /* the one visited last, to be named in an error */
  uint8_t *copy;
} spm_walk;

/* The nodes from the root, at `top`, to a leaf, at 0, and the slot taken in each. */
typedef struct spm_path {
  uint32_t top;
  struct {
    uint32_t block, at, count;
  } level[SPM_KV_LEVEL_MAX + 2];
} spm_path;

typedef enum spm_way { SPM_BY_KEY, SPM_TO_FIRST, SPM_TO_LAST } spm_way;

/* Not to be seen by callers of the tree: what was read in place cannot be told. */
#define SPM_WALK_AGAIN SQLITE_BUSY

static inline spm_walk spm_walk_new(spm_conn *c, spm_walk_mode mode, uint8_t *copy) {
  return (spm_walk){.conn = c, .mode = mode, .end = spm_space_end(c), .copy = copy};
}

/* The node in a block; SPM_DAMAGED: it is not one of this level. */
int spm_walk_visit(spm_walk *, uint32_t block, uint32_t level, const uint8_t **node) SPM_MUST_CHECK;
/* From the root to a leaf. */
int spm_walk_down(spm_walk *, uint32_t root, spm_way, const void *key, uint32_t nkey, spm_path *,
                  const uint8_t **leaf) SPM_MUST_CHECK;
/* From the leaf the path leads to, to the next one (+1) or the one before it (-1).
** SQLITE_NOTFOUND: there is none. */
int spm_walk_aside(spm_walk *, int direction, spm_path *, const uint8_t **leaf) SPM_MUST_CHECK;
/* Is what a walk in place ended with to be believed? */
static inline bool spm_walk_counts(const spm_walk *w, int rc) {
  return rc != SPM_WALK_AGAIN && (w->mode != SPM_WALK_IN_PLACE || spm_conn_peeked(w->conn));
}
/* The result of a walk that counts, damage having been explained. */
int spm_walk_result(const spm_walk *, int rc) SPM_MUST_CHECK;

/* What a cell of a leaf has as its value; a small one is not copied. */
int spm_walk_value(const spm_walk *, const spm_cell *, spm_value *) SPM_MUST_CHECK;
static inline uint32_t spm_run_blocks(uint64_t size) {
  return (uint32_t)((size + SPM_BLOCK_SIZE - 1) / SPM_BLOCK_SIZE);
}

#endif
