/*
** fixture.c - see fixture.h.
*/
#define _GNU_SOURCE
#include "fixture.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK SPM_BLOCK_SIZE
#define WORDS (BLOCK / 8)

/* ---------------------------------------------------------------- the host -- */

bool x_decision;
int x_decide_code;
unsigned x_decided, x_settled;
void (*x_deciding)(void);

static int decide(const char *path, const char *super, bool *committed) {
  (void)path, (void)super;
  if (x_deciding != NULL) x_deciding();
  x_decided++;
  *committed = x_decision;
  return x_decide_code;
}

static int settled(const char *path, const char *super) {
  (void)path, (void)super;
  x_settled++;
  return SQLITE_OK;
}

static const spm_host host = {"database", spm_stamp_identify, spm_stamp_on, spm_stamp_off, decide, settled, NULL};
static const spm_store_options options = {.log_size_max = 10u << 20};

/* ------------------------------------------------------------------- files -- */

static int medium_wanted;

void x_medium(int medium) {
  medium_wanted = medium;
  if (medium == X_FILE) media_force_file();
}

/* A test of the wrong medium would prove nothing. */
static void check_medium(const spm_conn *c) {
  const char *name = spm_store_medium(c);
  if ((strcmp(name, "file") == 0) != (medium_wanted == X_FILE)) ck_abort_msg("the medium is %s", name);
}

const char *x_beside(const char *path, const char *suffix) {
  static char names[4][600];
  static unsigned turn;
  char *name = names[turn++ % 4];
  (void)snprintf(name, sizeof *names, "%s%s", path, suffix);
  return name;
}

static void name_of(char *to, size_t n, const char *path, const char *suffix) {
  (void)snprintf(to, n, "%s%s", path, suffix);
}

const char *x_new(const char *name, uint32_t blocks) {
  static const uint8_t header[20] = "SQLite format 3\0\020\0\1\1";
  char *path = strdup(pmem_path(name));
  ck_assert_ptr_nonnull(path);
  char log[600];
  name_of(log, sizeof log, path, "-pmlog");
  (void)unlink(log);
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  ck_assert_int_ge(fd, 0);
  ck_assert_int_eq(ftruncate(fd, (off_t)(blocks + 1) * BLOCK), 0);
  ck_assert_int_eq(pwrite(fd, header, sizeof header, 0), sizeof header);
  close(fd);
  return path;
}

static uint8_t *content_of(const char *path, const char *suffix, size_t *size) {
  char name[600];
  struct stat status;
  name_of(name, sizeof name, path, suffix);
  int fd = open(name, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return NULL;
  ck_assert_int_eq(fstat(fd, &status), 0);
  *size = (size_t)status.st_size;
  uint8_t *bytes = malloc(*size + 1);
  ck_assert_ptr_nonnull(bytes);
  ck_assert_int_eq(pread(fd, bytes, *size, 0), (ssize_t)*size);
  close(fd);
  return bytes;
}

static void copy_file(const char *from, const char *to, const char *suffix) {
  char name[600];
  size_t size;
  name_of(name, sizeof name, to, suffix);
  (void)unlink(name);
  uint8_t *bytes = content_of(from, suffix, &size);
  if (bytes == NULL) return;
  int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  ck_assert_int_ge(fd, 0);
  ck_assert_int_eq(pwrite(fd, bytes, size, 0), (ssize_t)size);
  close(fd);
  free(bytes);
}

void x_copy(const char *from, const char *to) {
  copy_file(from, to, "");
  copy_file(from, to, "-pmlog");
}

uint64_t x_hash(const char *path, const char *suffix) {
  size_t size;
  uint8_t *bytes = content_of(path, suffix, &size);
  if (bytes == NULL) return 0;
  uint64_t hash = XXH3_64bits(bytes, size);
  free(bytes);
  return hash;
}

uint64_t x_length(const char *path, const char *suffix) {
  char name[600];
  struct stat status;
  name_of(name, sizeof name, path, suffix);
  return stat(name, &status) == 0 ? (uint64_t)status.st_size : 0;
}

bool x_exists(const char *path, const char *suffix) {
  char name[600];
  name_of(name, sizeof name, path, suffix);
  return access(name, F_OK) == 0;
}

void x_patch(const char *path, const char *suffix, uint64_t offset, const void *bytes, size_t n) {
  char name[600];
  name_of(name, sizeof name, path, suffix);
  int fd = open(name, O_RDWR | O_CLOEXEC);
  ck_assert_int_ge(fd, 0);
  ck_assert_int_eq(pwrite(fd, bytes, n, (off_t)offset), (ssize_t)n);
  close(fd);
}

void x_flip(const char *path, const char *suffix, uint64_t offset) {
  char name[600];
  uint8_t byte;
  name_of(name, sizeof name, path, suffix);
  int fd = open(name, O_RDWR | O_CLOEXEC);
  ck_assert_int_ge(fd, 0);
  ck_assert_int_eq(pread(fd, &byte, 1, (off_t)offset), 1);
  byte ^= 0x55;
  ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)offset), 1);
  close(fd);
}

