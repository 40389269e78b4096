/*
** lines.h - lines of X that have been stored to and are to be flushed.
**
** The same lines are changed by one record after the other; gathered here, each is flushed
** once, in runs.  The fence is the caller's (S18).
*/
#ifndef SPM_LINES_H
#define SPM_LINES_H

#include "core.h"

typedef struct spm_block_lines {
  uint64_t lines; /* bit i: line i of the block; 0: free entry */
  uint32_t block;
} spm_block_lines;

/* A hash table, its memory the caller's: what no longer fits is flushed. */
typedef struct spm_lines {
  spm_block_lines *set;
  uint32_t capacity, count;
} spm_lines;

/* `capacity` entries, a power of two: a block each. */
void spm_lines_init(spm_lines *l, spm_block_lines *set, uint32_t capacity);
/* What an entry of a DATA record changed. */
void spm_lines_add(spm_store *, spm_lines *, const spm_entry *);
/* All that were added; none are left. */
void spm_lines_flush(spm_store *, spm_lines *);

#endif
