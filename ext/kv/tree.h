/*
** tree.h - an ordered map of bytes to bytes: a B+tree in the blocks of a store.
**
** Keys are compared by memcmp(), then by length; a key of no length is the lowest.  The
** root's block stays the same while the tree grows and shrinks.  Nodes have no links to
** their siblings: whoever steps from leaf to leaf goes down from the root again.
**
** READING works in any snapshot.  Nodes are searched where they lie and only believed
** once spm_conn_peeked() says so; if it does not, the same walk is made on copies, which
** the engine takes as of the snapshot (K7).  So SQLITE_CORRUPT is never the work of a
** writer nearby: something on media is damaged, and the error log names the block.
**
** WRITING needs the writer's connection (spm_write_begin_latest).  An edit stays local
** to a leaf where it can, for what changes in a block is what goes to the log.  A leaf
** that overflows first evens out with a sibling, then two become three; keys that come
** in order, either way, fill leaves completely.  A leaf that runs low joins its neighbours.  After
** any error but SQLITE_NOTFOUND and SQLITE_TOOBIG the transaction must be rolled back.
** Transactions may be of any size: what does not fit in memory goes to the log.
**
** A spm_tree is good within the snapshot or transaction it was looked up in.
*/
#ifndef SPM_TREE_H
#define SPM_TREE_H

#include "kvformat.h"

typedef struct spm_tree {
  spm_conn *conn;
  uint32_t root;
  uint32_t limit; /* blocks the store may have; SPM_NO_LIMIT */
} spm_tree;

/* A value that was found.  Small ones stand in the leaf and are copied to `room`, so the
** structure can be kept and reused; a large one is a run of blocks, and is either
** pointed to, where nothing can change it before the snapshot ends, or read in pieces. */
typedef struct spm_value {
  uint64_t size;        /* bytes                                           */
  const uint8_t *bytes; /* all of them; NULL: use spm_value_read()         */
  uint32_t block;       /* the first of its run, 0: it stood in the leaf   */
  uint8_t room[SPM_KV_CELL_MAX];
} spm_value;

/* Copy bytes [offset, offset + n) of the value, which must be below its size. */
int spm_value_read(spm_conn *, const spm_value *, uint64_t offset, uint32_t n, void *to) SPM_MUST_CHECK;

/* SQLITE_NOTFOUND: there is no such key. */
int spm_tree_get(const spm_tree *, const void *key, uint32_t nkey, spm_value *) SPM_MUST_CHECK;
/* Insert, or replace the value.  SQLITE_TOOBIG: key or value pass the limits in
** kvformat.h; nothing was changed.  SQLITE_FULL: the store's own limit. */
int spm_tree_put(const spm_tree *, const void *key, uint32_t nkey, const void *value, uint64_t nvalue) SPM_MUST_CHECK;
/* SQLITE_NOTFOUND: there was no such key; nothing was changed. */
int spm_tree_delete(const spm_tree *, const void *key, uint32_t nkey) SPM_MUST_CHECK;

/* Make an empty root; its block is *root. */
int spm_tree_create(spm_conn *, uint32_t limit, uint32_t *root) SPM_MUST_CHECK;
/* Free all blocks of the tree but none of another. */
int spm_tree_drop(const spm_tree *) SPM_MUST_CHECK;

/* ---- cursors ---- */

typedef enum spm_seek {
  SPM_SEEK_GE, /* the lowest key not below the given one */
  SPM_SEEK_GT,
  SPM_SEEK_LE, /* the highest key not above it */
  SPM_SEEK_LT,
  SPM_SEEK_FIRST, /* the lowest of all; no key given */
  SPM_SEEK_LAST
} spm_seek;

/* Keeps a copy of the leaf it is on: what `key` and `value` point to stays as it is until
** the cursor moves.  It needs no closing.  In a transaction that changes the tree it goes
** on from the key it is on, but shows changes only from its next leaf on. */
typedef struct spm_tree_cursor {
  spm_tree tree;
  uint16_t at;      /* slot in the leaf                               */
  uint16_t entered; /* the slot it came to the leaf by                */
  uint16_t count;   /* slots of the leaf, 0: the cursor is on no key  */
  uint32_t nkey;
  const uint8_t *key;
  const uint8_t *cell_value; /* in the leaf: the value, or its spm_kv_run */
  uint32_t cell_nvalue;      /* or SPM_CELL_RUN */
  _Alignas(SPM_LINE_SIZE) uint8_t leaf[SPM_BLOCK_SIZE];
} spm_tree_cursor;

void spm_cursor_open(spm_tree_cursor *, const spm_tree *);
/* SQLITE_OK: it is on a key; SQLITE_NOTFOUND: there is none, and it is on no key.  The key
** given is not one that stands in this cursor's own leaf. */
int spm_cursor_seek(spm_tree_cursor *, spm_seek, const void *key, uint32_t nkey) SPM_MUST_CHECK;
int spm_cursor_next(spm_tree_cursor *) SPM_MUST_CHECK;
int spm_cursor_prev(spm_tree_cursor *) SPM_MUST_CHECK;
static inline bool spm_cursor_valid(const spm_tree_cursor *c) { return c->count > 0; }
static inline const uint8_t *spm_cursor_key(const spm_tree_cursor *c, uint32_t *nkey) {
  *nkey = c->nkey;
  return c->key;
}
/* Describe the value; `bytes` of a small one points into the cursor's leaf. */
int spm_cursor_value(const spm_tree_cursor *, spm_value *) SPM_MUST_CHECK;

#endif
