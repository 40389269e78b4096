/*
** fuzz_shared.c - shared memory that another process has scribbled over.
**
** X, its log and X-pmshm are put back as a living process had them; that process is a
** byte locked on a descriptor of the harness's own, so that the engine joins and does not
** recover.  A program scribbles, before the engine joins and while it works, and lets two
** connections read, write, commit, roll back and leave.
**
** PROMISE (README.md): no crash, no load or store outside of what is mapped and there, no
** endless loop.  What is read may be wrong, for the images of blocks stand in the memory
** that was written over; so the oracle here is the sanitizer and the clock.  And the log
** is still the log: recovery afterwards, by which shared memory is made anew, either
** says what is wrong or gives a database of the right make.
*/
#define _GNU_SOURCE
#include "crashed.h"

#include "../../vfs/store/core.h"

#include <fcntl.h>
#include <string.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

#define OTHER_SLOT 3u
#define SLOT_BYTE ((INT64_C(1) << 62) + 1 + OTHER_SLOT) /* lock.c */
#define READ_MAX (96u * SPM_BLOCK_SIZE)
#define OFFSET(field) offsetof(spm_shm, field)

static struct {
  uint8_t *x, *log, *shared;
  size_t x_size, log_size, shared_size;
} alive;

static const spm_store_options options = {.log_size_max = 1u << 20};
static int refuse(void *argument) { return (void)argument, SQLITE_BUSY; }
static int allow(void *argument) { return (void)argument, SQLITE_OK; }

static int commit(spm_conn *c, uint32_t first, uint32_t count, uint8_t value) {
  uint8_t block[SPM_BLOCK_SIZE];
  memset(block, value, sizeof block);
  int rc = spm_snapshot_begin(c);
  if (rc != SQLITE_OK) return rc;
  rc = spm_write_begin(c);
  for (uint32_t b = first; rc == SQLITE_OK && b < first + count; b++)
    rc = spm_write(c, (uint64_t)b * SPM_BLOCK_SIZE, sizeof block, block);
  if (rc == SQLITE_OK) rc = spm_commit_finish(c);
  (void)spm_write_end(c);
  spm_snapshot_end(c);
  return rc;
}

/* A life with a reader of old, so that there are images. */
static void make_alive(void) {
  static const uint8_t header[20] = "SQLite format 3\0\020\0\1\1";
  static uint8_t x[80 * SPM_BLOCK_SIZE];
  spm_conn *c, *old;
  memcpy(x, header, sizeof header);
  fuzz_write_file(fuzz_path(""), x, sizeof x);
  if (spm_store_create(fuzz_path(""), &fuzz_host, &options, &c) != SQLITE_OK ||
      spm_store_join(fuzz_path(""), &fuzz_host, &options, &old) != SQLITE_OK)
    fuzz_wrong("making a life");
  if (commit(c, 1, 8, 1) != SQLITE_OK || spm_snapshot_begin(old) != SQLITE_OK || commit(c, 1, 6, 2) != SQLITE_OK ||
      commit(c, 2, 70, 3) != SQLITE_OK)
    fuzz_wrong("filling a life");
  alive.x = fuzz_read_file(fuzz_path(""), &alive.x_size);
  alive.log = fuzz_read_file(fuzz_path("-pmlog"), &alive.log_size);
  alive.shared = fuzz_read_file(fuzz_path("-pmshm"), &alive.shared_size);
  spm_store_detach(old, refuse, NULL);
  spm_store_detach(c, refuse, NULL);
}

/* ---------------------------------------------------------------- scribbling -- */

/* What a stray store would hit, a byte of shared memory each; the size of the number. */
static const struct {
  size_t at;
  unsigned size, count, stride;
} targets[] = {
    {OFFSET(published), 8, 1, 0},          {OFFSET(state), 8, 12, 8},       {OFFSET(versions_changed), 8, 1, 0},
    {OFFSET(images_live), 4, 1, 0},        {OFFSET(slot_high_water), 4, 1, 0}, {OFFSET(writer), 4, 1, 0},
    {OFFSET(excluding), 4, 1, 0},          {OFFSET(poisoned), 4, 1, 0},     {OFFSET(salt), 8, 10, 8},
    {OFFSET(segments_used), 4, 8, 4},      {OFFSET(slots), 8, 32, 8},       {OFFSET(segments), 8, 4, 8},
    {OFFSET(punched), 8, 4, 8},            {OFFSET(buckets), 4, 1024, 64},  {SPM_SHM_IMAGES, 4, 768, 4},
    {OFFSET(report), 4, 16, 4},            {OFFSET(counters), 8, 16, 8},    {OFFSET(magic), 4, 10, 4},
};

static void scribble(uint8_t *shared, program *p) {
  unsigned target = program_byte(p) % (sizeof targets / sizeof *targets);
  size_t at = targets[target].at + program_number(p, 2) % targets[target].count * targets[target].stride;
  uint64_t value = 0;
  memcpy(&value, shared + at, targets[target].size);
  value = program_byte(p) & 1 ? value + (uint64_t)(int64_t)(int8_t)program_byte(p) : program_hurting(p);
  memcpy(shared + at, &value, targets[target].size);
}

