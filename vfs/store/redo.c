/*
** redo.c - see redo.h.
*/
#include "redo.h"

#include "counters.h"
#include "lines.h"

#include <stdlib.h>
#include <string.h>

#define LINE_BLOCKS 16384u /* whose lines are gathered before they are flushed */
#define HELD_MAX 8192u     /* blocks in memory before they are written: 32 MiB, or what there is */
#define HELD_MIN 16u
#define PLACES (2 * HELD_MAX) /* of a hash table, so never more than half full */
#define EXPECTED_MAX (UINT64_C(64) << 20) /* bytes whose page faults are taken beforehand */

typedef struct held_block {
  uint32_t block;
  uint32_t from, to; /* the bytes that were changed, and what lies between them */
} held_block;

struct spm_redo {
  spm_lines lines;
  uint32_t count, capacity; /* of held blocks */
  uint16_t *place; /* 1 + which of the held blocks; 0: free */
  held_block *held;
  uint8_t (*bytes)[SPM_BLOCK_SIZE];
};

static void redo_free(spm_redo *r) {
  free(r->lines.set);
  free(r->place);
  free(r->held);
  free(r->bytes);
  free(r);
}

/* To X: `n` bytes of a block from `offset` on. */
static int store_bytes(spm_store *s, uint32_t block, uint32_t offset, const uint8_t *bytes, uint32_t n) {
  s->shm->counters.file_bytes += n;
  return spm_store_bytes(&s->data, (uint64_t)block * SPM_BLOCK_SIZE + offset, bytes, n);
}

int spm_redo_at_once(spm_store *s, const spm_entry *entry, const uint8_t *bytes) {
  return store_bytes(s, entry->block, entry->offset, bytes, entry->length);
}

/* ------------------------------------------------------------- in place -- */

static bool begin_in_place(spm_redo *r) {
  spm_block_lines *set = malloc(LINE_BLOCKS * sizeof *set);
  if (set == NULL) return false;
  spm_lines_init(&r->lines, set, LINE_BLOCKS);
  return true;
}

static int store_in_place(spm_store *s, spm_redo *r, const spm_entry *entry, const uint8_t *bytes) {
  int rc = spm_redo_at_once(s, entry, bytes);
  spm_lines_add(s, &r->lines, entry);
  return rc;
}

/* ------------------------------------------------------------ by blocks -- */

static bool begin_by_blocks(spm_redo *r) {
  r->place = calloc(PLACES, sizeof *r->place);
  r->held = calloc(HELD_MAX, sizeof *r->held);
  r->capacity = HELD_MAX;
  while ((r->bytes = calloc(r->capacity, sizeof *r->bytes)) == NULL && r->capacity > HELD_MIN) r->capacity /= 2;
  return r->place != NULL && r->held != NULL && r->bytes != NULL;
}

static int write_blocks(spm_store *s, spm_redo *r) {
  int rc = SQLITE_OK;
  for (uint32_t i = 0; rc == SQLITE_OK && i < r->count; i++) {
    const held_block *h = &r->held[i];
    rc = store_bytes(s, h->block, h->from, r->bytes[i] + h->from, h->to - h->from);
  }
  if (r->count > 0) memset(r->place, 0, PLACES * sizeof *r->place);
  r->count = 0;
  return rc;
}

/* X reaches to the end of its last block (spm_data_grow).  What is changed as a whole is not
** read: it may lie where the disk is bad, and only a write can heal it. */
static int hold(spm_store *s, spm_redo *r, const spm_entry *entry, uint16_t *place) {
  uint64_t start = (uint64_t)entry->block * SPM_BLOCK_SIZE;
  bool whole = entry->length == SPM_BLOCK_SIZE;
  int rc = whole ? SQLITE_OK : spm_region_read(&s->data, start, r->bytes[r->count], SPM_BLOCK_SIZE);
  if (rc != SQLITE_OK) return rc;
  r->held[r->count++] = (held_block){.block = entry->block, .from = SPM_BLOCK_SIZE};
  *place = (uint16_t)r->count;
  return SQLITE_OK;
}

static int store_by_blocks(spm_store *s, spm_redo *r, const spm_entry *entry, const uint8_t *bytes) {
  int rc = r->count == r->capacity ? write_blocks(s, r) : SQLITE_OK;
  if (rc != SQLITE_OK) return rc;
  uint32_t at = spm_hash_block(entry->block, PLACES - 1);
  while (r->place[at] != 0 && r->held[r->place[at] - 1].block != entry->block) at = (at + 1) % PLACES;
  if (r->place[at] == 0) rc = hold(s, r, entry, &r->place[at]);
  if (rc != SQLITE_OK) return rc;
  uint32_t i = r->place[at] - 1u, end = (uint32_t)entry->offset + entry->length;
  held_block *h = &r->held[i];
  memcpy(r->bytes[i] + entry->offset, bytes, entry->length);
  if (entry->offset < h->from) h->from = entry->offset;
  if (end > h->to) h->to = end;
  return SQLITE_OK;
}

/* ----------------------------------------------------------------- both -- */

/* A database no larger than twice its log is probably changed all over: one call takes its
** page faults in half the time that they take one by one. */
void spm_redo_expect(spm_store *s, uint64_t size, uint64_t log_bytes) {
  bool all_over = size <= 2 * log_bytes && size <= EXPECTED_MAX;
  if (s->data.media->persistent && all_over) spm_region_prefault(&s->data, 0, size);
}

int spm_redo_begin(spm_store *s, spm_redo **redo) {
  spm_redo *r = *redo = calloc(1, sizeof *r);
  if (r == NULL) return SQLITE_NOMEM;
  bool persistent = s->data.media->persistent;
  if (!(persistent ? begin_in_place(r) : begin_by_blocks(r))) {
    redo_free(r);
    *redo = NULL;
    return SQLITE_NOMEM;
  }
  return SQLITE_OK;
}

int spm_redo_store(spm_store *s, spm_redo *r, const spm_entry *entry, const uint8_t *bytes) {
  return r->held == NULL ? store_in_place(s, r, entry, bytes) : store_by_blocks(s, r, entry, bytes);
}

int spm_redo_end(spm_store *s, spm_redo *r) {
  int rc = write_blocks(s, r);
  spm_lines_flush(s, &r->lines);
  redo_free(r);
  return rc;
}
