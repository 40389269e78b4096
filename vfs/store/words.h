/*
** words.h - the last value that the log gives to each word of X.
**
** A log changes the same words again and again.  Where a store is one to memory, recovery
** gathers them while it reads the log, in a table that fits the processor's cache, and REDO
** stores each once; else it would read the log twice, and store to lines all over X that the
** cache does not hold.  Whether a record takes effect is not known when it is read: what was
** gathered is good only if all of it does.  Gathering ends with the first change that is too
** long or finds no room.  For what it does not tell, REDO walks through the log (redo.h).
*/
#ifndef SPM_WORDS_H
#define SPM_WORDS_H

#include "core.h"

typedef struct spm_words {
  spm_log_pos until;   /* behind the last record all of whose changes are here */
  uint64_t newest_lsn; /* of a record any of whose changes are here            */
  uint32_t count;
  bool ended;             /* nothing is gathered any more */
  struct spm_word *place; /* a hash table; NULL: no change so far */
} spm_words;

/* For a log that is read from `from` on. */
void spm_words_init(spm_words *, spm_log_pos from);
void spm_words_free(spm_words *);
/* The changes of the next record, behind which the log goes on at `after`. */
void spm_words_add(spm_words *, const spm_record *, spm_log_pos after);
/* Store and flush all that lies in the first `size` bytes of X, which is as long; the fence is
** the caller's. */
int spm_words_store(spm_store *, const spm_words *, uint64_t size) SPM_MUST_CHECK;

#endif
