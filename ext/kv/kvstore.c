/*
** kvstore.c - see kvstore.h.
*/
#include "kvstore.h"

#include "kvcheck.h"
#include "kvhost.h"
#include "node.h"
#include "space.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_SIZE_DEFAULT (UINT64_C(10) << 20)
#define ATTEMPTS 20u /* at a file that others are just opening or closing */
#define PAUSE_US 1000u
#define NAMES_KEPT 16u
#define FINDING_MAX 256u /* bytes of a fault's description */

/* A tree's root, known since the directory last changed. */
typedef struct known_tree {
  char *name;
  uint32_t root;
} known_tree;

struct spm_kv {
  spm_conn *conn;
  uint8_t id[16];
  uint32_t limit; /* blocks */
  bool readonly;
  bool staged;         /* since the transaction began */
  uint64_t generation; /* of the directory, when `known` was read; 0: nothing is known */
  uint64_t lsn;        /* a snapshot in which it has been looked at                   */
  known_tree known[NAMES_KEPT];
  uint32_t known_count, known_next;
  bool (*stop)(void *); /* spm_kv_watch(), or NULL */
  void *stop_argument;
};

/* The engine speaks to SQLite's pager, which wants every failure of its files to be an I/O
** error; here no memory is no memory. */
static int plainly(int rc) { return rc == SQLITE_IOERR_NOMEM ? SQLITE_NOMEM : rc; }

/* ------------------------------------------------- files of other kinds -- */

/* Closing a descriptor gives up all of a process's POSIX locks on the file.  If it is a
** SQLite database which this process has open, they are not ours to give up: so what
** was opened to look at one stays open. */
static void close_unless_database(int fd, const uint8_t *first) {
  static const char magic[] = "SQLite format 3";
  if (memcmp(first, magic, sizeof magic) != 0) (void)close(fd);
}

static int look(const char *path, spm_kv_kind *kind, bool *exists) {
  _Alignas(8) uint8_t first[SPM_KV_LOOK] = {0};
  struct stat status;
  uint64_t n;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc = SQLITE_OK;
  *exists = fd >= 0 || errno != ENOENT;
  *kind = SPM_KV_FOREIGN;
  if (!*exists) return SQLITE_OK;
  if (fd < 0) return spm_error(SQLITE_CANTOPEN, "opening %s: %s", path, strerror(errno));
  if (fstat(fd, &status) != 0) {
    rc = spm_error(SQLITE_IOERR_FSTAT, "looking at %s: %s", path, strerror(errno));
  } else if (S_ISREG(status.st_mode)) {
    rc = spm_kv_look(fd, path, first, &n);
    if (rc == SQLITE_OK) *kind = spm_kv_kind_of(first, n);
  }
  close_unless_database(fd, first);
  return rc;
}

static int make_file(const char *path) {
  int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0 && errno == EEXIST) return SQLITE_NOTFOUND; /* somebody was faster: look again */
  if (fd < 0) return spm_error(SQLITE_CANTOPEN, "creating %s: %s", path, strerror(errno));
  (void)close(fd);
  return SQLITE_OK;
}

/* ------------------------------------------------------------- attaching -- */

/* SQLITE_NOTFOUND: the file is another one by now; look again. */
static int attach_kind(const char *path, spm_kv_kind kind, const spm_kv_options *options, spm_conn **conn) {
  spm_store_options store = options->store;
  if (store.log_size_max == 0) store.log_size_max = LOG_SIZE_DEFAULT;
  switch (kind) {
    case SPM_KV_STAMPED:
      return spm_store_join(path, &spm_kv_host, &store, conn);
    case SPM_KV_EMPTY:
    case SPM_KV_PLAIN:
      return spm_store_create(path, &spm_kv_host, &store, conn);
    case SPM_KV_LATER:
      return spm_error(
          SQLITE_CANTOPEN,
          "%s is a key-value store of another format version: open it with the version of the library that made it",
          path);
    case SPM_KV_FOREIGN:
      break;
  }
  return spm_error(SQLITE_NOTADB, "%s is neither empty nor a key-value store: choose another path", path);
}

