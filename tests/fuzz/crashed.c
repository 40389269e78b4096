/*
** crashed.c - see crashed.h.
*/
#define _GNU_SOURCE
#include "crashed.h"
#include "model.h"

#include "../../vfs/stamp.h"
#include "../../vfs/store/core.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX (64u << 20) /* bytes: what asks for more meets a full disk */
#define BLOCKS 8u            /* of a new database */

/* ---------------------------------------------------------------- the place -- */

static char folder[128];

static void remove_folder(void) {
  DIR *dir = opendir(folder);
  for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
    (void)unlinkat(dirfd(dir), entry->d_name, 0);
  if (dir != NULL) (void)closedir(dir);
  (void)rmdir(folder);
}

const char *fuzz_folder(void) {
  if (folder[0] != 0) return folder;
  const struct rlimit limit = {FILE_MAX, FILE_MAX};
  (void)signal(SIGXFSZ, SIG_IGN);
  (void)setrlimit(RLIMIT_FSIZE, &limit);
  (void)setenv("PMEM_IS_PMEM_FORCE", "1", 0);
  const char *parent = getenv("SPM_FUZZ_FOLDER");
  (void)snprintf(folder, sizeof folder, "%s/spm-fuzz.XXXXXX", parent ? parent : "/dev/shm");
  if (mkdtemp(folder) == NULL) fuzz_wrong("no folder %s", folder);
  (void)atexit(remove_folder);
  return folder;
}

const char *fuzz_path(const char *suffix) {
  static char paths[8][200];
  static unsigned turn;
  char *path = paths[turn++ % 8];
  (void)snprintf(path, sizeof *paths, "%s/x.db%s", fuzz_folder(), suffix);
  return path;
}

void fuzz_write_file(const char *path, const void *bytes, size_t n) {
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0 || (n > 0 && pwrite(fd, bytes, n, 0) != (ssize_t)n)) fuzz_wrong("writing %s", path);
  (void)close(fd);
}

uint8_t *fuzz_read_file(const char *path, size_t *n) {
  struct stat status;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &status) != 0) fuzz_wrong("reading %s", path);
  *n = (size_t)status.st_size;
  uint8_t *bytes = malloc(*n + 1);
  if (bytes == NULL || pread(fd, bytes, *n, 0) != status.st_size) fuzz_wrong("reading %s", path);
  (void)close(fd);
  return bytes;
}

void fuzz_wrong(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "WRONG: ");
  vfprintf(stderr, format, arguments);
  fprintf(stderr, " (the engine's last error: %s)\n", spm_last_error());
  va_end(arguments);
  abort();
}

/* ------------------------------------------------------------------ the host -- */

bool fuzz_decision;

static int decide(const char *path, const char *super, bool *committed) {
  (void)path, (void)super;
  *committed = fuzz_decision;
  return SQLITE_OK;
}
static int settled(const char *path, const char *super) { return (void)path, (void)super, SQLITE_OK; }
const spm_host fuzz_host = {.kind = "database",
                            .identify = spm_stamp_identify,
                            .stamp = spm_stamp_on,
                            .unstamp = spm_stamp_off,
                            .decide = decide,
                            .settled = settled};

static int refuse(void *argument) { return (void)argument, SQLITE_BUSY; }
static const spm_store_options options = {.log_size_max = 1u << 20};

/* ---------------------------------------------------------------- the images -- */

static void must(int rc, const char *what) {
  if (rc != SQLITE_OK) fuzz_wrong("making an image, %s: %d", what, rc);
}

static void put(spm_conn *c, uint32_t first, uint32_t count, uint32_t at, uint32_t n, uint8_t value) {
  uint8_t bytes[SPM_BLOCK_SIZE];
  memset(bytes, value, sizeof bytes);
  for (uint32_t b = first; b < first + count; b++)
    must(spm_write(c, (uint64_t)b * SPM_BLOCK_SIZE + at, n, bytes), "a write");
}

static void begin(spm_conn *c) {
  must(spm_snapshot_begin(c), "a snapshot");
  must(spm_write_begin(c), "the writer lock");
}

static void end(spm_conn *c, bool commit) {
  if (commit) must(spm_commit_finish(c), "a commit");
  must(spm_write_end(c), "the end of a transaction");
  spm_snapshot_end(c);
}

