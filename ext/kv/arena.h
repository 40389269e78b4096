/*
** arena.h - many small pieces of memory that one transaction needs and ends with.
**
** Pieces come from chunks, in sizes that are multiples of 32; one that is given back
** waits in a list for the next of its size.  Large ones come from SQLite's allocator and
** go back to it.  Emptying keeps the first chunk, so that a small transaction allocates
** nothing.
**
** One thread at a time; takes no lock.
*/
#ifndef SPM_KV_ARENA_H
#define SPM_KV_ARENA_H

#include <stddef.h>
#include <stdint.h>

#define SPM_ARENA_GRAIN 32u  /* bytes */
#define SPM_ARENA_SMALL 1024u /* bytes: the largest piece from a chunk */

typedef struct spm_arena_chunk spm_arena_chunk;
typedef struct spm_arena_large spm_arena_large;

typedef struct spm_arena {
  spm_arena_chunk *chunks;  /* the newest first; pieces are cut from it */
  uint8_t *free, *end;      /* what is left of the newest               */
  spm_arena_large *large;
  void *spare[SPM_ARENA_SMALL / SPM_ARENA_GRAIN + 1]; /* given back, by size */
} spm_arena;

/* All zeros is an empty arena.  NULL: out of memory. */
void *spm_arena_take(spm_arena *, uint64_t size);
/* A piece of the size it was taken with. */
void spm_arena_give(spm_arena *, void *piece, uint64_t size);
/* Everything at once; a chunk is kept for the next transaction. */
void spm_arena_clear(spm_arena *);
void spm_arena_free(spm_arena *);

#endif
