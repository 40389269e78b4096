/*
** version.h - the version table: before-images of blocks that snapshots still need.
**
** Data holds the newest committed state.  Before the commit with LSN u overwrites
** block b, and if a live snapshot S < u may need it, the content is saved here as
** the image (b, until u).  A reader at S takes, of all images of b with until > S,
** the one with the smallest until; if there is none, the block in place is right.
**
** Why that is right: an image (b, u) is b's content from the commit before that
** changed b up to u.  The writer saves (b, u) unless every live snapshot is older
** than the newest image of b already there, which then is the one they need.
**
** Images are queued in the order of their LSN and freed from the old end, once no
** live snapshot is below their `until`.  While an old snapshot holds the old end, a
** sweep frees those in the middle that no live snapshot falls on, or the table would
** grow with every commit for as long as that reader stays.
**
** PENDING images.  A commit whose log record is not durable yet must not change X (S5).
** What it wrote is an image (b, since u, until nothing has replaced it), and X is older
** than it.  A reader at S passes over images with since > S; otherwise its rule is the
** same.  Replaced by a later commit v, the image ends at v, if a snapshot needs it, or
** goes.  Once the log is durable its content goes to X and the image goes (pending.h);
** a reader that copied from X meanwhile sees `pending_moved` move on, and copies again.
**
** Only the writer changes anything here (S12).  An image is complete before its bucket
** points to it, and is there before the first store to its block.  Images are unlinked
** first, then `versions_changed` moves on, then they are used again: a reader whose walk
** met that walks again, and none waits.
**
** What readers follow, the buckets' chains, changes by one store at a time and is right
** after each: also after a writer's last one.  So who takes over from a dead writer
** leaves the chains as they are and makes the rest anew, queue and free list, which only
** writers use; readers go on meanwhile, be it for long.
*/
#ifndef SPM_VERSION_H
#define SPM_VERSION_H

#include "core.h"

/* Make an empty table of one chunk.  Gate held, nobody else attached. */
int spm_versions_init(spm_store *) SPM_MUST_CHECK;
/* W: make sure that `count` images can be saved without fail (S10). */
int spm_versions_reserve(spm_store *, uint64_t count) SPM_MUST_CHECK;
/* W: save the present content of `block`, unless snapshots up to `newest` have
** what they need.  Must have been reserved, and then fails only where shared memory is broken. */
int spm_versions_save(spm_store *, uint32_t block, uint64_t until, uint64_t newest) SPM_MUST_CHECK;
/* W: free what no snapshot at or above `oldest` needs, `limit` images at most. */
void spm_versions_reclaim(spm_store *, uint64_t oldest, uint32_t limit);
/* W: free the images above `last`, saved for a commit that was taken back: its LSN will be
** used again, by another that leaves other blocks alone. */
void spm_versions_take_back(spm_store *, uint64_t last);
/* W: what the commit `since` wrote to `block`: X gets it later.  Must have been reserved,
** like those of spm_versions_save(). */
int spm_versions_pend(spm_store *, uint32_t block, uint64_t since, const void *content) SPM_MUST_CHECK;
/* W, once commits from `since` on are published: end the pending images they replaced, for
** snapshots up to `newest`. */
int spm_versions_replace(spm_store *, uint64_t since, uint64_t newest) SPM_MUST_CHECK;
/* W: write what is pending and `durable` to X, `limit` images at most, the oldest first. */
int spm_versions_apply(spm_store *, uint64_t durable, uint32_t limit, uint32_t *applied) SPM_MUST_CHECK;
/* W: the newest committed content of a block, in X or pending, until the next of these calls. */
const char *spm_versions_current(spm_store *, uint32_t block);
/* W: go over the next `buckets` buckets and free the images that none of `count` live
** snapshots, in ascending order, needs. */
void spm_versions_sweep(spm_store *, const uint64_t *snapshots, uint32_t count, uint32_t buckets);
/* W: after a dead writer: make queue and free list anew.  Images above `last`, the LSN it
** got to, were saved for a commit that never came to be; their LSNs will be used again,
** so they must go. */
int spm_versions_rebuild(spm_store *, uint64_t last) SPM_MUST_CHECK;

/* Copy n bytes at `offset` of `block` as of `snapshot` to `to`, if an image has them.
** SQLITE_OK: copied; SQLITE_NOTFOUND: the block in place is right; SQLITE_BUSY:
** something was freed during each of very many walks. */
int spm_versions_read(spm_store *, uint32_t block, uint64_t snapshot, uint32_t offset, uint32_t n,
                      void *to) SPM_MUST_CHECK;

#endif
