/*
** recovery.c - see recovery.h.
*/
#include "recovery.h"

#include "apply.h"
#include "checkpoint.h"
#include "counters.h"
#include "growth.h"
#include "pending.h"
#include "store.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* -------------------------------------------------------------- report -- */

void spm_report_begin(spm_store *s, bool takeover) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  spm_recovery_report *report = &s->shm->report;
  memset(report, 0, sizeof *report);
  report->takeover = takeover;
  report->began_unix_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
  report->phase_began_ns = spm_clock_ns();
}

void spm_report_phase(spm_store *s, unsigned phase) {
  spm_recovery_report *report = &s->shm->report;
  uint64_t now = spm_clock_ns();
  report->phase_ns[phase] += now - report->phase_began_ns;
  report->phase_began_ns = now;
}

/* A transaction's records follow each other. */
static void report_record(spm_store *s, const spm_record *record) {
  spm_recovery_report *report = &s->shm->report;
  report->records++;
  report->bytes += spm_record_span(record->length);
  if (record->type == SPM_REC_LINK) return;
  uint32_t n = report->transaction_count;
  if (n == 0 || report->transaction[n - 1].txid != record->txid) {
    if (n >= SPM_RECOVERY_TRANSACTIONS) return;
    report->transaction_count = ++n;
    report->transaction[n - 1].txid = record->txid;
    report->transaction[n - 1].first_lsn = record->lsn;
  }
  report->transaction[n - 1].last_lsn = record->lsn;
  report->transaction[n - 1].bytes += record->length;
  if (record->flags & SPM_REC_COMMIT)
    report->transaction[n - 1].fate = SPM_FATE_COMMITTED;
  else if (record->type == SPM_REC_SETTLE)
    report->transaction[n - 1].fate = SPM_FATE_ABORTED;
  else if (record->type == SPM_REC_PREPARE)
    report->transaction[n - 1].fate = SPM_FATE_PREPARED;
}

static void report_settled(spm_store *s, uint64_t txid, bool committed) {
  spm_recovery_report *report = &s->shm->report;
  for (uint32_t i = 0; i < report->transaction_count && i < SPM_RECOVERY_TRANSACTIONS; i++)
    if (report->transaction[i].txid == txid)
      report->transaction[i].fate = committed ? SPM_FATE_COMMITTED : SPM_FATE_ABORTED;
}

/* ------------------------------------------------- 1 load and 2 sort -- */

static int note_aborted(spm_log_summary *sum, uint64_t txid) {
  uint64_t *grown = realloc(sum->aborted, (sum->aborted_count + 1) * sizeof *grown);
  if (grown == NULL) return SQLITE_NOMEM;
  sum->aborted = grown;
  sum->aborted[sum->aborted_count++] = txid;
  return SQLITE_OK;
}

static int note_prepared(spm_log_summary *sum, const spm_record *record, spm_log_pos after) {
  sum->prepared_super = strndup((const char *)(record + 1), record->length);
  sum->before_prepared = sum->accepted;
  sum->after_prepared = after;
  sum->prepared_txid = record->txid;
  sum->prepared_size = record->argument;
  return sum->prepared_super ? SQLITE_OK : SQLITE_NOMEM;
}

/* Transactions follow each other, their numbers rise, and only what ends a prepared one
** comes after its PREPARE; where the log is read from, one may be under way, its PREPARE
** even behind the checkpoint. */
static bool in_order(const spm_log_summary *sum, const spm_record *record) {
  bool settle = record->type == SPM_REC_SETTLE;
  if (sum->open_txid == 0 ? record->txid < sum->next_txid : record->txid != sum->open_txid) return false;
  if (sum->prepared_super != NULL) return settle || record->type == SPM_REC_LINK;
  return !settle || !sum->begun;
}

