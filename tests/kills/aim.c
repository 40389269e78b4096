/*
** aim.c - see aim.h.
*/
#include "aim.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

bool aim_open(aim *a, const char *path) {
  char name[1024];
  struct stat status;
  void *at = MAP_FAILED;
  (void)snprintf(name, sizeof name, "%s-pmshm", path);
  int fd = open(name, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  if (fstat(fd, &status) == 0 && (size_t)status.st_size >= sizeof *a->shm)
    at = mmap(NULL, sizeof *a->shm, PROT_READ, MAP_SHARED, fd, 0);
  (void)close(fd);
  a->shm = at;
  return at != MAP_FAILED;
}

void aim_close(aim *a) { (void)munmap((void *)(uintptr_t)a->shm, sizeof *a->shm); }

/* The slot may have found a new owner while the word still names a dead one. */
pid_t aim_writer(const aim *a) {
  uint32_t word = atomic_load(&a->shm->writer), slot = word & SPM_OWNER_SLOT_MASK;
  if (slot == 0 || slot > SPM_SLOT_COUNT) return 0;
  const spm_slot *s = &a->shm->slots[slot - 1];
  pid_t pid = (pid_t)s->pid; /* before its generation is read: a claim sets it last */
  uint32_t generation = atomic_load(&s->generation);
  bool same = ((word >> SPM_OWNER_SLOT_BITS ^ generation) & SPM_OWNER_GENERATION_MASK) == 0;
  return same ? pid : 0;
}

uint64_t aim_published(const aim *a) { return atomic_load(&a->shm->published); }

bool aim_stamp(const char *path, uint8_t bytes[AIM_STAMP_SIZE]) {
  uint8_t header[92];
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  bool got = fd >= 0 && pread(fd, header, sizeof header, 0) == (ssize_t)sizeof header;
  if (fd >= 0) (void)close(fd);
  if (!got) return false;
  memcpy(bytes, header + 18, 2);
  memcpy(bytes + 2, header + 72, AIM_STAMP_SIZE - 2);
  return true;
}
