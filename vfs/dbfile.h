/*
** dbfile.h - an open database file, as SQLite's pager sees it.
**
** A file is in one of four states, and the handle's `pMethods` say in which:
**
**     new        opened, never locked: only the header can be read (dbfile.c)
**     attached   a connection of the store: snapshots, write set, commits (dbfile.c)
**     passing    served by the parent VFS for as long as the pager's lock lasts:
**                what may only be read, or is no database of ours (passthrough.c)
**     refused    opened with options that make no sense: every lock fails, and the
**                automatic extension tells why (passthrough.c)
**
** new and attached share one table: the first SHARED lock attaches (adopt.c).
** One thread uses a file at a time, as SQLite promises; what several files share
** (the registry, files.c) has a mutex.
*/
#ifndef SPM_DBFILE_H
#define SPM_DBFILE_H

#include "journal.h"
#include "options.h"
#include "store/store.h"

/* A name SQLite uses for a file's journal or WAL; found by its address. */
typedef struct spm_name {
  struct spm_name *next;
  const char *text;
  struct spm_dbfile *file;
} spm_name;

/* SQLite's own object for an open file: small, for SQLite counts its bytes. */
typedef struct spm_file {
  sqlite3_file base;
  struct spm_dbfile *db;
} spm_file;

typedef struct spm_dbfile {
  spm_file *handle;
  sqlite3_vfs *parent_vfs;
  sqlite3_file *parent; /* behind this structure */
  const char *path;     /* SQLite's: the URI parameters stand behind it */
  struct spm_dbfile *next;
  spm_name journal_name, wal_name;
  void *db;             /* the connection it belongs to, once FCNTL_PDB told */
  spm_options options;
  spm_conn *conn;       /* NULL: not attached */
  int lock;             /* SQLITE_LOCK_* */
  bool listed;          /* in the registry */
  bool readonly;        /* by mode=ro or by the file's permissions */
  bool immutable;       /* one snapshot for as long as the file is open */
  bool pass_writable;   /* while it passes: a file that is none of ours */
  bool powersafe;
  bool exclusive;         /* locking_mode of this file */
  bool exclusive_default; /* locking_mode given without a schema: for new ones too */
  char *super;            /* the super-journal that a stub of ours names */
  char journal_mode[10];  /* as last set by PRAGMA */
  char *refusal;          /* why it was refused */
  int64_t mmap_limit;     /* bytes, as PRAGMA mmap_size has it */
  unsigned fetched;       /* pointers that SQLite holds */
  bool committed;         /* this transaction did */
  unsigned commits_in_a_row; /* transactions that committed, with none in between that did not */
  spm_journal_buffer journal;
} spm_dbfile;

/* Open `path` with the pager's flags. */
int spm_dbfile_open(sqlite3_vfs *parent, const char *path, spm_file *handle, int flags, int *out_flags);
/* NULL if `file` is none of ours. */
spm_dbfile *spm_dbfile_of(sqlite3_file *file);
/* Are journal and WAL of this file ours to answer for? */
bool spm_dbfile_attached(const spm_dbfile *);

/* The file controls and pragmas: control.c. */
int spm_dbfile_control(spm_dbfile *, int op, void *argument);
/* What a child of fork is told of its parent's connection. */
int spm_dbfile_orphan_error(const spm_dbfile *);
/* Every change of a transaction at its end: commit, or drop. */
int spm_dbfile_sync(spm_dbfile *, const char *super);
int spm_dbfile_commit(spm_dbfile *);

int spm_dbfile_close(sqlite3_file *);
extern const sqlite3_io_methods spm_dbfile_methods;

#endif