static int summarize_record(spm_log_summary *sum, const spm_record *record, spm_log_pos after) {
  int rc = SQLITE_OK;
  if (!spm_record_sane(record) || !in_order(sum, record))
    return spm_error(SQLITE_CORRUPT, "the record with LSN %llu (type %u, flags %u, transaction %llu) is signed but makes no sense",
                     (unsigned long long)record->lsn, record->type, record->flags, (unsigned long long)record->txid);
  bool settles = record->type == SPM_REC_SETTLE || (record->flags & SPM_REC_COMMIT);
  if (record->txid >= sum->next_txid) sum->next_txid = record->txid + 1;
  if (record->type == SPM_REC_PREPARE) rc = note_prepared(sum, record, after);
  sum->open_txid = settles ? 0 : record->txid;
  sum->begun |= settles;
  sum->unfinished = !settles && (sum->unfinished || record->type != SPM_REC_LINK);
  if (!settles) return rc;
  if (record->flags & SPM_REC_COMMIT) {
    sum->size = record->argument;
    sum->committed++;
  } else {
    rc = note_aborted(sum, record->txid);
  }
  sum->accepted = after;
  free(sum->prepared_super);
  sum->prepared_super = NULL;
  return rc;
}

/* Is the record that was read last the end of those that stand side by side from `run` on? */
static bool run_ends(const spm_log_reader *r, const spm_record *record, uint64_t run) {
  return record->type == SPM_REC_LINK || spm_offset_segment(r->pos.offset) != spm_offset_segment(run);
}

