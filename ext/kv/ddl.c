/*
** ddl.c - see ddl.h.
*/
#include "ddl.h"

#include "kvtxn.h"

#include <string.h>

#define ATTEMPTS 100u /* of two milliseconds each, to become the writer at once */

/* One that is pending; the strings are its own. */
struct spm_ddl {
  spm_ddl *older, *newer;
  spm_named *named;
  char *from; /* the tree's name before it; NULL: it is made     */
  char *to;   /* and afterwards; NULL: it is dropped             */
};

static int refuse_missing(const spm_session *s, const char *name) {
  return spm_error(SQLITE_ERROR, "%s has no table %s to rename", s->path, name);
}

/* ---------------------------------------------------------------- at once -- */

/* Become the writer of an attachment without a snapshot. */
static int begin(spm_session *s, spm_kv **kv) {
  spm_kvtxn_reopen(s);
  int rc = spm_session_idle(s, kv);
  if (rc != SQLITE_OK) return rc;
  rc = SQLITE_BUSY;
  for (uint32_t i = 0; rc == SQLITE_BUSY && i < ATTEMPTS; i++) rc = spm_kv_begin(*kv);
  return spm_session_busy(s, rc);
}

static int end(spm_session *s, spm_kv *kv, int rc) {
  if (rc == SQLITE_OK)
    rc = spm_kv_commit(kv);
  else
    spm_kv_rollback(kv);
  spm_session_renew(s);
  return rc;
}

/* A tree that is there already needs no writing, and may be the one of others. */
static int tree_exists(spm_session *s, const char *name, bool *exists) {
  spm_view *view;
  spm_tree tree;
  int rc = spm_session_read(s, &view);
  if (rc != SQLITE_OK) return rc;
  rc = spm_kv_tree(view->kv, name, &tree);
  spm_session_release(s, view);
  *exists = rc == SQLITE_OK;
  return rc == SQLITE_NOTFOUND ? SQLITE_OK : rc;
}

static int make_missing(spm_kv *kv, const char *name) {
  spm_tree tree;
  int rc = spm_kv_tree(kv, name, &tree);
  return rc == SQLITE_NOTFOUND ? spm_kv_tree_create(kv, name, &tree) : rc;
}

static int create_now(spm_session *s, spm_named *named) {
  spm_kv *kv;
  bool exists = false;
  int rc = tree_exists(s, named->name, &exists);
  if (rc != SQLITE_OK || exists) return rc;
  rc = begin(s, &kv);
  if (rc != SQLITE_OK) return rc;
  rc = end(s, kv, make_missing(kv, named->name));
  if (rc == SQLITE_OK) named->created_at = spm_kv_latest_lsn(kv);
  return rc;
}

static int drop_present(spm_kv *kv, const char *name) {
  int rc = spm_kv_tree_drop(kv, name);
  return rc == SQLITE_NOTFOUND ? SQLITE_OK : rc;
}

static void set_dropped(spm_session *s, spm_named *named, bool dropped) {
  s->dropped += dropped;
  s->dropped -= named->dropped;
  named->dropped = dropped;
}

static int drop_now(spm_session *s, spm_named *named) {
  spm_kv *kv;
  int rc = begin(s, &kv);
  if (rc != SQLITE_OK) return rc;
  rc = end(s, kv, drop_present(kv, named->name));
  if (rc == SQLITE_OK) set_dropped(s, named, true);
  return rc;
}

static int rename_now(spm_session *s, spm_named *named, const char *to) {
  spm_kv *kv;
  char *name = sqlite3_mprintf("%s", to);
  if (name == NULL) return SQLITE_NOMEM;
  int rc = begin(s, &kv);
  if (rc == SQLITE_OK) rc = end(s, kv, spm_kv_tree_rename(kv, named->name, to));
  if (rc == SQLITE_NOTFOUND) rc = refuse_missing(s, named->name);
  if (rc != SQLITE_OK) {
    sqlite3_free(name);
    return rc;
  }
  sqlite3_free(named->name);
  named->name = name;
  named->created_at = spm_kv_latest_lsn(kv);
  return SQLITE_OK;
}

/* ---------------------------------------------------------------- pending -- */

static void free_ddl(spm_ddl *d) {
  sqlite3_free(d->from);
  sqlite3_free(d->to);
  sqlite3_free(d);
}

static int new_ddl(spm_named *named, const char *from, const char *to, spm_ddl **made) {
  spm_ddl *d = sqlite3_malloc64(sizeof *d);
  if (d == NULL) return SQLITE_NOMEM;
  *d = (spm_ddl){.named = named};
  if (from != NULL) d->from = sqlite3_mprintf("%s", from);
  if (to != NULL) d->to = sqlite3_mprintf("%s", to);
  if ((from != NULL && d->from == NULL) || (to != NULL && d->to == NULL)) {
    free_ddl(d);
    return SQLITE_NOMEM;
  }
  *made = d;
  return SQLITE_OK;
}

/* The statement itself changes the schema: what it belongs to is no transaction of keys
** alone. */
static void append(spm_session *s, spm_ddl *d) {
  spm_kvtxn *t = &s->txn;
  d->older = t->newest_ddl;
  if (d->older != NULL)
    d->older->newer = d;
  else
    t->oldest_ddl = d;
  t->newest_ddl = d;
  t->ddl_count++;
  t->alone = false;
}

static spm_ddl *take_newest(spm_session *s) {
  spm_kvtxn *t = &s->txn;
  spm_ddl *d = t->newest_ddl;
  t->newest_ddl = d->older;
  if (d->older != NULL)
    d->older->newer = NULL;
  else
    t->oldest_ddl = NULL;
  t->ddl_count--;
  return d;
}

