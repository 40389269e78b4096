/*
** super.c - see super.h.
*/
#include "super.h"

#include "stamp.h"
#include "store/region.h"

#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define STUB_HEAD 516
#define TRAILER_SIZE 16
#define NAME_MAX_LENGTH 4096u /* bytes, above SQLite's own limit for path names */
static const uint8_t journal_magic[8] = {0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7};

static sqlite3_vfs *parent;
void spm_super_parent(sqlite3_vfs *vfs) { parent = vfs; }

/* ------------------------------------------------------------ small files -- */

static int open_file(const char *path, int flags, sqlite3_file **made) {
  sqlite3_file *file = calloc(1, (size_t)parent->szOsFile);
  if (file == NULL) return SQLITE_NOMEM;
  int rc = parent->xOpen(parent, path, file, flags, NULL);
  if (rc != SQLITE_OK) {
    if (file->pMethods != NULL) (void)file->pMethods->xClose(file);
    free(file);
    return rc;
  }
  *made = file;
  return SQLITE_OK;
}

static int close_file(sqlite3_file *file) {
  int rc = file->pMethods->xClose(file);
  free(file);
  return rc;
}

static int exists(const char *path, bool *there) {
  int result = 0;
  int rc = parent->xAccess(parent, path, SQLITE_ACCESS_EXISTS, &result);
  *there = result != 0;
  return rc;
}

/* A whole small file in memory, with a terminator behind it. */
static int read_file(const char *path, char **text, uint64_t *size) {
  sqlite3_file *file;
  int rc = open_file(path, SQLITE_OPEN_READONLY | SQLITE_OPEN_SUPER_JOURNAL, &file);
  if (rc != SQLITE_OK) return rc;
  sqlite3_int64 bytes = 0;
  rc = file->pMethods->xFileSize(file, &bytes);
  *text = rc == SQLITE_OK ? calloc(1, (size_t)bytes + 2) : NULL;
  if (rc == SQLITE_OK && *text == NULL) rc = SQLITE_NOMEM;
  if (rc == SQLITE_OK && bytes > 0) rc = file->pMethods->xRead(file, *text, (int)bytes, 0);
  *size = (uint64_t)bytes;
  (void)close_file(file);
  if (rc == SQLITE_OK) return rc;
  free(*text);
  *text = NULL;
  return rc;
}

static char *journal_of(const char *path) {
  size_t length = strlen(path);
  char *name = malloc(length + sizeof "-journal");
  if (name == NULL) return NULL;
  memcpy(name, path, length);
  memcpy(name + length, "-journal", sizeof "-journal");
  return name;
}

/* ------------------------------------------------------------------ stubs -- */

static uint32_t name_sum(const char *name, size_t n) {
  uint32_t sum = 0;
  for (size_t i = 0; i < n; i++) {
    int value = name[i]; /* signed, as SQLite adds them */
    sum += (uint32_t)value;
  }
  return sum;
}

int spm_super_stub(const char *path, const char *super) {
  size_t n = strlen(super);
  size_t size = STUB_HEAD + n + TRAILER_SIZE;
  if (n > NAME_MAX_LENGTH) return spm_error(SQLITE_CANTOPEN, "the super-journal's name is too long: %s", super);
  char *journal = journal_of(path);
  uint8_t *bytes = calloc(1, size);
  sqlite3_file *file = NULL;
  int rc = journal && bytes ? SQLITE_OK : SQLITE_NOMEM;
  if (rc == SQLITE_OK) {
    memcpy(bytes + STUB_HEAD, super, n);
    spm_put4(bytes + STUB_HEAD + n, (uint32_t)n);
    spm_put4(bytes + STUB_HEAD + n + 4, name_sum(super, n));
    memcpy(bytes + STUB_HEAD + n + 8, journal_magic, sizeof journal_magic);
    rc = open_file(journal, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_MAIN_JOURNAL, &file);
  }
  if (rc == SQLITE_OK) {
    rc = file->pMethods->xTruncate(file, 0);
    if (rc == SQLITE_OK) rc = file->pMethods->xWrite(file, bytes, (int)size, 0);
    if (rc == SQLITE_OK) rc = file->pMethods->xSync(file, SQLITE_SYNC_NORMAL);
    int closed = close_file(file);
    if (rc == SQLITE_OK) rc = closed;
  }
  if (rc != SQLITE_OK) rc = spm_error(rc, "writing the stub journal of %s failed", path);
  free(bytes);
  free(journal);
  return rc;
}

