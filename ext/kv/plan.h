/*
** plan.h - how a scan of a pmemkv table is to find its rows: xBestIndex, and what it
** tells xFilter.
**
** A plan is a set of bits, in idxNum, and the arguments that go with them, in the order
** of the bits.  idxStr says the same to people, in EXPLAIN QUERY PLAN.
*/
#ifndef SPM_KV_PLAN_H
#define SPM_KV_PLAN_H

#include "../../vfs/store/store.h"

enum {
  SPM_PLAN_EQUAL = 1,     /* argument: the key                                          */
  SPM_PLAN_IN = 2,        /* argument: all keys, for sqlite3_vtab_in_first()            */
  SPM_PLAN_LOW = 4,       /* argument: the lower bound                                  */
  SPM_PLAN_HIGH = 8,      /* argument: the upper bound                                  */
  SPM_PLAN_GLOB = 16,     /* argument: a pattern, whose beginning narrows; SQLite checks */
  SPM_PLAN_LIKE = 32,     /* the same, and letters of either case match                 */
  SPM_PLAN_LIMIT = 64,    /* argument: rows wanted                                      */
  SPM_PLAN_OFFSET = 128,  /* argument: rows to pass over before                         */
  SPM_PLAN_LOW_OPEN = 256,
  SPM_PLAN_HIGH_OPEN = 512,
  SPM_PLAN_DOWN = 1024    /* from the highest key to the lowest                         */
};

/* `binary`: SQLite compares text in this database as the store does, by its UTF-8. */
int spm_plan(sqlite3_index_info *, bool binary) SPM_MUST_CHECK;

#endif
