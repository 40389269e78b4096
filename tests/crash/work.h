/*
** work.h - the workloads, each an entry of the table in work.c.
*/
#ifndef SPM_CRASH_WORK_H
#define SPM_CRASH_WORK_H

#include "crash.h"

#define WORK_SEQUENCES (8u + 8u * 8u + 8u * 8u * 8u)

extern const workload work_life, work_store, work_random, work_laps, work_large, work_spill, work_later;
extern const workload work_processes, work_sql, work_leftovers, work_multi;
extern const workload work_keys, work_tied;
/* Work of one process on a store that has been recovered. */
void work_store_resume(const stage *);

#endif
