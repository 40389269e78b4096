/*
** store.c - see store.h: the process's stores, and the life of each.
**
** Locks: the registry mutex around every attachment and detachment of the process,
** the gate around those of all processes.  Who finds no slot's byte held, gate in
** hand, is the first, and recovers; who finds none on leaving was the last (S1).
*/
#define _GNU_SOURCE
#include "store.h"

#include "checkpoint.h"
#include "core.h"
#include "flusher.h"
#include "log.h"
#include "pending.h"
#include "recovery.h"
#include "shm.h"
#include "snapshot.h"
#include "superblock.h"
#include "takeover.h"
#include "unlogged.h"
#include "version.h"
#include "writeset.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define GATE_PATIENCE_MS 5000u
#define FIRST_LSN 1u
#define RESIDENT_MAX 8192u /* 32 MiB of blocks */

/* Recursive: a host that is asked to decide may have to open another store. */
static pthread_mutex_t registry_mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static spm_store *registry;

/* ---------------------------------------------------------------- fork -- */

/* The child has its parent's descriptors but must have none of its locks, and its
** mappings were not copied (MADV_DONTFORK): forget both (S3). */
static void orphan_region(spm_region *r) {
  if (r->fd >= 0) close(r->fd);
  r->fd = -1;
  r->base = NULL;
}

static void before_fork(void) { pthread_mutex_lock(&registry_mutex); }
static void after_fork_parent(void) { pthread_mutex_unlock(&registry_mutex); }
static void after_fork_child(void) {
  for (spm_store *s = registry; s != NULL; s = s->next) {
    atomic_store(&s->orphaned, true);
    close(s->locks.fd);
    close(s->locks.probe);
    orphan_region(&s->data);
    orphan_region(&s->log);
    orphan_region(&s->shared);
  }
  registry = NULL;
  /* A recursive mutex knows its owner by thread id, and the child's is another. */
  registry_mutex = (pthread_mutex_t)PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
}