/* Whoever closes it last may have removed the file, with its log, since it was looked at. */
static int attach_unless_removed(const char *path, spm_kv_kind kind, const spm_kv_options *options, spm_conn **conn) {
  struct stat was, is;
  if (stat(path, &was) != 0) return SQLITE_NOTFOUND;
  int rc = attach_kind(path, kind, options, conn);
  if (rc != SQLITE_CANTOPEN) return rc;
  bool same = stat(path, &is) == 0 && is.st_dev == was.st_dev && is.st_ino == was.st_ino &&
              is.st_ctim.tv_sec == was.st_ctim.tv_sec && is.st_ctim.tv_nsec == was.st_ctim.tv_nsec;
  return same ? rc : SQLITE_NOTFOUND;
}

/* The path is made absolute and free of links: log and shared memory stand beside the file
** itself, whatever it was called by, and wherever this process goes later. */
static int attach_once(const char *path, const spm_kv_options *options, spm_conn **conn) {
  spm_kv_kind kind;
  bool exists;
  int rc = look(path, &kind, &exists);
  if (rc == SQLITE_OK && !exists && !options->create)
    return spm_error(SQLITE_CANTOPEN, "%s: there is no such file", path);
  if (rc == SQLITE_OK && !exists) {
    rc = make_file(path);
    kind = SPM_KV_EMPTY;
  }
  if (rc != SQLITE_OK) return rc;
  char *real = realpath(path, NULL);
  if (real == NULL && errno == ENOENT) return SQLITE_NOTFOUND; /* removed meanwhile */
  if (real == NULL) return errno == ENOMEM ? SQLITE_NOMEM : spm_error(SQLITE_CANTOPEN, "%s: %s", path, strerror(errno));
  rc = attach_unless_removed(real, kind, options, conn);
  free(real);
  return rc;
}

static int attach(const char *path, const spm_kv_options *options, spm_conn **conn) {
  int rc = SQLITE_BUSY;
  for (uint32_t i = 0; i < ATTEMPTS && (rc == SQLITE_BUSY || rc == SQLITE_NOTFOUND); i++) {
    if (i > 0) (void)usleep(PAUSE_US);
    rc = attach_once(path, options, conn);
  }
  if (rc != SQLITE_BUSY && rc != SQLITE_NOTFOUND) return rc;
  return spm_error(SQLITE_BUSY, "%s is being opened or closed by others", path);
}

/* In the first transaction of a store. */
static int format(spm_kv *kv) {
  spm_kv_header *header;
  uint32_t root;
  int rc = spm_space_format(kv->conn);
  if (rc == SQLITE_OK) rc = spm_tree_create(kv->conn, kv->limit, &root);
  if (rc == SQLITE_OK) rc = spm_header_edit(kv->conn, &header);
  if (rc == SQLITE_OK) sqlite3_randomness(sizeof header->id, header->id);
  return rc;
}

/* A writer may be in the way, or have died there. */
static int patiently(spm_kv *kv, int (*begin)(spm_kv *)) {
  int rc = SQLITE_BUSY;
  for (uint32_t i = 0; i < ATTEMPTS && rc == SQLITE_BUSY; i++) {
    if (i > 0) (void)usleep(PAUSE_US);
    rc = begin(kv);
  }
  return rc == SQLITE_BUSY ? spm_error(SQLITE_BUSY, "the key-value store is busy: a commit in it does not end") : rc;
}

static int get_ready(spm_kv *kv) {
  spm_kv_header header;
  int rc = patiently(kv, spm_kv_snapshot_begin);
  if (rc == SQLITE_OK && !spm_space_formatted(kv->conn)) {
    spm_kv_snapshot_end(kv);
    if (kv->readonly) return SQLITE_OK;
    rc = patiently(kv, spm_kv_begin); /* formats */
    if (rc == SQLITE_OK) rc = spm_kv_commit(kv);
    if (rc == SQLITE_OK) rc = patiently(kv, spm_kv_snapshot_begin);
  }
  if (rc == SQLITE_OK) rc = spm_header_read(kv->conn, &header);
  if (rc == SQLITE_OK) memcpy(kv->id, header.id, sizeof kv->id);
  spm_kv_snapshot_end(kv);
  return rc;
}

