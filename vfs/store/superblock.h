/*
** superblock.h - the two slots at the head of the log (format.h tells their rules).
**
** Callers hold the writer lock, or the gate with no other attachment alive.
*/
#ifndef SPM_SUPERBLOCK_H
#define SPM_SUPERBLOCK_H

#include "format.h"
#include "region.h"

/* Read both slots with pread and choose.  SQLITE_CORRUPT: neither is valid;
** SQLITE_CANTOPEN: written by a later version, whose log must not be touched. */
int spm_superblock_read(spm_region *log, spm_superblock *) SPM_MUST_CHECK;

/* Write the slot that `sequence` names and make it durable with a fence of its
** own (S6): only after this returns may what it frees be used again. */
int spm_superblock_write(spm_region *log, spm_superblock *) SPM_MUST_CHECK;

/* A salt, a life: bytes from the kernel. */
int spm_random(void *, size_t) SPM_MUST_CHECK;

#endif
