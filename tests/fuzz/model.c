/*
** model.c - see model.h.
**
** One pass over the chain makes a list of records; a second one over the list, by
** transactions, makes the content.  A record that is signed and makes no sense refuses
** the store: no writer of this version leaves one.
*/
#include "model.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define SIZE_MAX_X (UINT64_C(1) << 44)
#define LSN_END (UINT64_C(1) << 61)
#define SEGMENTS_MAX (UINT64_C(1) << 20)

typedef struct place {
  const uint8_t *at;
  spm_record head;
} place;

typedef struct chain {
  place *record;
  size_t count;
  uint64_t end_lsn;
} chain;

uint64_t model_record_checksum(const uint8_t *record, uint64_t salt) {
  uint32_t length;
  memcpy(&length, record + offsetof(spm_record, length), sizeof length);
  return XXH3_64bits_withSeed(record + 8, sizeof(spm_record) - 8 + length, salt);
}

uint64_t model_superblock_checksum(const uint8_t *superblock) {
  return XXH3_64bits(superblock + 8, sizeof(spm_superblock) - 8);
}

static const char *choose_superblock(const model_input *in, spm_superblock *chosen) {
  bool found = false;
  for (size_t i = 0; i < 2; i++) {
    spm_superblock slot;
    size_t at = i * SPM_SUPERBLOCK_STRIDE;
    if (at + sizeof slot > in->log_size) break;
    memcpy(&slot, in->log + at, sizeof slot);
    if (slot.magic != SPM_SUPERBLOCK_MAGIC || slot.checksum != model_superblock_checksum(in->log + at)) continue;
    if (found && slot.sequence < chosen->sequence) continue;
    *chosen = slot;
    found = true;
  }
  if (!found) return "no valid superblock";
  if (chosen->version != SPM_FORMAT_VERSION) return "another version";
  if (chosen->block_size != SPM_BLOCK_SIZE || chosen->segment_size != SPM_SEGMENT_SIZE) return "other sizes";
  const spm_log_pos *start = &chosen->checkpoint;
  if (start->offset < SPM_LOG_HEADER_SIZE || start->offset % SPM_LINE_SIZE != 0 ||
      start->offset >= spm_segment_offset(SEGMENTS_MAX) || start->lsn == 0 || start->lsn >= LSN_END)
    return "an impossible checkpoint";
  if (chosen->next_txid == 0 || chosen->next_txid >= LSN_END) return "an impossible number of a transaction";
  if (chosen->logical_size > SIZE_MAX_X) return "an impossible size";
  if (chosen->unlogged > 1) return "neither with its log nor without it";
  if (chosen->unlogged == 1) return "written without its log by a process that died";
  if (memcmp(chosen->life, in->life, SPM_LIFE_SIZE) != 0) return "another life";
  return in->x_size < chosen->logical_size ? "the database was shortened" : NULL;
}

/* Is a whole record of this salt at `offset`?  Its segment must be in the file. */
static bool whole_record(const model_input *in, uint64_t offset, uint64_t salt, spm_record *head) {
  uint64_t rest = spm_segment_offset(spm_offset_segment(offset) + 1) - offset;
  if (rest < sizeof *head) return false;
  memcpy(head, in->log + offset, sizeof *head);
  return head->magic == SPM_RECORD_MAGIC && head->length <= rest - sizeof *head &&
         head->checksum == model_record_checksum(in->log + offset, salt);
}

static const char *walk(const model_input *in, const spm_superblock *block, chain *c) {
  spm_log_pos pos = block->checkpoint;
  for (;;) {
    spm_record head;
    if (spm_segment_offset(spm_offset_segment(pos.offset) + 1) > in->log_size) return "the log was truncated";
    if (!whole_record(in, pos.offset, block->salt, &head)) break;
    if (head.lsn != pos.lsn + 1 || head.prev_checksum != pos.chain) break;
    if (head.type == SPM_REC_LINK && head.argument >= SEGMENTS_MAX) break;
    c->record = realloc(c->record, (c->count + 1) * sizeof *c->record);
    if (c->record == NULL) abort();
    c->record[c->count++] = (place){in->log + pos.offset, head};
    pos.lsn = head.lsn;
    pos.chain = head.checksum;
    pos.offset = head.type == SPM_REC_LINK ? spm_segment_offset(head.argument)
                                           : pos.offset + spm_record_span(head.length);
  }
  c->end_lsn = pos.lsn;
  return NULL;
}

/* The chain has left the segment: whatever else is in there is older than its LINK. */
static bool left_behind(const model_input *in, const chain *c, uint64_t segment) {
  for (size_t i = 0; i < c->count; i++)
    if (c->record[i].head.type == SPM_REC_LINK && spm_offset_segment((uint64_t)(c->record[i].at - in->log)) == segment)
      return true;
  return false;
}

static const char *look_for_loss(const model_input *in, const chain *c, uint64_t salt) {
  for (uint64_t segment = 0; spm_segment_offset(segment + 1) <= in->log_size; segment++) {
    if (left_behind(in, c, segment)) continue;
    for (uint64_t at = spm_segment_offset(segment); at < spm_segment_offset(segment + 1); at += SPM_LINE_SIZE) {
      spm_record head;
      uint32_t magic;
      memcpy(&magic, in->log + at + offsetof(spm_record, magic), sizeof magic);
      if (magic != SPM_RECORD_MAGIC) continue;
      if (whole_record(in, at, salt, &head) && head.durable_lsn > c->end_lsn) return "a later record proves a loss";
    }
  }
  return NULL;
}

