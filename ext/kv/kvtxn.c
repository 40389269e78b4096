/*
** kvtxn.c - see kvtxn.h.
*/
#include "kvtxn.h"

#include "ddl.h"
#include "key.h"

#include <string.h>

#define SETTLE_EVERY 64u /* changes */
#define PRINTED_KEY 128u /* bytes, in a message */

/* --------------------------------------------------------- begin and end -- */

static void forget_decider(spm_kvtxn *t) {
  sqlite3_free(t->reference);
  sqlite3_free(t->unlinks);
  t->reference = t->unlinks = NULL;
  t->decider = NULL;
}

/* What was staged is still in the write set.  The store that decides for others takes its
** decision back before any of them forgets that it was prepared. */
void spm_kvtxn_reopen(spm_session *s) {
  spm_kvtxn *t = &s->txn;
  if (t->decider != NULL) spm_kvtxn_reopen(t->decider);
  if (t->writer == NULL) return;
  forget_decider(t);
  if (t->writer == t->reader->kv)
    spm_kv_downgrade(t->writer);
  else
    spm_kv_rollback(t->writer);
  t->writer = NULL;
  t->state = SPM_KVTXN_ACTIVE;
  for (spm_session *o = NULL; (o = spm_session_following(s->db, o)) != NULL;)
    if (o->txn.decider == s) spm_kvtxn_reopen(o);
}

int spm_kvtxn_begin(spm_session *s) {
  spm_kvtxn *t = &s->txn;
  spm_kvtxn_reopen(s);
  if (t->state == SPM_KVTXN_ACTIVE) return SQLITE_OK;
  int rc = spm_session_read(s, &t->reader);
  if (rc != SQLITE_OK) return rc;
  t->state = SPM_KVTXN_ACTIVE;
  t->alone = sqlite3_get_autocommit(s->db) != 0;
  t->begin = spm_changes_sequence(s->changes);
  t->older = 0;
  return SQLITE_OK;
}

static void drop_savepoint(spm_session *s) {
  spm_savepoint *p = s->txn.savepoints;
  s->txn.savepoints = p->outer;
  spm_changes_unmark(s->changes, &p->mark);
  sqlite3_free(p);
}

/* Cursors that are still open read on in the write set that they know. */
static void renew_changes(spm_session *s) {
  spm_kvtxn *t = &s->txn;
  if (!spm_changes_held(s->changes)) {
    spm_changes_clear(s->changes);
    return;
  }
  spm_changes_free(s->changes);
  s->changes = t->spare;
  t->spare = NULL;
}

static void end(spm_session *s) {
  spm_kvtxn *t = &s->txn;
  spm_view *reader = t->reader;
  spm_changes_free(t->spare);
  spm_readset_clear(&t->reads);
  t->spare = NULL;
  t->reader = NULL;
  t->state = SPM_KVTXN_NONE;
  spm_session_release(s, reader);
  spm_session_renew(s);
  spm_session_forget_unnamed(s);
}

void spm_kvtxn_free(spm_session *s) {
  if (s->txn.state != SPM_KVTXN_NONE) spm_kvtxn_rollback(s);
  spm_readset_free(&s->txn.reads);
}

void spm_kvtxn_rollback(spm_session *s) {
  if (s->txn.state == SPM_KVTXN_NONE) return;
  spm_kvtxn_reopen(s);
  while (s->txn.savepoints != NULL) drop_savepoint(s);
  spm_changes_rollback(s->changes, s->txn.begin);
  spm_ddl_rollback(s, 0);
  if (!spm_changes_held(s->changes)) spm_changes_clear(s->changes);
  end(s);
}

/* ------------------------------------------------------------- savepoints -- */

static bool unchanged(const spm_session *s) {
  return s->txn.ddl_count == 0 && spm_changes_sequence(s->changes) == s->txn.begin;
}

void spm_kvtxn_older(spm_session *s, int number) {
  if (unchanged(s) && number > s->txn.older) s->txn.older = number;
}

/* A number that is there already has been set for another table of this transaction.  One that
** is older than all changes is told again when another table joins: it is not set now (K4). */
int spm_kvtxn_savepoint(spm_session *s, int number) {
  spm_kvtxn *t = &s->txn;
  if (t->state == SPM_KVTXN_NONE) return SQLITE_OK;
  spm_kvtxn_reopen(s);
  spm_kvtxn_older(s, number);
  if (number < t->older || (t->savepoints != NULL && t->savepoints->number >= number)) return SQLITE_OK;
  spm_savepoint *p = sqlite3_malloc64(sizeof *p);
  if (p == NULL) return SQLITE_NOMEM;
  *p = (spm_savepoint){.outer = t->savepoints, .number = number, .ddl_count = t->ddl_count};
  spm_changes_mark(s->changes, &p->mark);
  t->savepoints = p;
  return SQLITE_OK;
}