spm_header_kind x_kind(const char *path) {
  uint8_t header[SPM_HEADER_SIZE];
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ck_assert_int_ge(fd, 0);
  ssize_t n = pread(fd, header, sizeof header, 0);
  close(fd);
  ck_assert_int_ge(n, 0);
  return spm_stamp_kind(header, (uint64_t)n);
}

/* ---------------------------------------------------------------- attaching -- */

spm_conn *x_create(const char *path) {
  spm_conn *c = NULL;
  x_ok(spm_store_create(path, &host, &options, &c));
  check_medium(c);
  return c;
}

int x_try_join(const char *path, spm_conn **c) {
  *c = NULL;
  return spm_store_join(path, &host, &options, c);
}

int x_try_join_unlogged(const char *path, const spm_store_options *with, spm_conn **c) {
  *c = NULL;
  return spm_store_join(path, &host, with, c);
}

spm_conn *x_verifying(const char *path) {
  spm_store_options full = options;
  spm_conn *c;
  full.verify_first = full.verifying = true;
  x_ok(spm_store_join(path, &host, &full, &c));
  return c;
}

spm_conn *x_join(const char *path) {
  spm_conn *c;
  int rc = x_try_join(path, &c);
  ck_assert_msg(rc == SQLITE_OK, "joining %s: %d, %s", path, rc, spm_last_error());
  return c;
}

int x_try_attach(const char *path, spm_conn **c) {
  spm_header_kind kind = x_kind(path);
  *c = NULL;
  if (kind == SPM_HEADER_STAMPED) return x_try_join(path, c);
  if (kind == SPM_HEADER_HALF) x_ok(spm_stamp_finish(path));
  ck_assert_msg(kind != SPM_HEADER_FOREIGN, "%s is neither an ordinary database nor a stamped one", path);
  return spm_store_create(path, &host, &options, c);
}

spm_conn *x_attach(const char *path) {
  spm_conn *c;
  int rc = x_try_attach(path, &c);
  ck_assert_msg(rc == SQLITE_OK, "attaching %s: %d, %s", path, rc, spm_last_error());
  return c;
}

static int allow(void *argument) { return (void)argument, SQLITE_OK; }
static int refuse(void *argument) { return (void)argument, SQLITE_BUSY; }

void x_limit_log(spm_conn *c, uint64_t bytes) {
  x_ok(spm_store_configure(c, &(spm_store_options){.log_size_max = bytes}));
}

void x_detach(spm_conn *c) { spm_store_detach(c, allow, NULL); }
void x_detach_dirty(spm_conn *c) { spm_store_detach(c, refuse, NULL); }

/* -------------------------------------------------------------- transactions -- */

static void fill(uint64_t *words, uint64_t value) {
  for (size_t i = 0; i < WORDS; i++) words[i] = value;
}

int x_begin(spm_conn *c) {
  int rc = spm_snapshot_begin(c);
  if (rc == SQLITE_OK) {
    rc = spm_write_begin(c);
    if (rc != SQLITE_OK) spm_snapshot_end(c);
  }
  return rc;
}

int x_fill(spm_conn *c, uint32_t first, uint32_t count, uint64_t value) {
  uint64_t words[WORDS];
  fill(words, value);
  int rc = SQLITE_OK;
  for (uint32_t i = 0; rc == SQLITE_OK && i < count; i++)
    rc = spm_write(c, X_AT(first + i), BLOCK, words);
  return rc;
}

void x_end(spm_conn *c) {
  (void)spm_write_end(c);
  spm_snapshot_end(c);
}

