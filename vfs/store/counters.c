/*
** counters.c - see counters.h.
*/
#define _GNU_SOURCE
#include "counters.h"

#include <time.h>

#define TIME_ALL_BELOW 64u /* commits */
#define TIME_EVERY 16u

static uint64_t clock_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t spm_clock_ns(void) { return clock_ns(CLOCK_MONOTONIC); }
uint64_t spm_clock_coarse_ns(void) { return clock_ns(CLOCK_MONOTONIC_COARSE); }

uint64_t spm_count_begin(const spm_store *s) {
  uint64_t commits = s->shm->counters.committed;
  return commits < TIME_ALL_BELOW || commits % TIME_EVERY == 0 ? spm_clock_ns() : 0;
}

/* Four steps an octave: a bucket's bounds are a quarter apart, and 256 reach any time. */
static unsigned bucket_of(uint64_t ns) {
  unsigned octave = 63 - (unsigned)__builtin_clzll(ns | 4);
  return octave * 4 + (unsigned)((ns >> (octave - 2)) & 3);
}

static uint64_t bucket_end(unsigned bucket) {
  unsigned octave = bucket / 4;
  return (uint64_t)(4 + bucket % 4 + 1) << (octave - 2);
}

void spm_count_commit(spm_store *s, uint32_t blocks, uint64_t began_ns) {
  spm_counters *n = &s->shm->counters;
  n->committed++;
  n->blocks_written += blocks;
  if (began_ns == 0) return;
  uint64_t ns = spm_clock_ns() - began_ns;
  n->timed++;
  n->timed_ns += ns;
  n->latency[bucket_of(ns)]++;
}

double spm_latency_us(const spm_counters *n, double share) {
  uint64_t wanted = (uint64_t)((double)n->timed * share), seen = 0;
  for (unsigned i = 8; n->timed > 0 && i < SPM_LATENCY_BUCKETS; i++) {
    seen += n->latency[i];
    if (seen > wanted || seen == n->timed) return (double)bucket_end(i) / 1e3;
  }
  return 0;
}
