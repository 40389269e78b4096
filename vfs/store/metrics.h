/*
** metrics.h - what a store tells of itself: one table for code, SQL and manual.
**
**     X(name, type, meaning)
**
** type TEXT, COUNT (a whole number) or REAL.  All are of the store, summed over the
** processes that have it open, since its life began: since the first of them opened it.
** The view pmem_stats has a column of each name, in this order.
*/
#ifndef SPM_METRICS_H
#define SPM_METRICS_H

#include <stdint.h>

#define SPM_METRIC_TABLE(X)                                                                        \
  X(path, TEXT, "the store's file")                                                                \
  X(kind, TEXT, "database or key-value")                                                           \
  X(medium, TEXT, "pmem, pmem-forced or file")                                                     \
  X(mode, TEXT, "when a commit is durable: the weakest of those who have it open")                 \
  X(total_size, COUNT, "bytes the file has, with its log")                                         \
  X(used_size, COUNT, "bytes of the file that are in use")                                         \
  X(log_size, COUNT, "bytes the log file has")                                                     \
  X(log_used, COUNT, "bytes of it that recovery would read, in whole segments")                    \
  X(attachments, COUNT, "connections that have the store open")                                    \
  X(num_reads, COUNT, "snapshots that were taken: read transactions")                              \
  X(num_writes, COUNT, "blocks that committed transactions changed")                               \
  X(num_transactions, COUNT, "transactions that wrote, committed or not")                          \
  X(committed_transactions, COUNT, "of these, committed")                                          \
  X(aborted_transactions, COUNT, "of these, rolled back")                                          \
  X(active_transactions, COUNT, "snapshots that are held now")                                     \
  X(conflicts, COUNT, "writers that were refused for an overtaken snapshot")                       \
  X(checkpoints, COUNT, "superblocks written: each frees the log before it")                       \
  X(avg_write_latency_us, REAL, "mean time of a commit, of those that were timed")                 \
  X(p99_commit_us, REAL, "99 of 100 of these took at most this long")                              \
  X(media_bytes_written, COUNT, "bytes written to log, superblocks and file")                      \
  X(image_bytes, COUNT, "bytes of block images that snapshots need, or that wait for a flush")     \
  X(recovery_time_ms, REAL, "how long it took when the life began; 0: nothing to do")              \
  X(redone_transactions, COUNT, "by that recovery and by take-overs since")                        \
  X(undone_transactions, COUNT, "by that recovery and by take-overs since")                        \
  X(takeovers, COUNT, "writers that died and were finished by others")                             \
  X(last_lsn, COUNT, "of the newest commit")                                                       \
  X(durable_lsn, COUNT, "no power loss takes anything up to it")                                   \
  X(checkpoint_lsn, COUNT, "everything up to it is durable in the file itself")                    \
  X(checkpoint_lag_s, REAL, "seconds since everything was; 0: everything is")                      \
  X(poisoned, COUNT, "1: a flush failed, and nothing is promised until recovery")

#define SPM_METRIC_TYPE_TEXT const char *
#define SPM_METRIC_TYPE_COUNT uint64_t
#define SPM_METRIC_TYPE_REAL double

typedef struct spm_metrics {
#define X(name, type, meaning) SPM_METRIC_TYPE_##type name;
  SPM_METRIC_TABLE(X)
#undef X
} spm_metrics;

#endif
