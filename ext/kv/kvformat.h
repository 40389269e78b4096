/*
** kvformat.h - everything a key-value store keeps on media, and nothing else.
**
** The file X of a store is a whole number of blocks of SPM_BLOCK_SIZE bytes.  Its log
** and its recovery are the engine's (vfs/store/format.h); here is what is in X:
**
**     BLOCK            MEANING
**     0                header
**     1 to 8           bitmap of group 0: one bit a block, set while it is in use
**     9                root of the directory
**     g * 262144       8 blocks: bitmap of group g, for g = 1, 2, ...
**     others           node, or part of an overflow run, or free
**
** Integers are in the byte order of the machine that wrote them, as in the log; the
** version makes another order look like another version.
**
** NODE.  One block, a sorted array of slots behind the header, cells from the end down:
**
**     | header 48 | slot 0 | slot 1 ... | gap | cells, and dead bytes between them |
**                                       ^ 48 + 8 * count   ^ heap
**
** A slot has the first four bytes of its key that are not in the common prefix, as a
** number, so that a search looks at slots and, in the end, at one cell.  In a leaf a
** cell is `nvalue`, key, value; a value too large for that is a run of whole blocks
** somewhere else, and the cell has its spm_kv_run.  In a branch a cell is a child's
** block and the key that is not above any key below that child nor below any key to
** the left of it; the first slot's key is empty and stands for "below all".
**
** A node is valid if and only if
**   (1) `self` is its own block, `level` is one less than its parent's,
**   (2) slots and cells lie inside as drawn, no two cells overlap, and gap, dead bytes,
**       slots and cells make up the whole block,
**   (3) keys ascend, and each begins with the prefix,
**   (4) each slot's head is what its key says.
** Levels descend to 0 at the leaves, so a walk ends whatever is on media.
**
** A directory is a tree like any other, of names to spm_kv_entry.
**
** Called by: ext/kv/ only.  tests/test_kv_format.c pins every offset: edit both by
** hand, and the version.
*/
#ifndef SPM_KVFORMAT_H
#define SPM_KVFORMAT_H

#include "../../vfs/store/store.h"

#define SPM_KV_VERSION 1u
#define SPM_KV_MAGIC "sqlite-pmemkv\0\0" /* 16 bytes with the last zero */
#define SPM_KV_OPEN 0x6e65706fu          /* "open" */

/* Limits.  A codec's own bytes count: these are 1 KiB and 256 MiB with room for them. */
#define SPM_KV_KEY_MAX 1088u                           /* bytes of a key  */
#define SPM_KV_VALUE_MAX ((UINT64_C(1) << 28) + 4096u) /* bytes of a value */
#define SPM_KV_NAME_MAX 1024u                          /* bytes of a tree's name */
#define SPM_KV_CELL_MAX 1340u  /* bytes of a cell: three of them fit a node  */
#define SPM_KV_LEVEL_MAX 15u   /* of a root; a tree of four levels has millions of keys */
#define SPM_KV_PREFIX_MAX 28u  /* bytes of a common prefix that a node keeps */
#define SPM_KV_NUMBER_END (UINT64_C(1) << 62) /* no counter of the header gets to it */

typedef struct spm_kv_header {
  uint8_t magic[16];           /*   0..15  SPM_KV_MAGIC                               */
  uint32_t version;            /*  16..19  SPM_KV_VERSION                             */
  uint32_t block_size;         /*  20..23  SPM_BLOCK_SIZE                             */
  uint32_t open;               /*  24..27  SPM_KV_OPEN: `life` says which log belongs */
  uint32_t zero;               /*  28..31                                             */
  uint8_t life[SPM_LIFE_SIZE]; /*  32..47  means nothing while `open` is 0            */
  uint8_t id[16];              /*  48..63  random, for the store's whole existence    */
  uint64_t generation;         /*  64..71  changes with each change of the directory  */
  uint64_t next_number;        /*  72..79  of transactions: never given out twice     */
  uint32_t directory;          /*  80..83  its root block                             */
  uint32_t trees;              /*  84..87  entries in it whose name is a user's       */
  uint32_t internal_trees;     /*  88..91  entries in it that are not                 */
  uint32_t used;               /*  92..95  bits set in the bitmaps                    */
  uint32_t lowest_free;        /*  96..99  no block below it is free                  */
  uint8_t reserved[28];        /* 100..127 zero                                       */
} spm_kv_header;

