/*
** unlogged.h - wal=off: commits that go straight to X.
**
** Nothing is logged but that there was a commit, and nothing is synced on FILE: loading is
** fast, and a crash leaves what it leaves.  So that nobody takes that for a database,
** the superblock says *unlogged*, durably, before the first such commit, and until X has
** been made durable after the last.  A store that says so when it is opened first was
** left by a process that died: it is refused, or, with recovery=full, verified.
**
**     enter    the only attachment, under the gate: checkpoint; superblock says so
**     commit   an empty commit record, not synced; X changed (and flushed on PMEM)
**     leave    everything of X durable; superblock says no more
**
** No other process gets in meanwhile, and no PREPARE is to be had: what is prepared could
** not be rolled back.  What a transaction had moved to the log, for want of memory, is
** committed from there, and X synced after it: a REDO of it would undo what came later.
*/
#ifndef SPM_UNLOGGED_H
#define SPM_UNLOGGED_H

#include "core.h"

/* SQLITE_BUSY: there are other attachments, or a transaction is under way. */
int spm_unlogged_enter(spm_conn *) SPM_MUST_CHECK;
int spm_unlogged_leave(spm_conn *) SPM_MUST_CHECK;
/* What a dead process had left so has been verified. */
int spm_unlogged_accept(spm_conn *) SPM_MUST_CHECK;

#endif