/* The super-journal that a journal names; NULL if none, or if there is no journal. */
static int super_of(const char *journal, char **super) {
  *super = NULL;
  bool there;
  int rc = exists(journal, &there);
  if (rc != SQLITE_OK || !there) return rc;
  sqlite3_file *file;
  rc = open_file(journal, SQLITE_OPEN_READONLY | SQLITE_OPEN_SUPER_JOURNAL, &file);
  if (rc != SQLITE_OK) return rc;
  uint8_t trailer[TRAILER_SIZE];
  sqlite3_int64 size = 0;
  rc = file->pMethods->xFileSize(file, &size);
  if (rc == SQLITE_OK && size >= TRAILER_SIZE) {
    rc = file->pMethods->xRead(file, trailer, sizeof trailer, size - TRAILER_SIZE);
    uint32_t n = spm_get4(trailer);
    bool named = rc == SQLITE_OK && memcmp(trailer + 8, journal_magic, 8) == 0 && n > 0 &&
                 n <= NAME_MAX_LENGTH && (sqlite3_int64)n + TRAILER_SIZE <= size;
    char *name = named ? calloc(1, n + 1) : NULL;
    if (named && name == NULL) rc = SQLITE_NOMEM;
    if (name != NULL) rc = file->pMethods->xRead(file, name, (int)n, size - TRAILER_SIZE - n);
    if (name != NULL && rc == SQLITE_OK && name_sum(name, n) == spm_get4(trailer + 4))
      *super = name;
    else
      free(name);
  }
  (void)close_file(file);
  return rc;
}

/* ------------------------------------------------------- the super-journal -- */

/* Gone is gone only if the folder it was in can be seen: in another container, or
** with another mount, the answer is not known (S20).  And gone for good only once the
** folder is synced: whoever removed it may have died before that, and a power loss would
** bring it back for the others in the transaction. */
int spm_super_decide(const char *path, const char *super, bool *committed) {
  struct stat status;
  *committed = false;
  if (stat(super, &status) == 0) return SQLITE_OK;
  if (errno == ENOENT) {
    char *copy = strdup(super);
    if (copy == NULL) return SQLITE_NOMEM;
    *committed = stat(dirname(copy), &status) == 0 && S_ISDIR(status.st_mode);
    free(copy);
    if (*committed) return spm_folder_fsync(super);
  }
  return spm_error(SQLITE_CANTOPEN,
                   "%s took part in a transaction with other databases whose outcome stands in %s, which cannot be seen from here",
                   path, super);
}

/* SQLite's own rule: it goes when no child names it any more, `mine` aside. */
static int delete_super(const char *super, const char *mine) {
  bool there, needed = false;
  char *children;
  uint64_t size;
  int rc = exists(super, &there);
  if (rc != SQLITE_OK || !there) return rc;
  rc = read_file(super, &children, &size);
  if (rc != SQLITE_OK) return rc;
  for (uint64_t at = 0; rc == SQLITE_OK && !needed && at < size; at += strlen(children + at) + 1) {
    char *named;
    if (strcmp(children + at, mine) == 0) continue;
    rc = super_of(children + at, &named);
    needed = named != NULL && strcmp(named, super) == 0;
    free(named);
  }
  free(children);
  return rc == SQLITE_OK && !needed ? parent->xDelete(parent, super, 0) : rc;
}

/* The super-journal first: were the stub gone and this interrupted, nobody would look
** for it again. */
int spm_super_settled(const char *path, const char *super) {
  char *journal = journal_of(path), *named = NULL;
  int rc = journal ? delete_super(super, journal) : SQLITE_NOMEM;
  if (rc == SQLITE_OK) rc = super_of(journal, &named);
  if (rc == SQLITE_OK && named != NULL && strcmp(named, super) == 0)
    rc = parent->xDelete(parent, journal, 1);
  free(named);
  free(journal);
  return rc;
}

int spm_super_sweep(const char *path) {
  char *journal = journal_of(path), *named = NULL;
  int rc = journal ? super_of(journal, &named) : SQLITE_NOMEM;
  free(journal);
  if (rc == SQLITE_OK && named != NULL) rc = spm_super_settled(path, named);
  free(named);
  return rc;
}