static bool keep_first(void *argument, const char *line) {
  (void)snprintf(argument, FINDING_MAX, "%s", line);
  return false;
}

/* recovery=full, and this is the first attachment. */
static int verify(spm_kv *kv) {
  char finding[FINDING_MAX] = "";
  if (!spm_conn_must_verify(kv->conn)) return SQLITE_OK;
  int rc = patiently(kv, spm_kv_snapshot_begin);
  if (rc == SQLITE_OK && spm_space_formatted(kv->conn)) rc = spm_kv_check(kv, keep_first, finding);
  spm_kv_snapshot_end(kv);
  if (rc == SQLITE_OK) rc = spm_conn_verified(kv->conn);
  if (rc != SQLITE_CORRUPT || finding[0] == 0) return rc;
  return spm_error(rc, "%s: recovery=full found: %s", spm_kv_path(kv), finding);
}

int spm_kv_open(const char *path, const spm_kv_options *options, spm_kv **made) {
  spm_kv *kv = calloc(1, sizeof *kv);
  if (kv == NULL) return SQLITE_NOMEM;
  uint64_t limit = options->store.size_max / SPM_BLOCK_SIZE;
  kv->limit = options->store.size_max == 0 || limit > SPM_NO_LIMIT ? SPM_NO_LIMIT : (uint32_t)limit;
  kv->readonly = options->readonly;
  int rc = attach(path, options, &kv->conn);
  if (rc == SQLITE_OK) rc = get_ready(kv);
  if (rc == SQLITE_OK) rc = verify(kv);
  if (rc == SQLITE_OK && options->store.unlogged) rc = spm_store_configure(kv->conn, &options->store);
  if (rc != SQLITE_OK) {
    spm_kv_close(kv, false);
    return plainly(rc);
  }
  *made = kv;
  return SQLITE_OK;
}

/* ------------------------------------------------------------- detaching -- */

static void forget_trees(spm_kv *kv) {
  for (uint32_t i = 0; i < kv->known_count; i++) free(kv->known[i].name);
  kv->known_count = kv->known_next = 0;
  kv->generation = kv->lsn = 0;
}

typedef struct ending {
  const spm_conn *conn;
  uint64_t empty_at; /* the LSN at which the store has been seen to be empty; 0: it was not */
} ending;

/* Under the gate, with nobody else attached. */
static int exclude(void *argument) {
  const ending *e = argument;
  spm_kv_host_removes = e->empty_at != 0 && spm_conn_latest_lsn(e->conn) == e->empty_at;
  return SQLITE_OK;
}

/* Has no tree any content that somebody could miss? */
static int is_empty(spm_kv *kv, bool *empty) {
  char name[SPM_KV_NAME_MAX + 1] = "";
  int rc;
  *empty = false;
  while ((rc = spm_kv_tree_next(kv, name, name)) == SQLITE_OK) {
    spm_tree_cursor c;
    spm_tree t;
    if ((uint8_t)name[0] >= 0x20) return SQLITE_OK;
    rc = spm_kv_tree(kv, name, &t);
    if (rc != SQLITE_OK) return rc;
    spm_cursor_open(&c, &t);
    rc = spm_cursor_seek(&c, SPM_SEEK_FIRST, NULL, 0);
    if (rc != SQLITE_NOTFOUND) return rc;
  }
  *empty = rc == SQLITE_NOTFOUND;
  return *empty ? SQLITE_OK : rc;
}