static void commit(spm_conn *c, uint32_t first, uint32_t count, uint32_t at, uint32_t n, uint8_t value) {
  begin(c);
  put(c, first, count, at, n, value);
  end(c, true);
}

/* One that asked others first, and came to nothing or took effect. */
static void commit_prepared(spm_conn *c, uint8_t value, bool yes) {
  begin(c);
  put(c, 2, 2, 512, 100, value);
  must(spm_commit_stage(c, "/nowhere/super-journal"), "a PREPARE");
  end(c, yes);
}

static void cut(spm_conn *c, uint32_t blocks) {
  begin(c);
  must(spm_write_truncate(c, (uint64_t)blocks * SPM_BLOCK_SIZE), "a cut");
  end(c, true);
}

static void some_commits(spm_conn *c) {
  for (uint8_t i = 1; i <= 4; i++) commit(c, i, 2, 100u * i, 40, i);
  commit(c, 6, 4, 0, SPM_BLOCK_SIZE, 9); /* grows */
  cut(c, 9);
  commit(c, 1, 1, 0, 4000, 12);
}

/* More than a segment in one transaction: two LINKs. */
static void a_large_commit(spm_conn *c) {
  commit(c, 3, 2, 0, 20, 1);
  commit(c, 1, 90, 0, SPM_BLOCK_SIZE, 2);
  commit(c, 4, 2, 30, 20, 3);
}

static void settled_ones(spm_conn *c) {
  commit(c, 1, 3, 0, 60, 1);
  commit_prepared(c, 2, false);
  commit_prepared(c, 3, true);
  commit(c, 2, 1, 1000, 60, 4);
}

static void (*const stories[])(spm_conn *) = {some_commits, a_large_commit, settled_ones, settled_ones};

static uint8_t *padded(uint8_t *bytes, size_t n, size_t to) {
  uint8_t *grown = realloc(bytes, to + 1);
  if (grown == NULL) fuzz_wrong("no memory");
  if (to > n) memset(grown + n, 0, to - n);
  return grown;
}

/* Where the records stand, for damage to aim at. */
static void find_records(crashed *image) {
  spm_superblock first, second;
  memcpy(&first, image->log, sizeof first);
  memcpy(&second, image->log + SPM_SUPERBLOCK_STRIDE, sizeof second);
  const spm_superblock *block = first.sequence > second.sequence ? &first : &second;
  uint64_t at = block->checkpoint.offset, chain = block->checkpoint.chain;
  while (image->records < CRASHED_RECORDS && at + sizeof(spm_record) <= image->log_size) {
    spm_record record;
    memcpy(&record, image->log + at, sizeof record);
    if (record.magic != SPM_RECORD_MAGIC || record.prev_checksum != chain) break;
    image->record[image->records++] = at;
    chain = record.checksum;
    at = record.type == SPM_REC_LINK ? spm_segment_offset(record.argument) : at + spm_record_span(record.length);
  }
  if (image->records < 5) fuzz_wrong("an image has %zu records only", image->records);
}

static void make_image(crashed *image, unsigned which) {
  static const uint8_t header[20] = "SQLite format 3\0\020\0\1\1";
  uint8_t x[BLOCKS * SPM_BLOCK_SIZE] = {0};
  size_t old_size;
  spm_conn *c;
  memcpy(x, header, sizeof header);
  fuzz_write_file(fuzz_path(""), x, sizeof x);
  must(spm_store_create(fuzz_path(""), &fuzz_host, &options, &c), "a life");
  memcpy(image->life, spm_store_life(c), SPM_LIFE_SIZE);
  image->old_x = fuzz_read_file(fuzz_path(""), &old_size);
  stories[which](c);
  bool pending = which == 3;
  if (pending) {
    begin(c);
    put(c, 5, 2, 0, 200, 77);
    must(spm_commit_stage(c, "/nowhere/super-journal"), "the last PREPARE");
  }
  image->x = fuzz_read_file(fuzz_path(""), &image->x_size);
  image->log = fuzz_read_file(fuzz_path("-pmlog"), &image->log_size);
  image->old_x = padded(image->old_x, old_size, image->x_size);
  if (pending) end(c, false);
  spm_store_detach(c, refuse, NULL);
  find_records(image);
}

const crashed *crashed_image(unsigned which) {
  static crashed images[CRASHED_COUNT];
  if (images[which].x == NULL) make_image(&images[which], which);
  return &images[which];
}

/* ---------------------------------------------------------------- programs -- */

