/*
** recovery.h - from what a crash left to a store that may be used (REDO/UNDO).
**
** Five steps, restartable at any point because every one only repeats what the
** log says until the last, which is one superblock write:
**   1 load    read the log from the checkpoint with pread, to the first record
**             that is not valid; a torn tail ends the log, a record behind it that
**             proves that it had been durable means damage: refused (S7);
**             in persistent memory gather what the records change (words.h)
**   2 sort    transactions are committed, prepared, or unfinished
**   3 REDO    make the accepted log durable again - it may be valid in cache and
**             not on media (S19) - then store and flush what is committed
**   4 UNDO    forget the rest: X never saw it, and its records end with the log;
**             settle a prepared transaction by asking for its super-journal
**   5 checkpoint  X durable, then a superblock with a new salt, after which no
**             record of before can ever be taken for one of after
**
** A take-over (takeover.c) does 1, 2 and 5, with REDO as a commit that readers see, and gathers
** nothing for it.
*/
#ifndef SPM_RECOVERY_H
#define SPM_RECOVERY_H

#include "log.h"
#include "words.h"

/* What reading the log to its end tells. */
typedef struct spm_log_summary {
  spm_log_pos accepted;  /* behind the last record that settles anything          */
  uint64_t size;         /* bytes of X there                                      */
  uint64_t next_txid;
  uint64_t open_txid;    /* of the transaction whose end has not come yet; 0: none */
  bool begun;            /* a transaction was read from its beginning             */
  uint64_t committed;    /* transactions                                          */
  uint64_t unfinished;   /* 0 or 1                                                */
  uint64_t *aborted;     /* txids of prepared transactions with an ABORT record   */
  uint32_t aborted_count;
  spm_log_pos before_prepared; /* where it begins                                 */
  spm_log_pos after_prepared;
  uint64_t prepared_txid;
  uint64_t prepared_size;
  char *prepared_super;  /* NULL: none                                            */
} spm_log_summary;

/* The report of what is done here (shm_layout.h): begin a new one; a phase has ended. */
void spm_report_begin(spm_store *, bool takeover);
void spm_report_phase(spm_store *, unsigned phase);

/* Fills the report's transactions as well, gathers what the records change, unless `words` is
** NULL, and begins what spm_log_harden() ends. */
int spm_log_summarize(spm_store *, spm_log_pos from, uint64_t size, spm_words *, spm_log_summary *) SPM_MUST_CHECK;
void spm_log_summary_free(spm_log_summary *);
/* Ask whether the prepared transaction is committed, and take it in or drop it.
** *settled: the resolver is to be told once the decision is durable. */
int spm_settle_prepared(spm_store *, spm_log_summary *, bool *committed) SPM_MUST_CHECK;
void spm_report_end(spm_store *, uint64_t from_lsn, const spm_log_summary *);
/* Make durable again what spm_log_summarize() has accepted (S19). */
int spm_log_harden(spm_store *, spm_log_pos from, const spm_log_summary *) SPM_MUST_CHECK;

/* Gate held, nobody attached, shm filled in from `block`. */
struct spm_superblock;
int spm_recover(spm_store *, const spm_superblock *block) SPM_MUST_CHECK;

#endif