void spm_kvtxn_release(spm_session *s, int number) {
  if (s->txn.older > number) s->txn.older = number;
  while (s->txn.savepoints != NULL && s->txn.savepoints->number >= number) drop_savepoint(s);
}

/* A savepoint that is not in the list was set before the transaction began here, when
** only the innermost one is told (K4): nothing had been written then. */
void spm_kvtxn_rollback_to(spm_session *s, int number) {
  spm_kvtxn *t = &s->txn;
  if (t->state == SPM_KVTXN_NONE) return;
  spm_kvtxn_reopen(s);
  const spm_savepoint *p = t->savepoints;
  while (p != NULL && p->number > number) p = p->outer;
  bool found = p != NULL && p->number == number;
  spm_changes_rollback(s->changes, found ? p->mark.sequence : t->begin);
  spm_ddl_rollback(s, found ? p->ddl_count : 0);
  spm_kvtxn_release(s, number + 1);
}

/* ------------------------------------------------------------- validation -- */

/* A tree in two states of the store: as the transaction read it, and now. */
typedef struct two_trees {
  spm_tree then, now;
  bool then_there;
} two_trees;

static int find_trees(spm_session *s, spm_kv *now, const spm_named *named, two_trees *trees) {
  int rc = spm_session_tree(s, s->txn.reader, named, &trees->then);
  trees->then_there = rc == SQLITE_OK;
  if (rc != SQLITE_OK && rc != SQLITE_NOTFOUND) return rc;
  rc = spm_kv_tree(now, spm_session_stored_name(named), &trees->now);
  if (rc != SQLITE_NOTFOUND) return rc;
  return spm_error(SQLITE_ERROR, "%s has no table %s: it was dropped or renamed by another connection", s->path, named->name);
}

static const spm_named *name_of(const spm_session *s, uint32_t id) {
  const spm_named *named = s->trees;
  while (named != NULL && named->id != id) named = named->next;
  return named;
}

/* What was written to a table before it was dropped is of no interest. */
static bool is_dropped(const spm_session *s, const spm_change *c) {
  return s->dropped > 0 && name_of(s, spm_change_tree(c))->dropped;
}

/* Is it validated in this pass?  A tree that the transaction makes is there only after that,
** and has keys of others if they have made it first. */
static bool is_due(const spm_named *named, bool fresh) { return !named->dropped && named->fresh == fresh; }

static int conflict(const spm_session *s, const spm_named *named, const uint8_t *key, uint32_t nkey) {
  char shown[PRINTED_KEY];
  spm_key_print(key, nkey, shown, sizeof shown);
  return spm_error(SQLITE_BUSY_SNAPSHOT, "%s: key %s of table %s was changed by a transaction that committed first",
                   s->path, shown, named->name);
}

static int compare_runs(const spm_tree *a, const spm_value *x, const spm_tree *b, const spm_value *y, bool *same) {
  uint8_t here[1024], there[1024];
  int rc = SQLITE_OK;
  *same = true;
  for (uint64_t at = 0; rc == SQLITE_OK && *same && at < x->size; at += sizeof here) {
    uint32_t n = x->size - at < sizeof here ? (uint32_t)(x->size - at) : (uint32_t)sizeof here;
    rc = spm_value_read(a->conn, x, at, n, here);
    if (rc == SQLITE_OK) rc = spm_value_read(b->conn, y, at, n, there);
    if (rc == SQLITE_OK) *same = memcmp(here, there, n) == 0;
  }
  return rc;
}

static int same_value(const spm_tree *a, const spm_value *x, const spm_tree *b, const spm_value *y, bool *same) {
  *same = x->size == y->size;
  if (!*same) return SQLITE_OK;
  if (x->bytes == NULL || y->bytes == NULL) return compare_runs(a, x, b, y, same);
  *same = memcmp(x->bytes, y->bytes, x->size) == 0;
  return SQLITE_OK;
}

static int same_key(const two_trees *t, const uint8_t *key, uint32_t nkey, bool *same) {
  spm_value then, now;
  int was = t->then_there ? spm_tree_get(&t->then, key, nkey, &then) : SQLITE_NOTFOUND;
  if (was != SQLITE_OK && was != SQLITE_NOTFOUND) return was;
  int is = spm_tree_get(&t->now, key, nkey, &now);
  if (is != SQLITE_OK && is != SQLITE_NOTFOUND) return is;
  *same = was == is;
  if (!*same || is == SQLITE_NOTFOUND) return SQLITE_OK;
  return same_value(&t->then, &then, &t->now, &now, same);
}

