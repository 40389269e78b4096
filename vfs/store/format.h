/*
** format.h - everything the store writes to media, and nothing else.
**
** A database X has one log beside it, X-pmlog:
**
**     OFFSET      SIZE     MEANING
**     0           4096     superblock slot 0
**     4096        4096     superblock slot 1
**     8192        262144   segment 0
**     8192+256K   262144   segment 1 ...
**
** All integers are in the byte order of the machine that wrote them; the
** magic numbers make another order look like a foreign file.
**
** SUPERBLOCK.  Slots are written in turn, sequence number odd to slot 1 and
** even to slot 0.  A slot is valid if and only if (1) its magic is right,
** (2) its checksum is right.  Of two valid slots the one with the higher
** sequence counts; it names the life, the salt and the *checkpoint*: the
** position in the log before which everything is durable in X itself.
**
** LOG.  Records start at multiples of 64 bytes and never cross a segment.  A
** record is valid at position P = (offset, lsn, chain) if and only if
**   (1) its checksum, seeded with the superblock's salt, is right,
**   (2) its lsn is P.lsn + 1,
**   (3) its prev_checksum is P.chain, the checksum of the record before it.
** The next record follows at the next multiple of 64, or, after a LINK, at the
** start of the segment that the LINK names.  The end of the log is the first
** position without a valid record (recovery.c tells a torn tail from damage).
**
** A *transaction* is a run of DATA records with one txid, the last of which
** carries SPM_REC_COMMIT; or DATA records, a PREPARE, and later the COMMIT or
** ABORT record that settles it.  DATA payload is a sequence of entries, each
** an spm_entry followed by `length` bytes for block `block` at `offset`,
** padded to 8 bytes.
**
** Called by: the store's files only.  Includes nothing of the store.
** tests/test_format.c pins every offset: edit both by hand, and the version.
*/
#ifndef SPM_FORMAT_H
#define SPM_FORMAT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define SPM_FORMAT_VERSION 1u

#define SPM_BLOCK_SIZE 4096u      /* bytes: unit of differences and images  */
#define SPM_LINE_SIZE 64u         /* bytes: a cache line, a record's grain  */
#define SPM_SEGMENT_SIZE 262144u  /* bytes: unit of log growth and reuse    */
#define SPM_LOG_HEADER_SIZE 8192u /* bytes: the two superblock slots        */
#define SPM_SEGMENT_COUNT (1u << 20) /* of 256 KiB: a log of 256 GiB */
#define SPM_SUPERBLOCK_STRIDE 4096u
#define SPM_LIFE_SIZE 16u         /* bytes: random identity of one life     */

#define SPM_SUPERBLOCK_MAGIC UINT64_C(0x31676f4c6d656d50) /* "PmemLog1" */
#define SPM_RECORD_MAGIC 0x52634c50u                      /* "PLcR"     */

/* Beyond these, nothing that is signed can have been meant. */
#define SPM_DATA_SIZE_MAX (UINT64_C(1) << 44) /* bytes of X: its blocks have 32-bit numbers */
#define SPM_LSN_END (UINT64_C(1) << 61)       /* an LSN shares a word with two bits         */
#define SPM_TXID_END (UINT64_C(1) << 61)

/* A place in the log: where the next record goes and what it must continue. */
typedef struct spm_log_pos {
  uint64_t offset; /*  0..7   byte in X-pmlog of the next record            */
  uint64_t lsn;    /*  8..15  LSN of the record before it                   */
  uint64_t chain;  /* 16..23  checksum of the record before it              */
} spm_log_pos;

