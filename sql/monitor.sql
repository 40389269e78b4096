-- What an operator wants to know of the stores that this process has open.  The views are
-- TEMP: a persistent view could not read these tables, which are for direct use only.
--
--     sqlite> .read sql/monitor.sql
--     sqlite> SELECT * FROM pmem_health;

-- How full is the log, how far is the checkpoint behind?
CREATE TEMP VIEW IF NOT EXISTS pmem_log_fill AS
  SELECT path, log_used, log_size, round(100.0 * log_used / log_size, 1) AS percent,
         last_lsn - checkpoint_lsn AS checkpoint_lag_lsns, round(checkpoint_lag_s, 1) AS checkpoint_lag_s
  FROM pmem_stats;

-- Who holds the oldest snapshot, and what does it cost in before-images?
CREATE TEMP VIEW IF NOT EXISTS pmem_oldest_reader AS
  SELECT s.path, r.slot, r.pid, r.state, r.lsns_behind, r.seconds, s.image_bytes
  FROM pmem_stats AS s, pmem_readers(s.path) AS r
  WHERE r.snapshot_lsn IS NOT NULL
  GROUP BY s.path HAVING r.snapshot_lsn = min(r.snapshot_lsn);

-- Bytes on media for a byte of changed blocks.  Below 1: differences are logged, not blocks.
CREATE TEMP VIEW IF NOT EXISTS pmem_write_amplification AS
  SELECT path, media_bytes_written, num_writes,
         round(media_bytes_written / (4096.0 * num_writes), 3) AS amplification,
         media_bytes_written / nullif(committed_transactions, 0) AS bytes_a_commit
  FROM pmem_stats;

CREATE TEMP VIEW IF NOT EXISTS pmem_commit_latency AS
  SELECT path, committed_transactions, round(avg_write_latency_us, 2) AS mean_us, round(p99_commit_us, 2) AS p99_us
  FROM pmem_stats;

-- One line a store, with what is wrong, if anything is.
CREATE TEMP VIEW IF NOT EXISTS pmem_health AS
  SELECT path, medium, CASE
      WHEN poisoned THEN 'a flush failed: close it everywhere, to be recovered from media'
      WHEN medium = 'pmem-forced' THEN 'not real persistent memory: a power loss loses commits'
      WHEN image_bytes > total_size THEN 'an old reader keeps many before-images: see pmem_oldest_reader'
      WHEN takeovers > 0 THEN takeovers || ' writers died and were finished by others'
      ELSE 'well' END AS state
  FROM pmem_stats;