static int validate_writes(spm_session *s, spm_kv *now, bool fresh) {
  two_trees trees = {0};
  const spm_named *named = NULL;
  int rc = SQLITE_OK;
  for (const spm_change *c = spm_changes_begin(s->changes); rc == SQLITE_OK && c != NULL; c = spm_change_following(c)) {
    uint32_t nkey;
    bool same = true;
    if (spm_change_newest(c) == NULL) continue;
    if (named == NULL || named->id != spm_change_tree(c)) {
      named = name_of(s, spm_change_tree(c));
      if (is_due(named, fresh)) rc = find_trees(s, now, named, &trees);
    }
    if (!is_due(named, fresh)) continue;
    const uint8_t *key = spm_change_key(c, &nkey);
    if (rc == SQLITE_OK) rc = same_key(&trees, key, nkey, &same);
    if (rc == SQLITE_OK && !same) rc = conflict(s, named, key, nkey);
  }
  return rc;
}

/* On the first key of the range, if there is one: SQLITE_NOTFOUND. */
static int enter(spm_tree_cursor *c, const spm_tree *tree, const spm_range *r) {
  spm_cursor_open(c, tree);
  if (r->nlow == 0) return spm_cursor_seek(c, SPM_SEEK_FIRST, NULL, 0);
  return spm_cursor_seek(c, r->low_open ? SPM_SEEK_GT : SPM_SEEK_GE, r->low, r->nlow);
}

static bool inside(const spm_tree_cursor *c, const spm_range *r) {
  return spm_cursor_valid(c) && spm_range_compare(r, c->key, c->nkey) == 0;
}

static int same_row(const spm_tree_cursor *a, const spm_tree_cursor *b, bool *same) {
  spm_value x, y;
  *same = a->nkey == b->nkey && memcmp(a->key, b->key, a->nkey) == 0;
  if (!*same) return SQLITE_OK;
  int rc = spm_cursor_value(a, &x);
  if (rc == SQLITE_OK) rc = spm_cursor_value(b, &y);
  return rc == SQLITE_OK ? same_value(&a->tree, &x, &b->tree, &y, same) : rc;
}

/* Two cursors side by side; the first difference is at the lower of their keys. */
static int validate_range(spm_session *s, const spm_named *named, const two_trees *t, const spm_range *r) {
  spm_tree_cursor then, now;
  int was = t->then_there ? enter(&then, &t->then, r) : SQLITE_NOTFOUND;
  if (!t->then_there) spm_cursor_open(&then, &t->now); /* on no key */
  int is = enter(&now, &t->now, r);
  while (was == SQLITE_OK || is == SQLITE_OK) {
    bool same;
    bool there = was == SQLITE_OK && inside(&then, r), here = is == SQLITE_OK && inside(&now, r);
    if (!there && !here) return SQLITE_OK;
    if (there != here) return conflict(s, named, there ? then.key : now.key, there ? then.nkey : now.nkey);
    int rc = same_row(&then, &now, &same);
    if (rc != SQLITE_OK) return rc;
    if (!same) {
      bool lower = spm_bytes_compare(then.key, then.nkey, now.key, now.nkey) <= 0;
      return conflict(s, named, lower ? then.key : now.key, lower ? then.nkey : now.nkey);
    }
    was = spm_cursor_next(&then);
    is = spm_cursor_next(&now);
  }
  if (was != SQLITE_NOTFOUND) return was;
  return is == SQLITE_NOTFOUND ? SQLITE_OK : is;
}

static int validate_reads(spm_session *s, spm_kv *now, bool fresh) {
  const spm_readset *set = &s->txn.reads;
  int rc = SQLITE_OK;
  for (uint32_t i = 0; rc == SQLITE_OK && i < set->count; i++) {
    two_trees trees = {0};
    const spm_named *named = name_of(s, set->reads[i].tree);
    if (!is_due(named, fresh)) continue;
    rc = find_trees(s, now, named, &trees);
    if (rc == SQLITE_OK) rc = validate_range(s, named, &trees, &set->reads[i].range);
  }
  return rc;
}

int spm_kvtxn_has_read(spm_session *s, const spm_named *named, const spm_range *range) {
  if (s->txn.state == SPM_KVTXN_NONE) return SQLITE_OK;
  return spm_readset_add(&s->txn.reads, named->id, range);
}

/* ----------------------------------------------------------------- commit -- */

/* Become the writer on the snapshot there is.  SQLITE_BUSY_SNAPSHOT: others have
** committed, or cursors still need it. */
static int lock_same_state(spm_session *s) {
  spm_kvtxn *t = &s->txn;
  if (t->reader->uses > 1) return SQLITE_BUSY_SNAPSHOT;
  int rc = spm_kv_upgrade(t->reader->kv);
  if (rc == SQLITE_OK) t->writer = t->reader->kv;
  return rc;
}

