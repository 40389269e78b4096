/*
** checkpoint.c - see checkpoint.h.
*/
#include "checkpoint.h"

#include "counters.h"
#include "lines.h"
#include "log.h"
#include "pending.h"
#include "superblock.h"

#include <string.h>

/* A step looks at so much of the log, a microsecond of work, and gathers the lines of so many
** blocks; a large one is for when small ones do not get far enough. */
#define STEP_BYTES 2048u
#define STEP_BLOCKS 64u
#define LARGE_BYTES 8192u
#define LARGE_BLOCKS 512u
#define LARGE_GROWTH 8u /* it doubles so often until the log is at its limit */

/* --------------------------------------------------------- superblock -- */

static int write_superblock(spm_store *s, bool clean) {
  spm_shm *shm = s->shm;
  spm_superblock block = {
      .clean = clean,
      .unlogged = atomic_load(&shm->unlogged) != SPM_LOGGED,
      .sequence = shm->superblock_sequence + 1,
      .salt = shm->salt,
      .checkpoint = shm->checkpoint,
      .logical_size = shm->checkpoint_size,
      .next_txid = spm_committed(shm)->next_txid,
  };
  memcpy(block.life, s->life, SPM_LIFE_SIZE);
  int rc = spm_superblock_write(&s->log, &block);
  if (rc != SQLITE_OK) {
    spm_poison(s);
    return rc;
  }
  shm->counters.checkpoints++;
  shm->counters.log_bytes += sizeof block;
  shm->superblock_sequence = block.sequence;
  shm->superblock_size = block.logical_size;
  return SQLITE_OK;
}

/* ---------------------------------------------------------------- steps -- */

/* What a later truncate cut is skipped: there may be no place for it in X. */
static void add_record(spm_store *s, spm_lines *l, const spm_record *record, uint64_t size) {
  spm_entry_cursor c;
  for (spm_entries_open(&c, record); spm_entries_next(&c);)
    if ((uint64_t)c.entry.block * SPM_BLOCK_SIZE < size) spm_lines_add(s, l, &c.entry);
}

/* Flush what the records from the checkpoint on have changed, up to about
** `budget` bytes of log, and move the checkpoint behind them.  Segments that it
** has left are free once the superblock says so, not before (S6). */
static int advance(spm_store *s, uint64_t budget) {
  spm_shm *shm = s->shm;
  uint64_t target = spm_committed_lsn(shm), size = shm->checkpoint_size, seen = 0;
  uint64_t segment = spm_offset_segment(shm->checkpoint.offset);
  uint64_t end = atomic_load(&spm_committed(shm)->logical_size);
  if (spm_region_holds(&s->data, end) != SQLITE_OK) return spm_shm_broken(s, "the length of the database");
  uint32_t left = 0, leaving[4];
  spm_block_lines set[LARGE_BLOCKS];
  spm_lines lines;
  spm_lines_init(&lines, set, budget > STEP_BYTES ? LARGE_BLOCKS : STEP_BLOCKS);
  spm_log_reader r;
  int rc = spm_log_reader_open(&r, &s->log, shm->salt, shm->checkpoint, false);
  while (rc == SQLITE_OK && r.pos.lsn < target && seen < budget && left < 4) {
    const spm_record *record;
    if (spm_log_next(&r, &record) != SQLITE_ROW) {
      spm_poison(s);
      return spm_error(SQLITE_IOERR_READ, "%s: the record after LSN %llu can no longer be read",
                       s->log.path, (unsigned long long)r.pos.lsn);
    }
    add_record(s, &lines, record, end);
    seen += spm_record_span(record->length);
    if (record->flags & SPM_REC_COMMIT) size = record->argument;
    if (spm_offset_segment(r.pos.offset) == segment) continue;
    leaving[left++] = (uint32_t)segment;
    segment = spm_offset_segment(r.pos.offset);
  }
  spm_log_reader_close(&r);
  spm_lines_flush(s, &lines);
  if (rc == SQLITE_OK) rc = spm_sync(&s->data);
  if (rc != SQLITE_OK) {
    spm_poison(s);
    return rc;
  }
  shm->checkpoint = r.pos;
  shm->checkpoint_size = size;
  if (left == 0) return SQLITE_OK;
  rc = write_superblock(s, false);
  while (rc == SQLITE_OK && left > 0) spm_segment_release(s, leaving[--left]);
  return rc;
}

/* All that was committed when the checkpoint fell due is durable in X, and the superblock
** says so. */
static void caught_up(spm_shm *shm) {
  shm->checkpointed_ns = spm_clock_coarse_ns();
  shm->checkpoint_due = 0;
}

static uint32_t keep_segments(const spm_store *s) {
  uint64_t segments = atomic_load(&s->log_size_max) / SPM_SEGMENT_SIZE;
  return segments < 4 ? 4 : segments > SPM_SEGMENT_COUNT ? SPM_SEGMENT_COUNT : (uint32_t)segments;
}

int spm_checkpoint_trim(spm_store *s, bool alone) { return spm_log_shrink(s, keep_segments(s), alone); }

