/*
** log.c - see log.h.
*/
#include "log.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------- segments -- */

static bool bit_get(const uint64_t *map, uint32_t i) { return (map[i / 64] >> (i % 64)) & 1u; }
static void bit_set(uint64_t *map, uint32_t i) { map[i / 64] |= UINT64_C(1) << (i % 64); }
static void bit_clear(uint64_t *map, uint32_t i) { map[i / 64] &= ~(UINT64_C(1) << (i % 64)); }

static uint32_t lowest_free(const uint64_t *map) {
  for (uint32_t word = 0; word < SPM_SEGMENT_COUNT / 64; word++)
    if (~map[word] != 0) return word * 64 + (uint32_t)__builtin_ctzll(~map[word]);
  return SPM_SEGMENT_COUNT;
}

/* Segments that were ever made, as far as the file bears shared memory out. */
static uint32_t segments_made(const spm_store *s) {
  uint64_t bytes = atomic_load(&s->log.allocated);
  uint64_t there = bytes < SPM_LOG_HEADER_SIZE ? 0 : (bytes - SPM_LOG_HEADER_SIZE) / SPM_SEGMENT_SIZE;
  uint32_t made = s->shm->segments_made;
  if (made > there) made = (uint32_t)there;
  return made < SPM_SEGMENT_COUNT ? made : SPM_SEGMENT_COUNT;
}

/* A segment must be made of written blocks before it holds a record: on FILE an
** append into a hole or an unwritten extent would drag the file system's journal
** into every commit's fdatasync. */
static int segment_make(spm_store *s, uint32_t segment) {
  uint64_t offset = spm_segment_offset(segment);
  /* Filled even where the file reaches so far already: it may owe its length to a process
  ** that died between allocating and syncing, and media may have the old one.  Only
  ** `segments_made`, which moves after the sync, tells what is durably part of it. */
  int rc = spm_region_fill(&s->log, offset, SPM_SEGMENT_SIZE);
  if (rc != SQLITE_OK) return rc;
  if (s->log.media->persistent) {
    spm_region_prefault(&s->log, offset, SPM_SEGMENT_SIZE);
    return SQLITE_OK;
  }
  static const uint8_t zeros[65536];
  for (uint32_t at = 0; rc == SQLITE_OK && at < SPM_SEGMENT_SIZE; at += (uint32_t)sizeof zeros)
    rc = spm_append(&s->log, offset + at, zeros, sizeof zeros);
  /* Durable, its place in the file too, before a LINK can lead there. */
  return rc == SQLITE_OK ? spm_sync(&s->log) : rc;
}

/* Take the lowest free segment, so that the used ones gather at the file's start. */
static int segment_take(spm_store *s, uint32_t *segment) {
  spm_shm *shm = s->shm;
  uint32_t i = lowest_free(shm->segments);
  if (i == SPM_SEGMENT_COUNT)
    return spm_error(SQLITE_FULL, "%s: the log has reached %u segments", s->log.path, i);
  int rc = spm_region_refresh(&s->log); /* another process may have changed it */
  uint32_t made = segments_made(s);
  if (rc == SQLITE_OK && i > made) rc = spm_shm_broken(s, "the map of the log");
  if (rc == SQLITE_OK) rc = spm_region_reaches(&s->log, spm_segment_offset(i + 1));
  if (rc != SQLITE_OK) return rc;
  if (i >= made || bit_get(shm->punched, i)) {
    rc = segment_make(s, i);
    if (rc != SQLITE_OK) return rc;
    bit_clear(shm->punched, i);
    if (i >= shm->segments_made) shm->segments_made = i + 1;
  }
  bit_set(shm->segments, i);
  shm->segments_used++;
  *segment = i;
  return SQLITE_OK;
}

void spm_segment_release(spm_store *s, uint32_t segment) {
  if (segment >= SPM_SEGMENT_COUNT || !bit_get(s->shm->segments, segment)) return;
  bit_clear(s->shm->segments, segment);
  s->shm->segments_used--;
}

