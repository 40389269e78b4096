/*
** model.c - see model.h.
*/
#define _GNU_SOURCE
#include "model.h"

#include "../../vfs/stamp.h"
#include "../../vfs/super.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define X_NAME "x.db"

model *model_new(void) {
  model *m = mmap(NULL, sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (m == MAP_FAILED) crash_die("mapping a model");
  return m;
}

/* Format bytes, the counter and the size that counts beside two equal ones (here it is no
** size), the life, the counter's twin: they belong to the stamp. */
static void mask_header(uint8_t *header) {
  memset(header + 18, 1, 2);
  memset(header + 24, 0, 8);
  memset(header + 72, 0, 24);
}

uint64_t content_hash(const content *c) {
  uint8_t header[SPM_HEADER_SIZE] = {0};
  uint64_t n = c->size < sizeof header ? c->size : sizeof header;
  memcpy(header, c->bytes, n);
  mask_header(header);
  uint64_t hash = mix(XXH3_64bits(header, n) + c->size);
  return c->size > n ? mix(hash + XXH3_64bits(c->bytes + n, c->size - n)) : hash;
}

/* ----------------------------------------------------------------- files -- */

void model_prepare(const stage *at, uint64_t size) {
  static const uint8_t header[20] = "SQLite format 3\0\020\0\1\1";
  int fd = open(stage_path(at, X_NAME), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) crash_die("making X");
  for (uint64_t at_byte = 0; at_byte < size; at_byte += 512) {
    uint8_t bytes[512];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)chance(256);
    if (at_byte == 0) {
      memcpy(bytes, header, sizeof header);
      memset(bytes + sizeof header, 0, SPM_HEADER_SIZE - sizeof header);
    }
    if (pwrite(fd, bytes, sizeof bytes, (off_t)at_byte) != sizeof bytes) crash_die("filling X");
  }
  close(fd);
}

static bool read_whole(const char *path, content *c) {
  struct stat status;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  bool read = fstat(fd, &status) == 0 && (uint64_t)status.st_size <= MODEL_MAX;
  c->size = read ? (uint64_t)status.st_size : 0;
  read = read && pread(fd, c->bytes, c->size, 0) == (ssize_t)c->size;
  close(fd);
  return read;
}

void model_load(const stage *at, model *m) {
  if (!read_whole(stage_path(at, X_NAME), &m->now)) crash_die("reading X");
  promise(PROMISE_KEPT, content_hash(&m->now));
}

/* -------------------------------------------------------------- attaching -- */

static int no_decision(const char *path, const char *super, bool *committed) {
  (void)super;
  *committed = false;
  return spm_error(SQLITE_INTERNAL, "%s: nothing was prepared here", path);
}
static int nothing_settled(const char *path, const char *super) { return (void)path, (void)super, SQLITE_OK; }
static const spm_host host = {"database", spm_stamp_identify, spm_stamp_on, spm_stamp_off, no_decision, nothing_settled, NULL};

static spm_header_kind kind_of(const char *path) {
  uint8_t block[SPM_BLOCK_SIZE];
  struct stat status;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return SPM_HEADER_FOREIGN;
  bool read = fstat(fd, &status) == 0 && pread(fd, block, sizeof block, 0) >= 0;
  close(fd);
  return read ? spm_stamp_kind(block, (uint64_t)status.st_size) : SPM_HEADER_FOREIGN;
}

/* The order of adopt.c, which has stock's locks besides. */
int model_try_attach(const stage *at, uint64_t log_size_max, spm_conn **c) {
  const char *path = stage_path(at, X_NAME);
  spm_store_options options = {.log_size_max = log_size_max};
  int rc = SQLITE_OK;
  switch (kind_of(path)) {
    case SPM_HEADER_STAMPED: return spm_store_join(path, &host, &options, c);
    case SPM_HEADER_HALF: rc = spm_stamp_finish(path); break;
    case SPM_HEADER_EMPTY: rc = truncate(path, 0) == 0 ? SQLITE_OK : SQLITE_IOERR_TRUNCATE; break;
    case SPM_HEADER_PLAIN: break;
    case SPM_HEADER_WAL:
    case SPM_HEADER_FOREIGN: return spm_error(SQLITE_NOTADB, "%s is not a database any more", path);
  }
  return rc == SQLITE_OK ? spm_store_create(path, &host, &options, c) : rc;
}