void spm_kv_close(spm_kv *kv, bool remove_if_empty) {
  if (kv == NULL) return;
  if (kv->conn != NULL) {
    ending e = {.conn = kv->conn};
    bool empty = false, mine = !spm_conn_orphaned(kv->conn);
    if (mine) spm_kv_rollback(kv);
    if (mine && remove_if_empty && spm_kv_snapshot_begin(kv) == SQLITE_OK) {
      if (is_empty(kv, &empty) == SQLITE_OK && empty) e.empty_at = spm_kv_lsn(kv);
      spm_kv_snapshot_end(kv);
    }
    spm_store_detach(kv->conn, exclude, &e);
    spm_kv_host_removes = false;
  }
  forget_trees(kv);
  free(kv);
}

/* --------------------------------------------------------------- reading -- */

spm_conn *spm_kv_conn(spm_kv *kv) { return kv->conn; }
const char *spm_kv_path(spm_kv *kv) { return spm_store_path(kv->conn); }
const uint8_t *spm_kv_id(const spm_kv *kv) { return kv->id; }

void spm_kv_watch(spm_kv *kv, bool (*stop)(void *), void *argument) {
  kv->stop = stop;
  kv->stop_argument = argument;
}

bool spm_kv_stopped(const spm_kv *kv) { return kv->stop != NULL && kv->stop(kv->stop_argument); }

/* The store of a child of fork() is its parent's. */
static int refuse_child(const spm_kv *kv) {
  if (!spm_conn_orphaned(kv->conn)) return SQLITE_OK;
  return spm_error(SQLITE_MISUSE, "the key-value store was opened before fork(): open it again in the child");
}

int spm_kv_snapshot_begin(spm_kv *kv) {
  int rc = refuse_child(kv);
  return rc == SQLITE_OK ? plainly(spm_snapshot_begin(kv->conn)) : rc;
}

void spm_kv_snapshot_end(spm_kv *kv) { spm_snapshot_end(kv->conn); }
uint64_t spm_kv_lsn(const spm_kv *kv) { return spm_conn_lsn(kv->conn); }
uint64_t spm_kv_latest_lsn(const spm_kv *kv) { return spm_conn_latest_lsn(kv->conn); }

int spm_kv_size(spm_kv *kv, uint64_t *total, uint64_t *used) {
  spm_kv_header header;
  *total = spm_conn_size(kv->conn);
  *used = 0;
  if (!spm_space_formatted(kv->conn)) return SQLITE_OK;
  int rc = spm_header_read(kv->conn, &header);
  if (rc == SQLITE_OK) *used = (uint64_t)header.used * SPM_BLOCK_SIZE;
  return rc;
}

/* --------------------------------------------------------------- writing -- */

static int refuse_writing(void) {
  return spm_error(SQLITE_READONLY, "the key-value store was opened for reading only");
}

int spm_kv_begin(spm_kv *kv) {
  if (kv->readonly) return refuse_writing();
  int rc = refuse_child(kv);
  if (rc == SQLITE_OK) rc = spm_write_begin_latest(kv->conn);
  kv->staged = false;
  if (rc == SQLITE_OK && !spm_space_formatted(kv->conn)) {
    rc = format(kv);
    if (rc != SQLITE_OK) spm_kv_rollback(kv);
  }
  return plainly(rc);
}

/* A store without a tree's block has nothing to be up to date with: spm_kv_begin() formats
** it. */
int spm_kv_upgrade(spm_kv *kv) {
  if (kv->readonly) return refuse_writing();
  kv->staged = false;
  return spm_space_formatted(kv->conn) ? plainly(spm_write_begin(kv->conn)) : SQLITE_BUSY_SNAPSHOT;
}

void spm_kv_downgrade(spm_kv *kv) {
  if (spm_conn_modified(kv->conn)) forget_trees(kv); /* its generation will be used again */
  (void)spm_write_end(kv->conn);
}

static int stage(spm_kv *kv, const char *reference) {
  kv->staged = true;
  int rc = spm_commit_stage(kv->conn, reference);
  if (rc == SQLITE_OK && reference == NULL) rc = spm_commit_harden(kv->conn);
  if (rc != SQLITE_OK) forget_trees(kv); /* their generation will be used again */
  return plainly(rc);
}