bool spm_segment_mark(spm_store *s, uint32_t segment) {
  if (segment >= SPM_SEGMENT_COUNT || bit_get(s->shm->segments, segment)) return false;
  bit_set(s->shm->segments, segment);
  s->shm->segments_used++;
  if (segment >= s->shm->segments_made) s->shm->segments_made = segment + 1;
  return true;
}

/* Shared memory first: an heir must not count on space that is gone. */
static int cut_segments(spm_store *s, uint32_t end) {
  spm_shm *shm = s->shm;
  uint32_t made = segments_made(s);
  if (end >= made) return SQLITE_OK;
  shm->segments_made = end;
  for (uint32_t i = end; i < made; i++) bit_clear(shm->punched, i);
  return spm_region_truncate(&s->log, spm_segment_offset(end));
}

int spm_log_shrink(spm_store *s, uint32_t keep, bool alone) {
  spm_shm *shm = s->shm;
  int rc = spm_region_refresh(&s->log);
  if (rc != SQLITE_OK) return rc;
  uint32_t end = segments_made(s);
  while (alone && end > keep && !bit_get(shm->segments, end - 1)) end--;
  rc = cut_segments(s, end);
  for (uint32_t i = keep; rc == SQLITE_OK && i < end; i++) {
    if (bit_get(shm->segments, i) || bit_get(shm->punched, i)) continue;
    bit_set(shm->punched, i);
    rc = spm_region_punch(&s->log, spm_segment_offset(i), SPM_SEGMENT_SIZE);
  }
  return rc;
}

/* ------------------------------------------------------------ appending -- */

static uint64_t record_checksum(const spm_record *record, uint64_t salt) {
  return XXH3_64bits_withSeed((const uint8_t *)record + sizeof record->checksum,
                              sizeof *record - sizeof record->checksum + record->length, salt);
}

/* Payload bytes that still fit at `offset`, a LINK always left room for; -1: not
** even an empty record. */
static int64_t room_at(uint64_t offset) {
  uint64_t end = spm_segment_offset(spm_offset_segment(offset) + 1) - sizeof(spm_record);
  return (int64_t)end - (int64_t)offset - (int64_t)sizeof(spm_record);
}

static int append_record(spm_store *s, spm_txn *t, spm_record *record, uint16_t type, uint16_t flags,
                         uint64_t argument) {
  record->magic = SPM_RECORD_MAGIC;
  record->type = type;
  record->flags = flags;
  record->lsn = t->tail.lsn + 1;
  record->txid = t->txid;
  record->prev_checksum = t->tail.chain;
  record->durable_lsn = atomic_load(&s->shm->durable_lsn);
  record->argument = argument;
  record->checksum = record_checksum(record, s->shm->salt);
  uint64_t span = spm_record_span(record->length);
  uint64_t used = sizeof *record + record->length;
  memset((uint8_t *)record + used, 0, span - used);
  int rc = spm_append(&s->log, t->tail.offset, record, span);
  if (rc != SQLITE_OK) return rc;
  s->shm->counters.log_bytes += span;
  t->tail.offset += span;
  t->tail.lsn = record->lsn;
  t->tail.chain = record->checksum;
  return SQLITE_OK;
}

static int remember_segment(spm_txn *t, uint32_t segment) {
  if (t->segment_count == t->segment_capacity) {
    uint32_t capacity = t->segment_capacity ? t->segment_capacity * 2 : 16;
    uint32_t *grown = realloc(t->segments, capacity * sizeof *grown);
    if (grown == NULL) return SQLITE_NOMEM;
    t->segments = grown;
    t->segment_capacity = capacity;
  }
  t->segments[t->segment_count++] = segment;
  return SQLITE_OK;
}

