/*
** counters.h - what is counted on the way, in shared memory.
**
** Counting must cost a commit nothing that can be measured: the writer's counters are
** plain numbers that its lock protects, a reader counts in the line of its own slot,
** which it writes anyway, and the clock is looked at for one commit in sixteen only, once
** there have been some.
*/
#ifndef SPM_COUNTERS_H
#define SPM_COUNTERS_H

#include "core.h"

/* W: the time a commit begins, or 0: it is not one of those that are timed. */
uint64_t spm_count_begin(const spm_store *);
/* W: it is durable and published. */
void spm_count_commit(spm_store *, uint32_t blocks, uint64_t began_ns);
/* The time below which `share` of the timed commits lie, in microseconds. */
double spm_latency_us(const spm_counters *, double share);
/* Both of the monotonic clock; the coarse one moves some hundred times a second, and can be
** looked at in every commit. */
uint64_t spm_clock_ns(void);
uint64_t spm_clock_coarse_ns(void);

#endif