/* On PMEM the log is flushed again as it is read, what is not accepted with it: a walk of
** its own would take as long again.  The fence is spm_log_harden()'s. */
static int summarize(spm_store *s, spm_log_reader *r, spm_words *words, spm_log_summary *sum, spm_segment_set *passed) {
  int rc;
  const spm_record *record;
  uint64_t run = r->pos.offset, read = run; /* what was read of this segment lies between them */
  while ((rc = spm_log_next(r, &record)) == SQLITE_ROW) {
    read += spm_record_span(record->length);
    if (record->type == SPM_REC_LINK) spm_segment_set_add(passed, spm_offset_segment(run));
    if (run_ends(r, record, run)) {
      spm_flush(&s->log, run, read - run);
      run = read = r->pos.offset;
    }
    rc = summarize_record(sum, record, r->pos);
    if (rc != SQLITE_OK) break;
    report_record(s, record);
    if (words != NULL) spm_words_add(words, record, r->pos);
  }
  spm_flush(&s->log, run, read - run);
  return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int spm_log_summarize(spm_store *s, spm_log_pos from, uint64_t size, spm_words *words, spm_log_summary *sum) {
  *sum = (spm_log_summary){.accepted = from, .size = size, .next_txid = 1};
  spm_log_reader r;
  bool lost = false;
  spm_segment_set *passed = calloc(1, sizeof *passed);
  if (passed == NULL) return SQLITE_NOMEM;
  int rc = spm_log_reader_open(&r, &s->log, s->shm->salt, from, true);
  if (rc == SQLITE_OK) rc = summarize(s, &r, words, sum, passed);
  if (rc == SQLITE_OK) rc = spm_log_proves_loss(&r, passed, &lost);
  if (rc == SQLITE_OK && lost)
    rc = spm_error(SQLITE_CORRUPT, "%s is damaged after LSN %llu: later records prove that more had been committed",
                   s->log.path, (unsigned long long)r.pos.lsn);
  spm_log_reader_close(&r);
  free(passed);
  return rc;
}

void spm_log_summary_free(spm_log_summary *sum) {
  free(sum->aborted);
  free(sum->prepared_super);
  *sum = (spm_log_summary){0};
}

int spm_settle_prepared(spm_store *s, spm_log_summary *sum, bool *committed) {
  *committed = false;
  if (sum->prepared_super == NULL) return SQLITE_OK;
  int rc = s->host->decide(s->path, sum->prepared_super, committed);
  if (rc != SQLITE_OK) return rc;
  report_settled(s, sum->prepared_txid, *committed);
  if (*committed) {
    sum->accepted = sum->after_prepared;
    sum->size = sum->prepared_size;
    sum->committed++;
    sum->unfinished = 0;
  }
  return SQLITE_OK;
}

/* -------------------------------------------------------------- 3 REDO -- */

/* On FILE the records are written again, as they stand in a segment: after a failed fdatasync
** the kernel takes their pages for clean, and another one would do nothing. */
static int rewrite_log(spm_store *s, spm_log_pos from, const spm_log_summary *sum) {
  spm_log_reader r;
  int rc = spm_log_reader_open(&r, &s->log, s->shm->salt, from, true);
  uint64_t run = from.offset, read = run;
  while (rc == SQLITE_OK && r.pos.lsn < sum->accepted.lsn) {
    const spm_record *record;
    rc = spm_log_next(&r, &record) == SQLITE_ROW ? SQLITE_OK : SQLITE_IOERR_READ;
    if (rc != SQLITE_OK) break;
    read += spm_record_span(record->length);
    if (!run_ends(&r, record, run) && r.pos.lsn < sum->accepted.lsn) continue;
    rc = spm_append(&s->log, run, r.buffer + run - spm_segment_offset(spm_offset_segment(run)), read - run);
    run = read = r.pos.offset;
  }
  spm_log_reader_close(&r);
  return rc;
}

int spm_log_harden(spm_store *s, spm_log_pos from, const spm_log_summary *sum) {
  int rc = s->log.media->persistent ? SQLITE_OK : rewrite_log(s, from, sum);
  spm_flush(&s->log, 0, SPM_LOG_HEADER_SIZE); /* its writer may have died before the fence (S6) */
  if (rc == SQLITE_OK) rc = spm_sync(&s->log);
  /* And the file's length, which shared memory counts its segments from: whoever grew it
  ** may have died before the sync, and a fence does not do that. */
  return rc == SQLITE_OK && s->log.media->persistent ? spm_region_fsync(&s->log) : rc;
}

static bool is_aborted(const spm_log_summary *sum, uint64_t txid) {
  for (uint32_t i = 0; i < sum->aborted_count; i++)
    if (sum->aborted[i] == txid) return true;
  return false;
}

/* What was gathered from the log is good for a part of REDO if all of it was committed.  What is
** not is what comes last, or a prepared transaction that was rolled back. */
static int redo_words(spm_store *s, const spm_words *words, const spm_log_summary *sum, spm_log_pos *from) {
  if (words == NULL || sum->aborted_count > 0 || words->newest_lsn > sum->accepted.lsn) return SQLITE_OK;
  *from = words->until;
  return spm_words_store(s, words, sum->size);
}

/* Size is set once, at the end; what a later truncate cut is skipped (S9).  What stands in
** memory has been read with pread and proven once, and now can be read in place.  What the log
** lists is flushed even where the bytes already matched: whoever stored them may not have (S19). */
static int redo(spm_store *s, spm_log_pos from, const spm_words *words, const spm_log_summary *sum) {
  int rc = spm_data_grow(s, sum->size);
  if (rc == SQLITE_OK) spm_redo_expect(s, sum->size, s->shm->report.bytes);
  if (rc == SQLITE_OK) rc = redo_words(s, words, sum, &from);
  if (rc != SQLITE_OK || from.lsn >= sum->accepted.lsn) return rc;
  spm_redo *redone;
  rc = spm_redo_begin(s, &redone);
  if (rc != SQLITE_OK) return rc;
  bool in_place = s->log.media->persistent;
  spm_log_reader r;
  rc = spm_log_reader_open(&r, &s->log, s->shm->salt, from, !in_place);
  if (in_place) r.proven = sum->accepted.lsn;
  while (rc == SQLITE_OK && r.pos.lsn < sum->accepted.lsn) {
    const spm_record *record;
    rc = spm_log_next(&r, &record);
    if (rc == SQLITE_DONE) rc = SQLITE_IOERR_READ;
    if (rc != SQLITE_ROW) break;
    rc = is_aborted(sum, record->txid) ? SQLITE_OK : spm_apply_record(s, record, sum->size, redone);
  }
  spm_log_reader_close(&r);
  int ended = spm_redo_end(s, redone);
  return rc == SQLITE_OK ? ended : rc;
}

/* ------------------------------------------------------------- recover -- */

void spm_report_end(spm_store *s, uint64_t from_lsn, const spm_log_summary *sum) {
  s->shm->report.from_lsn = from_lsn;
  s->shm->report.to_lsn = sum->accepted.lsn;
  const spm_recovery_report *report = &s->shm->report;
  for (unsigned i = 0; !report->takeover && report->records > 0 && i < SPM_RECOVERY_PHASES; i++)
    s->shm->counters.recovery_ns += report->phase_ns[i];
  s->shm->counters.redone += sum->committed;
  s->shm->counters.undone += sum->unfinished;
}

/* A file that is shorter than the checkpoint knows has lost what no log can
** bring back. */
static int check_length(spm_store *s, const spm_superblock *block) {
  uint64_t length = atomic_load(&s->data.allocated);
  if (length >= block->logical_size) return SQLITE_OK;
  return spm_error(SQLITE_CORRUPT, "%s has %llu bytes, its log knows of %llu: the file was shortened",
                   s->path, (unsigned long long)length, (unsigned long long)block->logical_size);
}

int spm_recover(spm_store *s, const spm_superblock *block) {
  spm_log_summary sum = {0};
  bool committed = false;
  spm_report_begin(s, false);
  int rc = check_length(s, block);
  spm_words gathered, *words = s->data.media->persistent ? &gathered : NULL;
  spm_words_init(&gathered, block->checkpoint);
  if (rc == SQLITE_OK) rc = spm_log_summarize(s, block->checkpoint, block->logical_size, words, &sum);
  spm_report_phase(s, SPM_RECOVERY_LOAD);
  if (rc == SQLITE_OK) rc = spm_settle_prepared(s, &sum, &committed);
  spm_report_phase(s, SPM_RECOVERY_UNDO);
  if (rc == SQLITE_OK) rc = spm_log_harden(s, block->checkpoint, &sum);
  if (rc == SQLITE_OK) spm_pending_durable(s, sum.accepted.lsn);
  if (rc == SQLITE_OK) rc = redo(s, block->checkpoint, words, &sum);
  spm_words_free(&gathered);
  spm_report_phase(s, SPM_RECOVERY_REDO);
  if (rc == SQLITE_OK) {
    uint64_t next = sum.next_txid > block->next_txid ? sum.next_txid : block->next_txid;
    spm_publish(s, sum.accepted, sum.size, next);
    rc = spm_sync(&s->data); /* of all that was redone: the log may go (S19) */
  }
  if (rc == SQLITE_OK) rc = spm_checkpoint_restart(s, false);
  if (rc == SQLITE_OK) rc = spm_checkpoint_trim(s, true);
  spm_report_phase(s, SPM_RECOVERY_CHECKPOINT);
  spm_report_end(s, block->checkpoint.lsn, &sum);
  if (rc == SQLITE_OK && sum.prepared_super != NULL)
    rc = s->host->settled(s->path, sum.prepared_super);
  if (rc == SQLITE_OK && !block->clean)
    spm_notice("%s: recovered to LSN %llu, %llu transactions redone, %llu dropped%s", s->path,
               (unsigned long long)sum.accepted.lsn, (unsigned long long)sum.committed,
               (unsigned long long)sum.unfinished,
               sum.prepared_super == NULL ? "" : committed ? ", one prepared committed" : ", one prepared rolled back");
  spm_log_summary_free(&sum);
  return rc;
}
