/*
** model.h - a store beside an array that does the same: for the workloads that use the
** store's own interface, without SQLite.
**
** X is a file with the header of a database, the rest bytes at will.  What a commit is
** expected to leave is computed from the array, never read from the store.  The array
** lies in memory that the processes of a workload share; who commits holds the store's
** writer lock, and so may change it.
*/
#ifndef SPM_CRASH_MODEL_H
#define SPM_CRASH_MODEL_H

#include "crash.h"

#include "../../vfs/store/store.h"

#define MODEL_MAX (UINT64_C(4) << 20) /* bytes of X */

typedef struct content {
  uint64_t size;
  uint8_t bytes[MODEL_MAX];
} content;

typedef struct model {
  content now;   /* committed for certain */
  content draft; /* what the transaction, or the commit in doubt, makes of it */
  _Atomic uint32_t doubt; /* a commit to `draft` began, and its process died */
} model;

model *model_new(void);
/* Hash of the content, the bytes of the stamp and of the counters left out. */
uint64_t content_hash(const content *);

/* Make X in the stage's folder and the model of it. */
void model_prepare(const stage *, uint64_t size);
void model_load(const stage *, model *);

/* Attach as the VFS does; any failure ends the process. */
spm_conn *model_attach(const stage *, uint64_t log_size_max);
int model_try_attach(const stage *, uint64_t log_size_max, spm_conn **);
void model_detach(spm_conn *);       /* a clean close if it is the last */
void model_leave(spm_conn *);        /* never a clean close */

/* One transaction, in the model's draft and in the store alike. */
int model_begin(model *, spm_conn *);
void model_write(model *, spm_conn *, uint64_t offset, uint32_t n, const void *);
void model_truncate(model *, spm_conn *, uint64_t size);
/* With promises; SQLITE_OK or what the store said. */
int model_commit(model *, spm_conn *);
void model_rollback(model *, spm_conn *);
/* What the transaction reads, is it what it has written? */
int model_compare(model *, spm_conn *);
/* What the store holds, read through a snapshot, is it what the model says? */
int model_look(model *, spm_conn *);

/* Take what the store holds, a state that was promised, for the model's. */
int model_adopt(model *, spm_conn *);

/* The stage's reopen, for all workloads of the store. */
void model_reopen(const stage *, verdict *);

#endif