int spm_kv_stage(spm_kv *kv) { return stage(kv, NULL); }
int spm_kv_prepare(spm_kv *kv, const char *reference) { return stage(kv, reference); }

/* What can fail fails in the stage, whose error says what it was. */
int spm_kv_commit(spm_kv *kv) {
  int rc = kv->staged ? SQLITE_OK : spm_kv_stage(kv);
  if (rc == SQLITE_OK) rc = plainly(spm_commit_finish(kv->conn));
  if (rc != SQLITE_OK) forget_trees(kv);
  (void)spm_write_end(kv->conn);
  spm_snapshot_end(kv->conn);
  return rc;
}

void spm_kv_rollback(spm_kv *kv) {
  spm_kv_downgrade(kv);
  spm_snapshot_end(kv->conn);
}

int spm_kv_number(spm_kv *kv, uint64_t *number) {
  spm_kv_header *header;
  int rc = spm_header_edit(kv->conn, &header);
  if (rc == SQLITE_OK) *number = header->next_number++;
  return plainly(rc);
}

/* ----------------------------------------------------------- named trees -- */

static spm_tree directory(const spm_kv *kv) {
  return (spm_tree){.conn = kv->conn, .root = SPM_KV_DIRECTORY_BLOCK, .limit = kv->limit};
}

/* Forget what another directory had.  The header is looked at once a snapshot. */
static int refresh(spm_kv *kv) {
  uint64_t generation, lsn = spm_conn_lsn(kv->conn);
  bool writing = spm_conn_writing(kv->conn);
  if (!writing && lsn == kv->lsn) return SQLITE_OK;
  int rc = spm_conn_read(kv->conn, offsetof(spm_kv_header, generation), sizeof generation, &generation);
  if (rc != SQLITE_OK) return rc;
  if (generation != kv->generation) forget_trees(kv);
  kv->generation = generation;
  kv->lsn = writing ? 0 : lsn;
  return SQLITE_OK;
}

static void remember(spm_kv *kv, const char *name, uint32_t root) {
  char *copy = strdup(name);
  if (copy == NULL) return; /* it can be looked up again */
  uint32_t at = kv->known_next++ % NAMES_KEPT;
  if (at < kv->known_count)
    free(kv->known[at].name);
  else
    kv->known_count = at + 1;
  kv->known[at] = (known_tree){copy, root};
}

static int find_entry(spm_kv *kv, const char *name, uint32_t *root) {
  spm_tree d = directory(kv);
  spm_kv_entry entry;
  spm_value v;
  int rc = spm_tree_get(&d, name, (uint32_t)strlen(name), &v);
  if (rc != SQLITE_OK) return rc;
  if (v.size != sizeof entry || v.bytes == NULL)
    return spm_error(SQLITE_CORRUPT, "the directory's entry for %s is damaged", name);
  memcpy(&entry, v.bytes, sizeof entry);
  *root = entry.root;
  return SQLITE_OK;
}

int spm_kv_tree(spm_kv *kv, const char *name, spm_tree *t) {
  *t = directory(kv);
  if (!spm_space_formatted(kv->conn)) return SQLITE_NOTFOUND;
  int rc = refresh(kv);
  for (uint32_t i = 0; rc == SQLITE_OK && i < kv->known_count; i++)
    if (strcmp(kv->known[i].name, name) == 0) {
      t->root = kv->known[i].root;
      return SQLITE_OK;
    }
  if (rc == SQLITE_OK) rc = find_entry(kv, name, &t->root);
  if (rc == SQLITE_OK) remember(kv, name, t->root);
  return rc;
}

