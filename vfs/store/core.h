/*
** core.h - the structures that the files of the store share among themselves.
**
** Not for the VFS: that one sees store.h.  A store is what a process knows of one
** database file; a connection is one attachment to it, with a slot of its own, a
** snapshot, and, while it writes, a write set and a place in the log.
**
** Order of inclusion, downward only:
**   store > recovery > flusher, unlogged > writer > checkpoint, commit > write, pending
**         > snapshot > version, writeset, growth > words > redo > lines > log > superblock, shm > lock, region
**         > error, format
*/
#ifndef SPM_CORE_H
#define SPM_CORE_H

#include "lock.h"
#include "region.h"
#include "shm_layout.h"
#include "store.h"

#include <pthread.h>
#include <stdbool.h>

typedef struct spm_store {
  struct spm_store *next; /* registry; under its mutex, as is `references` */
  unsigned references;
  dev_t device;
  ino_t inode;
  char *path;
  const spm_host *host;
  uint8_t life[SPM_LIFE_SIZE];
  spm_region data, log, shared;
  spm_shm *shm; /* == shared.base */
  spm_locks locks;
  _Atomic uint64_t log_size_max; /* bytes; checkpoints keep the log below it */
  _Atomic uint64_t size_max;     /* bytes of X; 0: no limit */
  _Atomic uint64_t checkpoint_interval_ns; /* 0: none */
  uint32_t resident_max; /* blocks; a write set that passes it moves to the log */
  atomic_bool orphaned;  /* this process is a fork's child: nothing here is its own */
  struct spm_flusher *flusher; /* NULL: none; under the registry's mutex */
  pthread_mutex_t slots_mutex;
  bool owned[SPM_SLOT_COUNT]; /* slots of this process; under slots_mutex */
} spm_store;

/* A place in a hash table of mask + 1 = 2^n.  Of the product the high bits: blocks at regular
** distances often share the low ones. */
static inline uint32_t spm_hash_block(uint32_t block, uint32_t mask) {
  return (block * 2654435769u) >> __builtin_clz(mask);
}

/* A block in the write set. */
typedef struct spm_dirty {
  uint32_t block;
  bool changed; /* staged: differs from what is committed                       */
  bool whole;   /* must be logged whole: an earlier version is already in the log */
  uint16_t from, to; /* staged: the bytes of it that differ lie in between        */
  uint8_t *bytes;       /* SPM_BLOCK_SIZE, or NULL when spilled                 */
  uint64_t spilled_to;  /* byte in the log where its content stands             */
} spm_dirty;

typedef struct spm_writeset {
  spm_dirty *dirty; /* in the order of their first write */
  uint32_t count, capacity;
  uint32_t *index; /* open addressing: position + 1 in dirty, 0: empty */
  uint32_t index_mask;
  uint32_t resident;
  uint8_t **pool; /* spare block buffers */
  uint32_t pool_count;
} spm_writeset;

/* The transaction's place in the log. */
typedef struct spm_txn {
  spm_log_pos tail;     /* after what it has appended                            */
  uint64_t txid;
  uint32_t *segments;   /* taken by it, to be given back if it is rolled back    */
  uint32_t segment_count, segment_capacity;
  spm_log_pos unstaged; /* tail and segments before staging, for a second stage  */
  uint32_t unstaged_segments;
  uint64_t prepared_at; /* byte in the log of its PREPARE record                 */
  uint64_t durable_at;  /* of its COMMIT record, which is on media               */
  spm_record *record;   /* SPM_SEGMENT_SIZE bytes: the record being built        */
  uint32_t used;        /* payload bytes in it                                   */
  uint32_t changed;     /* blocks that differ                                    */
  bool starved;         /* it met a full disk                                    */
  bool bare;            /* its log has nothing but that it was committed         */
} spm_txn;

/* From PREPARED on nothing more is written. */
typedef enum spm_stage { SPM_UNSTAGED, SPM_STAGED, SPM_PREPARED, SPM_DURABLE } spm_stage;

struct spm_conn {
  spm_store *store;
  uint32_t slot;
  uint64_t snapshot;      /* LSN, 0: none */
  uint64_t snapshot_size; /* bytes of X in it */
  uint64_t moved;         /* shm->pending_moved when it began */
  spm_durability durability;
  uint64_t flush_interval_ns;
  bool unsynced;          /* this transaction need not be durable on commit (pending.h) */
  bool at_once;           /* this one must, in any mode */
  bool wants_pointers;    /* would rather read in place than copy */
  bool pointing;          /* and may, in this snapshot */
  bool holding;           /* nobody else commits while this snapshot lasts */
  bool writing;           /* owns the writer word */
  bool modified;          /* wrote something in this transaction */
  bool unreadable;        /* its own commit is durable, and not in X, or by half */
  bool marked;            /* the published word says SMALL or COVERED on its behalf */
  spm_stage stage;
  bool later;             /* its record is not synced (S13) */
  uint64_t began_ns;      /* its commit */
  uint64_t size;          /* bytes of X as the transaction sees it */
  spm_writeset set;
  spm_txn txn;
};

/* Visit the stores that this process has open: all, or the one that is the file `path`
** (SQLITE_NOTFOUND: it is none of them, or not there).  Holds the registry's mutex. */
int spm_stores_visit(const char *path, int (*visit)(spm_store *, void *), void *) SPM_MUST_CHECK;

/* Slots below have been used: what shared memory says of it, within its bounds. */
static inline uint32_t spm_slots_end(const spm_shm *shm) {
  uint32_t end = atomic_load(&shm->slot_high_water);
  return end < SPM_SLOT_COUNT ? end : SPM_SLOT_COUNT;
}

static inline spm_state *spm_state_at(spm_shm *shm, uint64_t lsn) {
  return &shm->state[atomic_load_explicit(&shm->state[0].lsn, memory_order_acquire) == lsn ? 0 : 1];
}

static inline uint64_t spm_committed_lsn(spm_shm *shm) {
  return SPM_PUBLISHED_LSN(atomic_load(&shm->published));
}

/* The newest committed state; the writer lock keeps it still. */
static inline spm_state *spm_committed(spm_shm *shm) {
  return spm_state_at(shm, spm_committed_lsn(shm));
}

/* Nothing more is promised: every later commit, checkpoint and clean close is
** refused until the store has been recovered from media (S8). */
static inline void spm_poison(spm_store *s) { atomic_store(&s->shm->poisoned, 1); }
/* Shared memory says what cannot be: whoever wrote there, nothing in it counts any more. */
int spm_shm_broken(spm_store *, const char *what);
static inline bool spm_poisoned(const spm_store *s) { return atomic_load(&s->shm->poisoned) != 0; }

/* Do commits go straight to X (unlogged.h)? */
static inline bool spm_unlogged(const spm_store *s) { return atomic_load(&s->shm->unlogged) == SPM_UNLOGGED; }

#endif