int spm_checkpoint_all(spm_store *s) {
  spm_shm *shm = s->shm;
  if (spm_poisoned(s))
    return spm_error(SQLITE_IOERR, "%s: an earlier flush failed, no checkpoint is possible", s->path);
  const spm_state *state = spm_committed(shm);
  int rc = spm_pending_flush(s);
  if (rc == SQLITE_OK) rc = spm_log_check_tail(s, state);
  if (rc == SQLITE_OK && shm->checkpoint.lsn > state->tail.lsn) rc = spm_shm_broken(s, "the checkpoint");
  if (rc != SQLITE_OK) return rc;
  if (s->data.media->persistent) {
    while (rc == SQLITE_OK && shm->checkpoint.lsn < state->tail.lsn) rc = advance(s, SPM_SEGMENT_SIZE);
  } else {
    rc = spm_sync(&s->data); /* of everything applied: the whole committed log */
    if (rc != SQLITE_OK) spm_poison(s);
  }
  if (rc != SQLITE_OK) return rc;
  shm->checkpoint = state->tail;
  shm->checkpoint_size = atomic_load(&state->logical_size);
  rc = write_superblock(s, false);
  if (rc != SQLITE_OK) return rc;
  caught_up(shm);
  memset(shm->segments, 0, sizeof shm->segments);
  shm->segments_used = 0;
  (void)spm_segment_mark(s, (uint32_t)spm_offset_segment(state->tail.offset));
  return SQLITE_OK;
}

int spm_checkpoint_part(spm_store *s, bool *more) {
  const spm_shm *shm = s->shm;
  *more = false;
  if (!s->data.media->persistent || spm_poisoned(s)) return SQLITE_OK;
  uint64_t before = shm->checkpoint.lsn;
  int rc = before < spm_committed_lsn(s->shm) ? advance(s, SPM_SEGMENT_SIZE) : SQLITE_OK;
  *more = shm->checkpoint.lsn > before;
  return rc;
}

/* Time since everything was in X, in quarters of the interval.  A clock that went back,
** for it is another container's perhaps, begins anew. */
static uint64_t quarters_passed(spm_store *s) {
  spm_shm *shm = s->shm;
  uint64_t interval = atomic_load(&s->checkpoint_interval_ns), now = interval ? spm_clock_coarse_ns() : 0;
  if (interval == 0) return 0;
  if (now < shm->checkpointed_ns) shm->checkpointed_ns = now;
  return (now - shm->checkpointed_ns) * 4 / interval;
}

/* The interval has passed: no commit pays for all of it, unless commits are so rare that
** their steps have taken a quarter of the interval more. */
static int step_due(spm_store *s, uint64_t quarters) {
  spm_shm *shm = s->shm;
  if (quarters > 4 || !s->data.media->persistent) return spm_checkpoint_all(s);
  if (shm->checkpoint_due == 0) shm->checkpoint_due = spm_committed_lsn(shm);
  int rc = advance(s, LARGE_BYTES);
  if (rc != SQLITE_OK || shm->checkpoint.lsn < shm->checkpoint_due) return rc;
  rc = write_superblock(s, false);
  if (rc == SQLITE_OK) caught_up(shm);
  return rc;
}

/* Commits may add more to the log than a small step takes: the fuller it is above one half,
** the larger the step, so that it settles where both are equal, and nobody pays for all. */
static uint64_t step_bytes(uint32_t used, uint32_t keep) {
  uint32_t half = keep / 2, behind = used > half + 1 ? used - half - 1 : 0;
  return behind == 0 ? STEP_BYTES : (uint64_t)LARGE_BYTES << behind * LARGE_GROWTH / half;
}

int spm_checkpoint_step(spm_store *s, bool alone) {
  spm_shm *shm = s->shm;
  uint32_t keep = keep_segments(s);
  if (shm->segments_used > keep) {
    /* A transaction larger than the limit: begin again in front, so that all of what
    ** it took can go. */
    int rc = spm_checkpoint_all(s);
    if (rc == SQLITE_OK) rc = spm_checkpoint_restart(s, false);
    return rc == SQLITE_OK ? spm_checkpoint_trim(s, alone) : rc;
  }
  uint64_t quarters = quarters_passed(s);
  if (quarters >= 4) return step_due(s, quarters);
  shm->checkpoint_due = 0; /* the interval may have become longer */
  if (!s->data.media->persistent)
    return shm->segments_used >= keep ? spm_checkpoint_all(s) : SQLITE_OK;
  if (shm->segments_used <= keep / 2) return SQLITE_OK;
  const spm_state *state = spm_committed(shm);
  return state->tail.lsn - shm->checkpoint.lsn < 16 ? SQLITE_OK : advance(s, step_bytes(shm->segments_used, keep));
}

int spm_checkpoint_restart(spm_store *s, bool clean) {
  spm_shm *shm = s->shm;
  uint64_t salt;
  int rc = spm_random(&salt, sizeof salt);
  if (rc != SQLITE_OK) return rc;
  spm_state *state = spm_committed(shm);
  spm_log_pos start = {.offset = spm_segment_offset(0), .lsn = state->tail.lsn, .chain = salt};
  shm->salt = salt;
  shm->checkpoint = start;
  shm->checkpoint_size = atomic_load(&state->logical_size);
  rc = write_superblock(s, clean);
  /* Into the other slot as well: were this one damaged later, a slot with the old salt
  ** would send recovery over records of long ago. */
  if (rc == SQLITE_OK) rc = write_superblock(s, clean);
  if (rc != SQLITE_OK) return rc;
  state->tail = start;
  caught_up(shm);
  memset(shm->segments, 0, sizeof shm->segments);
  shm->segments_used = 0;
  (void)spm_segment_mark(s, 0);
  return SQLITE_OK;
}
