/*
** diff.c - see diff.h.
*/
#include "diff.h"

#include <stdbool.h>
#include <string.h>

#define WORDS (SPM_BLOCK_SIZE / 8)
#define MERGE_GAP 48u /* equal bytes that cost less to log than an entry of their own costs to apply */
#define GROUP 16u /* words compared at a time: two cache lines */

/* A pair of words, written out by hand: gcc -O2 makes neither vectors of the comparison nor
** steps of its loop, and takes four times as long, an eighth of a small commit. */
typedef uint64_t lanes __attribute__((vector_size(16)));
static_assert(GROUP * 8 == 8 * sizeof(lanes), "group_differs() compares a group");

static uint64_t word_at(const uint8_t *bytes, uint32_t i) {
  uint64_t word;
  memcpy(&word, bytes + (size_t)i * 8, 8);
  return word;
}

static lanes difference(const uint8_t *a, const uint8_t *b, uint32_t pair) {
  lanes x, y;
  memcpy(&x, a + (size_t)pair * sizeof x, sizeof x);
  memcpy(&y, b + (size_t)pair * sizeof y, sizeof y);
  return x ^ y;
}

static bool group_differs(const uint8_t *a, const uint8_t *b) {
  lanes any = (difference(a, b, 0) | difference(a, b, 1)) | (difference(a, b, 2) | difference(a, b, 3)) |
              (difference(a, b, 4) | difference(a, b, 5)) | (difference(a, b, 6) | difference(a, b, 7));
  return (any[0] | any[1]) != 0;
}

static void add_word(spm_diff *d, uint32_t word) {
  uint32_t offset = word * 8;
  if (d->count > 0) {
    uint32_t end = (uint32_t)d->range[d->count - 1].offset + d->range[d->count - 1].length;
    if (offset < end + MERGE_GAP) {
      d->range[d->count - 1].length = (uint16_t)(offset + 8 - d->range[d->count - 1].offset);
      return;
    }
  }
  d->range[d->count].offset = (uint16_t)offset;
  d->range[d->count++].length = 8;
}

void spm_diff_blocks(spm_diff *d, const uint8_t *old_block, const uint8_t *new_block) {
  d->count = 0;
  for (uint32_t group = 0; group < WORDS; group += GROUP) {
    if (!group_differs(old_block + group * 8, new_block + group * 8)) continue;
    for (uint32_t i = group; i < group + GROUP; i++)
      if (word_at(old_block, i) != word_at(new_block, i)) add_word(d, i);
  }
  uint32_t total = 0;
  for (uint32_t i = 0; i < d->count; i++) total += d->range[i].length;
  if (total <= SPM_BLOCK_SIZE / 2) return;
  d->count = 1;
  d->range[0].offset = 0;
  d->range[0].length = SPM_BLOCK_SIZE;
}