uint8_t program_byte(program *p) {
  if (p->left == 0) return 0;
  p->left--;
  return *p->at++;
}

uint64_t program_number(program *p, unsigned bytes) {
  uint64_t number = 0;
  while (bytes-- > 0) number = number << 8 | program_byte(p);
  return number;
}

uint64_t program_hurting(program *p) {
  static const uint64_t sizes[] = {0, SPM_LINE_SIZE, SPM_BLOCK_SIZE, SPM_LOG_HEADER_SIZE, SPM_SEGMENT_SIZE,
                                   SPM_LOG_HEADER_SIZE + SPM_SEGMENT_SIZE, UINT32_MAX, UINT64_MAX};
  uint8_t kind = program_byte(p);
  int8_t delta = (int8_t)program_byte(p);
  if (kind < 64) return (UINT64_C(1) << kind) + (uint64_t)(int64_t)delta;
  if (kind < 128) return sizes[kind % 8] + (uint64_t)(int64_t)delta;
  return program_number(p, kind % 8 + 1);
}

/* ------------------------------------------------------------------- damage -- */

typedef struct field {
  uint8_t at, size;
} field;

static void set_field(uint8_t *bytes, const field *f, uint64_t value) { memcpy(bytes + f->at, &value, f->size); }
static uint64_t get_field(const uint8_t *bytes, const field *f) {
  uint64_t value = 0;
  memcpy(&value, bytes + f->at, f->size);
  return value;
}

/* Half of the time a number that hurts, or else one near what was there. */
static void hurt_field(uint8_t *bytes, const field *f, program *p) {
  uint8_t how = program_byte(p);
  uint64_t value = how & 1 ? get_field(bytes, f) + (uint64_t)(int64_t)(int8_t)program_byte(p) : program_hurting(p);
  set_field(bytes, f, value);
}

static uint64_t present_salt(const damaged *d, uint64_t *start, uint64_t *chain, uint64_t *lsn) {
  spm_superblock slot[2];
  memcpy(&slot[0], d->log, sizeof slot[0]);
  memcpy(&slot[1], d->log + SPM_SUPERBLOCK_STRIDE, sizeof slot[1]);
  const spm_superblock *block = &slot[slot[0].sequence > slot[1].sequence ? 0 : 1];
  *start = block->checkpoint.offset;
  *chain = block->checkpoint.chain;
  *lsn = block->checkpoint.lsn;
  return block->salt;
}

/* Does a record whose length may be nonsense lie inside of its segment? */
static bool signable(const damaged *d, uint64_t at) {
  uint32_t length;
  if (at < SPM_LOG_HEADER_SIZE || d->log_size < sizeof(spm_record) || at > d->log_size - sizeof(spm_record)) return false;
  memcpy(&length, d->log + at + offsetof(spm_record, length), sizeof length);
  uint64_t end = spm_segment_offset(spm_offset_segment(at) + 1);
  return end <= d->log_size && length <= end - at - sizeof(spm_record);
}

static void sign_record(damaged *d, uint64_t at, uint64_t salt) {
  if (!signable(d, at)) return;
  uint64_t checksum = model_record_checksum(d->log + at, salt);
  memcpy(d->log + at, &checksum, sizeof checksum);
}

/* Chain and checksums of every record right again, wherever the log leads now. */
static void sign_chain(damaged *d, bool number) {
  uint64_t at, chain, lsn, salt = present_salt(d, &at, &chain, &lsn);
  for (unsigned i = 0; i < CRASHED_RECORDS && signable(d, at) && at % SPM_LINE_SIZE == 0; i++) {
    spm_record record;
    memcpy(&record, d->log + at, sizeof record);
    if (record.magic != SPM_RECORD_MAGIC) break;
    record.prev_checksum = chain;
    if (number) record.lsn = ++lsn;
    memcpy(d->log + at, &record, sizeof record);
    chain = model_record_checksum(d->log + at, salt);
    memcpy(d->log + at, &chain, sizeof chain);
    at = record.type == SPM_REC_LINK && record.argument < 1000 ? spm_segment_offset(record.argument)
                                                                : at + spm_record_span(record.length);
  }
}

