/*
** kvhost.c - see kvhost.h.
*/
#include "kvhost.h"

#include "../../vfs/store/region.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

_Thread_local bool spm_kv_host_removes;
spm_kv_decisions spm_kv_host_decisions;

static bool all_zero(const uint8_t *bytes, uint64_t n) {
  while (n > 0 && bytes[n - 1] == 0) n--;
  return n == 0;
}

spm_kv_kind spm_kv_kind_of(const uint8_t first[SPM_KV_LOOK], uint64_t n) {
  const spm_kv_header *header = (const spm_kv_header *)(const void *)first;
  if (n <= SPM_BLOCK_SIZE && all_zero(first, n)) return SPM_KV_EMPTY;
  if (n < sizeof *header || memcmp(header->magic, SPM_KV_MAGIC, sizeof header->magic) != 0) return SPM_KV_FOREIGN;
  if (header->version != SPM_KV_VERSION) return SPM_KV_LATER;
  return header->open == SPM_KV_OPEN ? SPM_KV_STAMPED : header->open == 0 ? SPM_KV_PLAIN : SPM_KV_FOREIGN;
}

int spm_kv_look(int fd, const char *path, uint8_t first[SPM_KV_LOOK], uint64_t *n) {
  ssize_t got = -1;
  for (*n = 0; *n < SPM_KV_LOOK && got != 0; *n += (uint64_t)got) {
    do got = pread(fd, first + *n, SPM_KV_LOOK - *n, (off_t)*n);
    while (got < 0 && errno == EINTR);
    if (got < 0) return spm_error(SQLITE_IOERR_READ, "reading %s: %s", path, strerror(errno));
  }
  return SQLITE_OK;
}

static int identify(int fd, uint8_t life[SPM_LIFE_SIZE]) {
  _Alignas(8) uint8_t first[SPM_KV_LOOK];
  uint64_t n;
  int rc = spm_kv_look(fd, "the header", first, &n);
  if (rc != SQLITE_OK) return rc;
  if (spm_kv_kind_of(first, n) != SPM_KV_STAMPED) return SQLITE_NOTFOUND;
  memcpy(life, first + offsetof(spm_kv_header, life), SPM_LIFE_SIZE);
  return SQLITE_OK;
}

static int write_placeholder(spm_region *data, const uint8_t life[SPM_LIFE_SIZE]) {
  uint8_t block[SPM_BLOCK_SIZE] = {0};
  spm_kv_header header = {
      .magic = SPM_KV_MAGIC, .version = SPM_KV_VERSION, .block_size = SPM_BLOCK_SIZE, .open = SPM_KV_OPEN};
  memcpy(header.life, life, SPM_LIFE_SIZE);
  memcpy(block, &header, sizeof header);
  int rc = spm_media_file.append(data, 0, block, sizeof block);
  if (rc == SQLITE_OK) rc = spm_media_file.sync(data);
  return rc == SQLITE_OK ? spm_region_refresh(data) : rc;
}

/* Under the gate: whoever looked at the file before may have seen another. */
static int stamp(spm_region *data, const uint8_t life[SPM_LIFE_SIZE], uint64_t *logical_size) {
  static const uint32_t open_word = SPM_KV_OPEN;
  _Alignas(8) uint8_t first[SPM_KV_LOOK];
  uint64_t n = *logical_size < sizeof first ? *logical_size : sizeof first;
  int rc = n > 0 ? spm_region_read(data, 0, first, (size_t)n) : SQLITE_OK;
  if (rc != SQLITE_OK) return rc;
  spm_kv_kind kind = spm_kv_kind_of(first, n);
  if (kind == SPM_KV_EMPTY) return write_placeholder(data, life);
  if (kind != SPM_KV_PLAIN) return SQLITE_BUSY;
  rc = spm_store_durably(data, offsetof(spm_kv_header, life), life, SPM_LIFE_SIZE);
  return rc == SQLITE_OK ? spm_store_durably(data, offsetof(spm_kv_header, open), &open_word, sizeof open_word) : rc;
}

/* A file that is to be removed has nothing in it, and is nothing before it is gone: the log
** goes by its name, which may be another's as soon as X has no name to lock it by. */
static int unstamp(spm_region *data, uint64_t logical_size) {
  static const uint32_t closed_word = 0;
  int rc = logical_size <= SPM_BLOCK_SIZE || spm_kv_host_removes
               ? spm_region_truncate(data, 0)
               : spm_store_durably(data, offsetof(spm_kv_header, open), &closed_word, sizeof closed_word);
  return rc == SQLITE_OK ? spm_region_fsync(data) : rc;
}

/* What could not be removed is empty, and a store to be. */
static void ended(const spm_region *data) {
  if (!spm_kv_host_removes) return;
  if (unlink(data->path) != 0)
    spm_notice("removing %s: %s", data->path, strerror(errno));
  else if (spm_folder_fsync(data->path) != SQLITE_OK)
    spm_notice("%s was removed, and may be there again after a power loss", data->path);
}

static int decide(const char *path, const char *reference, bool *committed) {
  *committed = false;
  if (spm_kv_host_decisions.ask != NULL) return spm_kv_host_decisions.ask(path, reference, committed);
  return spm_error(SQLITE_CANTOPEN,
                   "%s: its last transaction is prepared, and nobody here can tell what became of it", path);
}

static int settled(const char *path, const char *reference) {
  return spm_kv_host_decisions.settled != NULL ? spm_kv_host_decisions.settled(path, reference) : SQLITE_OK;
}

const spm_host spm_kv_host = {.kind = "key-value",
                              .identify = identify,
                              .stamp = stamp,
                              .unstamp = unstamp,
                              .decide = decide,
                              .settled = settled,
                              .ended = ended};
