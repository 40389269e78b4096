/*
** inspect.c - see inspect.h.
*/
#define _GNU_SOURCE
#include "inspect.h"

#include "counters.h"
#include "log.h"
#include "shm.h"
#include "superblock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static uint64_t file_bytes(const spm_region *r) {
  struct stat status;
  return fstat(r->fd, &status) == 0 ? (uint64_t)status.st_size : 0;
}

/* ------------------------------------------------------------------ metrics -- */

typedef struct metrics_visit {
  int (*visit)(void *, const spm_metrics *);
  void *argument;
} metrics_visit;

static void add_slots(const spm_shm *shm, spm_metrics *m) {
  static const char *const modes[] = {
      [SPM_DURABLE_AT_ONCE] = "sync", [SPM_DURABLE_SOON] = "async", [SPM_DURABLE_AT_TICKS] = "periodic"};
  uint32_t weakest = SPM_DURABLE_AT_ONCE;
  uint32_t end = spm_slots_end(shm);
  for (uint32_t i = 0; i < end && i < SPM_SLOT_COUNT; i++) {
    const spm_slot *slot = &shm->slots[i];
    m->num_reads += atomic_load_explicit(&slot->snapshots, memory_order_relaxed);
    m->attachments += atomic_load(&slot->taken) != 0;
    m->active_transactions += atomic_load(&slot->snapshot) != SPM_SNAPSHOT_FREE;
    uint32_t durability = atomic_load(&slot->durability);
    if (atomic_load(&slot->taken) && durability > weakest) weakest = durability;
  }
  m->mode = weakest < sizeof modes / sizeof *modes ? modes[weakest] : "";
}

static int visit_metrics(spm_store *s, void *argument) {
  const metrics_visit *v = argument;
  spm_shm *shm = s->shm;
  const spm_counters *n = &shm->counters;
  spm_metrics m = {.path = s->path, .kind = s->host->kind, .medium = s->data.media->name};
  add_slots(shm, &m);
  m.log_size = file_bytes(&s->log);
  m.total_size = file_bytes(&s->data) + m.log_size;
  m.last_lsn = spm_committed_lsn(shm);
  m.used_size = atomic_load(&spm_state_at(shm, m.last_lsn)->logical_size);
  m.log_used = (uint64_t)shm->segments_used * SPM_SEGMENT_SIZE;
  m.num_writes = n->blocks_written;
  m.num_transactions = n->committed + n->aborted;
  m.committed_transactions = n->committed;
  m.aborted_transactions = n->aborted;
  m.conflicts = atomic_load(&n->conflicts);
  m.checkpoints = n->checkpoints;
  m.avg_write_latency_us = n->timed > 0 ? (double)n->timed_ns / (double)n->timed / 1e3 : 0;
  m.p99_commit_us = spm_latency_us(n, 0.99);
  m.media_bytes_written = n->log_bytes + n->file_bytes;
  m.image_bytes = (uint64_t)atomic_load(&shm->images_live) * SPM_BLOCK_SIZE;
  m.recovery_time_ms = (double)n->recovery_ns / 1e6;
  m.redone_transactions = n->redone;
  m.undone_transactions = n->undone;
  m.takeovers = n->takeovers;
  m.durable_lsn = atomic_load(&shm->durable_lsn);
  m.checkpoint_lsn = shm->checkpoint.lsn;
  uint64_t now = spm_clock_coarse_ns(), then = shm->checkpointed_ns;
  m.checkpoint_lag_s = m.checkpoint_lsn < m.last_lsn && then < now ? (double)(now - then) / 1e9 : 0;
  m.poisoned = spm_poisoned(s);
  return v->visit(v->argument, &m);
}

int spm_inspect_stores(int (*visit)(void *, const spm_metrics *), void *argument) {
  return spm_stores_visit(NULL, visit_metrics, &(metrics_visit){visit, argument});
}

/* ------------------------------------------------------------------ readers -- */

typedef struct readers_visit {
  int (*visit)(void *, const spm_reader *);
  void *argument;
} readers_visit;

/* Bytes of this process cannot be asked through a lock: they are its own. */
static bool slot_alive(spm_store *s, uint32_t slot) {
  pthread_mutex_lock(&s->slots_mutex);
  bool own = s->owned[slot];
  pthread_mutex_unlock(&s->slots_mutex);
  return own || spm_slot_alive(&s->locks, slot);
}

