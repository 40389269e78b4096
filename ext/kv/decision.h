/*
** decision.h - whether keys are committed that were written together with something else.
**
** A transaction that changed tables of a database and keys of a store, or keys of several
** stores, is one: all of it is there after a crash, or nothing.  One of its members
** decides.  The others are prepared first, durably, under a *reference* that says where
** to ask; only then the decider commits, and its commit is the transaction's (K1, K2):
**
**     DECIDER        THE DECISION IS
**     a database     the row (store, number, id) in its table pmemkv_decision
**     a store        the key (number, id) in its internal tree of decisions
**
** A store that is recovered, or taken over from a dead writer, with a prepared transaction
** asks through here.  A database is asked on a connection of its own, after SQLite's
** recovery of it.  What cannot be known now, because the decider is gone, locked or was
** moved, is an error that names it, and never a guess: the store stays as it is, until
** the decider is back or somebody settles by hand (spm_decision_settle()).
**
** A store has one prepared transaction at most, for its writer lock is held from PREPARE
** to the end, and the end is durable before the lock is free.  So one row a store is
** enough, and each new one replaces the one before.
**
** Called by txn.c and, through kvhost.h, by the recovery of every key-value store.
*/
#ifndef SPM_DECISION_H
#define SPM_DECISION_H

#include "../../vfs/store/store.h"

#define SPM_DECISION_ID 16u /* bytes: random */
#define SPM_DECISION_TREE "\001decided"

typedef struct spm_decision {
  uint8_t store[16]; /* id of the store that is prepared */
  uint64_t number;   /* of the transaction, in that store */
  uint8_t id[SPM_DECISION_ID];
} spm_decision;

/* The reference to a row in the database file `path` of VFS `vfs`; to a key in the store
** file `path`.  From sqlite3_mprintf(); NULL: out of memory. */
char *spm_decision_in_database(const spm_decision *, const char *vfs, const char *path);
char *spm_decision_in_store(const spm_decision *, const char *path);

/* Write the row, in the connection's present transaction; the table is made if need be. */
int spm_decision_write(sqlite3 *, const char *schema, const spm_decision *) SPM_MUST_CHECK;

/* Put the key, in the store's present transaction; take it out, in one of its own, once
** the other stores are settled. */
struct spm_kv;
int spm_decision_put(struct spm_kv *, const spm_decision *) SPM_MUST_CHECK;
int spm_decision_forget(struct spm_kv *, const spm_decision *) SPM_MUST_CHECK;

/* Is the transaction committed that was prepared in the store at `path`? */
int spm_decision_ask(const char *path, const char *reference, bool *committed) SPM_MUST_CHECK;
/* Answer for every key-value store of this process (kvhost.h). */
void spm_decision_install(void);

/* A person decides: open the store at `path` and let its recovery take this for an answer.
** *asked: there was something to decide. */
int spm_decision_settle(const char *path, bool commit, bool *asked) SPM_MUST_CHECK;

#endif
