/*
** readset.h - the ranges of keys that a serializable transaction has read.
**
** A list of (tree, from, to), both ends included or open as they were asked for; a point
** is a range of one key.  What it costs is bounded by what differs: ranges that overlap
** are joined whenever the list has doubled.
**
** One thread at a time; takes no lock.
*/
#ifndef SPM_KV_READSET_H
#define SPM_KV_READSET_H

#include "../../vfs/store/store.h"

#include <stdbool.h>
#include <stdint.h>

/* Part of the keys of a tree.  A bound of no length is none. */
typedef struct spm_range {
  const uint8_t *low, *high;
  uint32_t nlow, nhigh;
  bool low_open, high_open;
} spm_range;

/* Is the key below, in or above the range? */
int spm_range_compare(const spm_range *, const uint8_t *key, uint32_t nkey);
/* memcmp, then the lengths. */
int spm_bytes_compare(const uint8_t *a, uint32_t na, const uint8_t *b, uint32_t nb);

typedef struct spm_read {
  uint32_t tree;
  spm_range range; /* its bytes are owned */
} spm_read;

typedef struct spm_readset {
  spm_read *reads;
  uint32_t count, capacity, joined; /* `joined`: entries after ranges were last joined */
  bool lost;                        /* memory did not suffice for one: nothing can be promised */
} spm_readset;

int spm_readset_add(spm_readset *, uint32_t tree, const spm_range *) SPM_MUST_CHECK;
void spm_readset_clear(spm_readset *);
void spm_readset_free(spm_readset *);

#endif
