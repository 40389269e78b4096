/*
** kvcheck.h - is a key-value store what kvformat.h says it is?
**
** Walks every node and every overflow run of every tree, checks what makes a node valid,
** that keys ascend within and between nodes, that no block belongs to two owners, that
** the bitmaps have exactly the blocks that belong to somebody, and that the header's
** counts are right.  Reads one snapshot; needs a bit of memory for each block.
*/
#ifndef SPM_KVCHECK_H
#define SPM_KVCHECK_H

#include "kvstore.h"

/* Told of each fault found; returns false to end the check. */
typedef bool (*spm_kv_report)(void *argument, const char *text);

/* In the present snapshot, or in one of its own if there is none.  SQLITE_OK: it was
** checked, with nothing to report; SQLITE_CORRUPT: it was, and there was. */
int spm_kv_check(spm_kv *, spm_kv_report, void *argument) SPM_MUST_CHECK;

#endif