/* Go on in a new segment. */
static int append_link(spm_store *s, spm_txn *t) {
  uint32_t segment = 0;
  int rc = segment_take(s, &segment);
  if (rc == SQLITE_FULL) t->starved = true;
  if (rc != SQLITE_OK) return rc;
  rc = remember_segment(t, segment);
  if (rc != SQLITE_OK) {
    spm_segment_release(s, segment);
    return rc;
  }
  _Alignas(spm_record) uint8_t bytes[sizeof(spm_record)] = {0};
  rc = append_record(s, t, (spm_record *)bytes, SPM_REC_LINK, 0, segment);
  if (rc == SQLITE_OK) t->tail.offset = spm_segment_offset(segment);
  return rc;
}

int spm_log_check_tail(spm_store *s, const spm_state *state) {
  const spm_log_pos *tail = &state->tail;
  bool right = atomic_load(&state->lsn) == spm_committed_lsn(s->shm) && tail->lsn == atomic_load(&state->lsn) &&
               tail->offset >= SPM_LOG_HEADER_SIZE && tail->offset % SPM_LINE_SIZE == 0 &&
               tail->offset < spm_segment_offset(SPM_SEGMENT_COUNT) &&
               room_at(tail->offset) >= -(int64_t)sizeof(spm_record); /* a LINK always has room */
  int rc = right ? spm_region_holds(&s->log, spm_segment_offset(spm_offset_segment(tail->offset) + 1)) : SQLITE_NOTFOUND;
  return rc == SQLITE_NOTFOUND ? spm_shm_broken(s, "the end of the log") : rc;
}

int spm_txn_begin(spm_store *s, spm_txn *t) {
  if (t->record == NULL) {
    t->record = aligned_alloc(SPM_LINE_SIZE, SPM_SEGMENT_SIZE + SPM_LINE_SIZE);
    if (t->record == NULL) return SQLITE_NOMEM;
    memset(t->record, 0, sizeof *t->record);
  }
  const spm_state *state = spm_committed(s->shm);
  int rc = spm_log_check_tail(s, state);
  if (rc != SQLITE_OK) return rc;
  t->tail = t->unstaged = state->tail;
  t->txid = state->next_txid;
  t->segment_count = t->unstaged_segments = 0;
  t->used = t->changed = 0;
  t->record->entries = 0;
  return SQLITE_OK;
}

int spm_txn_flush(spm_store *s, spm_txn *t) {
  if (t->used == 0) return SQLITE_OK;
  t->record->length = t->used;
  int rc = append_record(s, t, t->record, SPM_REC_DATA, 0, 0);
  t->used = 0;
  t->record->entries = 0;
  return rc;
}

int spm_txn_reserve(spm_store *s, spm_txn *t, uint32_t length) {
  if (room_at(t->tail.offset) >= (int64_t)length) return SQLITE_OK;
  return append_link(s, t);
}

/* Room in the record under construction for one more entry. */
static int make_room(spm_store *s, spm_txn *t, uint32_t span) {
  if (room_at(t->tail.offset) >= (int64_t)t->used + span) return SQLITE_OK;
  int rc = spm_txn_flush(s, t);
  return rc == SQLITE_OK ? spm_txn_reserve(s, t, span) : rc;
}

int spm_txn_add(spm_store *s, spm_txn *t, uint32_t block, uint32_t offset, uint32_t length,
                const void *bytes) {
  uint32_t span = spm_entry_span(length);
  int rc = make_room(s, t, span);
  if (rc != SQLITE_OK) return rc;
  uint8_t *to = (uint8_t *)(t->record + 1) + t->used;
  spm_entry entry = {.block = block, .offset = (uint16_t)offset, .length = (uint16_t)length};
  memcpy(to, &entry, sizeof entry);
  memcpy(to + sizeof entry, bytes, length);
  memset(to + sizeof entry + length, 0, span - sizeof entry - length);
  t->used += span;
  t->record->entries++;
  return SQLITE_OK;
}

int spm_txn_spill(spm_store *s, spm_txn *t, uint32_t block, const void *bytes, uint64_t *offset) {
  int rc = spm_txn_add(s, t, block, 0, SPM_BLOCK_SIZE, bytes);
  if (rc == SQLITE_OK) *offset = t->tail.offset + sizeof(spm_record) + t->used - SPM_BLOCK_SIZE;
  return rc;
}