int x_try_commit(spm_conn *c, uint32_t first, uint32_t count, uint64_t value) {
  int rc = x_begin(c);
  if (rc != SQLITE_OK) return rc;
  rc = x_fill(c, first, count, value);
  if (rc == SQLITE_OK) rc = spm_commit_finish(c);
  x_end(c);
  return rc;
}

void x_commit(spm_conn *c, uint32_t first, uint32_t count, uint64_t value) {
  int rc = x_try_commit(c, first, count, value);
  ck_assert_msg(rc == SQLITE_OK, "commit of %llu: %d, %s", (unsigned long long)value, rc, spm_last_error());
}

int x_truncate(spm_conn *c, uint64_t size) {
  int rc = x_begin(c);
  if (rc != SQLITE_OK) return rc;
  rc = spm_write_truncate(c, size);
  if (rc == SQLITE_OK) rc = spm_commit_finish(c);
  x_end(c);
  return rc;
}

uint64_t x_value(spm_conn *c, uint32_t block) {
  uint64_t words[WORDS];
  x_ok(spm_conn_read(c, X_AT(block), BLOCK, words));
  for (size_t i = 1; i < WORDS; i++) /* an assertion that holds costs a system call, too */
    if (words[i] != words[0])
      ck_abort_msg("block %u is torn: word %zu is %llu, word 0 is %llu", block, i, (unsigned long long)words[i],
                   (unsigned long long)words[0]);
  return words[0];
}

/* In the snapshot that is open. */
static uint64_t peek(spm_conn *c, uint32_t first, uint32_t count) {
  uint64_t words[WORDS], value = 0;
  for (uint32_t b = 0; b < count; b++) {
    if (spm_conn_read(c, X_AT(first + b), BLOCK, words) != SQLITE_OK) return X_ERROR;
    if (b == 0) value = words[0];
    for (size_t i = 0; i < WORDS; i++)
      if (words[i] != value) return X_MIXED;
  }
  return value;
}

uint64_t x_peek(spm_conn *c, uint32_t first, uint32_t count) {
  if (c->snapshot != 0) return peek(c, first, count);
  if (spm_snapshot_begin(c) != SQLITE_OK) return X_ERROR;
  uint64_t value = peek(c, first, count);
  spm_snapshot_end(c);
  return value;
}

uint64_t x_read(spm_conn *c, uint32_t first, uint32_t count) {
  x_ok(spm_snapshot_begin(c));
  uint64_t value = x_value(c, first);
  for (uint32_t i = 1; i < count; i++)
    ck_assert_msg(x_value(c, first + i) == value, "block %u is not of the commit of block %u", first + i, first);
  spm_snapshot_end(c);
  return value;
}

/* ----------------------------------------------------------------- processes -- */

pid_t x_start(void (*work)(void *), void *argument) {
  (void)fflush(NULL);
  pid_t pid = fork();
  ck_assert_int_ge(pid, 0);
  if (pid > 0) return pid;
  work(argument);
  _exit(0);
}

int x_wait(pid_t pid) {
  int status;
  ck_assert_int_eq(waitpid(pid, &status, 0), pid);
  return status;
}

int x_child(void (*work)(void *), void *argument) { return x_wait(x_start(work, argument)); }
bool x_killed(int status) { return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL; }
bool x_finished(int status) { return WIFEXITED(status) && WEXITSTATUS(status) == 0; }

x_shared *x_shared_new(void) {
  x_shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ck_assert_ptr_ne(shared, MAP_FAILED);
  return shared;
}

void x_await(x_shared *shared, int stage) {
  while (atomic_load(&shared->stage) < stage) usleep(50);
}

void x_write_and_die(void *path) {
  spm_conn *c = x_join(path);
  x_ok(x_begin(c));
  x_ok(x_fill(c, 0, 2, 9));
  x_ok(spm_commit_stage(c, NULL));
  (void)raise(SIGKILL);
}

int x_commit_retrying(spm_conn *c, uint32_t first, uint32_t count, uint64_t value) {
  int rc = x_try_commit(c, first, count, value);
  return rc == SQLITE_BUSY_SNAPSHOT ? x_try_commit(c, first, count, value) : rc;
}

uint64_t x_random(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  return *state ^= *state << 17;
}

uint64_t x_seed(void) {
  const char *seed = getenv("SPM_SEED");
  return (seed != NULL ? strtoull(seed, NULL, 10) : 1) * 2 + 1;
}
