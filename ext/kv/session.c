/*
** session.c - see session.h.
*/
#include "session.h"

#include "kvtxn.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static spm_session *sessions; /* under `mutex` */

/* ---------------------------------------------------------------- the list -- */

static spm_session *find_locked(sqlite3 *db, const char *path) {
  for (spm_session *s = sessions; s != NULL; s = s->next)
    if (s->db == db && strcmp(s->path, path) == 0) return s;
  return NULL;
}

spm_session *spm_session_find(sqlite3 *db, const char *path) {
  char *canonical = spm_session_canonical(path);
  if (canonical == NULL) return NULL;
  pthread_mutex_lock(&mutex);
  spm_session *s = find_locked(db, canonical);
  pthread_mutex_unlock(&mutex);
  sqlite3_free(canonical);
  return s;
}

spm_session *spm_session_following(sqlite3 *db, const spm_session *after) {
  pthread_mutex_lock(&mutex);
  spm_session *s = after != NULL ? after->next : sessions;
  while (s != NULL && s->db != db) s = s->next;
  pthread_mutex_unlock(&mutex);
  return s;
}

static void add_to_list(spm_session *s) {
  pthread_mutex_lock(&mutex);
  s->next = sessions;
  sessions = s;
  pthread_mutex_unlock(&mutex);
}

static void remove_from_list(const spm_session *s) {
  pthread_mutex_lock(&mutex);
  spm_session **link = &sessions;
  while (*link != s) link = &(*link)->next;
  *link = s->next;
  pthread_mutex_unlock(&mutex);
}

/* The last component need not exist; its folder must, or the path stays as it is and
** opening it will say what is wrong. */
char *spm_session_canonical(const char *path) {
  char whole[PATH_MAX], folder[PATH_MAX];
  if (realpath(path, whole) != NULL) return sqlite3_mprintf("%s", whole);
  const char *slash = strrchr(path, '/');
  size_t n = slash ? (size_t)(slash - path) : 0;
  if (n >= sizeof folder) return sqlite3_mprintf("%s", path);
  memcpy(folder, path, n);
  folder[n] = 0;
  if (slash == NULL) memcpy(folder, ".", 2);
  if (slash == path) memcpy(folder, "/", 2);
  if (realpath(folder, whole) == NULL) return sqlite3_mprintf("%s", path);
  return sqlite3_mprintf("%s/%s", strcmp(whole, "/") == 0 ? "" : whole, slash ? slash + 1 : path);
}

/* --------------------------------------------------------------- sessions -- */

static void free_named(spm_session *s, spm_named *named) {
  spm_named **link = &s->trees;
  while (*link != named) link = &(*link)->next;
  *link = named->next;
  s->dropped -= named->dropped;
  sqlite3_free(named->name);
  sqlite3_free(named);
}

static void free_session(spm_session *s) {
  spm_kvtxn_free(s);
  while (s->trees != NULL) free_named(s, s->trees);
  while (s->readers != NULL) {
    spm_view *r = s->readers;
    s->readers = r->next;
    spm_kv_close(r->kv, true);
    sqlite3_free(r);
  }
  spm_changes_free(s->changes);
  sqlite3_free(s->path);
  sqlite3_free(s);
}

static int new_session(sqlite3 *db, char *path, const spm_kv_options *options, spm_session **made) {
  spm_session *s = sqlite3_malloc64(sizeof *s);
  if (s == NULL) {
    sqlite3_free(path);
    return SQLITE_NOMEM;
  }
  *s = (spm_session){.db = db, .path = path, .options = *options};
  int rc = spm_changes_new(&s->changes);
  if (rc != SQLITE_OK) {
    free_session(s);
    return rc;
  }
  add_to_list(s);
  *made = s;
  return SQLITE_OK;
}

int spm_session_open(sqlite3 *db, const char *path, const spm_kv_options *options, spm_session **out) {
  char *canonical = spm_session_canonical(path);
  if (canonical == NULL) return SQLITE_NOMEM;
  pthread_mutex_lock(&mutex);
  spm_session *s = find_locked(db, canonical);
  pthread_mutex_unlock(&mutex);
  int rc = SQLITE_OK;
  if (s == NULL)
    rc = new_session(db, canonical, options, &s);
  else
    sqlite3_free(canonical);
  if (rc != SQLITE_OK) return rc;
  s->references++;
  *out = s;
  return SQLITE_OK;
}