spm_conn *model_attach(const stage *at, uint64_t log_size_max) {
  spm_conn *c = NULL;
  int rc = model_try_attach(at, log_size_max, &c);
  if (rc != SQLITE_OK) live_failure("attaching: %d, %s", rc, spm_last_error());
  return c;
}

static int allow(void *argument) { return (void)argument, SQLITE_OK; }
static int refuse(void *argument) { return (void)argument, SQLITE_BUSY; }
void model_detach(spm_conn *c) { spm_store_detach(c, allow, NULL); }
void model_leave(spm_conn *c) { spm_store_detach(c, refuse, NULL); }

/* ------------------------------------------------------------ transactions -- */

static int read_through(spm_conn *c, content *to) {
  to->size = spm_conn_size(c);
  if (to->size > MODEL_MAX) return SQLITE_TOOBIG;
  int rc = SQLITE_OK;
  for (uint64_t at = 0; rc == SQLITE_OK && at < to->size; at += 65536) {
    uint64_t n = to->size - at < 65536 ? to->size - at : 65536;
    rc = spm_conn_read(c, at, (uint32_t)n, to->bytes + at);
  }
  return rc;
}

static content *spare(void) {
  static content *c;
  if (c == NULL) c = malloc(sizeof *c);
  if (c == NULL) crash_die("no memory");
  return c;
}

static void copy(content *to, const content *from) {
  to->size = from->size;
  memcpy(to->bytes, from->bytes, from->size);
}

/* A dead process left a commit in doubt: what is there now decides, for good. */
static void settle_doubt(model *m, uint64_t found) {
  if (atomic_load(&m->doubt) == 0) return;
  if (found == content_hash(&m->draft)) {
    copy(&m->now, &m->draft);
    promise(PROMISE_KEPT, found);
  } else {
    promise(PROMISE_DROPPED, 0);
  }
  atomic_store(&m->doubt, 0);
}

int model_begin(model *m, spm_conn *c) {
  int rc = spm_snapshot_begin(c);
  if (rc != SQLITE_OK) return rc;
  rc = spm_write_begin(c);
  if (rc != SQLITE_OK) {
    spm_snapshot_end(c);
    return rc;
  }
  content *there = spare();
  rc = read_through(c, there);
  if (rc != SQLITE_OK) live_failure("reading: %d, %s", rc, spm_last_error());
  uint64_t found = content_hash(there);
  settle_doubt(m, found);
  if (found != content_hash(&m->now)) live_failure("a writer finds %016llx, committed was %016llx",
                                                   (unsigned long long)found, (unsigned long long)content_hash(&m->now));
  copy(&m->draft, &m->now);
  return SQLITE_OK;
}

static void must(int rc, const char *what) {
  if (rc != SQLITE_OK) live_failure("%s: %d, %s", what, rc, spm_last_error());
}

void model_write(model *m, spm_conn *c, uint64_t offset, uint32_t n, const void *bytes) {
  content *d = &m->draft;
  if (offset + n > MODEL_MAX) live_failure("the workload wants too large an X");
  if (offset > d->size) memset(d->bytes + d->size, 0, offset - d->size);
  memcpy(d->bytes + offset, bytes, n);
  if (offset + n > d->size) d->size = offset + n;
  must(spm_write(c, offset, n, bytes), "writing");
}

void model_truncate(model *m, spm_conn *c, uint64_t size) {
  if (size > m->draft.size) memset(m->draft.bytes + m->draft.size, 0, size - m->draft.size);
  m->draft.size = size;
  must(spm_write_truncate(c, size), "truncating");
}

