/*
** writeset.c - see writeset.h.
*/
#include "writeset.h"

#include <stdlib.h>
#include <string.h>

#define POOL_MAX 1024u /* spare buffers kept between transactions: 4 MiB */
#define INDEX_MIN 64u

spm_dirty *spm_writeset_find(const spm_writeset *w, uint32_t block) {
  if (w->count == 0) return NULL;
  for (uint32_t i = spm_hash_block(block, w->index_mask); w->index[i] != 0; i = (i + 1) & w->index_mask)
    if (w->dirty[w->index[i] - 1].block == block) return &w->dirty[w->index[i] - 1];
  return NULL;
}

static void index_insert(spm_writeset *w, uint32_t position) {
  uint32_t i = spm_hash_block(w->dirty[position].block, w->index_mask);
  while (w->index[i] != 0) i = (i + 1) & w->index_mask;
  w->index[i] = position + 1;
}

/* Both arrays grow together: the index is never more than half full. */
static bool writeset_grow(spm_writeset *w) {
  uint32_t capacity = w->capacity ? w->capacity * 2 : INDEX_MIN / 2;
  spm_dirty *dirty = realloc(w->dirty, capacity * sizeof *dirty);
  if (dirty == NULL) return false;
  w->dirty = dirty;
  uint32_t *index = calloc((size_t)capacity * 2, sizeof *index);
  if (index == NULL) return false;
  free(w->index);
  w->index = index;
  w->index_mask = capacity * 2 - 1;
  w->capacity = capacity;
  for (uint32_t i = 0; i < w->count; i++) index_insert(w, i);
  return true;
}

static uint8_t *take_buffer(spm_writeset *w) {
  if (w->pool_count > 0) return w->pool[--w->pool_count];
  return aligned_alloc(SPM_LINE_SIZE, SPM_BLOCK_SIZE);
}

static void give_buffer(spm_writeset *w, uint8_t *buffer) {
  if (w->pool == NULL) w->pool = malloc(POOL_MAX * sizeof *w->pool);
  if (w->pool != NULL && w->pool_count < POOL_MAX)
    w->pool[w->pool_count++] = buffer;
  else
    free(buffer);
}

spm_dirty *spm_writeset_put(spm_writeset *w, uint32_t block, bool *fresh) {
  spm_dirty *d = spm_writeset_find(w, block);
  *fresh = d == NULL || d->bytes == NULL;
  if (!*fresh) return d;
  if (d == NULL && w->count == w->capacity && !writeset_grow(w)) return NULL;
  uint8_t *buffer = take_buffer(w);
  if (buffer == NULL) return NULL;
  w->resident++;
  if (d == NULL) {
    d = &w->dirty[w->count];
    *d = (spm_dirty){.block = block};
    index_insert(w, w->count++);
  }
  d->bytes = buffer;
  return d;
}

void spm_writeset_evict(spm_writeset *w, spm_dirty *d) {
  give_buffer(w, d->bytes);
  d->bytes = NULL;
  w->resident--;
}

void spm_writeset_clear(spm_writeset *w) {
  if (w->count == 0) return;
  if (w->count > w->capacity / 8) {
    memset(w->index, 0, ((size_t)w->index_mask + 1) * sizeof *w->index);
  } else {
    /* Few entries: emptying their own places is cheaper than the whole index. */
    for (uint32_t p = 0; p < w->count; p++)
      for (uint32_t i = spm_hash_block(w->dirty[p].block, w->index_mask); w->index[i] != 0;
           i = (i + 1) & w->index_mask)
        w->index[i] = 0;
  }
  for (uint32_t p = 0; p < w->count; p++)
    if (w->dirty[p].bytes != NULL) give_buffer(w, w->dirty[p].bytes);
  w->count = 0;
  w->resident = 0;
}

void spm_writeset_free(spm_writeset *w) {
  spm_writeset_clear(w);
  while (w->pool_count > 0) free(w->pool[--w->pool_count]);
  free(w->pool);
  free(w->dirty);
  free(w->index);
  *w = (spm_writeset){0};
}
