/*
** space.h - which blocks of a key-value store are in use.
**
** A bit a block, in bitmaps that stand at the front of each group of blocks, so that
** freeing writes to no block but the bitmap, and a run of blocks, which lies inside
** one group, can be as long as the longest value.  The lowest free block is always
** taken first: what is at the end of the file empties, and can be cut.
**
** For the writer of the store; every change is part of its transaction.  After an error
** the transaction must be rolled back.
*/
#ifndef SPM_SPACE_H
#define SPM_SPACE_H

#include "kvformat.h"

#define SPM_NO_LIMIT UINT32_MAX

/* Has the store more than the block that its life began with? */
static inline bool spm_space_formatted(const spm_conn *c) { return spm_conn_size(c) > SPM_BLOCK_SIZE; }
/* If not: make an empty store's header and bitmap. */
int spm_space_format(spm_conn *) SPM_MUST_CHECK;

/* Take `count` blocks in a row, the first of them *block, below block `limit`.
** SQLITE_FULL: there is no room below it.  They may be behind the end, so they must be
** written before the next call. */
int spm_space_allocate(spm_conn *, uint32_t limit, uint32_t count, uint32_t *block) SPM_MUST_CHECK;
/* The same among what is free below `below`, itself below the end.  SQLITE_NOTFOUND. */
int spm_space_allocate_below(spm_conn *, uint32_t below, uint32_t count, uint32_t *block) SPM_MUST_CHECK;
/* SQLITE_CORRUPT: one of them was not in use. */
int spm_space_free(spm_conn *, uint32_t block, uint32_t count) SPM_MUST_CHECK;

/* Cut off the free blocks at the end. */
int spm_space_trim(spm_conn *) SPM_MUST_CHECK;
/* The blocks a store would have if nothing below its end were free. */
int spm_space_packed(spm_conn *, uint32_t *blocks) SPM_MUST_CHECK;

/* Blocks of the store as the connection sees it. */
static inline uint32_t spm_space_end(const spm_conn *c) { return (uint32_t)(spm_conn_size(c) / SPM_BLOCK_SIZE); }

/* The header in the write set. */
int spm_header_edit(spm_conn *, spm_kv_header **) SPM_MUST_CHECK;
/* A copy of it, checked: SQLITE_CORRUPT, or SQLITE_CANTOPEN for a later version. */
int spm_header_read(spm_conn *, spm_kv_header *) SPM_MUST_CHECK;

#endif
