/*
** lines.h - lines of X that have been stored to and are to be flushed.
**
** The same lines are changed by one record after the other; gathered here, each is flushed
** once, in runs.  The fence is the caller's (S18).
*/
#ifndef SPM_LINES_H
#define SPM_LINES_H

#include "core.h"

#define SPM_LINE_SETS 512u /* blocks; a hash table that is flushed before it is full */

typedef struct spm_lines {
  uint32_t count;
  struct {
    uint64_t lines; /* bit i: line i of the block; 0: free entry */
    uint32_t block;
  } set[SPM_LINE_SETS];
} spm_lines;

/* What an entry of a DATA record changed. */
void spm_lines_add(spm_store *, spm_lines *, const spm_entry *);
/* All that were added; none are left. */
void spm_lines_flush(spm_store *, spm_lines *);

#endif
