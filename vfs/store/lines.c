/*
** lines.c - see lines.h.
*/
#include "lines.h"

#include <string.h>

#define LINE_SETS_FULL (SPM_LINE_SETS / 4 * 3)

static_assert(SPM_BLOCK_SIZE / SPM_LINE_SIZE == 64, "a block's lines fit a word");

static void flush_block(spm_store *s, uint32_t block, uint64_t lines) {
  while (lines != 0) {
    unsigned first = (unsigned)__builtin_ctzll(lines);
    uint64_t rest = ~(lines >> first);
    unsigned run = rest == 0 ? 64 - first : (unsigned)__builtin_ctzll(rest);
    spm_flush(&s->data, (uint64_t)block * SPM_BLOCK_SIZE + (uint64_t)first * SPM_LINE_SIZE,
              (size_t)run * SPM_LINE_SIZE);
    if (first + run >= 64) break;
    lines &= ~UINT64_C(0) << (first + run);
  }
}

void spm_lines_flush(spm_store *s, spm_lines *l) {
  for (uint32_t i = 0; l->count > 0 && i < SPM_LINE_SETS; i++)
    if (l->set[i].lines != 0) flush_block(s, l->set[i].block, l->set[i].lines);
  memset(l, 0, sizeof *l);
}

void spm_lines_add(spm_store *s, spm_lines *l, const spm_entry *entry) {
  unsigned first = entry->offset / SPM_LINE_SIZE;
  unsigned last = (entry->offset + entry->length - 1u) / SPM_LINE_SIZE;
  uint64_t lines = (~UINT64_C(0) >> (63 - (last - first))) << first;
  if (l->count >= LINE_SETS_FULL) spm_lines_flush(s, l);
  uint32_t i = (entry->block * 2654435769u) % SPM_LINE_SETS;
  while (l->set[i].lines != 0 && l->set[i].block != entry->block) i = (i + 1) % SPM_LINE_SETS;
  l->count += l->set[i].lines == 0;
  l->set[i].block = entry->block;
  l->set[i].lines |= lines;
}
