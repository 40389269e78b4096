/*
** kvstore.h - a key-value store file: named trees, one log, one commit for all of them.
**
** A spm_kv is one attachment to the file: it has at most one snapshot, or is the writer,
** and is used by one thread at a time.  Any number of them, in this process and others,
** may be open on a file; each snapshot sees one committed state, and one of them writes.
** A file comes to life with its first attachment, with a log X-pmlog and shared memory
** X-pmshm beside it, and its life ends with the last one: then X alone is left.
**
**     spm_kv *kv;
**     rc = spm_kv_open("cache.kv", &(spm_kv_options){.create = true}, &kv);
**     rc = spm_kv_begin(kv);
**     rc = spm_kv_tree(kv, "users", &tree);        SQLITE_NOTFOUND: spm_kv_tree_create()
**     rc = spm_tree_put(&tree, key, nkey, value, nvalue);
**     rc = spm_kv_commit(kv);                      or spm_kv_rollback(kv)
**
** All functions return SQLite result codes, and every refusal has been explained in the
** error log by then (spm_last_error()).  After an error in a transaction other than
** SQLITE_NOTFOUND and SQLITE_TOOBIG it must be rolled back; the store stands as before.
**
** Names of trees are bytes, without a zero in them.  Those that begin with a byte below
** 0x20 are for this library's own use.
*/
#ifndef SPM_KVSTORE_H
#define SPM_KVSTORE_H

#include "tree.h"

typedef struct spm_kv spm_kv;

typedef struct spm_kv_options {
  spm_store_options store; /* log_size_max 0: 10 MiB */
  bool readonly;           /* spm_kv_begin() is refused with SQLITE_READONLY */
  bool create;             /* make the file if it is not there */
} spm_kv_options;

/* Attach: make, adopt, join or recover the file.  SQLITE_NOTADB: it is neither empty nor
** a key-value store, and was left as it is; SQLITE_CANTOPEN: it is not there, or needs a
** later version; SQLITE_BUSY: others are just opening or closing it, which may pass. */
int spm_kv_open(const char *path, const spm_kv_options *, spm_kv **) SPM_MUST_CHECK;
/* Detach; NULL is nothing.  The last one ends the life, and removes the file, if asked
** to, where it has no tree of a user and no content in any other. */
void spm_kv_close(spm_kv *, bool remove_if_empty);

spm_conn *spm_kv_conn(spm_kv *);
const char *spm_kv_path(spm_kv *);
/* The store's random id, 16 bytes. */
const uint8_t *spm_kv_id(const spm_kv *);
/* Bytes of the file as the present snapshot sees it, and of the blocks in use in it. */
int spm_kv_size(spm_kv *, uint64_t *total, uint64_t *used) SPM_MUST_CHECK;

/* ---- reading ---- */
int spm_kv_snapshot_begin(spm_kv *) SPM_MUST_CHECK;
void spm_kv_snapshot_end(spm_kv *);
/* The LSN of the snapshot, and of the newest commit: equal, if nothing changed since. */
uint64_t spm_kv_lsn(const spm_kv *);
uint64_t spm_kv_latest_lsn(const spm_kv *);

/* ---- writing ---- */
/* Become the writer, on the newest state; a snapshot must have ended before.  SQLITE_BUSY:
** somebody else is, for longer than a commit takes. */
int spm_kv_begin(spm_kv *) SPM_MUST_CHECK;
/* Become the writer on the present snapshot, which stays; SQLITE_BUSY_SNAPSHOT: it has
** been overtaken.  And cease to be, the changes dropped, with that snapshot still there. */
int spm_kv_upgrade(spm_kv *) SPM_MUST_CHECK;
void spm_kv_downgrade(spm_kv *);
/* Do all of the commit that can fail, up to its durability point.  Only commit and rollback,
** which takes it back, may follow. */
int spm_kv_stage(spm_kv *) SPM_MUST_CHECK;
/* The same, and durably, for a transaction of which somebody else decides: `reference`
** says where recovery asks (decision.h).  The same may follow. */
int spm_kv_prepare(spm_kv *, const char *reference) SPM_MUST_CHECK;
/* Whatever it returns, the transaction is over: there is neither
** writer nor snapshot. */
int spm_kv_commit(spm_kv *) SPM_MUST_CHECK;
void spm_kv_rollback(spm_kv *);
/* The next of the store's transaction numbers, never given out before. */
int spm_kv_number(spm_kv *, uint64_t *number) SPM_MUST_CHECK;

/* ---- named trees ---- */
/* In the present snapshot or transaction.  SQLITE_NOTFOUND. */
int spm_kv_tree(spm_kv *, const char *name, spm_tree *) SPM_MUST_CHECK;
/* The names in order: the first above `after` ("" for the first of all) is copied to
** `name`.  SQLITE_NOTFOUND: there is none. */
int spm_kv_tree_next(spm_kv *, const char *after, char name[SPM_KV_NAME_MAX + 1]) SPM_MUST_CHECK;
/* May a tree be called so?  SQLITE_TOOBIG. */
int spm_kv_check_name(const char *) SPM_MUST_CHECK;
/* In a transaction.  SQLITE_CONSTRAINT: there is a tree of that name; SQLITE_NOTFOUND. */
int spm_kv_tree_create(spm_kv *, const char *name, spm_tree *) SPM_MUST_CHECK;
int spm_kv_tree_drop(spm_kv *, const char *name) SPM_MUST_CHECK;
int spm_kv_tree_rename(spm_kv *, const char *from, const char *to) SPM_MUST_CHECK;

/* ---- upkeep ---- */
/* Long ones (check, shrink, copy) ask now and then whether to stop, and end with
** SQLITE_INTERRUPT then. */
void spm_kv_watch(spm_kv *, bool (*stop)(void *), void *argument);
bool spm_kv_stopped(const spm_kv *);
/* Bring X up to date with the log now.  SQLITE_BUSY: somebody writes. */
int spm_kv_checkpoint(spm_kv *) SPM_MUST_CHECK;
/* Move what is at the end to the free space before it, in transactions of bounded size,
** and cut the file.  Neither a snapshot nor a transaction may be open. */
int spm_kv_shrink(spm_kv *) SPM_MUST_CHECK;
/* One snapshot as a new store in the file `path`, which must not be there or be empty; an
** error leaves it as it was.  *blocks: how many it has.  No snapshot may be open. */
int spm_kv_copy(spm_kv *, const char *path, uint64_t *blocks) SPM_MUST_CHECK;

#endif
