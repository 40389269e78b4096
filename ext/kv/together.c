/*
** together.c - see together.h.
*/
#include "together.h"

#include "decision.h"
#include "kvtxn.h"
#include "schemas.h"

#include "../../vfs/store/region.h"

#include <string.h>

/* The sessions of a connection that have something to commit, in the order of their
** stores' ids. */
typedef struct members {
  spm_session **member;
  uint32_t count;
} members;

/* --------------------------------------------------------------- gathering -- */

static int by_id(const spm_session *a, const spm_session *b) {
  return memcmp(spm_kv_id(a->txn.reader->kv), spm_kv_id(b->txn.reader->kv), 16);
}

static int gather(sqlite3 *db, members *m) {
  uint32_t capacity = 0;
  for (spm_session *s = NULL; (s = spm_session_following(db, s)) != NULL;) capacity++;
  *m = (members){.member = sqlite3_malloc64(capacity * sizeof *m->member)};
  if (m->member == NULL) return SQLITE_NOMEM;
  for (spm_session *s = NULL; (s = spm_session_following(db, s)) != NULL;) {
    if (!spm_kvtxn_has_work(s)) continue;
    uint32_t at = m->count++;
    for (; at > 0 && by_id(m->member[at - 1], s) > 0; at--) m->member[at] = m->member[at - 1];
    m->member[at] = s;
  }
  return SQLITE_OK;
}

/* ------------------------------------------------------------------ PREPARE -- */

static int make_decision(spm_session *s, spm_decision *d) {
  memcpy(d->store, spm_kv_id(s->txn.writer), sizeof d->store);
  sqlite3_randomness(sizeof d->id, d->id);
  return spm_kv_number(s->txn.writer, &d->number);
}

/* The reference stays with the transaction: it says that it is prepared. */
static int prepare(spm_session *s, char *reference) {
  if (reference == NULL) return SQLITE_NOMEM;
  int rc = spm_kv_prepare(s->txn.writer, reference);
  if (rc == SQLITE_OK)
    s->txn.reference = reference;
  else
    sqlite3_free(reference);
  return rc;
}

/* The rows first: writing them may fail, and nothing is prepared then. */
static int prepare_under_database(sqlite3 *db, const members *m, const char *schema) {
  const char *vfs, *path;
  int rc = spm_schemas_file(db, schema, &vfs, &path);
  for (uint32_t i = 0; rc == SQLITE_OK && i < m->count; i++) {
    rc = make_decision(m->member[i], &m->member[i]->txn.decision);
    if (rc == SQLITE_OK) rc = spm_decision_write(db, schema, &m->member[i]->txn.decision);
  }
  bool unlinks = rc == SQLITE_OK && spm_schemas_unlinks(db, schema);
  for (uint32_t i = 0; rc == SQLITE_OK && i < m->count; i++) {
    spm_kvtxn *t = &m->member[i]->txn;
    rc = prepare(m->member[i], spm_decision_in_database(&t->decision, vfs, path));
    if (rc == SQLITE_OK && unlinks && (t->unlinks = sqlite3_mprintf("%s", path)) == NULL) rc = SQLITE_NOMEM;
  }
  return rc;
}

static int prepare_under_first(const members *m) {
  spm_session *first = m->member[0];
  int rc = SQLITE_OK;
  for (uint32_t i = 1; rc == SQLITE_OK && i < m->count; i++) {
    spm_session *s = m->member[i];
    rc = make_decision(s, &s->txn.decision);
    if (rc == SQLITE_OK) rc = spm_decision_put(first->txn.writer, &s->txn.decision);
    if (rc == SQLITE_OK) rc = prepare(s, spm_decision_in_store(&s->txn.decision, first->path));
    if (rc == SQLITE_OK) s->txn.decider = first;
  }
  spm_commit_at_once(spm_kv_conn(first->txn.writer)); /* the others ask for what it has decided */
  return rc == SQLITE_OK ? spm_kv_stage(first->txn.writer) : rc;
}

/* -------------------------------------------------------------------- xSync -- */

static int lock(spm_session *s, spm_patience *patience) {
  int rc;
  do rc = spm_kvtxn_lock(s);
  while (rc == SQLITE_BUSY && spm_patience_wait(patience));
  return rc;
}

static int sync_members(sqlite3 *db, const members *m, bool alone) {
  spm_patience patience = {.db = db, .left_ms = -1};
  char *schema = NULL;
  int rc = spm_schemas_lock(db, &patience);
  for (uint32_t i = 0; rc == SQLITE_OK && i < m->count; i++) rc = lock(m->member[i], &patience);
  if (rc == SQLITE_OK) rc = spm_schemas_changed(db, alone, &schema);
  if (rc != SQLITE_OK) return rc;
  if (schema != NULL)
    rc = prepare_under_database(db, m, schema);
  else if (m->count > 1)
    rc = prepare_under_first(m);
  else
    rc = spm_kv_stage(m->member[0]->txn.writer);
  sqlite3_free(schema);
  return rc;
}

int spm_together_sync(spm_session *s) {
  members m;
  if (!spm_kvtxn_has_work(s)) return SQLITE_OK;
  int rc = gather(s->db, &m);
  if (rc != SQLITE_OK) return rc;
  rc = sync_members(s->db, &m, s->txn.alone);
  for (uint32_t i = 0; i < m.count; i++) {
    if (rc == SQLITE_OK)
      m.member[i]->txn.state = SPM_KVTXN_STAGED;
    else
      spm_kvtxn_reopen(m.member[i]);
  }
  sqlite3_free(m.member);
  return rc;
}

/* --------------------------------------------------------- xCommit, xRollback -- */

/* Once a store is settled, nobody will ask the one that decided for it. */
static void forget_decision(spm_session *decider, const spm_decision *d) {
  spm_kv *kv;
  int rc = spm_session_idle(decider, &kv);
  if (rc == SQLITE_OK) rc = spm_decision_forget(kv, d);
  if (rc != SQLITE_OK) spm_notice("%s keeps a decision that nobody needs any more", decider->path);
}

/* The database that decided has committed, and must have so durably before any store does. */
int spm_together_commit(spm_session *s) {
  spm_session *decider = s->txn.decider;
  spm_decision d = s->txn.decision;
  if (s->txn.unlinks != NULL && spm_folder_fsync(s->txn.unlinks) != SQLITE_OK)
    spm_notice("%s: a power loss may separate its last commit from that of %s", s->path, s->txn.unlinks);
  if (decider == NULL) return spm_kvtxn_commit(s);
  int rc = decider->txn.state == SPM_KVTXN_STAGED ? spm_kvtxn_commit(decider) : SQLITE_OK;
  if (rc != SQLITE_OK) { /* it did not decide for the transaction */
    spm_kvtxn_rollback(s);
    return rc;
  }
  rc = spm_kvtxn_commit(s);
  if (rc == SQLITE_OK) forget_decision(decider, &d);
  return rc;
}

/* What cannot be known now is left prepared, for the recovery of the store. */
void spm_together_rollback(spm_session *s) {
  bool committed = false;
  if (s->txn.reference != NULL && s->txn.decider == NULL) {
    if (spm_decision_ask(s->path, s->txn.reference, &committed) != SQLITE_OK) spm_kvtxn_leave_in_doubt(s);
    if (committed) {
      (void)spm_kvtxn_commit(s);
      return;
    }
  }
  spm_kvtxn_rollback(s);
}