/* Is there a tree of that name, as this transaction sees it? */
static int sees_tree(spm_session *s, const char *name, bool *there) {
  spm_tree tree;
  int rc = spm_kv_tree(s->txn.reader->kv, name, &tree);
  if (rc != SQLITE_OK && rc != SQLITE_NOTFOUND) return rc;
  *there = rc == SQLITE_OK;
  for (const spm_ddl *d = s->txn.oldest_ddl; d != NULL; d = d->newer) {
    if (d->from != NULL && strcmp(d->from, name) == 0) *there = false;
    if (d->to != NULL && strcmp(d->to, name) == 0) *there = true;
  }
  return SQLITE_OK;
}

static int check_writable(const spm_session *s) {
  if (!s->options.readonly) return SQLITE_OK;
  return spm_error(SQLITE_READONLY, "%s is open for reading only", s->path);
}

static int create_later(spm_session *s, spm_named *named) {
  spm_ddl *d;
  bool there;
  int rc = sees_tree(s, named->name, &there);
  if (rc != SQLITE_OK || there) return rc;
  rc = check_writable(s);
  if (rc == SQLITE_OK) rc = spm_kv_check_name(named->name);
  if (rc == SQLITE_OK) rc = new_ddl(named, NULL, named->name, &d);
  if (rc != SQLITE_OK) return rc;
  append(s, d);
  named->fresh = true;
  return SQLITE_OK;
}

static int drop_later(spm_session *s, spm_named *named) {
  spm_ddl *d;
  int rc = check_writable(s);
  if (rc == SQLITE_OK) rc = new_ddl(named, named->name, NULL, &d);
  if (rc != SQLITE_OK) return rc;
  append(s, d);
  set_dropped(s, named, true);
  return SQLITE_OK;
}

static int check_rename(spm_session *s, const char *from, const char *to) {
  bool there;
  int rc = check_writable(s);
  if (rc == SQLITE_OK) rc = spm_kv_check_name(to);
  if (rc == SQLITE_OK) rc = sees_tree(s, from, &there);
  if (rc != SQLITE_OK) return rc;
  if (!there) return refuse_missing(s, from);
  rc = sees_tree(s, to, &there);
  if (rc != SQLITE_OK || !there) return rc;
  return spm_error(SQLITE_CONSTRAINT, "%s has a table %s already", s->path, to);
}

static int rename_later(spm_session *s, spm_named *named, const char *to) {
  spm_ddl *d = NULL;
  int rc = check_rename(s, named->name, to);
  if (rc == SQLITE_OK) rc = new_ddl(named, named->name, to, &d);
  char *name = rc == SQLITE_OK ? sqlite3_mprintf("%s", to) : NULL;
  if (name == NULL) {
    if (d != NULL) free_ddl(d);
    return rc == SQLITE_OK ? SQLITE_NOMEM : rc;
  }
  append(s, d);
  if (named->origin == NULL && !named->fresh) named->origin = d->from;
  sqlite3_free(named->name);
  named->name = name;
  return SQLITE_OK;
}

/* ----------------------------------------------------------- the end of it -- */

/* What was there when the statement ran may have been changed by others since. */
static int apply(const spm_session *s, const spm_ddl *d, spm_kv *kv) {
  if (d->from == NULL) return make_missing(kv, d->to);
  if (d->to == NULL) return drop_present(kv, d->from);
  int rc = spm_kv_tree_rename(kv, d->from, d->to);
  if (rc == SQLITE_NOTFOUND) return refuse_missing(s, d->from);
  if (rc != SQLITE_CONSTRAINT) return rc;
  return spm_error(SQLITE_BUSY_SNAPSHOT, "%s: table %s was made by a transaction that committed first", s->path, d->to);
}

int spm_ddl_apply(spm_session *s, spm_kv *kv) {
  int rc = SQLITE_OK;
  for (const spm_ddl *d = s->txn.oldest_ddl; rc == SQLITE_OK && d != NULL; d = d->newer) rc = apply(s, d, kv);
  return rc;
}

void spm_ddl_committed(spm_session *s, uint64_t lsn) {
  while (s->txn.newest_ddl != NULL) {
    spm_ddl *d = take_newest(s);
    if (d->to != NULL) d->named->created_at = lsn;
    d->named->fresh = false;
    d->named->origin = NULL;
    free_ddl(d);
  }
}

/* A tree that was not made after all is gone for whoever still names it. */
static void undo(spm_session *s, spm_ddl *d) {
  spm_named *named = d->named;
  if (d->from == NULL) {
    named->fresh = false;
    set_dropped(s, named, true);
  } else if (d->to == NULL) {
    set_dropped(s, named, false);
  } else {
    if (named->origin == d->from) named->origin = NULL;
    sqlite3_free(named->name);
    named->name = d->from;
    d->from = NULL;
  }
}

void spm_ddl_rollback(spm_session *s, uint32_t count) {
  while (s->txn.ddl_count > count) {
    spm_ddl *d = take_newest(s);
    undo(s, d);
    free_ddl(d);
  }
}

/* ------------------------------------------------------------------ either -- */

int spm_ddl_create(spm_session *s, spm_named *named, bool pending) {
  return pending ? create_later(s, named) : create_now(s, named);
}

int spm_ddl_drop(spm_session *s, spm_named *named, bool pending) {
  return pending ? drop_later(s, named) : drop_now(s, named);
}

int spm_ddl_rename(spm_session *s, spm_named *named, const char *to, bool pending) {
  if (strcmp(named->name, to) == 0) return SQLITE_OK;
  return pending ? rename_later(s, named, to) : rename_now(s, named, to);
}
