/*
** inspect.h - what can be seen of a store from outside: figures, readers, log, recovery.
**
** Nothing here changes a store or waits for anybody; what is read from shared memory
** while others work on it may be a moment old.  Called by ext/, through store.h.
*/
#ifndef SPM_INSPECT_H
#define SPM_INSPECT_H

#include "error.h"
#include "metrics.h"

#include <stdbool.h>
#include <stdint.h>

/* A visitor's answer other than SQLITE_OK ends the visit and is its result. */

/* The metrics of every store that this process has open. */
int spm_inspect_stores(int (*visit)(void *, const spm_metrics *), void *) SPM_MUST_CHECK;

typedef struct spm_reader {
  uint32_t slot;
  uint64_t pid;       /* as its own PID namespace has it */
  bool alive;         /* its process still holds the slot */
  bool writing;       /* it is the writer, or died as it */
  uint64_t snapshot;  /* LSN, 0: none at the moment */
  uint64_t behind;    /* LSNs that have been committed since */
  uint64_t seconds;   /* it has held it for about so long */
} spm_reader;

/* The attachments of a store that this process has open; SQLITE_NOTFOUND: it has not. */
int spm_inspect_readers(const char *path, int (*visit)(void *, const spm_reader *), void *) SPM_MUST_CHECK;

typedef struct spm_log_item {
  uint64_t lsn, txid, offset, length; /* bytes: in the log file, of payload             */
  const char *type;                   /* data, data+commit, link, prepare, commit, abort */
  bool checksum_ok;                   /* false: the last one, and what ended the log     */
  const char *state;                  /* committed, aborted, prepared, unfinished, invalid */
} spm_log_item;

/* Every record from the checkpoint on of the store at `path`, open or not.
** SQLITE_NOTFOUND: there is no log. */
int spm_inspect_log(const char *path, int (*visit)(void *, const spm_log_item *), void *) SPM_MUST_CHECK;

typedef struct spm_recovery_step {
  const char *phase;   /* load, sort, redo, undo, checkpoint */
  uint64_t txid;       /* 0: the phase as a whole */
  const char *action;  /* what was done, in words */
  uint64_t first_lsn, last_lsn, bytes; /* of log */
  double ms;           /* negative: not measured for one transaction */
} spm_recovery_step;

/* What the last recovery of a store did, or the last take-over since; the store must be
** open in this process (SQLITE_NOTFOUND). */
int spm_inspect_recovery(const char *path, int (*visit)(void *, const spm_recovery_step *), void *) SPM_MUST_CHECK;

#endif
