/*
** session.h - one SQLite connection's use of one store: attachments, and whose snapshot
** a statement reads.
**
** A *session* belongs to a pair (connection, store), however many of its tables the
** connection has (K4), and lives while one of them is connected.
**
** It has one attachment as a rule.  A *view* is an attachment with a snapshot, which
** all cursors share that were opened since the first of them, as SQLite's own cursors
** share the snapshot of a connection; the last of them ends it.  A transaction
** holds its view from its first write to its end, or from its first read (anchor.h).  When it commits while a
** cursor of another statement is open, that cursor keeps its snapshot, and who comes
** later needs an attachment of its own to see what was committed.
**
** Everything here is called under the connection's mutex; a list of all sessions has a
** mutex of its own.
*/
#ifndef SPM_KV_SESSION_H
#define SPM_KV_SESSION_H

#include "changes.h"
#include "decision.h"
#include "kvstore.h"
#include "readset.h"

typedef struct spm_session spm_session;

typedef struct spm_view {
  struct spm_view *next;
  spm_kv *kv;
  uint32_t uses; /* cursors, and the transaction; 0: it has no snapshot */
} spm_view;

/* A tree as the tables of a session name it. */
typedef struct spm_named {
  struct spm_named *next;
  char *name;
  uint32_t id;         /* in the write set */
  uint32_t references;
  bool dropped;        /* its name is free for another one */
  bool fresh;          /* it is yet to be made (ddl.h)     */
  const char *origin;  /* its name in the store until a rename is committed; or NULL */
  uint64_t created_at; /* LSN of the commit that made it, if this session did; or 0 */
} spm_named;

typedef struct spm_savepoint {
  struct spm_savepoint *outer;
  int number;
  uint32_t ddl_count;
  spm_mark mark;
} spm_savepoint;

/* A scan that is open in a serializable table; what it has read so far is asked for. */
typedef struct spm_open_scan {
  struct spm_open_scan *next, **link;
  int (*remember)(struct spm_open_scan *);
} spm_open_scan;

typedef struct spm_ddl spm_ddl; /* ddl.h */

typedef enum spm_kvtxn_state {
  SPM_KVTXN_NONE,
  SPM_KVTXN_ACTIVE, /* from the first write, DDL or read of it on: `reader` is held */
  SPM_KVTXN_STAGED  /* `writer` is the store's writer, ready to commit or prepared */
} spm_kvtxn_state;

/* kvtxn.h */
typedef struct spm_kvtxn {
  spm_kvtxn_state state;
  spm_view *reader;
  spm_kv *writer;
  uint64_t begin;            /* the write set's sequence number then */
  spm_savepoint *savepoints; /* the innermost first                  */
  int older; /* savepoints with a lower number were set before anything was changed here */
  spm_ddl *oldest_ddl, *newest_ddl; /* what is pending */
  uint32_t ddl_count;
  spm_changes *spare;        /* STAGED: the next write set, if cursors hold on to this one */
  spm_readset reads;         /* under isolation=serializable         */
  bool alone;                /* it ends with the statement it began with */
  char *reference;           /* STAGED: prepared, and this says who decides (together.h) */
  char *unlinks;             /* the database that decides, if its folder must be synced for that; or NULL */
  spm_session *decider;      /* another store that does, or NULL         */
  spm_decision decision;
} spm_kvtxn;

struct spm_session {
  spm_session *next;
  sqlite3 *db;
  char *path;
  spm_kv_options options;
  uint32_t references;
  bool anchored;      /* the end of the transaction will be told, and it stays till then (anchor.h) */
  spm_view *readers;  /* all attachments */
  spm_view *current;  /* whose snapshot the next cursor shares; NULL: it begins one */
  spm_named *trees;
  uint32_t last_id;
  uint32_t dropped;     /* how many of `trees` are */
  spm_open_scan *scans; /* of serializable tables */
  spm_changes *changes; /* never NULL; empty outside of a transaction */
  spm_kvtxn txn;
};

/* Find or make the session; nothing is opened before it is needed. */
int spm_session_open(sqlite3 *, const char *path, const spm_kv_options *, spm_session **) SPM_MUST_CHECK;
void spm_session_close(spm_session *);
/* The sessions of a connection one after the other, the first one after NULL. */
spm_session *spm_session_following(sqlite3 *, const spm_session *);
/* The session of the connection on that file, NULL if there is none. */
spm_session *spm_session_find(sqlite3 *, const char *path);
/* The file's path made absolute and free of symbolic links, as far as it exists; from
** sqlite3_malloc. */
char *spm_session_canonical(const char *path);

int spm_session_name(spm_session *, const char *name, spm_named **) SPM_MUST_CHECK;
void spm_session_unname(spm_session *, spm_named *);

/* Forget those that no table names any more. */
void spm_session_forget_unnamed(spm_session *);

/* An attachment that has no snapshot and is not the writer. */
int spm_session_idle(spm_session *, spm_kv **) SPM_MUST_CHECK;
/* The snapshot that a cursor opened now is to read. */
int spm_session_read(spm_session *, spm_view **) SPM_MUST_CHECK;
void spm_session_release(spm_session *, spm_view *);
/* What was committed must be seen by cursors opened from now on. */
void spm_session_renew(spm_session *);
/* The tree's name in the store, as long as what is pending is not committed. */
const char *spm_session_stored_name(const spm_named *);
/* The tree in the reader's snapshot.  SQLITE_NOTFOUND: it is younger than that, or yet to be
** made, and has nothing in it. */
int spm_session_tree(spm_session *, spm_view *, const spm_named *, spm_tree *) SPM_MUST_CHECK;

/* SQLITE_BUSY of the store, explained. */
int spm_session_busy(const spm_session *, int rc);

#endif
