/*
** files.c - see files.h.  One mutex guards the list and the hash of names.
*/
#include "files.h"

#include <pthread.h>

#define BUCKETS 256u

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static spm_name *names[BUCKETS];
static spm_dbfile *files;

static spm_name **bucket(const char *text) {
  return &names[((uintptr_t)text * UINT64_C(0x9E3779B97F4A7C15) >> 40) % BUCKETS];
}

static void add_name(spm_name *name, const char *text, spm_dbfile *file) {
  if (text == NULL) return;
  name->text = text;
  name->file = file;
  name->next = *bucket(text);
  *bucket(text) = name;
}

static void remove_name(const spm_name *name) {
  if (name->text == NULL) return;
  spm_name **link = bucket(name->text);
  while (*link != name) link = &(*link)->next;
  *link = name->next;
}

void spm_files_add(spm_dbfile *file) {
  pthread_mutex_lock(&mutex);
  add_name(&file->journal_name, sqlite3_filename_journal(file->path), file);
  add_name(&file->wal_name, sqlite3_filename_wal(file->path), file);
  file->next = files;
  files = file;
  pthread_mutex_unlock(&mutex);
}

void spm_files_remove(spm_dbfile *file) {
  pthread_mutex_lock(&mutex);
  remove_name(&file->journal_name);
  remove_name(&file->wal_name);
  spm_dbfile **link = &files;
  while (*link != NULL && *link != file) link = &(*link)->next;
  if (*link != NULL) *link = file->next;
  pthread_mutex_unlock(&mutex);
}

spm_dbfile *spm_files_by_name(const char *text) {
  pthread_mutex_lock(&mutex);
  spm_name *name = *bucket(text);
  while (name != NULL && name->text != text) name = name->next;
  spm_dbfile *file = name ? name->file : NULL;
  pthread_mutex_unlock(&mutex);
  return file;
}

void spm_files_siblings(spm_dbfile *origin, void (*visit)(spm_dbfile *, spm_dbfile *)) {
  pthread_mutex_lock(&mutex);
  for (spm_dbfile *f = files; f != NULL; f = f->next)
    if (f == origin || (f->db != NULL && f->db == origin->db)) visit(f, origin);
  pthread_mutex_unlock(&mutex);
}
