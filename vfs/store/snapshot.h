/*
** snapshot.h - a consistent view of the database, taken without lock or system call.
**
** The protocol is Dekker's: a reader stores to its slot and then loads the
** published word, the writer stores to the published word and then loads the
** slots, with a full fence between the two on either side.  So of a reader that
** registers and a commit that begins, at least one sees the other (S11):
**
**     reader: slot = ANY; fence; word      writer: word = (n, SMALL); fence; slots
**
**   word idle      it saw no commit: its LSN is n, and a writer that begins now
**                  finds ANY in the slot and saves images as for n;
**   word SMALL     the writer may not have seen it: wait for that commit;
**   word COVERED   every image of that commit is saved: n is safe.
**
** A snapshot that reads in place (S14) is registered in the same way against those
** who attach: it says `pointing`, then looks for other attachments; who attaches says
** `taken`, and looks for pointing ones before it writes.  So while pointers are out
** nobody but their owner changes X.
*/
#ifndef SPM_SNAPSHOT_H
#define SPM_SNAPSHOT_H

#include "core.h"
#include "store.h"

/* After the connection's own commit: see it. */
void spm_snapshot_advance(spm_conn *, uint64_t lsn, uint64_t size);

/* Is X, for what was read from it in place since `moved` was pending_moved, as the
** snapshot sees it? */
bool spm_snapshot_still(const spm_conn *, uint64_t moved) SPM_MUST_CHECK;
/* Copy n bytes at `offset`, all below snapshot_size, as of the snapshot. */
int spm_snapshot_read(spm_conn *, uint64_t offset, uint32_t n, void *to) SPM_MUST_CHECK;

/* W, after marking: what the others may need.  *newest is 0 and *oldest UINT64_MAX
** if nobody has a snapshot.  ANY may become any LSN up to the committed one: it
** counts as that for *newest, and as 0 for *oldest. */
void spm_snapshot_scan(spm_store *, uint32_t self, uint64_t *oldest, uint64_t *newest);
/* Is `self` the only attachment, as far as anybody said?  (The dead count until they
** are reaped.) */
bool spm_snapshot_alone(spm_store *, uint32_t self);
/* Does a snapshot other than `self`'s hold pointers into X? */
bool spm_snapshot_points(spm_store *, uint32_t self);
/* Does another process have a snapshot?  System calls, if any slot says so. */
bool spm_snapshot_elsewhere(spm_store *);
/* Is a snapshot other than `self`'s held against commits? */
bool spm_snapshot_held(spm_store *, uint32_t self);
/* W: the live snapshots but `self`'s, ascending; false while one is registering, for
** it may have read any LSN. */
bool spm_snapshot_list(spm_store *, uint32_t self, uint64_t list[SPM_SLOT_COUNT], uint32_t *count);
/* Free the slots of processes that are gone.  System calls. */
void spm_snapshot_reap(spm_store *);

#endif
