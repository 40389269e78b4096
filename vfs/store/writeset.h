/*
** writeset.h - the blocks a transaction has written, in this process's memory.
**
** A hash of whole blocks.  Past a limit the oldest content moves to the log as
** records that do not commit (write.c), and the set keeps only where it stands.
** Belongs to one connection; takes no lock.
*/
#ifndef SPM_WRITESET_H
#define SPM_WRITESET_H

#include "core.h"

/* The entry of `block`, NULL if it was not written. */
spm_dirty *spm_writeset_find(const spm_writeset *, uint32_t block);
/* The entry of `block`, made if need be with uninitialized bytes (*fresh: it was,
** or its content is in the log).  NULL: out of memory. */
spm_dirty *spm_writeset_put(spm_writeset *, uint32_t block, bool *fresh);
/* Keep the entry, give its buffer back. */
void spm_writeset_evict(spm_writeset *, spm_dirty *);
void spm_writeset_clear(spm_writeset *);
void spm_writeset_free(spm_writeset *);

#endif