/* All buckets lead to one image, or all images to each other: chains of every shape. */
static void scribble_chains(uint8_t *shared, program *p) {
  uint32_t first = (uint32_t)program_hurting(p), step = program_byte(p);
  spm_shm *shm = (spm_shm *)(void *)shared;
  for (uint32_t i = 0; i < SPM_BUCKET_COUNT; i++) shm->buckets[i] = first + i * step % 128;
  spm_image_meta *meta = (spm_image_meta *)(void *)(shared + SPM_SHM_IMAGES);
  for (uint32_t i = 0; i < SPM_IMAGE_CHUNK; i++) meta[i].next = (i + step) % SPM_IMAGE_CHUNK;
}

/* -------------------------------------------------------------------- working -- */

static void read_all(spm_conn *c) {
  static uint8_t bytes[READ_MAX];
  if (spm_snapshot_begin(c) != SQLITE_OK) return;
  uint64_t size = spm_conn_size(c);
  (void)!spm_conn_read(c, 0, (uint32_t)(size < READ_MAX ? size : READ_MAX), bytes);
  if (size > READ_MAX) (void)!spm_conn_read(c, size - 100, 100, bytes);
  spm_snapshot_end(c);
}

static void work(spm_conn *c, program *p) {
  uint8_t what = program_byte(p);
  uint32_t first = 1 + program_byte(p) % 70;
  switch (what % 6) {
    case 0: read_all(c); break;
    case 1: (void)!commit(c, first, 1 + what / 6 % 4, what); break;
    case 2: (void)!commit(c, 1, 70, what); break;
    case 3: (void)!spm_conn_checkpoint(c); break;
    case 4: /* longer or shorter, and perhaps not after all */
      if (spm_snapshot_begin(c) != SQLITE_OK) break;
      if (spm_write_begin(c) == SQLITE_OK) {
        int rc = spm_write_truncate(c, (uint64_t)first * 2 * SPM_BLOCK_SIZE);
        if (rc == SQLITE_OK && (what & 0x80)) (void)!spm_commit_finish(c);
        (void)spm_write_end(c);
      }
      spm_snapshot_end(c);
      break;
    default: /* a snapshot over another's commit is what images are for */
      if (spm_snapshot_begin(c) == SQLITE_OK && (what & 0x80)) spm_snapshot_end(c);
      break;
  }
}

static void session(program *p, int lock) {
  spm_conn *c[2] = {NULL, NULL};
  for (int i = 0; i < 2; i++)
    if (spm_store_join(fuzz_path(""), &fuzz_host, &options, &c[i]) != SQLITE_OK) c[i] = NULL;
  for (unsigned i = 0; c[0] != NULL && i < 12 && p->left > 0; i++) {
    uint8_t what = program_byte(p);
    uint8_t *shared = (uint8_t *)c[0]->store->shm;
    if (what % 3 == 0) scribble(shared, p);
    else if (what == 255) scribble_chains(shared, p);
    else work(c[what % 2 == 0 || c[1] == NULL ? 0 : 1], p);
  }
  if (program_byte(p) & 1) (void)close(lock); /* the other one dies: the last to leave ends the life */
  else lock = -1;
  for (int i = 0; i < 2; i++)
    if (c[i] != NULL) spm_store_detach(c[i], lock >= 0 ? allow : refuse, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  program p = {bytes, n};
  if (alive.x == NULL) make_alive();
  fuzz_write_file(fuzz_path(""), alive.x, alive.x_size);
  fuzz_write_file(fuzz_path("-pmlog"), alive.log, alive.log_size);
  uint8_t *shared = malloc(alive.shared_size);
  if (shared == NULL) fuzz_wrong("no memory");
  memcpy(shared, alive.shared, alive.shared_size);
  uint8_t before = program_byte(&p);
  for (unsigned i = 0; i < before % 4; i++) scribble(shared, &p);
  if (before >= 0xf0) scribble_chains(shared, &p);
  size_t length = before & 0x40 ? alive.shared_size - program_number(&p, 3) % alive.shared_size : alive.shared_size;
  fuzz_write_file(fuzz_path("-pmshm"), shared, length);
  free(shared);
  int lock = open(fuzz_path(""), O_RDWR | O_CLOEXEC);
  struct flock other = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = SLOT_BYTE, .l_len = 1};
  if (lock < 0 || fcntl(lock, F_OFD_SETLK, &other) != 0) fuzz_wrong("the other's lock");
  session(&p, lock);
  (void)fcntl(lock, F_OFD_SETLK, &(struct flock){.l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = SLOT_BYTE, .l_len = 1});
  (void)close(lock);
  spm_conn *c;
  if (spm_store_join(fuzz_path(""), &fuzz_host, &options, &c) == SQLITE_OK) {
    read_all(c);
    spm_store_detach(c, refuse, NULL);
  }
  return 0;
}
