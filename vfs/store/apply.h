/*
** apply.h - bringing logged transactions into X: by a commit, by a take-over, by
** recovery.  The same code for all three, so that REDO is what the commit did.
*/
#ifndef SPM_APPLY_H
#define SPM_APPLY_H

#include "log.h"
#include "redo.h"

/* Blocks that one commit may change without saving its images beforehand. */
#define SPM_SMALL_COMMIT 64u

/* Store every entry of one DATA record that lies below `size`: with `redo` gathered, with NULL
** at once. */
int spm_apply_record(spm_store *, const spm_record *, uint64_t size, spm_redo *redo) SPM_MUST_CHECK;
/* The same for all DATA records of `txid` in [from, to), read from the log. */
int spm_apply_range(spm_store *, spm_log_pos from, uint64_t to_lsn, uint64_t txid, uint64_t size)
    SPM_MUST_CHECK;
/* Save the image of every block they touch, where a snapshot up to `newest` needs it. */
int spm_save_range(spm_store *, spm_log_pos from, uint64_t to_lsn, uint64_t txid, uint64_t until,
                   uint64_t newest) SPM_MUST_CHECK;

/* W: announce a commit; announce that its images are all saved; take it back. */
void spm_mark(spm_store *, unsigned phase);
void spm_unmark(spm_store *);
/* W: make `tail` the committed end of the log and `size` the database's. */
void spm_publish(spm_store *, spm_log_pos tail, uint64_t size, uint64_t next_txid);

#endif