static int visit_readers(spm_store *s, void *argument) {
  const readers_visit *v = argument;
  spm_shm *shm = s->shm;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  uint32_t end = spm_slots_end(shm);
  int rc = SQLITE_OK;
  for (uint32_t i = 0; rc == SQLITE_OK && i < end && i < SPM_SLOT_COUNT; i++) {
    const spm_slot *slot = &shm->slots[i];
    if (!atomic_load(&slot->taken)) continue;
    spm_reader r = {.slot = i, .pid = slot->pid, .alive = slot_alive(s, i), .writing = spm_writer_is(shm, i)};
    uint64_t snapshot = atomic_load(&slot->snapshot), latest = spm_committed_lsn(shm);
    if (snapshot != SPM_SNAPSHOT_FREE && snapshot != SPM_SNAPSHOT_ANY) {
      r.snapshot = snapshot;
      r.behind = latest > snapshot ? latest - snapshot : 0;
      r.seconds = (uint32_t)now.tv_sec - slot->began;
    }
    rc = v->visit(v->argument, &r);
  }
  return rc;
}

int spm_inspect_readers(const char *path, int (*visit)(void *, const spm_reader *), void *argument) {
  return spm_stores_visit(path, visit_readers, &(readers_visit){visit, argument});
}

/* ---------------------------------------------------------------------- log -- */

typedef struct item_list {
  spm_log_item *items;
  uint32_t count, capacity;
} item_list;

static spm_log_item *add_item(item_list *list) {
  if (list->count == list->capacity) {
    uint32_t capacity = list->capacity ? list->capacity * 2 : 64;
    spm_log_item *grown = realloc(list->items, capacity * sizeof *grown);
    if (grown == NULL) return NULL;
    list->items = grown;
    list->capacity = capacity;
  }
  spm_log_item *item = &list->items[list->count++];
  *item = (spm_log_item){.checksum_ok = true, .state = "unfinished"};
  return item;
}

static const char *type_name(const spm_record *record) {
  bool commit = (record->flags & SPM_REC_COMMIT) != 0;
  switch (record->type) {
    case SPM_REC_DATA: return commit ? "data+commit" : "data";
    case SPM_REC_LINK: return "link";
    case SPM_REC_PREPARE: return "prepare";
    case SPM_REC_SETTLE: return commit ? "commit" : "abort";
    default: return "unknown";
  }
}

/* The state of a transaction is known with its last record: tell those before. */
static void settle_items(item_list *list, const char *state) {
  const spm_log_item *last = &list->items[list->count - 1];
  for (uint32_t i = list->count; i-- > 0 && list->items[i].txid == last->txid;) list->items[i].state = state;
}

static int add_record(item_list *list, const spm_record *record, uint64_t offset) {
  spm_log_item *item = add_item(list);
  if (item == NULL) return SQLITE_NOMEM;
  item->lsn = record->lsn;
  item->txid = record->txid;
  item->offset = offset;
  item->length = record->length;
  item->type = type_name(record);
  if (record->flags & SPM_REC_COMMIT)
    settle_items(list, "committed");
  else if (record->type == SPM_REC_SETTLE)
    settle_items(list, "aborted");
  else if (record->type == SPM_REC_PREPARE)
    settle_items(list, "prepared");
  return SQLITE_OK;
}

/* What ended the log, if it looks like a record of this place in it: a torn one. */
static int add_torn(item_list *list, spm_region *log, spm_log_pos end) {
  spm_record record;
  if (spm_region_read(log, end.offset, &record, sizeof record) != SQLITE_OK) return SQLITE_OK;
  if (record.magic != SPM_RECORD_MAGIC || record.lsn != end.lsn + 1 || record.prev_checksum != end.chain) return SQLITE_OK;
  spm_log_item *item = add_item(list);
  if (item == NULL) return SQLITE_NOMEM;
  *item = (spm_log_item){.lsn = record.lsn, .txid = record.txid, .offset = end.offset, .length = record.length,
                         .type = type_name(&record), .state = "invalid"};
  return SQLITE_OK;
}

static int read_log(spm_region *log, item_list *list) {
  spm_superblock block;
  spm_log_reader r;
  int rc = spm_superblock_read(log, &block);
  if (rc == SQLITE_OK) rc = spm_log_reader_open(&r, log, block.salt, block.checkpoint, true);
  if (rc != SQLITE_OK) return rc;
  const spm_record *record;
  for (uint64_t offset = r.pos.offset; (rc = spm_log_next(&r, &record)) == SQLITE_ROW; offset = r.pos.offset)
    if ((rc = add_record(list, record, offset)) != SQLITE_OK) break;
  if (rc == SQLITE_DONE) rc = add_torn(list, log, r.pos);
  spm_log_reader_close(&r);
  return rc;
}