int spm_txn_commit(spm_store *s, spm_txn *t, uint64_t size_after) {
  t->record->length = t->used;
  return append_record(s, t, t->record, SPM_REC_DATA, SPM_REC_COMMIT, size_after);
}

int spm_txn_prepare(spm_store *s, spm_txn *t, const char *super, uint64_t size_after) {
  int rc = spm_txn_flush(s, t);
  size_t length = strlen(super);
  /* And for the record that settles it: behind a PREPARE nothing may fail (S10, S20). */
  if (rc == SQLITE_OK) rc = spm_txn_reserve(s, t, (uint32_t)spm_record_span((uint32_t)length));
  if (rc != SQLITE_OK) return rc;
  memcpy(t->record + 1, super, length);
  t->record->length = (uint32_t)length;
  t->prepared_at = t->tail.offset;
  return append_record(s, t, t->record, SPM_REC_PREPARE, 0, size_after);
}

int spm_txn_settle(spm_store *s, spm_txn *t, bool commit, uint64_t size_after) {
  t->record->length = 0;
  return append_record(s, t, t->record, SPM_REC_SETTLE, commit ? SPM_REC_COMMIT : 0, size_after);
}

void spm_txn_unstage(spm_store *s, spm_txn *t) {
  while (t->segment_count > t->unstaged_segments)
    spm_segment_release(s, t->segments[--t->segment_count]);
  t->tail = t->unstaged;
  t->used = t->changed = 0;
  t->record->entries = 0;
}

void spm_txn_rollback(spm_store *s, spm_txn *t) {
  t->unstaged_segments = 0;
  t->unstaged = t->tail;
  spm_txn_unstage(s, t);
}

void spm_txn_free(spm_txn *t) {
  free(t->record);
  free(t->segments);
}

/* -------------------------------------------------------------- reading -- */

int spm_log_reader_open(spm_log_reader *r, spm_region *log, uint64_t salt, spm_log_pos from,
                        bool copied) {
  *r = (spm_log_reader){.log = log, .salt = salt, .pos = from, .loaded = UINT64_MAX};
  if (!copied) return SQLITE_OK;
  r->buffer = aligned_alloc(SPM_LINE_SIZE, SPM_SEGMENT_SIZE);
  return r->buffer ? SQLITE_OK : SQLITE_NOMEM;
}

void spm_log_reader_close(spm_log_reader *r) {
  free(r->buffer);
  r->buffer = NULL;
}

/* The bytes of the segment that holds `offset`; NULL (and SQLITE_OK) if the file
** ends before it does. */
static int load_segment(spm_log_reader *r, uint64_t offset, const uint8_t **bytes) {
  *bytes = NULL;
  if (offset < SPM_LOG_HEADER_SIZE || offset >= spm_segment_offset(SPM_SEGMENT_COUNT)) return SQLITE_OK;
  uint64_t segment = spm_offset_segment(offset);
  uint64_t start = spm_segment_offset(segment);
  if (start + SPM_SEGMENT_SIZE > atomic_load(&r->log->allocated)) {
    int rc = spm_region_refresh(r->log);
    if (rc != SQLITE_OK) return rc;
    if (start + SPM_SEGMENT_SIZE > atomic_load(&r->log->allocated)) return SQLITE_OK;
  }
  if (r->buffer == NULL) {
    int rc = spm_region_reaches(r->log, start + SPM_SEGMENT_SIZE);
    if (rc == SQLITE_OK) *bytes = (const uint8_t *)r->log->base + start;
    return rc;
  }
  if (r->loaded != segment) {
    int rc = spm_region_read(r->log, start, r->buffer, SPM_SEGMENT_SIZE);
    if (rc != SQLITE_OK) return rc;
    r->loaded = segment;
  }
  *bytes = r->buffer;
  return SQLITE_OK;
}

/* Could `room` bytes of a segment begin with a record? */
static bool record_fits(const spm_record *record, uint64_t room) {
  return room >= sizeof *record && record->magic == SPM_RECORD_MAGIC && record->length <= room - sizeof *record;
}