static const field record_fields[] = {{12, 2}, {14, 2}, {16, 8}, {24, 8}, {32, 8}, {40, 8}, {48, 8}, {56, 4}, {60, 4}, {8, 4}};
static const field block_fields[] = {{16, 4}, {20, 4}, {24, 4}, {28, 4}, {48, 8}, {56, 8}, {64, 8},
                                     {72, 8}, {80, 8}, {88, 8}, {96, 8}, {8, 8}, {32, 8}};
static const field entry_fields[] = {{0, 4}, {4, 2}, {6, 2}};
#define COUNT(array) (sizeof(array) / sizeof *(array))

static uint64_t pick_record(const damaged *d, program *p) {
  uint64_t at = d->from->record[program_byte(p) % d->from->records];
  return at + sizeof(spm_record) <= d->log_size ? at : 0;
}

static void damage_record(damaged *d, program *p, uint8_t operation) {
  uint64_t at = pick_record(d, p), start, chain, lsn, salt = present_salt(d, &start, &chain, &lsn);
  if (at == 0) return;
  uint8_t *record = d->log + at;
  uint64_t room = d->log_size - at - sizeof(spm_record), from;
  switch (operation) {
    case 0: hurt_field(record, &record_fields[program_byte(p) % COUNT(record_fields)], p); break;
    case 1: /* the first or a later entry: where entries of 48 bytes would begin */
      from = program_byte(p) % 16 * 48u;
      if (from + sizeof(spm_entry) <= room)
        hurt_field(record + sizeof(spm_record) + from, &entry_fields[program_byte(p) % 3], p);
      break;
    case 2:
      from = program_number(p, 2);
      if (from < room) record[sizeof(spm_record) + from] ^= (uint8_t)(program_byte(p) | 1);
      break;
    case 3: /* another record's bytes in its place */
      from = pick_record(d, p);
      if (from != 0) memmove(record, d->log + from, d->log_size - (from > at ? from : at) < 128 ? 64 : 128);
      break;
    default: memset(record, 0, sizeof(spm_record)); break;
  }
  if (program_byte(p) & 1) sign_record(d, at, salt);
}

static void damage_log(damaged *d, program *p) {
  uint8_t operation = program_byte(p) % 10;
  uint64_t at;
  switch (operation) {
    case 5: sign_chain(d, false); break;
    case 6: sign_chain(d, true); break;
    case 7:
      at = program_number(p, 3) % d->log_size;
      d->log[at] ^= (uint8_t)(1u << program_byte(p) % 8);
      break;
    case 8: d->log_size -= program_number(p, 3) % d->log_size; break;
    case 9: /* a record where there was none */
      at = SPM_LOG_HEADER_SIZE + program_number(p, 2) * SPM_LINE_SIZE;
      if (at + 64 <= d->log_size) memcpy(d->log + at, d->from->log + d->from->record[program_byte(p) % d->from->records], 64);
      break;
    default: damage_record(d, p, operation); break;
  }
}

static void damage_superblock(damaged *d, program *p) {
  uint8_t operation = program_byte(p);
  uint8_t *block = d->log + (operation & 1 ? SPM_SUPERBLOCK_STRIDE : 0);
  if (d->log_size < SPM_LOG_HEADER_SIZE) return;
  if (operation & 2)
    hurt_field(block, &block_fields[program_byte(p) % COUNT(block_fields)], p);
  else
    block[program_byte(p) % sizeof(spm_superblock)] ^= (uint8_t)(1u << program_byte(p) % 8);
  if (operation & 4) memcpy(d->log + (operation & 1 ? 0 : SPM_SUPERBLOCK_STRIDE), block, sizeof(spm_superblock));
  if (!(operation & 8)) return;
  for (size_t at = 0; at <= SPM_SUPERBLOCK_STRIDE; at += SPM_SUPERBLOCK_STRIDE) {
    uint64_t checksum = model_superblock_checksum(d->log + at);
    memcpy(d->log + at, &checksum, sizeof checksum);
  }
}

/* The stamp's own bytes are the business of another target: without them nothing is recovered. */
static void damage_database(damaged *d, program *p) {
  uint64_t at = program_number(p, 3);
  if (program_byte(p) & 1)
    d->x_size -= at % (d->x_size - SPM_BLOCK_SIZE);
  else if (at >= SPM_HEADER_SIZE && at < d->x_size)
    d->x[at] ^= (uint8_t)(program_byte(p) | 1);
}

static uint8_t *copy_of(const uint8_t *bytes, size_t n) {
  uint8_t *copy = malloc(n + 1);
  if (copy == NULL) fuzz_wrong("no memory");
  memcpy(copy, bytes, n);
  return copy;
}

