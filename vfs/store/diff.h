/*
** diff.h - which bytes of a block changed.
**
** Ranges are whole 8-byte words; two closer than an entry's own cost are one.  A
** block of which more than half differs is one range.  Pure; called by commit.c.
*/
#ifndef SPM_DIFF_H
#define SPM_DIFF_H

#include "format.h"

/* With a gap of at least two words between ranges no block has more. */
#define SPM_DIFF_RANGES (SPM_BLOCK_SIZE / 24 + 1)

typedef struct spm_range {
  uint16_t offset, length; /* bytes */
} spm_range;

typedef struct spm_diff {
  uint32_t count;
  spm_range range[SPM_DIFF_RANGES];
} spm_diff;

void spm_diff_blocks(spm_diff *, const uint8_t *old_block, const uint8_t *new_block);

#endif
