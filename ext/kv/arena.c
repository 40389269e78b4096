/*
** arena.c - see arena.h.
*/
#include "arena.h"

#include "../../vfs/store/store.h"

#include <string.h>

#define CHUNK_FIRST 16384u /* bytes; each next one is twice as large, up to CHUNK_MAX */
#define CHUNK_MAX (1u << 20)

struct spm_arena_chunk {
  spm_arena_chunk *next;
  uint64_t size; /* bytes, this head included */
};

struct spm_arena_large {
  spm_arena_large *next, **link;
};

static uint64_t rounded(uint64_t size) {
  return (size + (SPM_ARENA_GRAIN - 1)) & ~(uint64_t)(SPM_ARENA_GRAIN - 1);
}

static void cut_from(spm_arena *a, spm_arena_chunk *chunk) {
  a->free = (uint8_t *)chunk + rounded(sizeof *chunk);
  a->end = (uint8_t *)chunk + chunk->size;
}

static int add_chunk(spm_arena *a) {
  uint64_t size = a->chunks ? a->chunks->size * 2 : CHUNK_FIRST;
  if (size > CHUNK_MAX) size = CHUNK_MAX;
  spm_arena_chunk *chunk = sqlite3_malloc64(size);
  if (chunk == NULL) return SQLITE_NOMEM;
  chunk->size = size;
  chunk->next = a->chunks;
  a->chunks = chunk;
  cut_from(a, chunk);
  return SQLITE_OK;
}

static void *take_large(spm_arena *a, uint64_t size) {
  spm_arena_large *piece = sqlite3_malloc64(sizeof *piece + size);
  if (piece == NULL) return NULL;
  piece->next = a->large;
  piece->link = &a->large;
  if (piece->next != NULL) piece->next->link = &piece->next;
  a->large = piece;
  return piece + 1;
}

static void give_large(spm_arena_large *piece) {
  *piece->link = piece->next;
  if (piece->next != NULL) piece->next->link = piece->link;
  sqlite3_free(piece);
}

void *spm_arena_take(spm_arena *a, uint64_t size) {
  if (size > SPM_ARENA_SMALL) return take_large(a, size);
  size = rounded(size);
  void **spare = &a->spare[size / SPM_ARENA_GRAIN];
  void *piece = *spare;
  if (piece != NULL) {
    memcpy(spare, piece, sizeof *spare);
    return piece;
  }
  if ((uint64_t)(a->end - a->free) < size && add_chunk(a) != SQLITE_OK) return NULL;
  piece = a->free;
  a->free += size;
  return piece;
}

void spm_arena_give(spm_arena *a, void *piece, uint64_t size) {
  if (size > SPM_ARENA_SMALL) {
    give_large((spm_arena_large *)piece - 1);
    return;
  }
  void **spare = &a->spare[rounded(size) / SPM_ARENA_GRAIN];
  memcpy(piece, spare, sizeof *spare);
  *spare = piece;
}

/* The chunk that stays is the first, smallest one: the last in the list. */
void spm_arena_clear(spm_arena *a) {
  while (a->large != NULL) give_large(a->large);
  if (a->chunks == NULL) return;
  while (a->chunks->next != NULL) {
    spm_arena_chunk *chunk = a->chunks;
    a->chunks = chunk->next;
    sqlite3_free(chunk);
  }
  cut_from(a, a->chunks);
  memset(a->spare, 0, sizeof a->spare);
}

void spm_arena_free(spm_arena *a) {
  spm_arena_clear(a);
  sqlite3_free(a->chunks);
  *a = (spm_arena){0};
}
