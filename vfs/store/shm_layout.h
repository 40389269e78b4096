/*
** shm_layout.h - the volatile file X-pmshm that the processes of one life share.
**
** Nothing here survives a crash of the machine, nor needs to: whoever attaches
** first makes it anew from X and its log.  It must survive the death of any
** process at any instruction, so each group of fields says who may change it.
**
**     OFFSET                      MEANING
**     0                           spm_shm (header, slots, segment map, buckets)
**     SPM_SHM_IMAGES              chunk 0 of images: 128 metas, then 128 blocks
**     + SPM_IMAGE_CHUNK_SIZE      chunk 1 ...
**
** LOCKS, in the order in which they are taken:
**   1. the registry mutex of the process      (store.c)
**   2. the gate, an OFD byte on X             (lock.c): attach, detach, recovery
**   3. the writer word                        (lock.c): everything below marked W
** A reader takes none of them: it writes its own slot's `snapshot` and reads.
*/
#ifndef SPM_SHM_LAYOUT_H
#define SPM_SHM_LAYOUT_H

#include "format.h"

#include <stdatomic.h>

#define SPM_SHM_MAGIC UINT64_C(0x316d68734d656d50) /* "PmeMshm1" */
#define SPM_SHM_VERSION 4u
#define SPM_SLOT_COUNT 1024u
#define SPM_BUCKET_COUNT 16384u
#define SPM_IMAGE_CHUNK 128u /* images a chunk */
#define SPM_IMAGE_NONE UINT32_MAX

/* A snapshot is the LSN it sees.  No LSN is 0: the first is 1. */
#define SPM_SNAPSHOT_FREE UINT64_C(0)
#define SPM_SNAPSHOT_ANY UINT64_MAX /* registering: may be about to take any LSN */

/* The published word: the newest committed LSN, and what its successor is doing. */
enum { SPM_PHASE_IDLE = 0, SPM_PHASE_SMALL = 1, SPM_PHASE_COVERED = 2 };
#define SPM_PUBLISHED(lsn, phase) (((uint64_t)(lsn) << 2) | (uint64_t)(phase))
#define SPM_PUBLISHED_LSN(word) ((word) >> 2)
#define SPM_PUBLISHED_PHASE(word) ((word)&3u)

/* Commits go through the log; straight to X; and did so when their process died. */
enum { SPM_LOGGED = 0, SPM_UNLOGGED = 1, SPM_UNVERIFIED = 2 };

/* An owner word: bits 0..10 slot + 1, bits 11..29 generation; lock.c has the rest. */
#define SPM_OWNER_SLOT_BITS 11u
#define SPM_OWNER_SLOT_MASK ((1u << SPM_OWNER_SLOT_BITS) - 1)
#define SPM_OWNER_GENERATION_MASK ((1u << 19) - 1)

/* What is true at one LSN.  Two of them are written in turn: the valid one is
** the one whose tail.lsn equals the published LSN, so a writer that dies while
** it writes the next one leaves the present one whole. */
typedef struct spm_state {
  _Atomic uint64_t lsn;
  _Atomic uint64_t logical_size; /* bytes of X */
  spm_log_pos tail;
  uint64_t next_txid;
} spm_state;

/* An attachment.  Claimed under the gate, with its OFD byte held for as long as
** its process lives; `snapshot` belongs to the attachment alone. */
typedef struct spm_slot {
  _Alignas(SPM_LINE_SIZE) _Atomic uint64_t snapshot;
  _Atomic uint32_t taken;      /* 1: claimed; valid only while the byte is held */
  _Atomic uint32_t generation; /* changes with each claim                       */
  uint64_t pid;                /* for people; means nothing to the protocol     */
  _Atomic uint32_t pointing;   /* 1: its snapshot holds pointers into X (S14)   */
  uint32_t began;              /* second of the monotonic clock the snapshot began in, about */
  _Atomic uint64_t snapshots;  /* taken in this slot; never reset               */
  _Atomic uint32_t holding;    /* 1: nobody may commit until its snapshot ends  */
  _Atomic uint32_t durability; /* of its commits: spm_durability                */
} spm_slot;

#define SPM_LATENCY_BUCKETS 256u /* counters.c says of what */

/* What has been counted since the life began (metrics.h, counters.h).  W, but for
** conflicts, which those count who do not get the lock. */
typedef struct spm_counters {
  uint64_t committed, aborted;       /* transactions  */
  uint64_t blocks_written;           /* by committed ones */
  uint64_t log_bytes, file_bytes;    /* written to the log with its superblocks, and to X */
  uint64_t checkpoints, takeovers;
  uint64_t redone, undone;           /* transactions */
  uint64_t recovery_ns;              /* of the recovery that began the life; 0: none was needed */
  uint64_t timed, timed_ns;          /* commits whose time was taken, and all of it */
  _Atomic uint64_t conflicts;
  uint32_t latency[SPM_LATENCY_BUCKETS];
} spm_counters;

/* What the last recovery or take-over did.  Written by it alone. */
enum { SPM_RECOVERY_LOAD, SPM_RECOVERY_REDO, SPM_RECOVERY_UNDO, SPM_RECOVERY_CHECKPOINT, SPM_RECOVERY_PHASES };
enum { SPM_FATE_UNFINISHED, SPM_FATE_COMMITTED, SPM_FATE_ABORTED, SPM_FATE_PREPARED };
#define SPM_RECOVERY_TRANSACTIONS 256u /* told one by one; the rest are counted only */