void damage(damaged *d, program *p, unsigned what) {
  uint8_t choice = program_byte(p);
  const crashed *image = crashed_image(choice % CRASHED_COUNT);
  fuzz_decision = choice & 0x40;
  *d = (damaged){.from = image, .x_size = image->x_size, .log_size = image->log_size};
  d->x = copy_of(choice & 0x80 ? image->x : image->old_x, d->x_size);
  d->log = copy_of(image->log, d->log_size);
  for (unsigned i = 0; i < 32 && p->left > 0 && d->log_size > SPM_LOG_HEADER_SIZE; i++) {
    uint8_t part = program_byte(p) % 8;
    if (part == 0 && (what & DAMAGE_DATABASE)) damage_database(d, p);
    else if (what & DAMAGE_SUPERBLOCKS && (part < 3 || !(what & DAMAGE_LOG))) damage_superblock(d, p);
    else damage_log(d, p);
  }
}

void damaged_free(damaged *d) {
  free(d->x);
  free(d->log);
}

/* ---------------------------------------------------------------- recovery -- */

/* Disk, memory and address space may be too small for what is signed: no wrong answer. */
static bool excused(int rc) { return rc == SQLITE_FULL || rc == SQLITE_IOERR_MMAP || (rc & 0xff) == SQLITE_NOMEM; }

static void compare(spm_conn *c, const model *m) {
  static uint8_t bytes[MODEL_MAX];
  must(spm_snapshot_begin(c), "reading what was recovered");
  if (spm_conn_size(c) != m->size)
    fuzz_wrong("recovered to %llu bytes instead of %llu", (unsigned long long)spm_conn_size(c), (unsigned long long)m->size);
  uint64_t n = m->size < MODEL_MAX ? m->size : MODEL_MAX;
  if (n > 0) must(spm_conn_read(c, 0, (uint32_t)n, bytes), "a read");
  if (memcmp(bytes, m->bytes, n) == 0) n = 0;
  for (uint64_t i = 0; i < n; i++)
    if (bytes[i] != m->bytes[i]) fuzz_wrong("byte %llu of what was recovered is %u instead of %u", (unsigned long long)i, bytes[i], m->bytes[i]);
  spm_snapshot_end(c);
}

/* What was recovered can be written to; that is recovered in its turn, from the file
** as it stands. */
static void write_on(spm_conn *c, model *m) {
  if (m->size < 2 * SPM_BLOCK_SIZE || m->size > MODEL_MAX) return;
  commit(c, 1, 1, 8, 16, 0xee);
  memset(m->bytes + SPM_BLOCK_SIZE + 8, 0xee, 16);
  compare(c, m);
}

static spm_conn *join(const model *m) {
  spm_conn *c = NULL;
  int rc = spm_store_join(fuzz_path(""), &fuzz_host, &options, &c);
  if (rc == SQLITE_OK && m->refused != NULL) fuzz_wrong("accepted, though %s", m->refused);
  if (rc != SQLITE_OK && m->refused == NULL && !excused(rc)) fuzz_wrong("refused with %d what is right", rc);
  return rc == SQLITE_OK ? c : NULL;
}

/* A forged record may have made another header of the database's, which is then none that
** this log belongs to. */
static bool still_belongs(const damaged *d) {
  uint8_t life[SPM_LIFE_SIZE];
  int fd = open(fuzz_path(""), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fuzz_wrong("the database has gone");
  bool same = spm_stamp_identify(fd, life) == SQLITE_OK && memcmp(life, d->from->life, sizeof life) == 0;
  (void)close(fd);
  return same;
}

void recover_and_compare(const damaged *d, bool twice) {
  model m;
  const model_input in = {d->x, d->log, d->x_size, d->log_size, d->from->life, fuzz_decision};
  model_recover(&in, &m);
  fuzz_write_file(fuzz_path(""), d->x, d->x_size);
  fuzz_write_file(fuzz_path("-pmlog"), d->log, d->log_size);
  for (int round = 0; round < (twice ? 2 : 1); round++) {
    if (round > 0 && !still_belongs(d)) break;
    spm_conn *c = join(&m);
    if (c == NULL) break;
    compare(c, &m);
    if (twice) write_on(c, &m);
    spm_store_detach(c, refuse, NULL);
  }
  model_free(&m);
}