/* ---- space ---- */
#define SPM_GROUP_BLOCKS 262144u /* of a bitmap: 1 GiB */
#define SPM_BITMAP_BLOCKS (SPM_GROUP_BLOCKS / (8u * SPM_BLOCK_SIZE))
#define SPM_KV_DIRECTORY_BLOCK (1u + SPM_BITMAP_BLOCKS)
#define SPM_KV_FIRST_BLOCKS (2u + SPM_BITMAP_BLOCKS) /* of a store without trees */

/* ---- nodes ---- */
#define SPM_NODE_MAGIC 0x6e76u /* "vn" */

typedef struct spm_node {
  uint16_t magic;                     /*  0..1   SPM_NODE_MAGIC                         */
  uint8_t level;                      /*  2      0: leaf                                */
  uint8_t nprefix;                    /*  3      bytes all keys begin with, of a branch
                                                 all but the first                      */
  uint32_t self;                      /*  4..7   this block                             */
  uint16_t count;                     /*  8..9   slots                                  */
  uint16_t heap;                      /* 10..11  no cell begins below this offset       */
  uint16_t dead;                      /* 12..13  bytes behind `heap` in no cell         */
  uint16_t zero;                      /* 14..15                                         */
  uint8_t prefix[SPM_KV_PREFIX_MAX];  /* 16..43                                         */
  uint32_t reserved;                  /* 44..47  zero                                   */
} spm_node;

typedef struct spm_node_slot {
  uint32_t head;   /* 0..3  key bytes behind the prefix, big-endian, short ones padded with 0 */
  uint16_t offset; /* 4..5  of the cell in the block                                         */
  uint16_t nkey;   /* 6..7                                                                   */
} spm_node_slot;

/* In front of a cell's key. */
#define SPM_LEAF_CELL_HEAD 2u   /* uint16_t nvalue, or SPM_CELL_RUN */
#define SPM_BRANCH_CELL_HEAD 4u /* uint32_t child */
#define SPM_CELL_RUN 0xffffu

#define SPM_NODE_ROOM (SPM_BLOCK_SIZE - (uint32_t)sizeof(spm_node)) /* for slots and cells */
#define SPM_NODE_SLOTS_MAX (SPM_NODE_ROOM / (sizeof(spm_node_slot) + SPM_LEAF_CELL_HEAD))

/* A value outside its leaf; in the cell's place for the value, at any alignment. */
typedef struct spm_kv_run {
  uint64_t size;  /* 0..7   bytes; the run is as many whole blocks as hold them */
  uint32_t block; /* 8..11  the first                                           */
  uint32_t zero;  /* 12..15                                                     */
} spm_kv_run;

/* The value of a name in the directory. */
typedef struct spm_kv_entry {
  uint32_t root; /* 0..3 */
  uint32_t zero; /* 4..7 */
} spm_kv_entry;

static_assert(sizeof(spm_kv_header) == 128, "media layout");
static_assert(sizeof(SPM_KV_MAGIC) == 16, "media layout");
static_assert(sizeof(spm_node) == 48, "media layout");
static_assert(sizeof(spm_node_slot) == 8, "media layout");
static_assert(sizeof(spm_kv_run) == 16, "media layout");
static_assert(sizeof(spm_kv_entry) == 8, "media layout");
static_assert(3 * (SPM_KV_CELL_MAX + sizeof(spm_node_slot)) <= SPM_NODE_ROOM, "three cells fit a node");
static_assert(SPM_LEAF_CELL_HEAD + SPM_KV_KEY_MAX + sizeof(spm_kv_run) <= SPM_KV_CELL_MAX,
              "every key fits a leaf");
static_assert(SPM_BRANCH_CELL_HEAD + SPM_KV_KEY_MAX <= SPM_KV_CELL_MAX, "every key fits a branch");
static_assert(SPM_KV_NAME_MAX <= SPM_KV_KEY_MAX, "names are keys");
static_assert(SPM_KV_VALUE_MAX / SPM_BLOCK_SIZE + 1 < SPM_GROUP_BLOCKS - SPM_BITMAP_BLOCKS,
              "every value fits a group");

#endif