/* A record that is whole, wherever it may belong. */
static bool record_whole(const spm_record *record, uint64_t room, uint64_t salt) {
  return record_fits(record, room) && record->checksum == record_checksum(record, salt);
}

int spm_log_next(spm_log_reader *r, const spm_record **found) {
  const uint8_t *bytes;
  if (r->pos.offset % SPM_LINE_SIZE != 0) return SQLITE_DONE;
  int rc = load_segment(r, r->pos.offset, &bytes);
  if (rc != SQLITE_OK) return rc;
  if (bytes == NULL)
    return spm_error(SQLITE_CORRUPT, "%s was truncated: it ends before byte %llu, where it has to go on",
                     r->log->path, (unsigned long long)r->pos.offset);
  uint64_t at = r->pos.offset - spm_segment_offset(spm_offset_segment(r->pos.offset));
  const spm_record *record = (const spm_record *)(const void *)(bytes + at);
  if (!record_fits(record, SPM_SEGMENT_SIZE - at)) return SQLITE_DONE;
  if (r->pos.lsn >= r->proven && record->checksum != record_checksum(record, r->salt)) return SQLITE_DONE;
  if (record->lsn != r->pos.lsn + 1 || record->prev_checksum != r->pos.chain) return SQLITE_DONE;
  if (record->type == SPM_REC_LINK && record->argument >= SPM_SEGMENT_COUNT) return SQLITE_DONE;
  r->pos.lsn = record->lsn;
  r->pos.chain = record->checksum;
  r->pos.offset = record->type == SPM_REC_LINK ? spm_segment_offset(record->argument)
                                               : r->pos.offset + spm_record_span(record->length);
  *found = record;
  return SQLITE_ROW;
}

void spm_segment_set_add(spm_segment_set *set, uint64_t segment) { bit_set(set->bits, (uint32_t)segment); }

int spm_log_proves_loss(spm_log_reader *r, const spm_segment_set *passed, bool *proved) {
  int rc = SQLITE_OK;
  *proved = false;
  for (uint32_t segment = 0; !*proved; segment++) {
    const uint8_t *bytes;
    if (segment < SPM_SEGMENT_COUNT && bit_get(passed->bits, segment)) continue;
    rc = load_segment(r, spm_segment_offset(segment), &bytes);
    if (rc != SQLITE_OK || bytes == NULL) break;
    for (uint32_t at = 0; at < SPM_SEGMENT_SIZE; at += SPM_LINE_SIZE) {
      const spm_record *record = (const spm_record *)(const void *)(bytes + at);
      if (record->magic != SPM_RECORD_MAGIC || record->durable_lsn <= r->pos.lsn) continue;
      if (record_whole(record, SPM_SEGMENT_SIZE - at, r->salt)) *proved = true;
    }
  }
  return rc;
}

/* The payload is the entries it counts, and nothing else. */
static bool entries_sane(const spm_record *record) {
  spm_entry_cursor c;
  uint32_t count = 0;
  for (spm_entries_open(&c, record); spm_entries_next(&c);) count++;
  return c.next == c.end && count == record->entries;
}

bool spm_record_sane(const spm_record *record) {
  bool empty = record->length == 0 && record->entries == 0;
  bool sized = record->argument <= SPM_DATA_SIZE_MAX;
  if (record->txid == 0 || record->txid >= SPM_TXID_END || record->durable_lsn >= record->lsn) return false;
  switch (record->type) {
    case SPM_REC_DATA:
      return entries_sane(record) && (record->flags == 0 || (record->flags == SPM_REC_COMMIT && sized));
    case SPM_REC_LINK: return empty && record->flags == 0;
    case SPM_REC_PREPARE:
      return record->flags == 0 && record->entries == 0 && sized && record->length > 0 &&
             memchr(record + 1, 0, record->length) == NULL;
    case SPM_REC_SETTLE: return empty && sized && record->flags <= SPM_REC_COMMIT;
    default: return false;
  }
}