/* Does the payload of a DATA record consist of just the entries it counts? */
static bool entries_fit(const place *p) {
  uint32_t used = 0, count = 0;
  for (; used < p->head.length; count++) {
    spm_entry entry;
    if (p->head.length - used < sizeof entry) return false;
    memcpy(&entry, p->at + sizeof p->head + used, sizeof entry);
    if (entry.length == 0 || entry.offset + (uint32_t)entry.length > SPM_BLOCK_SIZE) return false;
    if (p->head.length - used < spm_entry_span(entry.length)) return false;
    used += spm_entry_span(entry.length);
  }
  return count == p->head.entries;
}

static bool sensible(const place *p) {
  const spm_record *head = &p->head;
  bool bare = head->length == 0 && head->entries == 0;
  if (head->txid >= LSN_END || head->durable_lsn >= head->lsn) return false;
  switch (head->type) {
    case SPM_REC_DATA:
      if (head->flags > SPM_REC_COMMIT || !entries_fit(p)) return false;
      return !(head->flags & SPM_REC_COMMIT) || head->argument <= SIZE_MAX_X;
    case SPM_REC_LINK: return head->flags == 0 && bare;
    case SPM_REC_PREPARE:
      return head->flags == 0 && head->entries == 0 && head->length > 0 && head->argument <= SIZE_MAX_X &&
             memchr(p->at + sizeof *head, 0, head->length) == NULL;
    case SPM_REC_SETTLE: return head->flags <= SPM_REC_COMMIT && bare && head->argument <= SIZE_MAX_X;
    default: return false;
  }
}

typedef struct run {
  size_t first, end; /* records of one transaction */
  bool prepared, settled, committed;
  uint64_t size;
} run;

/* The transaction that begins with record `first`. */
static const char *next_run(const chain *c, size_t first, uint64_t txid_before, run *r) {
  *r = (run){.first = first, .end = first};
  uint64_t txid = c->record[first].head.txid;
  if (txid <= txid_before) return "a transaction's number does not rise";
  while (r->end < c->count && !r->settled) {
    const place *p = &c->record[r->end++];
    bool settle = p->head.type == SPM_REC_SETTLE, link = p->head.type == SPM_REC_LINK;
    if (!sensible(p)) return "a signed record makes no sense";
    if (p->head.txid != txid) return "a transaction within another";
    /* The checkpoint may have moved behind the PREPARE of the first one. */
    if (settle && !r->prepared && first > 0) return "an end of what was not prepared";
    if (r->prepared && !settle && !link) return "a prepared transaction goes on";
    r->committed = (p->head.flags & SPM_REC_COMMIT) != 0;
    r->settled = settle || r->committed;
    r->prepared |= p->head.type == SPM_REC_PREPARE;
    if (r->committed || p->head.type == SPM_REC_PREPARE) r->size = p->head.argument;
  }
  return NULL;
}

static void apply_record(model *m, const place *p) {
  for (uint32_t used = 0; p->head.type == SPM_REC_DATA && used < p->head.length;) {
    spm_entry entry;
    memcpy(&entry, p->at + sizeof p->head + used, sizeof entry);
    uint64_t at = (uint64_t)entry.block * SPM_BLOCK_SIZE + entry.offset;
    if (at < m->size && at + entry.length <= MODEL_MAX)
      memcpy(m->bytes + at, p->at + sizeof p->head + used + sizeof entry, entry.length);
    used += spm_entry_span(entry.length);
  }
}

static const char *replay(const model_input *in, const chain *c, model *m) {
  run *runs = calloc(c->count + 1, sizeof *runs);
  size_t count = 0, applied = 0;
  uint64_t txid = 0;
  const char *refused = NULL;
  if (runs == NULL) abort();
  for (size_t at = 0; at < c->count && refused == NULL; at = runs[count++].end) {
    refused = next_run(c, at, txid, &runs[count]);
    txid = c->record[at].head.txid;
    run *r = &runs[count];
    if (refused == NULL && !r->settled && r->prepared) {
      m->asked = true;
      r->committed = in->decision;
    }
    if (refused == NULL && r->committed) m->size = r->size;
  }
  for (; applied < count && refused == NULL; applied++)
    for (size_t i = runs[applied].first; runs[applied].committed && i < runs[applied].end; i++)
      apply_record(m, &c->record[i]);
  free(runs);
  return refused;
}

void model_recover(const model_input *in, model *m) {
  spm_superblock block = {0};
  chain c = {0};
  *m = (model){.bytes = calloc(1, MODEL_MAX + SPM_BLOCK_SIZE)};
  if (m->bytes == NULL) abort();
  m->refused = choose_superblock(in, &block);
  if (m->refused == NULL) {
    memcpy(m->bytes, in->x, in->x_size < MODEL_MAX ? in->x_size : MODEL_MAX);
    m->size = block.logical_size;
    m->refused = walk(in, &block, &c);
  }
  if (m->refused == NULL) m->refused = replay(in, &c, m);
  if (m->refused == NULL) m->refused = look_for_loss(in, &c, block.salt);
  free(c.record);
}

void model_free(model *m) { free(m->bytes); }