typedef struct spm_superblock {
  uint64_t checksum;             /*   0..7   over bytes 8..127              */
  uint64_t magic;                /*   8..15  SPM_SUPERBLOCK_MAGIC           */
  uint32_t version;              /*  16..19  SPM_FORMAT_VERSION             */
  uint32_t block_size;           /*  20..23  SPM_BLOCK_SIZE                 */
  uint32_t segment_size;         /*  24..27  SPM_SEGMENT_SIZE               */
  uint32_t clean;                /*  28..31  1: X needs nothing from the log*/
  uint8_t life[SPM_LIFE_SIZE];   /*  32..47  the same as in X's stamp       */
  uint64_t sequence;             /*  48..55  the higher of two slots counts */
  uint64_t salt;                 /*  56..63  seed of every record checksum  */
  spm_log_pos checkpoint;        /*  64..87  where REDO begins              */
  uint64_t logical_size;         /*  88..95  bytes of X at the checkpoint   */
  uint64_t next_txid;            /*  96..103 above every txid used so far   */
  uint32_t unlogged;             /* 104..107 1: X is written without the log*/
  uint8_t reserved[20];          /* 108..127 zero                           */
} spm_superblock;

enum {
  SPM_REC_DATA = 1,   /* changed bytes; with SPM_REC_COMMIT the last of its txn */
  SPM_REC_LINK = 2,   /* `argument` is the segment in which the log goes on    */
  SPM_REC_PREPARE = 3,/* payload is the name of the super-journal              */
  SPM_REC_SETTLE = 4, /* ends a prepared txn: with SPM_REC_COMMIT or as abort  */
};

#define SPM_REC_COMMIT 1u /* flag: the transaction takes effect with this record */

typedef struct spm_record {
  uint64_t checksum;      /*  0..7   over bytes 8..63 and the payload        */
  uint32_t magic;         /*  8..11  SPM_RECORD_MAGIC                        */
  uint16_t type;          /* 12..13                                          */
  uint16_t flags;         /* 14..15                                          */
  uint64_t lsn;           /* 16..23                                          */
  uint64_t txid;          /* 24..31                                          */
  uint64_t prev_checksum; /* 32..39  the chain                               */
  uint64_t durable_lsn;   /* 40..47  known durable when this was written     */
  uint64_t argument;      /* 48..55  COMMIT, PREPARE: bytes of X afterwards  */
  uint32_t length;        /* 56..59  payload bytes, before padding           */
  uint32_t entries;       /* 60..63  entries in a DATA payload               */
} spm_record;

typedef struct spm_entry {
  uint32_t block;  /* 0..3  block number in X                                */
  uint16_t offset; /* 4..5  byte in the block                                */
  uint16_t length; /* 6..7  bytes that follow, 1 to SPM_BLOCK_SIZE           */
} spm_entry;

static_assert(sizeof(spm_log_pos) == 24, "on-media layout");
static_assert(sizeof(spm_superblock) == 128, "on-media layout");
static_assert(offsetof(spm_superblock, life) == 32, "on-media layout");
static_assert(offsetof(spm_superblock, checkpoint) == 64, "on-media layout");
static_assert(offsetof(spm_superblock, next_txid) == 96, "on-media layout");
static_assert(sizeof(spm_record) == SPM_LINE_SIZE, "on-media layout");
static_assert(offsetof(spm_record, lsn) == 16, "on-media layout");
static_assert(offsetof(spm_record, length) == 56, "on-media layout");
static_assert(sizeof(spm_entry) == 8, "on-media layout");
static_assert(SPM_SEGMENT_SIZE % SPM_BLOCK_SIZE == 0, "holes are whole pages");

#define SPM_ALIGN(n, to) (((n) + ((to)-1)) & ~(uint64_t)((to)-1))

static inline uint64_t spm_segment_offset(uint64_t segment) {
  return SPM_LOG_HEADER_SIZE + segment * SPM_SEGMENT_SIZE;
}
static inline uint64_t spm_offset_segment(uint64_t offset) {
  return (offset - SPM_LOG_HEADER_SIZE) / SPM_SEGMENT_SIZE;
}
/* Bytes a record with `length` bytes of payload takes in the log. */
static inline uint64_t spm_record_span(uint32_t length) {
  return SPM_ALIGN(sizeof(spm_record) + length, SPM_LINE_SIZE);
}
/* Bytes an entry with `length` bytes takes in a payload. */
static inline uint32_t spm_entry_span(uint32_t length) {
  return (uint32_t)(sizeof(spm_entry) + SPM_ALIGN(length, 8));
}

#endif