typedef struct spm_recovery_report {
  uint64_t began_unix_ms;             /* 0: there was nothing to do yet              */
  uint32_t takeover;                  /* 1: of a dead writer, while others went on   */
  uint32_t transaction_count;         /* those that follow                           */
  uint64_t phase_began_ns;            /* monotonic */
  uint64_t phase_ns[SPM_RECOVERY_PHASES];
  uint64_t records, bytes;            /* of log that were read                       */
  uint64_t from_lsn, to_lsn;          /* the accepted log                            */
  struct {
    uint64_t txid, first_lsn, last_lsn, bytes;
    uint64_t fate;                    /* SPM_FATE_*                                  */
  } transaction[SPM_RECOVERY_TRANSACTIONS];
} spm_recovery_report;

typedef struct spm_image_meta {
  _Atomic uint64_t until; /* the LSN whose commit replaced this content; 0: free */
  _Atomic uint64_t since; /* the LSN whose commit made it, if X has not had it then; or 0 */
  _Atomic uint32_t block;
  _Atomic uint32_t next;  /* in its bucket, older ones later */
  _Atomic uint32_t newer; /* in its queue, oldest first; in the free list */
  uint32_t older;
} spm_image_meta;

/* Of a content that nothing has replaced yet, and that is not in X: it waits for the log. */
#define SPM_UNTIL_PENDING UINT64_MAX

/* Images in the order in which they came: by `until` those that snapshots need, by `since`
** those that are pending. */
typedef struct spm_image_queue {
  uint32_t oldest, newest;
} spm_image_queue;

#define SPM_IMAGE_CHUNK_SIZE \
  (SPM_IMAGE_CHUNK * (sizeof(spm_image_meta) + (uint64_t)SPM_BLOCK_SIZE))

typedef struct spm_shm {
  uint64_t magic;
  uint32_t version;
  uint32_t size; /* of this structure */
  uint8_t life[SPM_LIFE_SIZE];
  _Atomic uint32_t ready; /* set last by its maker */

  /* W, read by everyone */
  _Alignas(SPM_LINE_SIZE) _Atomic uint64_t published;
  _Atomic uint64_t versions_changed; /* images have been freed (version.h) */
  _Atomic uint64_t pending_moved;    /* pending images have gone to X      */
  _Atomic uint32_t images_live;      /* 0: nothing to look up              */
  _Atomic uint32_t images_pending;   /* of these, not in X yet             */
  _Atomic uint32_t slot_high_water;  /* slots at or above were never used; under the gate */
  spm_state state[2];

  /* the writer lock: an owner word, or 0 */
  _Alignas(SPM_LINE_SIZE) _Atomic uint32_t writer;
  _Atomic uint32_t excluding; /* the owner word of a writer that lets nobody read, or 0 */
  _Atomic uint32_t unlogged; /* SPM_LOGGED and so on; what the superblock says (unlogged.h) */
  _Atomic uint32_t verifier; /* the owner word of the first attachment while it verifies, or 0 */
  _Atomic uint32_t poisoned; /* a flush failed: nothing more is promised; set by anyone */

  /* commits that are not durable yet (flusher.h); by anyone */
  _Alignas(SPM_LINE_SIZE) _Atomic uint64_t durable_lsn; /* only ever raised */
  _Atomic uint64_t flush_due;    /* ns of the monotonic clock with SPM_DUE_BITS; 0: nobody asked for a flush */
  _Atomic uint32_t flush_asked;  /* the futex that flushers sleep on: moves with each deadline */

  /* W */
  _Alignas(SPM_LINE_SIZE) uint64_t salt;
  uint64_t superblock_sequence;
  spm_log_pos checkpoint; /* where the next checkpoint step begins         */
  uint64_t checkpoint_size;
  uint64_t checkpointed_ns; /* coarse monotonic: all that was committed then is durable in X */
  uint64_t checkpoint_due;  /* LSN that checkpoint steps go on to; 0: none             */
  uint64_t superblock_size; /* X is never cut below it: REDO begins there   */
  uint64_t held_size;     /* bytes of X that have space behind them        */
  uint64_t saved_lsn;     /* the images this commit needs are all there    */
  uint64_t covered_size;  /* blocks below may be in some reader's snapshot */
  uint32_t segments_used;
  uint32_t segments_made; /* segments of the file that were ever allocated */
  _Atomic uint32_t image_count; /* allocated; read by everyone             */
  uint32_t image_free;    /* head of the free list                         */
  uint32_t image_free_count;
  spm_image_queue images, pending;
  uint32_t sweep_bucket;  /* where the next look for unneeded images begins */
  spm_counters counters;
  spm_recovery_report report;

  spm_slot slots[SPM_SLOT_COUNT];
  uint64_t segments[SPM_SEGMENT_COUNT / 64];  /* W: bit set: in use        */
  uint64_t punched[SPM_SEGMENT_COUNT / 64];   /* W: bit set: a hole        */
  _Atomic uint32_t buckets[SPM_BUCKET_COUNT]; /* W, read by everyone       */
} spm_shm;

#define SPM_SHM_IMAGES SPM_ALIGN(sizeof(spm_shm), SPM_BLOCK_SIZE)

static_assert(sizeof(spm_slot) == SPM_LINE_SIZE, "a slot is a line of its own");
static_assert(sizeof(spm_image_meta) == 32, "shared layout");
static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "atomics must work across processes");

#endif