static pthread_once_t fork_handlers = PTHREAD_ONCE_INIT;
static void install_fork_handlers(void) {
  (void)pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

/* --------------------------------------------------------------- stores -- */

static void store_free(spm_store *s) {
  if (!atomic_load(&s->orphaned)) {
    spm_region_close(&s->shared);
    spm_region_close(&s->log);
    spm_region_close(&s->data);
    if (s->locks.probe >= 0) close(s->locks.probe);
    if (s->locks.fd >= 0) close(s->locks.fd);
  }
  pthread_mutex_destroy(&s->slots_mutex);
  free(s->path);
  free(s);
}

static int refuse_network(int fd, const char *path) {
  struct statfs fs;
  if (fstatfs(fd, &fs) != 0) return SQLITE_OK;
  switch ((unsigned long)fs.f_type) {
    case NFS_SUPER_MAGIC:
    case SMB_SUPER_MAGIC:
    case 0xFF534D42ul: /* CIFS */
    case 0xFE534D42ul: /* SMB2 */
    case V9FS_MAGIC:
    case AFS_SUPER_MAGIC:
    case CODA_SUPER_MAGIC:
      return spm_error(SQLITE_CANTOPEN, "%s is on a network file system: shared mappings and locks do not work there", path);
    default:
      return SQLITE_OK;
  }
}

static int open_data(const char *path, int *fd) {
  *fd = open(path, O_RDWR | O_CLOEXEC);
  if (*fd >= 0) return SQLITE_OK;
  int code = errno == EACCES || errno == EROFS || errno == EPERM ? SQLITE_READONLY : SQLITE_CANTOPEN;
  return spm_error(code, "opening %s for writing: %s", path, strerror(errno));
}

static void take_options(spm_store *s, const spm_store_options *options) {
  atomic_store(&s->log_size_max, options->log_size_max);
  atomic_store(&s->size_max, options->size_max);
  atomic_store(&s->checkpoint_interval_ns, options->checkpoint_interval_ns);
}

/* A store object with its data file open and mapped later; not registered. */
static int store_new(const char *path, const spm_host *host, const spm_store_options *options,
                     spm_store **made) {
  spm_store *s = calloc(1, sizeof *s);
  if (s == NULL) return SQLITE_NOMEM;
  s->host = host;
  pthread_mutex_init(&s->slots_mutex, NULL);
  s->locks.fd = s->locks.probe = -1;
  s->data = s->log = s->shared = (spm_region){.base = MAP_FAILED, .fd = -1};
  take_options(s, options);
  s->resident_max = RESIDENT_MAX;
  s->path = strdup(path);
  int rc = s->path ? open_data(path, &s->locks.fd) : SQLITE_NOMEM;
  if (rc == SQLITE_OK) rc = refuse_network(s->locks.fd, path);
  if (rc == SQLITE_OK) rc = open_data(path, &s->locks.probe);
  struct stat status;
  if (rc == SQLITE_OK && fstat(s->locks.fd, &status) != 0)
    rc = spm_error(SQLITE_IOERR_FSTAT, "fstat of %s: %s", path, strerror(errno));
  if (rc != SQLITE_OK) {
    store_free(s);
    return rc;
  }
  s->device = status.st_dev;
  s->inode = status.st_ino;
  *made = s;
  return SQLITE_OK;
}

/* Path and descriptor are still one file: a rename in between would otherwise
** attach the log of one to the data of another. */
static int check_same_file(const spm_store *s) {
  struct stat status;
  bool there = stat(s->path, &status) == 0;
  if (there && status.st_dev == s->device && status.st_ino == s->inode) return SQLITE_OK;
  if (!there && errno != ENOENT)
    return spm_error(SQLITE_IOERR_FSTAT, "stat of %s: %s", s->path, strerror(errno));
  return spm_error(SQLITE_BUSY, "%s was replaced while it was being opened", s->path);
}

static int map_data(spm_store *s) {
  int fd, rc = open_data(s->path, &fd);
  return rc == SQLITE_OK ? spm_region_open(&s->data, fd, s->path, s->log.media, SPM_ROOM_DATA) : rc;
}

/* ------------------------------------------------------------- the log -- */

static int open_log(spm_store *s, spm_superblock *block) {
  char *name = spm_sidecar(s->path, "-pmlog");
  if (name == NULL) return SQLITE_NOMEM;
  int fd, rc = spm_sidecar_open(name, &fd);
  if (rc == SQLITE_OK) rc = spm_region_open(&s->log, fd, name, spm_media_of(name), SPM_ROOM_SIDECAR);
  free(name);
  if (rc == SQLITE_OK) rc = spm_superblock_read(&s->log, block);
  if (rc == SQLITE_OK && memcmp(block->life, s->life, SPM_LIFE_SIZE) != 0)
    rc = spm_error(SQLITE_CANTOPEN, "%s belongs to another database, or to another life of this one",
                   s->log.path);
  return rc;
}

/* The file, one segment, a superblock; durable with its name. */
static int create_log(spm_store *s, spm_superblock *block) {
  char *name = spm_sidecar(s->path, "-pmlog");
  if (name == NULL) return SQLITE_NOMEM;
  int fd, rc = spm_sidecar_create(s->locks.fd, name, &fd);
  if (rc == SQLITE_OK) rc = spm_file_allocate(fd, name, spm_segment_offset(1));
  if (rc == SQLITE_OK) rc = spm_region_open(&s->log, fd, name, spm_media_of(name), SPM_ROOM_SIDECAR);
  static const uint8_t zeros[SPM_SEGMENT_SIZE];
  if (rc == SQLITE_OK) rc = spm_append(&s->log, spm_segment_offset(0), zeros, sizeof zeros);
  *block = (spm_superblock){.sequence = 1, .next_txid = 1};
  memcpy(block->life, s->life, SPM_LIFE_SIZE);
  if (rc == SQLITE_OK) rc = spm_random(&block->salt, sizeof block->salt);
  block->checkpoint = (spm_log_pos){spm_segment_offset(0), FIRST_LSN, block->salt};
  free(name);
  return rc;
}

/* ------------------------------------------------------------ connections -- */

static void conn_free(spm_conn *c) {
  spm_writeset_free(&c->set);
  spm_txn_free(&c->txn);
  free(c);
}

static int connect(spm_store *s, spm_conn **made) {
  spm_conn *c = calloc(1, sizeof *c);
  if (c == NULL) return SQLITE_NOMEM;
  int rc = spm_slot_claim(s, &c->slot);
  if (rc != SQLITE_OK) {
    free(c);
    return rc;
  }
  c->store = s;
  s->references++;
  *made = c;
  return SQLITE_OK;
}

/* A connection beside those of the users, which does not keep the store open. */
static int connect_within(spm_store *s, spm_conn **made) {
  int rc = connect(s, made);
  if (rc == SQLITE_OK) s->references--;
  return rc;
}

static void disconnect_within(spm_conn *c) {
  spm_slot_release(c->store, c->slot);
  conn_free(c);
}

static int start_flusher(spm_store *s) {
  spm_conn *c;
  int rc = connect_within(s, &c);
  if (rc != SQLITE_OK) return rc;
  rc = spm_flusher_start(s, c);
  if (rc != SQLITE_OK) disconnect_within(c);
  return rc;
}

static void stop_flusher(spm_store *s) {
  spm_conn *c = spm_flusher_stop(s);
  if (c != NULL) disconnect_within(c);
}

/* Has a connection of this process asked for one? */
static bool flusher_wanted(spm_store *s) {
  bool wanted = false;
  pthread_mutex_lock(&s->slots_mutex);
  for (uint32_t i = 0; i < SPM_SLOT_COUNT && !wanted; i++)
    wanted = s->owned[i] && atomic_load(&s->shm->slots[i].durability) != SPM_DURABLE_AT_ONCE;
  pthread_mutex_unlock(&s->slots_mutex);
  return wanted && !s->log.media->persistent;
}

/* Nothing else is asked of persistent memory: there every commit is durable at once. */
static int take_durability(spm_conn *c, const spm_store_options *options) {
  spm_store *s = c->store;
  int rc = SQLITE_OK;
  bool later = options->durability != SPM_DURABLE_AT_ONCE;
  pthread_mutex_lock(&registry_mutex);
  if (later && !s->log.media->persistent && !spm_unlogged(s) && s->flusher == NULL) rc = start_flusher(s);
  pthread_mutex_unlock(&registry_mutex);
  if (rc != SQLITE_OK) return rc;
  c->flush_interval_ns = options->flush_interval_ns;
  c->durability = options->durability;
  atomic_store(&s->shm->slots[c->slot].durability, (uint32_t)options->durability);
  return SQLITE_OK;
}

/* *found: NULL if it is none of them, or not there. */
static int registry_find(const char *path, spm_store **found) {
  struct stat status;
  *found = NULL;
  if (stat(path, &status) != 0)
    return errno == ENOENT || errno == ENOTDIR ? SQLITE_OK
                                               : spm_error(SQLITE_IOERR_FSTAT, "looking at %s: %s", path, strerror(errno));
  for (spm_store *s = registry; s != NULL; s = s->next)
    if (s->device == status.st_dev && s->inode == status.st_ino) *found = s;
  return SQLITE_OK;
}

int spm_stores_visit(const char *path, int (*visit)(spm_store *, void *), void *argument) {
  pthread_mutex_lock(&registry_mutex);
  spm_store *s = registry;
  int rc = path != NULL ? registry_find(path, &s) : SQLITE_OK;
  if (rc == SQLITE_OK && s == NULL && path != NULL) rc = SQLITE_NOTFOUND;
  for (; rc == SQLITE_OK && s != NULL; s = path != NULL ? NULL : s->next) rc = visit(s, argument);
  pthread_mutex_unlock(&registry_mutex);
  return rc;
}

static void registry_add(spm_store *s) {
  s->next = registry;
  registry = s;
}

static void registry_remove(const spm_store *s) {
  spm_store **link = &registry;
  while (*link != NULL && *link != s) link = &(*link)->next;
  if (*link != NULL) *link = s->next;
}

/* Without a thread its commits are durable at once: more than was asked for. */
static void begin_durability(spm_conn *c, const spm_store_options *options) {
  if (take_durability(c, options) != SQLITE_OK)
    spm_notice("%s: its commits are durable at once: %s", c->store->path, spm_last_error());
}

/* ----------------------------------------------------------------- join -- */

static int recover_store(spm_store *s, const spm_superblock *block) {
  int rc = spm_shm_create(s, block);
  if (rc == SQLITE_OK) rc = spm_recover(s, block);
  if (rc == SQLITE_OK) spm_shm_ready(s);
  return rc;
}

/* recovery=none: for whoever wants to look at what is there, or to copy it, first. */
static int refuse_recovery(const spm_store *s) {
  return spm_error(SQLITE_CANTOPEN,
                   "%s was left by a crash and needs recovery, which recovery=none forbids: copy it and %s if they are"
                   " wanted as they are, then open it without that option",
                   s->path, s->log.path);
}

static int refuse_unlogged(const spm_store *s) {
  return spm_error(SQLITE_CORRUPT,
                   "%s was being written with wal=off when its process died, and may be half written: recovery=full"
                   " opens it if it proves to be whole",
                   s->path);
}

static int busy_unlogged(const spm_store *s) {
  return spm_error(SQLITE_BUSY, "%s is being written with wal=off: no other connection can be had", s->path);
}

/* The first attachment is not through with it (recovery=full). */
static int check_verified(const spm_store *s, const spm_store_options *options) {
  uint32_t verifier = atomic_load(&s->shm->verifier);
  if (options->verifying || (verifier & SPM_OWNER_SLOT_MASK) == 0) return SQLITE_OK;
  if (!spm_writer_alive(&s->locks, s->shm, verifier)) return SQLITE_OK;
  return spm_error(SQLITE_BUSY, "%s is being verified before anybody may use it", s->path);
}

bool spm_conn_must_verify(const spm_conn *c) {
  return atomic_load(&c->store->shm->verifier) == spm_owner_word(c->store->shm, c->slot);
}

int spm_conn_verified(spm_conn *c) {
  int rc = spm_unlogged_accept(c);
  if (rc == SQLITE_OK) atomic_store(&c->store->shm->verifier, 0);
  return rc;
}

/* Gate held: nobody else has got in yet. */
static void begin_verifying(spm_conn *c) {
  atomic_store(&c->store->shm->verifier, spm_owner_word(c->store->shm, c->slot));
}

/* Gate held: the first makes the store usable, the others find it so. */
static int join_or_recover(spm_store *s, const spm_store_options *options, bool *first) {
  spm_superblock block;
  int rc = check_same_file(s);
  if (rc == SQLITE_OK) rc = s->host->identify(s->locks.fd, s->life);
  if (rc == SQLITE_OK) rc = open_log(s, &block);
  if (rc == SQLITE_OK) rc = map_data(s);
  if (rc != SQLITE_OK) return rc;
  *first = !spm_any_slot_alive(&s->locks);
  if (*first && options->recover_never && !block.clean) return refuse_recovery(s);
  if (*first && block.unlogged && !options->verify_first) return refuse_unlogged(s);
  if (*first) return recover_store(s, &block);
  rc = spm_shm_join(s);
  if (rc == SQLITE_OK && spm_unlogged(s)) rc = busy_unlogged(s);
  return rc == SQLITE_OK ? check_verified(s, options) : rc;
}

static int join_new(const char *path, const spm_host *host, const spm_store_options *options,
                    spm_conn **made) {
  spm_store *s;
  int rc = store_new(path, host, options, &s);
  if (rc != SQLITE_OK) return rc;
  rc = spm_gate_enter(&s->locks, GATE_PATIENCE_MS);
  if (rc == SQLITE_OK) {
    bool first;
    rc = join_or_recover(s, options, &first);
    if (rc == SQLITE_OK) rc = connect(s, made);
    if (rc == SQLITE_OK && first && options->verify_first) begin_verifying(*made);
    spm_gate_leave(&s->locks);
  }
  if (rc == SQLITE_OK)
    registry_add(s);
  else
    store_free(s);
  return rc;
}

static int join_known(spm_store *s, const spm_host *host, const spm_store_options *options, spm_conn **made) {
  if (s->host == host) {
    int rc = check_verified(s, options);
    if (rc == SQLITE_OK && spm_unlogged(s) && !options->unlogged) rc = busy_unlogged(s);
    return rc == SQLITE_OK ? connect(s, made) : rc;
  }
  return spm_error(SQLITE_CANTOPEN, "%s is open in this process as another kind of store", s->path);
}

int spm_store_join(const char *path, const spm_host *host, const spm_store_options *options,
                   spm_conn **made) {
  pthread_once(&fork_handlers, install_fork_handlers);
  pthread_mutex_lock(&registry_mutex);
  spm_store *s;
  int rc = registry_find(path, &s);
  if (rc == SQLITE_OK) rc = s != NULL ? join_known(s, host, options, made) : join_new(path, host, options, made);
  if (rc == SQLITE_OK) begin_durability(*made, options);
  pthread_mutex_unlock(&registry_mutex);
  return rc;
}

/* --------------------------------------------------------------- create -- */

/* Gate held, stock SQLite kept out by the caller.  The stamp comes last (S2): a
** crash before it leaves an ordinary file beside a log that nobody will read. */
static int begin_life(spm_store *s) {
  spm_superblock block;
  int rc = check_same_file(s);
  if (rc == SQLITE_OK && spm_any_slot_alive(&s->locks)) rc = SQLITE_BUSY;
  if (rc == SQLITE_OK) {
    /* Stamped: somebody was faster, and is gone: its log may be needed, so it is to be joined. */
    int stamped = s->host->identify(s->locks.fd, s->life);
    rc = stamped == SQLITE_OK ? SQLITE_BUSY : stamped == SQLITE_NOTFOUND ? SQLITE_OK : stamped;
  }
  if (rc == SQLITE_OK) rc = spm_random(s->life, sizeof s->life);
  if (rc == SQLITE_OK) rc = create_log(s, &block);
  if (rc == SQLITE_OK) rc = map_data(s);
  if (rc != SQLITE_OK) return rc;
  block.logical_size = atomic_load(&s->data.allocated);
  rc = spm_superblock_write(&s->log, &block);
  if (rc == SQLITE_OK) rc = spm_region_fsync(&s->log);
  if (rc == SQLITE_OK) rc = spm_folder_fsync(s->path);
  if (rc == SQLITE_OK) rc = spm_shm_create(s, &block);
  if (rc == SQLITE_OK) (void)spm_segment_mark(s, 0);
  uint64_t size = block.logical_size;
  if (rc == SQLITE_OK) rc = s->host->stamp(&s->data, s->life, &size);
  if (rc == SQLITE_OK) spm_shm_ready(s);
  return rc;
}

static void unlink_sidecars(const spm_store *s) {
  static const char *const suffix[] = {"-pmlog", "-pmshm"};
  for (size_t i = 0; i < sizeof suffix / sizeof *suffix; i++) {
    char *name = spm_sidecar(s->path, suffix[i]);
    if (name != NULL) (void)unlink(name);
    free(name);
  }
}

int spm_store_create(const char *path, const spm_host *host, const spm_store_options *options,
                     spm_conn **made) {
  spm_store *s;
  pthread_once(&fork_handlers, install_fork_handlers);
  pthread_mutex_lock(&registry_mutex);
  int rc = store_new(path, host, options, &s);
  if (rc == SQLITE_OK) {
    rc = spm_gate_enter(&s->locks, GATE_PATIENCE_MS);
    if (rc == SQLITE_OK) {
      uint8_t life[SPM_LIFE_SIZE];
      rc = begin_life(s);
      if (rc == SQLITE_OK) rc = connect(s, made);
      if (rc == SQLITE_OK && options->verify_first) begin_verifying(*made);
      /* Not if the stamp reached the file: then the log is what it needs. */
      if (rc != SQLITE_OK && rc != SQLITE_BUSY && host->identify(s->locks.fd, life) == SQLITE_NOTFOUND)
        unlink_sidecars(s);
      spm_gate_leave(&s->locks);
    }
    if (rc == SQLITE_OK)
      registry_add(s);
    else
      store_free(s);
  }
  if (rc == SQLITE_OK) begin_durability(*made, options);
  pthread_mutex_unlock(&registry_mutex);
  return rc;
}

/* --------------------------------------------------------------- detach -- */

/* The order of S2: X complete and durable, then the log no longer needed, then the
** stamp off, then the names gone.  A crash anywhere leaves a stamped file with its
** log, or an ordinary one. */
static int end_life(spm_store *s) {
  spm_shm *shm = s->shm;
  if (spm_writer_held(shm) || spm_poisoned(s) || atomic_load(&shm->unlogged) != SPM_LOGGED) return SQLITE_BUSY;
  uint8_t life[SPM_LIFE_SIZE];
  int rc = check_same_file(s);
  if (rc == SQLITE_OK) rc = s->host->identify(s->locks.fd, life);
  if (rc == SQLITE_OK && memcmp(life, s->life, SPM_LIFE_SIZE) != 0) rc = SQLITE_NOTFOUND;
  if (rc == SQLITE_OK) rc = spm_region_refresh(&s->data);
  if (rc == SQLITE_OK && atomic_load(&s->data.allocated) < shm->held_size)
    rc = spm_error(SQLITE_CORRUPT, "%s was shortened while it was open", s->path);
  if (rc == SQLITE_OK) rc = spm_checkpoint_all(s);
  if (rc != SQLITE_OK) return rc;
  uint64_t size = atomic_load(&spm_committed(shm)->logical_size);
  uint64_t keep = size > 0 ? size : SPM_BLOCK_SIZE; /* the stamp needs a place */
  rc = spm_region_truncate(&s->data, keep);
  /* The length is durable before the stamp goes: unstamped, nothing but SQLite's header
  ** could tell what lies behind the end, and not between the two writes of its counter. */
  if (rc == SQLITE_OK) rc = spm_region_fsync(&s->data);
  if (rc == SQLITE_OK) rc = spm_checkpoint_restart(s, true);
  if (rc == SQLITE_OK) rc = s->host->unstamp(&s->data, size);
  if (rc != SQLITE_OK) return rc;
  unlink_sidecars(s);
  if (s->host->ended != NULL) s->host->ended(&s->data);
  return SQLITE_OK;
}

/* The slot goes under the gate: given back before, somebody could attach, commit and
** leave again, and the life that would be ended here is not the one X is in. */
static void detach_last(spm_store *s, uint32_t slot, int (*exclude)(void *), void *argument) {
  bool gate = spm_gate_enter(&s->locks, GATE_PATIENCE_MS) == SQLITE_OK;
  spm_slot_release(s, slot);
  if (!gate) return;
  bool whole = !spm_writer_held(s->shm) && !spm_poisoned(s); /* or a stub may be needed yet */
  if (!spm_any_slot_alive(&s->locks) && whole && exclude(argument) == SQLITE_OK && end_life(s) != SQLITE_OK)
    spm_notice("%s keeps its log: it will be recovered when it is opened again", s->path);
  spm_gate_leave(&s->locks);
}

void spm_store_detach(spm_conn *c, int (*exclude)(void *), void *argument) {
  spm_store *s = c->store;
  if (atomic_load(&s->orphaned)) { /* the child of a fork only frees memory */
    conn_free(c);
    return;
  }
  pthread_mutex_lock(&registry_mutex);
  (void)spm_write_end(c);
  spm_snapshot_end(c);
  if (--s->references > 0) {
    spm_slot_release(s, c->slot);
  } else {
    stop_flusher(s);
    if (spm_unlogged(s) && spm_unlogged_leave(c) != SQLITE_OK)
      spm_notice("%s was written with wal=off, and could not be made whole", s->path);
    /* A writer that died is finished by a living attachment, this one. */
    if (spm_writer_held(s->shm)) {
      int rc = spm_takeover_if_dead(c);
      if (rc != SQLITE_OK && rc != SQLITE_BUSY) spm_poison(s);
    }
    detach_last(s, c->slot, exclude, argument);
    registry_remove(s);
    store_free(s);
  }
  conn_free(c);
  pthread_mutex_unlock(&registry_mutex);
}

/* A flusher is an attachment, too, and has nothing to do without the log.  Others may need
** one when it is used again, or was not given up. */
static int take_log(spm_conn *c, const spm_store_options *options) {
  int rc = SQLITE_OK;
  pthread_mutex_lock(&registry_mutex);
  if (options->unlogged && !spm_unlogged(c->store)) {
    stop_flusher(c->store);
    rc = spm_unlogged_enter(c);
  } else if (!options->unlogged && spm_unlogged(c->store)) {
    rc = spm_unlogged_leave(c);
  }
  if (!spm_unlogged(c->store) && c->store->flusher == NULL && flusher_wanted(c->store)) {
    int started = start_flusher(c->store);
    if (rc == SQLITE_OK) rc = started;
  }
  pthread_mutex_unlock(&registry_mutex);
  return rc;
}

int spm_store_configure(spm_conn *c, const spm_store_options *options) {
  int turned = take_log(c, options);
  int rc = take_durability(c, options);
  if (turned == SQLITE_OK) take_options(c->store, options);
  return turned == SQLITE_OK ? rc : turned;
}

spm_store_options spm_store_configured(const spm_conn *c) {
  const spm_store *s = c->store;
  return (spm_store_options){.unlogged = spm_unlogged(s),
                             .log_size_max = atomic_load(&s->log_size_max),
                             .size_max = atomic_load(&s->size_max),
                             .checkpoint_interval_ns = atomic_load(&s->checkpoint_interval_ns)};
}

/* ------------------------------------------------------------- requests -- */

int spm_conn_checkpoint(spm_conn *c) {
  int rc = spm_write_begin(c);
  if (rc != SQLITE_OK) return rc;
  rc = spm_checkpoint_all(c->store);
  (void)spm_write_end(c);
  return rc;
}

typedef struct checkpoint_request {
  bool (*stop)(void *);
  void *argument;
  uint64_t lsn;
} checkpoint_request;

static int checkpoint_in_parts(spm_store *s, const checkpoint_request *request) {
  bool more = true;
  int rc = SQLITE_OK;
  while (rc == SQLITE_OK && more)
    rc = request->stop(request->argument) ? spm_error(SQLITE_INTERRUPT, "%s: the checkpoint was interrupted", s->path)
                                          : spm_checkpoint_part(s, &more);
  return rc == SQLITE_OK ? spm_checkpoint_all(s) : rc;
}

/* On a connection of its own: the caller may be in the middle of something. */
static int checkpoint_store(spm_store *s, void *argument) {
  checkpoint_request *request = argument;
  spm_conn *c;
  int rc = connect_within(s, &c);
  if (rc != SQLITE_OK) return rc;
  rc = spm_write_begin_latest(c);
  if (rc == SQLITE_OK) rc = checkpoint_in_parts(s, request);
  if (rc == SQLITE_OK) request->lsn = s->shm->checkpoint.lsn;
  if (rc == SQLITE_BUSY) rc = spm_error(rc, "%s: a transaction is writing, no checkpoint is possible before its end", s->path);
  (void)spm_write_end(c);
  spm_snapshot_end(c);
  disconnect_within(c);
  return rc;
}

/* No lock is needed: writers go on, and X follows when it can. */
static int flush(spm_store *s) {
  if (spm_poisoned(s))
    return spm_error(SQLITE_IOERR, "%s: an earlier flush failed; close it everywhere to recover it from media", s->path);
  if (spm_unlogged(s)) return spm_error(SQLITE_BUSY, "%s: with wal=off nothing is durable before wal=on", s->path);
  return spm_pending_sync(s);
}

int spm_conn_flush(spm_conn *c) { return flush(c->store); }

static int flush_store(spm_store *s, void *lsn) {
  int rc = flush(s);
  *(uint64_t *)lsn = atomic_load(&s->shm->durable_lsn);
  return rc;
}

static int visit_open(const char *path, int (*visit)(spm_store *, void *), void *argument) {
  int rc = spm_stores_visit(path, visit, argument);
  return rc == SQLITE_NOTFOUND ? spm_error(SQLITE_ERROR, "%s is no store that is open here", path) : rc;
}

int spm_store_flush(const char *path, uint64_t *lsn) { return visit_open(path, flush_store, lsn); }

int spm_store_checkpoint(const char *path, bool (*stop)(void *), void *argument, uint64_t *lsn) {
  checkpoint_request request = {.stop = stop, .argument = argument};
  int rc = visit_open(path, checkpoint_store, &request);
  *lsn = request.lsn;
  return rc;
}