int model_compare(model *m, spm_conn *c) {
  content *there = spare();
  int rc = read_through(c, there);
  if (rc == SQLITE_OK && content_hash(there) != content_hash(&m->draft))
    live_failure("a transaction reads something else than it wrote");
  return rc;
}

int model_commit(model *m, spm_conn *c) {
  uint64_t state = content_hash(&m->draft);
  promise(PROMISE_STARTED, state);
  atomic_store(&m->doubt, 1);
  int rc = spm_commit_finish(c);
  if (rc == SQLITE_OK) {
    /* Else it stays one of those that may be found, until the next one that is durable. */
    if (spm_conn_durable(c)) promise(PROMISE_KEPT, state);
    copy(&m->now, &m->draft);
    atomic_store(&m->doubt, 0);
  }
  (void)spm_write_end(c);
  spm_snapshot_end(c);
  return rc;
}

void model_rollback(model *m, spm_conn *c) {
  (void)m;
  must(spm_commit_rollback(c), "rolling back");
  (void)spm_write_end(c);
  spm_snapshot_end(c);
}

/* A snapshot may be of before the commit in doubt, or of after it; what a reader has seen
** committed is so for good. */
int model_look(model *m, spm_conn *c) {
  int rc = spm_snapshot_begin(c);
  if (rc != SQLITE_OK) return rc;
  content *there = spare();
  rc = read_through(c, there);
  spm_snapshot_end(c);
  if (rc != SQLITE_OK) return rc;
  uint64_t found = content_hash(there);
  bool doubtful = atomic_load(&m->doubt) != 0 && found == content_hash(&m->draft);
  if (doubtful)
    promise(PROMISE_KEPT, found);
  else if (found != content_hash(&m->now))
    live_failure("a reader finds %016llx", (unsigned long long)found);
  return SQLITE_OK;
}

int model_adopt(model *m, spm_conn *c) {
  int rc = spm_snapshot_begin(c);
  if (rc == SQLITE_OK) rc = read_through(c, &m->now);
  spm_snapshot_end(c);
  atomic_store(&m->doubt, 0);
  return rc;
}

/* -------------------------------------------------------------- reopening -- */

static void expect_gone(const stage *at, const char *name, verdict *v) {
  if (access(stage_path(at, name), F_OK) == 0) verdict_fail(v, "%s is left after a clean close", name);
}

static void look_at_plain(const stage *at, verdict *v) {
  static const uint8_t no_life[20];
  const char *path = stage_path(at, X_NAME);
  content *c = spare();
  if (!read_whole(path, c)) {
    verdict_fail(v, "X cannot be read after a clean close");
    return;
  }
  spm_header_kind kind = kind_of(path);
  if (kind != SPM_HEADER_PLAIN && kind != SPM_HEADER_EMPTY) verdict_fail(v, "X is not plain after a clean close");
  if (content_hash(c) != v->state) verdict_fail(v, "a clean close changed the content");
  if (c->size >= SPM_HEADER_SIZE && memcmp(c->bytes + 72, no_life, sizeof no_life) != 0) verdict_fail(v, "a clean close left a life in X");
  v->bytes = content_hash(c);
  expect_gone(at, X_NAME "-pmlog", v);
  expect_gone(at, X_NAME "-pmshm", v);
}

void model_reopen(const stage *at, verdict *v) {
  spm_conn *c = NULL;
  int rc = model_try_attach(at, UINT64_C(1) << 20, &c);
  if (rc != SQLITE_OK) {
    verdict_fail(v, "attaching: %d, %s", rc, spm_last_error());
    return;
  }
  content *there = spare();
  rc = spm_snapshot_begin(c);
  if (rc == SQLITE_OK) rc = read_through(c, there);
  if (rc != SQLITE_OK) verdict_fail(v, "reading: %d, %s", rc, spm_last_error());
  v->state = content_hash(there);
  spm_snapshot_end(c);
  model_detach(c);
  if (rc == SQLITE_OK) look_at_plain(at, v);
}