void spm_session_close(spm_session *s) {
  if (s == NULL || --s->references > 0) return;
  remove_from_list(s);
  free_session(s);
}

/* -------------------------------------------------------------------- trees -- */

static spm_named *find_name(spm_session *s, const char *name) {
  for (spm_named *n = s->trees; n != NULL; n = n->next)
    if (!n->dropped && strcmp(n->name, name) == 0) return n;
  return NULL;
}

int spm_session_name(spm_session *s, const char *name, spm_named **out) {
  spm_named *n = find_name(s, name);
  if (n == NULL) {
    n = sqlite3_malloc64(sizeof *n);
    char *copy = sqlite3_mprintf("%s", name);
    if (n == NULL || copy == NULL) {
      sqlite3_free(n);
      sqlite3_free(copy);
      return SQLITE_NOMEM;
    }
    *n = (spm_named){.next = s->trees, .name = copy, .id = ++s->last_id};
    s->trees = n;
  }
  n->references++;
  *out = n;
  return SQLITE_OK;
}

/* One that a transaction has read or written must be found when it commits. */
void spm_session_unname(spm_session *s, spm_named *named) {
  if (named != NULL && --named->references == 0 && s->txn.state == SPM_KVTXN_NONE) free_named(s, named);
}

void spm_session_forget_unnamed(spm_session *s) {
  for (spm_named *named = s->trees, *next; named != NULL; named = next) {
    next = named->next;
    if (named->references == 0) free_named(s, named);
  }
}

/* -------------------------------------------------------------- attachments -- */

int spm_session_busy(const spm_session *s, int rc) {
  if (rc != SQLITE_BUSY) return rc;
  return spm_error(rc, "%s is busy: another transaction is being committed or the store is being worked on", s->path);
}

static int add_reader(spm_session *s, spm_view **made) {
  spm_view *r = sqlite3_malloc64(sizeof *r);
  if (r == NULL) return SQLITE_NOMEM;
  *r = (spm_view){.next = s->readers};
  int rc = spm_kv_open(s->path, &s->options, &r->kv);
  if (rc != SQLITE_OK) {
    sqlite3_free(r);
    return rc;
  }
  s->readers = r;
  *made = r;
  return SQLITE_OK;
}

static int idle_reader(spm_session *s, spm_view **out) {
  for (spm_view *r = s->readers; r != NULL; r = r->next)
    if (r->uses == 0 && r->kv != s->txn.writer) {
      *out = r;
      return SQLITE_OK;
    }
  return add_reader(s, out);
}

int spm_session_idle(spm_session *s, spm_kv **kv) {
  spm_view *r;
  int rc = idle_reader(s, &r);
  if (rc == SQLITE_OK) *kv = r->kv;
  return rc;
}

int spm_session_read(spm_session *s, spm_view **out) {
  spm_view *r = s->current;
  if (r == NULL) {
    int rc = idle_reader(s, &r);
    if (rc == SQLITE_OK) rc = spm_kv_snapshot_begin(r->kv);
    if (rc != SQLITE_OK) return spm_session_busy(s, rc);
    s->current = r;
  }
  r->uses++;
  *out = r;
  return SQLITE_OK;
}

void spm_session_release(spm_session *s, spm_view *r) {
  if (r == NULL || --r->uses > 0) return;
  spm_kv_snapshot_end(r->kv);
  if (s->current == r) s->current = NULL;
}

void spm_session_renew(spm_session *s) {
  if (s->txn.state == SPM_KVTXN_NONE) s->current = NULL;
}

const char *spm_session_stored_name(const spm_named *named) { return named->origin ? named->origin : named->name; }

int spm_session_tree(spm_session *s, spm_view *r, const spm_named *named, spm_tree *tree) {
  if (named->fresh) return SQLITE_NOTFOUND;
  int rc = spm_kv_tree(r->kv, spm_session_stored_name(named), tree);
  if (rc != SQLITE_NOTFOUND || spm_kv_lsn(r->kv) < named->created_at) return rc;
  return spm_error(SQLITE_ERROR, "%s has no table %s: it was dropped or renamed by another connection", s->path, named->name);
}
