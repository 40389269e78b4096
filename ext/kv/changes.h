/*
** changes.h - what a SQL transaction has changed and not committed: an ordered write set.
**
** A skip list of *changes*, one for each key of a tree that was written, in the order of
** (tree, key).  A change has *versions*, the newest first, each a value or a deletion:
**
**     (1, "a")   7: deleted   3: x'01'
**     (1, "b")   5: x'02'
**     (4, "a")   8: x'03'     6: x'04'   2: deleted
**
** with the sequence number under which it was written.  A *mark* is a moment in that
** sequence, and what was written by then is what is seen at the mark: cursors have one,
** so that they do not see what their own statement writes (K5), and savepoints do, to
** return to.  A version that no mark can see any more goes when its key is written next,
** so a chain is never longer than there are marks, and one.
**
** Changes stay where they are until all is cleared, also when a rollback has taken their
** last version: whoever stands on one can always go on from it, in both directions.
**
** One thread at a time; takes no lock.  On SQLITE_NOMEM nothing has changed.
*/
#ifndef SPM_KV_CHANGES_H
#define SPM_KV_CHANGES_H

#include "../../vfs/store/store.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct spm_changes spm_changes;
typedef struct spm_change spm_change;

typedef struct spm_version {
  struct spm_version *older; /* of the same key                           */
  struct spm_version *before, *after; /* of all, in the order of writing  */
  spm_change *change;
  uint64_t sequence;
  uint64_t size; /* bytes of the value */
  bool deleted;
  uint8_t bytes[];
} spm_version;

/* Owned by whoever set it, and linked into the write set until it is removed. */
typedef struct spm_mark {
  uint64_t sequence;
  struct spm_mark *older, *newer;
} spm_mark;

int spm_changes_new(spm_changes **) SPM_MUST_CHECK;
/* It lives until everybody who holds it, its maker too, has let go. */
void spm_changes_hold(spm_changes *);
void spm_changes_free(spm_changes *);
bool spm_changes_held(const spm_changes *); /* by more than one */
/* Forget all changes; nobody may stand on one.  Sequence numbers go on. */
void spm_changes_clear(spm_changes *);
bool spm_changes_empty(const spm_changes *);

/* Set the key to a value, whose `size` bytes the caller then writes to *bytes. */
int spm_changes_put(spm_changes *, uint32_t tree, const void *key, uint32_t nkey, uint64_t size,
                    uint8_t **bytes) SPM_MUST_CHECK;
int spm_changes_delete(spm_changes *, uint32_t tree, const void *key, uint32_t nkey) SPM_MUST_CHECK;
/* Take back what was written after that moment. */
void spm_changes_rollback(spm_changes *, uint64_t sequence);

/* The number of the last change. */
uint64_t spm_changes_sequence(const spm_changes *);
void spm_changes_mark(spm_changes *, spm_mark *);
void spm_changes_unmark(spm_changes *, spm_mark *);

/* The version of the key that was seen at `sequence`; NULL: it had not been written. */
const spm_version *spm_changes_find(const spm_changes *, uint32_t tree, const void *key, uint32_t nkey,
                                    uint64_t sequence);

/* The first change of a tree not below the key, or the last one not above it; the key is
** passed over if it is not to be `included`.  A key of no length stands before all. */
const spm_change *spm_changes_first(const spm_changes *, uint32_t tree, const void *key, uint32_t nkey, bool included);
const spm_change *spm_changes_last(const spm_changes *, uint32_t tree, const void *key, uint32_t nkey, bool included);
/* The neighbours in the same tree, or NULL. */
const spm_change *spm_change_next(const spm_change *);
const spm_change *spm_change_prev(const spm_change *);
/* Of all trees: where a commit begins and how it goes on. */
const spm_change *spm_changes_begin(const spm_changes *);
const spm_change *spm_change_following(const spm_change *);

uint32_t spm_change_tree(const spm_change *);
const uint8_t *spm_change_key(const spm_change *, uint32_t *nkey);
const spm_version *spm_change_version(const spm_change *, uint64_t sequence);
const spm_version *spm_change_newest(const spm_change *);

#endif