int spm_kv_tree_next(spm_kv *kv, const char *after, char name[SPM_KV_NAME_MAX + 1]) {
  spm_tree_cursor c;
  spm_tree d = directory(kv);
  uint32_t n;
  if (!spm_space_formatted(kv->conn)) return SQLITE_NOTFOUND;
  spm_cursor_open(&c, &d);
  int rc = spm_cursor_seek(&c, SPM_SEEK_GT, after, (uint32_t)strlen(after));
  if (rc != SQLITE_OK) return rc;
  const uint8_t *key = spm_cursor_key(&c, &n);
  bool above = spm_key_compare(key, n, after, (uint32_t)strlen(after)) > 0; /* or names might never end */
  if (!above || n == 0 || n > SPM_KV_NAME_MAX || memchr(key, 0, n) != NULL)
    return spm_error(SQLITE_CORRUPT, "the directory has a name that cannot be one");
  memcpy(name, key, n);
  name[n] = 0;
  return SQLITE_OK;
}

int spm_kv_check_name(const char *name) {
  size_t n = strlen(name);
  if (n > 0 && n <= SPM_KV_NAME_MAX) return SQLITE_OK;
  return spm_error(SQLITE_TOOBIG, "a tree's name has 1 to %u bytes, not %zu", SPM_KV_NAME_MAX, n);
}

/* One entry more or less. */
static int count_tree(spm_kv *kv, const char *name, int change) {
  spm_kv_header *header;
  int rc = spm_header_edit(kv->conn, &header);
  if (rc != SQLITE_OK) return rc;
  uint32_t *count = (uint8_t)name[0] < 0x20 ? &header->internal_trees : &header->trees;
  *count = *count + (uint32_t)change;
  header->generation++;
  return SQLITE_OK;
}

static int add_entry(spm_kv *kv, const char *name, uint32_t root) {
  spm_kv_entry entry = {.root = root};
  spm_tree d = directory(kv);
  int rc = spm_tree_put(&d, name, (uint32_t)strlen(name), &entry, sizeof entry);
  return rc == SQLITE_OK ? count_tree(kv, name, +1) : rc;
}

static int remove_entry(spm_kv *kv, const char *name) {
  spm_tree d = directory(kv);
  int rc = spm_tree_delete(&d, name, (uint32_t)strlen(name));
  return rc == SQLITE_OK ? count_tree(kv, name, -1) : rc;
}

static int check_absent(spm_kv *kv, const char *name) {
  uint32_t root;
  int rc = spm_kv_check_name(name);
  if (rc != SQLITE_OK) return rc;
  rc = find_entry(kv, name, &root);
  if (rc == SQLITE_NOTFOUND) return SQLITE_OK;
  return rc == SQLITE_OK ? spm_error(SQLITE_CONSTRAINT, "there is a tree %s already", name) : rc;
}

int spm_kv_tree_create(spm_kv *kv, const char *name, spm_tree *t) {
  *t = directory(kv);
  int rc = check_absent(kv, name);
  if (rc == SQLITE_OK) rc = spm_tree_create(kv->conn, kv->limit, &t->root);
  return plainly(rc == SQLITE_OK ? add_entry(kv, name, t->root) : rc);
}

int spm_kv_tree_drop(spm_kv *kv, const char *name) {
  spm_tree t = directory(kv);
  int rc = find_entry(kv, name, &t.root);
  if (rc == SQLITE_OK) rc = remove_entry(kv, name);
  if (rc == SQLITE_OK) rc = spm_tree_drop(&t);
  return plainly(rc == SQLITE_OK ? spm_space_trim(kv->conn) : rc);
}

int spm_kv_tree_rename(spm_kv *kv, const char *from, const char *to) {
  uint32_t root;
  int rc = find_entry(kv, from, &root);
  if (rc == SQLITE_OK) rc = check_absent(kv, to);
  if (rc == SQLITE_OK) rc = remove_entry(kv, from);
  return plainly(rc == SQLITE_OK ? add_entry(kv, to, root) : rc);
}

/* ---------------------------------------------------------------- upkeep -- */

int spm_kv_checkpoint(spm_kv *kv) {
  int rc = spm_snapshot_begin(kv->conn);
  if (rc != SQLITE_OK) return rc;
  rc = spm_conn_checkpoint(kv->conn);
  spm_snapshot_end(kv->conn);
  return rc == SQLITE_BUSY_SNAPSHOT ? SQLITE_BUSY : rc;
}