static int open_log(spm_region *log) {
  log->fd = open(log->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  if (log->fd >= 0) return spm_region_refresh(log);
  if (errno == ENOENT || errno == ENOTDIR) return SQLITE_NOTFOUND;
  return spm_error(SQLITE_CANTOPEN, "opening %s: %s", log->path, strerror(errno));
}

/* The log's own descriptor, for reading: nothing is mapped, and closing it drops no lock,
** for there are none on this file. */
int spm_inspect_log(const char *path, int (*visit)(void *, const spm_log_item *), void *argument) {
  char *name = spm_sidecar(path, "-pmlog");
  if (name == NULL) return SQLITE_NOMEM;
  spm_region log = {.media = &spm_media_file, .base = MAP_FAILED, .path = name};
  item_list list = {0};
  int rc = open_log(&log);
  if (rc == SQLITE_OK) rc = read_log(&log, &list);
  for (uint32_t i = 0; rc == SQLITE_OK && i < list.count; i++) rc = visit(argument, &list.items[i]);
  free(list.items);
  if (log.fd >= 0) close(log.fd);
  free(name);
  return rc;
}

/* ----------------------------------------------------------------- recovery -- */

typedef struct recovery_visit {
  int (*visit)(void *, const spm_recovery_step *);
  void *argument;
  const spm_recovery_report *report;
} recovery_visit;

static int tell_phase(const recovery_visit *v, const char *phase, unsigned which, const char *action) {
  const spm_recovery_report *r = v->report;
  spm_recovery_step step = {.phase = phase, .action = action, .first_lsn = r->from_lsn, .last_lsn = r->to_lsn,
                            .bytes = r->bytes, .ms = (double)r->phase_ns[which] / 1e6};
  return v->visit(v->argument, &step);
}

static int tell_transactions(const recovery_visit *v, const char *phase, const char *const action[4]) {
  const spm_recovery_report *r = v->report;
  int rc = SQLITE_OK;
  for (uint32_t i = 0; rc == SQLITE_OK && i < r->transaction_count && i < SPM_RECOVERY_TRANSACTIONS; i++) {
    const char *text = action[r->transaction[i].fate & 3];
    if (text == NULL) continue;
    spm_recovery_step step = {.phase = phase, .txid = r->transaction[i].txid, .action = text,
                              .first_lsn = r->transaction[i].first_lsn, .last_lsn = r->transaction[i].last_lsn,
                              .bytes = r->transaction[i].bytes, .ms = -1};
    rc = v->visit(v->argument, &step);
  }
  return rc;
}

static int visit_recovery(spm_store *s, void *argument) {
  static const char *const sorted[4] = {"unfinished", "committed", "rolled back", "prepared"};
  static const char *const redone[4] = {[SPM_FATE_COMMITTED] = "REDO: applied again"};
  static const char *const undone[4] = {[SPM_FATE_UNFINISHED] = "UNDO: its records are dropped, the file never saw it",
                                        [SPM_FATE_ABORTED] = "UNDO: it had been rolled back",
                                        [SPM_FATE_PREPARED] = "in doubt"};
  recovery_visit *v = argument;
  spm_recovery_report *copy = malloc(sizeof *copy);
  if (copy == NULL) return SQLITE_NOMEM;
  memcpy(copy, &s->shm->report, sizeof *copy);
  v->report = copy;
  int rc = SQLITE_OK;
  if (copy->began_unix_ms != 0) {
    rc = tell_phase(v, "load", SPM_RECOVERY_LOAD, copy->takeover ? "take-over of a dead writer" : "log read from the checkpoint");
    if (rc == SQLITE_OK) rc = tell_transactions(v, "sort", sorted);
    if (rc == SQLITE_OK) rc = tell_phase(v, "redo", SPM_RECOVERY_REDO, "log made durable again, committed changes applied");
    if (rc == SQLITE_OK) rc = tell_transactions(v, "redo", redone);
    if (rc == SQLITE_OK) rc = tell_phase(v, "undo", SPM_RECOVERY_UNDO, "prepared transactions decided");
    if (rc == SQLITE_OK) rc = tell_transactions(v, "undo", undone);
    if (rc == SQLITE_OK) rc = tell_phase(v, "checkpoint", SPM_RECOVERY_CHECKPOINT, "file durable, log begun anew");
  }
  free(copy);
  return rc;
}

int spm_inspect_recovery(const char *path, int (*visit)(void *, const spm_recovery_step *), void *argument) {
  return spm_stores_visit(path, visit_recovery, &(recovery_visit){visit, argument, NULL});
}
