/*
** journal.c - see journal.h.
*/
#include "journal.h"

#include <stdlib.h>
#include <string.h>

#define HEAP_MAX (UINT64_C(64) << 20) /* bytes before it moves to a file */
#define KEPT_MAX (UINT64_C(1) << 20)  /* bytes kept between transactions */
#define CAPACITY_MIN UINT64_C(16384)

static void close_overflow(spm_journal_buffer *b) {
  if (b->overflow == NULL) return;
  (void)b->overflow->pMethods->xClose(b->overflow);
  free(b->overflow);
  b->overflow = NULL;
}

void spm_journal_clear(spm_journal_buffer *b) {
  close_overflow(b);
  b->size = 0;
  if (b->capacity <= KEPT_MAX) return;
  free(b->bytes);
  b->bytes = NULL;
  b->capacity = 0;
}

void spm_journal_free(spm_journal_buffer *b) {
  spm_journal_clear(b);
  free(b->bytes);
  b->bytes = NULL;
  b->capacity = 0;
}

static int grow(spm_journal_buffer *b, uint64_t size) {
  if (size <= b->capacity) return SQLITE_OK;
  uint64_t capacity = b->capacity ? b->capacity : CAPACITY_MIN;
  while (capacity < size) capacity *= 2;
  uint8_t *bytes = realloc(b->bytes, capacity);
  if (bytes == NULL) return SQLITE_IOERR_NOMEM;
  b->bytes = bytes;
  b->capacity = capacity;
  return SQLITE_OK;
}

/* Copy the heap's part to a temporary file, in pieces an xWrite takes. */
static int move_to_file(spm_journal_buffer *b) {
  sqlite3_vfs *v = b->parent_vfs;
  sqlite3_file *file = calloc(1, (size_t)v->szOsFile);
  if (file == NULL) return SQLITE_IOERR_NOMEM;
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_EXCLUSIVE |
              SQLITE_OPEN_DELETEONCLOSE | SQLITE_OPEN_TEMP_JOURNAL;
  int rc = v->xOpen(v, NULL, file, flags, NULL);
  for (uint64_t at = 0; rc == SQLITE_OK && at < b->size;) {
    uint64_t n = b->size - at < CAPACITY_MIN ? b->size - at : CAPACITY_MIN;
    rc = file->pMethods->xWrite(file, b->bytes + at, (int)n, (sqlite3_int64)at);
    at += n;
  }
  if (rc != SQLITE_OK) {
    if (file->pMethods != NULL) (void)file->pMethods->xClose(file);
    free(file);
    return rc;
  }
  b->overflow = file;
  free(b->bytes);
  b->bytes = NULL;
  b->capacity = 0;
  return SQLITE_OK;
}

/* ------------------------------------------------------------ io methods -- */

static spm_journal_buffer *of(sqlite3_file *file) { return ((spm_journal_file *)(void *)file)->buffer; }

static int journal_close(sqlite3_file *file) {
  spm_journal_clear(of(file));
  return SQLITE_OK;
}

static int journal_read(sqlite3_file *file, void *to, int n, sqlite3_int64 offset) {
  spm_journal_buffer *b = of(file);
  if (b->overflow != NULL) return b->overflow->pMethods->xRead(b->overflow, to, n, offset);
  uint64_t at = (uint64_t)offset, wanted = (uint64_t)n;
  uint64_t there = at >= b->size ? 0 : b->size - at < wanted ? b->size - at : wanted;
  if (there > 0) memcpy(to, b->bytes + at, there);
  if (there == wanted) return SQLITE_OK;
  memset((char *)to + there, 0, wanted - there);
  return SQLITE_IOERR_SHORT_READ;
}

static int journal_write(sqlite3_file *file, const void *from, int n, sqlite3_int64 offset) {
  spm_journal_buffer *b = of(file);
  uint64_t at = (uint64_t)offset, end = at + (uint64_t)n;
  int rc = SQLITE_OK;
  if (b->overflow == NULL && end > HEAP_MAX) rc = move_to_file(b);
  if (rc == SQLITE_OK && b->overflow != NULL)
    rc = b->overflow->pMethods->xWrite(b->overflow, from, n, offset);
  else if (rc == SQLITE_OK && (rc = grow(b, end)) == SQLITE_OK) {
    if (at > b->size) memset(b->bytes + b->size, 0, at - b->size);
    memcpy(b->bytes + at, from, (size_t)n);
  }
  if (rc == SQLITE_OK && end > b->size) b->size = end;
  return rc;
}

static int journal_truncate(sqlite3_file *file, sqlite3_int64 size) {
  spm_journal_buffer *b = of(file);
  if (size == 0)
    spm_journal_clear(b);
  else if ((uint64_t)size < b->size)
    b->size = (uint64_t)size;
  return b->overflow ? b->overflow->pMethods->xTruncate(b->overflow, size) : SQLITE_OK;
}

static int journal_sync(sqlite3_file *file, int flags) {
  (void)file, (void)flags;
  return SQLITE_OK;
}

static int journal_size(sqlite3_file *file, sqlite3_int64 *size) {
  *size = (sqlite3_int64)of(file)->size;
  return SQLITE_OK;
}

static int journal_lock(sqlite3_file *file, int level) {
  (void)file, (void)level;
  return SQLITE_OK;
}

static int journal_reserved(sqlite3_file *file, int *reserved) {
  (void)file;
  *reserved = 0;
  return SQLITE_OK;
}

static int journal_control(sqlite3_file *file, int op, void *argument) {
  (void)file, (void)op, (void)argument;
  return SQLITE_NOTFOUND;
}

/* The least sector SQLite knows: it pads a journal header to a whole one. */
static int journal_sector(sqlite3_file *file) {
  (void)file;
  return 512;
}

static int journal_characteristics(sqlite3_file *file) {
  (void)file;
  return SQLITE_IOCAP_SAFE_APPEND | SQLITE_IOCAP_SEQUENTIAL | SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = journal_close,
    .xRead = journal_read,
    .xWrite = journal_write,
    .xTruncate = journal_truncate,
    .xSync = journal_sync,
    .xFileSize = journal_size,
    .xLock = journal_lock,
    .xUnlock = journal_lock,
    .xCheckReservedLock = journal_reserved,
    .xFileControl = journal_control,
    .xSectorSize = journal_sector,
    .xDeviceCharacteristics = journal_characteristics,
};

void spm_journal_open(spm_journal_file *file, spm_journal_buffer *buffer) {
  spm_journal_clear(buffer);
  file->buffer = buffer;
  file->base.pMethods = &methods;
}
