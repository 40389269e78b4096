/*
** write.h - what a transaction writes, until it is staged: reads of its own writes, and
** what does not fit into memory moved to the log.
*/
#ifndef SPM_WRITE_H
#define SPM_WRITE_H

#include "core.h"

/* The calls themselves, spm_write() and so on, are the store's own interface: store.h. */
#include "store.h"

/* Read what the transaction sees; [offset, offset + n) below its size. */
int spm_write_read(spm_conn *, uint64_t offset, uint32_t n, void *to) SPM_MUST_CHECK;
/* Has the transaction written to these bytes' blocks, or cut them off? */
bool spm_write_touches(const spm_conn *, uint64_t offset, uint32_t n);

/* May the log be written to?  SQLITE_IOERR: it has what only recovery can settle (S8). */
int spm_write_check_log(const spm_conn *) SPM_MUST_CHECK;
/* SQLITE_FULL: the transaction passes the store's size. */
int spm_write_check_capacity(const spm_conn *) SPM_MUST_CHECK;
/* It goes on being written to: what was staged is forgotten. */
void spm_write_unstage(spm_conn *);

#endif
