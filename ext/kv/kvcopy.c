/*
** kvcopy.c - a snapshot of a store as a file of its own, while writers go on.
**
** The blocks of a snapshot are a closed store but for three fields of their header: `open`
** and `life`, which name the log of the original, and `id`, for two stores with one id would
** take each other's decisions for theirs (decision.h).  So they are copied as they are, the
** free ones too.  The tree of decisions goes along: a copy that is put back in the original's
** place may still be asked for one, and nobody asks a copy that stands elsewhere.
**
** The header comes last.  Until all else is durable the file begins with a block of zeros,
** which nobody takes for a store (kvhost.h), whenever the process or the machine dies.  An
** error removes it.  A file that is there already is not even opened unless it is empty.
*/
#include "kvstore.h"

#include "../../vfs/store/region.h"
#include "space.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PART (UINT32_C(64) * SPM_BLOCK_SIZE) /* bytes read between two looks whether to stop */
#define BUSY_TRIES 100u

typedef struct copy {
  spm_kv *kv;
  const char *path; /* of the copy */
  int fd;
  bool made;        /* it was not there before */
  uint8_t *part;
  _Alignas(8) uint8_t header[SPM_BLOCK_SIZE];
} copy;

static int failed(const copy *c, int rc, const char *what) {
  bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
  return spm_error(full ? SQLITE_FULL : rc, "%s %s: %s", what, c->path, strerror(errno));
}

/* With the mode of the original. */
static int open_target(copy *c) {
  struct stat status;
  mode_t mode = stat(spm_kv_path(c->kv), &status) == 0 ? status.st_mode & 0777 : 0600;
  c->fd = open(c->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  c->made = c->fd >= 0;
  if (c->made) return SQLITE_OK;
  if (errno != EEXIST) return failed(c, SQLITE_CANTOPEN, "creating");
  if (stat(c->path, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size > 0)
    return spm_error(SQLITE_CANTOPEN, "%s is there already, and not empty", c->path);
  c->fd = open(c->path, O_RDWR | O_CLOEXEC);
  return c->fd >= 0 ? SQLITE_OK : failed(c, SQLITE_CANTOPEN, "opening");
}

static int write_part(const copy *c, uint64_t offset, const uint8_t *bytes, size_t n) {
  while (n > 0) {
    ssize_t written = pwrite(c->fd, bytes, n, (off_t)offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return failed(c, SQLITE_IOERR_WRITE, "writing");
    offset += (uint64_t)written;
    bytes += written;
    n -= (size_t)written;
  }
  return SQLITE_OK;
}

static int make_durable(const copy *c) {
  return fsync(c->fd) == 0 ? SQLITE_OK : failed(c, SQLITE_IOERR_FSYNC, "syncing");
}

/* All but the header, which is kept. */
static int copy_blocks(copy *c, uint64_t size) {
  spm_conn *conn = spm_kv_conn(c->kv);
  int rc = SQLITE_OK;
  for (uint64_t offset = 0; rc == SQLITE_OK && offset < size; offset += PART) {
    uint32_t n = size - offset < PART ? (uint32_t)(size - offset) : PART;
    if (spm_kv_stopped(c->kv)) return spm_error(SQLITE_INTERRUPT, "copying to %s: interrupted", c->path);
    rc = spm_conn_read(conn, offset, n, c->part);
    if (rc == SQLITE_OK && offset == 0) {
      memcpy(c->header, c->part, SPM_BLOCK_SIZE);
      memset(c->part, 0, SPM_BLOCK_SIZE);
    }
    if (rc == SQLITE_OK) rc = write_part(c, offset, c->part, n);
  }
  return rc;
}

static int write_header(copy *c) {
  spm_kv_header *header = (spm_kv_header *)(void *)c->header;
  header->open = 0;
  memset(header->life, 0, sizeof header->life);
  sqlite3_randomness(sizeof header->id, header->id);
  return write_part(c, 0, c->header, sizeof c->header);
}

/* A store without a transaction yet is an empty file. */
static int copy_snapshot(copy *c, uint64_t size) {
  c->part = malloc(PART);
  if (c->part == NULL) return SQLITE_NOMEM;
  int rc = open_target(c);
  if (rc == SQLITE_OK && size > SPM_BLOCK_SIZE) {
    rc = copy_blocks(c, size);
    if (rc == SQLITE_OK) rc = make_durable(c);
    if (rc == SQLITE_OK) rc = write_header(c);
  }
  if (rc == SQLITE_OK) rc = make_durable(c);
  return rc == SQLITE_OK ? spm_folder_fsync(c->path) : rc;
}

static void undo(const copy *c) {
  if (c->fd >= 0 && (c->made ? unlink(c->path) : ftruncate(c->fd, 0)) != 0)
    spm_notice("%s is half a copy and could not be removed: %s", c->path, strerror(errno));
}

static int begin_snapshot(spm_kv *kv) {
  int rc = SQLITE_BUSY;
  for (uint32_t i = 0; rc == SQLITE_BUSY && i < BUSY_TRIES; i++) rc = spm_kv_snapshot_begin(kv);
  return rc == SQLITE_BUSY ? spm_error(rc, "%s is busy: a commit in it does not end", spm_kv_path(kv)) : rc;
}

int spm_kv_copy(spm_kv *kv, const char *path, uint64_t *blocks) {
  copy c = {.kv = kv, .path = path, .fd = -1};
  int rc = begin_snapshot(kv);
  if (rc != SQLITE_OK) return rc;
  uint64_t size = spm_conn_size(spm_kv_conn(kv));
  rc = copy_snapshot(&c, size);
  spm_kv_snapshot_end(kv);
  if (rc != SQLITE_OK) undo(&c);
  if (c.fd >= 0) (void)close(c.fd);
  free(c.part);
  *blocks = size / SPM_BLOCK_SIZE;
  return rc;
}