static int lock_newest_state(spm_session *s) {
  spm_kvtxn *t = &s->txn;
  spm_kv *kv;
  int rc = spm_session_idle(s, &kv);
  if (rc == SQLITE_OK) rc = spm_kv_begin(kv);
  if (rc == SQLITE_OK) t->writer = kv;
  return rc;
}

static int lock_store(spm_session *s) {
  int rc = lock_same_state(s);
  if (rc == SQLITE_BUSY_SNAPSHOT) rc = lock_newest_state(s);
  return spm_session_busy(s, rc);
}

/* Look at what others have changed, if they have committed since that snapshot. */
static int validate(spm_session *s, bool fresh) {
  spm_kv *now = s->txn.writer;
  if (spm_kv_lsn(now) == spm_kv_lsn(s->txn.reader->kv)) return SQLITE_OK;
  int rc = validate_writes(s, now, fresh);
  return rc == SQLITE_OK ? validate_reads(s, now, fresh) : rc;
}

/* Trees that are there, in the store as it was found; then those that are made. */
static int validate_and_define(spm_session *s) {
  int rc = validate(s, false);
  if (rc != SQLITE_OK || s->txn.ddl_count == 0) return rc;
  rc = spm_ddl_apply(s, s->txn.writer);
  return rc == SQLITE_OK ? validate(s, true) : rc;
}

static int apply_change(const spm_tree *tree, const spm_change *c) {
  uint32_t nkey;
  const uint8_t *key = spm_change_key(c, &nkey);
  const spm_version *v = spm_change_newest(c);
  if (!v->deleted) return spm_tree_put(tree, key, nkey, v->bytes, v->size);
  int rc = spm_tree_delete(tree, key, nkey);
  return rc == SQLITE_NOTFOUND ? SQLITE_OK : rc;
}

static int find_tree_to_change(spm_session *s, const spm_named *named, spm_tree *tree) {
  int rc = spm_kv_tree(s->txn.writer, named->name, tree);
  if (rc != SQLITE_NOTFOUND) return rc;
  return spm_error(SQLITE_ERROR, "%s has no table %s: it was dropped or renamed by another connection", s->path, named->name);
}

static int apply(spm_session *s) {
  spm_tree tree = {0};
  uint32_t id = 0, count = 0;
  int rc = SQLITE_OK;
  for (const spm_change *c = spm_changes_begin(s->changes); rc == SQLITE_OK && c != NULL; c = spm_change_following(c)) {
    if (spm_change_newest(c) == NULL || is_dropped(s, c)) continue;
    if (id != spm_change_tree(c)) {
      id = spm_change_tree(c);
      rc = find_tree_to_change(s, name_of(s, id), &tree);
    }
    if (rc == SQLITE_OK) rc = apply_change(&tree, c);
    if (rc == SQLITE_OK && ++count % SETTLE_EVERY == 0) rc = spm_write_settle(tree.conn);
  }
  return rc;
}

/* Scans that are still open have read up to where they are. */
static int complete_reads(spm_session *s) {
  int rc = SQLITE_OK;
  for (spm_open_scan *scan = s->scans; rc == SQLITE_OK && scan != NULL; scan = scan->next) rc = scan->remember(scan);
  return s->txn.reads.lost ? SQLITE_NOMEM : rc;
}

int spm_kvtxn_lock(spm_session *s) {
  spm_kvtxn *t = &s->txn;
  int rc = complete_reads(s);
  if (rc == SQLITE_OK && t->spare == NULL && spm_changes_held(s->changes)) rc = spm_changes_new(&t->spare);
  if (rc == SQLITE_OK) rc = lock_store(s);
  if (rc == SQLITE_OK) rc = validate_and_define(s);
  if (rc == SQLITE_OK) rc = apply(s);
  if (rc != SQLITE_OK) spm_kvtxn_reopen(s);
  return rc;
}

bool spm_kvtxn_has_work(const spm_session *s) {
  return s->txn.state == SPM_KVTXN_ACTIVE && (s->txn.ddl_count > 0 || !spm_changes_empty(s->changes));
}

void spm_kvtxn_leave_in_doubt(spm_session *s) { spm_conn_poison(spm_kv_conn(s->txn.writer)); }

int spm_kvtxn_commit(spm_session *s) {
  spm_kvtxn *t = &s->txn;
  int rc = SQLITE_OK;
  if (t->state == SPM_KVTXN_NONE) return SQLITE_OK;
  while (t->savepoints != NULL) drop_savepoint(s);
  if (t->state == SPM_KVTXN_STAGED) {
    rc = spm_kv_commit(t->writer);
    if (rc == SQLITE_OK) spm_ddl_committed(s, spm_kv_latest_lsn(t->writer));
    renew_changes(s);
  }
  spm_ddl_rollback(s, 0); /* of a commit that failed */
  forget_decider(t);
  t->writer = NULL;
  end(s);
  return rc;
}
