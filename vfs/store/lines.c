/*
** lines.c - see lines.h.
*/
#include "lines.h"

#include <string.h>

static_assert(SPM_BLOCK_SIZE / SPM_LINE_SIZE == 64, "a block's lines fit a word");

void spm_lines_init(spm_lines *l, spm_block_lines *set, uint32_t capacity) {
  *l = (spm_lines){.set = set, .capacity = capacity};
  memset(set, 0, capacity * sizeof *set);
}

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
  if (l->count == 0) return;
  for (uint32_t i = 0; i < l->capacity; i++)
    if (l->set[i].lines != 0) flush_block(s, l->set[i].block, l->set[i].lines);
  memset(l->set, 0, l->capacity * sizeof *l->set);
  l->count = 0;
}

void spm_lines_add(spm_store *s, spm_lines *l, const spm_entry *entry) {
  unsigned first = entry->offset / SPM_LINE_SIZE;
  unsigned last = (entry->offset + entry->length - 1u) / SPM_LINE_SIZE;
  uint64_t lines = (~UINT64_C(0) >> (63 - (last - first))) << first;
  if (l->count >= l->capacity / 4 * 3) spm_lines_flush(s, l);
  uint32_t i = spm_hash_block(entry->block, l->capacity - 1);
  while (l->set[i].lines != 0 && l->set[i].block != entry->block) i = (i + 1) & (l->capacity - 1);
  l->count += l->set[i].lines == 0;
  l->set[i].block = entry->block;
  l->set[i].lines |= lines;
}
