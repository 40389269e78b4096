/*
** superblock.c - see superblock.h.
*/
#include "superblock.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <errno.h>
#include <string.h>
#include <sys/random.h>

static uint64_t superblock_checksum(const spm_superblock *block) {
  return XXH3_64bits((const uint8_t *)block + sizeof block->checksum,
                     sizeof *block - sizeof block->checksum);
}

static bool superblock_valid(const spm_superblock *block) {
  return block->magic == SPM_SUPERBLOCK_MAGIC && block->checksum == superblock_checksum(block);
}

static bool superblock_sane(const spm_superblock *block) {
  return block->block_size == SPM_BLOCK_SIZE && block->segment_size == SPM_SEGMENT_SIZE &&
         block->checkpoint.offset >= SPM_LOG_HEADER_SIZE &&
         block->checkpoint.offset < spm_segment_offset(SPM_SEGMENT_COUNT) &&
         block->checkpoint.offset % SPM_LINE_SIZE == 0 && block->checkpoint.lsn != 0 &&
         block->checkpoint.lsn < SPM_LSN_END && block->next_txid != 0 && block->next_txid < SPM_TXID_END &&
         block->logical_size <= SPM_DATA_SIZE_MAX && block->unlogged <= 1;
}

int spm_superblock_read(spm_region *log, spm_superblock *chosen) {
  bool found = false;
  for (unsigned i = 0; i < 2; i++) {
    spm_superblock slot;
    int rc = spm_region_read(log, i * SPM_SUPERBLOCK_STRIDE, &slot, sizeof slot);
    if (rc == SQLITE_IOERR_SHORT_READ) break;
    if (rc != SQLITE_OK) return rc;
    if (!superblock_valid(&slot) || (found && slot.sequence < chosen->sequence)) continue;
    *chosen = slot;
    found = true;
  }
  if (!found)
    return spm_error(SQLITE_CORRUPT, "%s has no valid superblock: truncated, overwritten or no log at all",
                     log->path);
  if (chosen->version != SPM_FORMAT_VERSION)
    return spm_error(SQLITE_CANTOPEN, "%s has format version %u, this library reads version %u",
                     log->path, chosen->version, SPM_FORMAT_VERSION);
  if (!superblock_sane(chosen))
    return spm_error(SQLITE_CORRUPT, "%s: the superblock's fields contradict each other", log->path);
  return SQLITE_OK;
}

int spm_superblock_write(spm_region *log, spm_superblock *block) {
  block->magic = SPM_SUPERBLOCK_MAGIC;
  block->version = SPM_FORMAT_VERSION;
  block->block_size = SPM_BLOCK_SIZE;
  block->segment_size = SPM_SEGMENT_SIZE;
  block->checksum = superblock_checksum(block);
  int rc = spm_append(log, (block->sequence & 1) * SPM_SUPERBLOCK_STRIDE, block, sizeof *block);
  return rc == SQLITE_OK ? spm_sync(log) : rc;
}

int spm_random(void *bytes, size_t n) {
  ssize_t got; /* so few bytes come all at once, or not at all */
  do got = getrandom(bytes, n, 0);
  while (got < 0 && errno == EINTR);
  return got == (ssize_t)n ? SQLITE_OK : spm_error(SQLITE_IOERR, "getrandom: %s", strerror(errno));
}
