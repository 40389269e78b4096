/*
** options.h - the options of a database, from its URI, and of a pmemkv table, from its
** arguments: one table for all.
**
**     X(name, kind, change, default, allowed, meaning)
**
** kind WORD: `allowed` lists its values, separated by |; kind BYTES: a number with
** an optional K, M or G, at least `allowed`; kind SECONDS: a decimal number like 0.25, at
** least `allowed`.  change ANYTIME: PRAGMA pmem_<name>=value sets it while the database is
** open; AT_OPEN: it is chosen in the URI.  URI parameters carry the prefix pmem_; each
** option is answered as PRAGMA pmem_<name>.  A pmemkv table has them all, without the
** prefix, and some of its own.
*/
#ifndef SPM_OPTIONS_H
#define SPM_OPTIONS_H

#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

#define SPM_OPTION_TABLE(X)                                                                  \
  X(mode, WORD, ANYTIME, "sync", "sync|async|periodic", "when a commit is durable: before it returns, soon after, or at ticks of flush_interval") \
  X(flush_interval, SECONDS, ANYTIME, "1", "0.001", "the most that mode=async and mode=periodic may lose to a power failure") \
  X(recovery, WORD, AT_OPEN, "checkpoint", "checkpoint|full|none",                           \
    "when it is opened first: replay the log; verify everything as well; or refuse what a crash left") \
  X(wal, WORD, ANYTIME, "on", "on|off", "commits go through the log; or straight to the file, and a crash leaves it unusable")                            \
  X(max_log_size, BYTES, ANYTIME, "10M", "1M", "checkpoint before the log passes this many bytes") \
  X(checkpoint_interval, SECONDS, ANYTIME, "60", "0.001", "a checkpoint at least this often, while there are commits") \
  X(size, BYTES, ANYTIME, "0", "0", "the most bytes that the file may grow to; 0 is no limit")

#define SPM_KV_OPTION_TABLE(X)                                                               \
  X(isolation, WORD, AT_OPEN, "snapshot", "snapshot|serializable", "what a commit is checked against: writes, or reads too")

typedef enum spm_option_id {
#define X(name, kind, change, initial, allowed, meaning) SPM_OPTION_##name,
  SPM_OPTION_TABLE(X) SPM_OPTION_COUNT, /* of a database */
  SPM_OPTION_BEFORE_KV = SPM_OPTION_COUNT - 1,
  SPM_KV_OPTION_TABLE(X)
#undef X
      SPM_OPTION_ALL
} spm_option_id;

typedef struct spm_options {
  const char *word[SPM_OPTION_ALL]; /* WORD: the value, a constant          */
  uint64_t number[SPM_OPTION_ALL];  /* BYTES: bytes; SECONDS: nanoseconds   */
} spm_options;

void spm_options_default(spm_options *);
/* Take every pmem_ parameter of a URI file name.  SQLITE_CANTOPEN names the first
** unknown option or bad value. */
int spm_options_parse(spm_options *, const char *uri_name) SPM_MUST_CHECK;
/* Set the option a pragma names ("pmem_max_log_size"), if it can change while the database
** is open.  SQLITE_ERROR, with the reason: it cannot, or the value is wrong. */
int spm_options_set(spm_options *, const char *pragma, const char *value) SPM_MUST_CHECK;
/* Set the option of a pmemkv table.  SQLITE_ERROR names an unknown one or a bad value. */
int spm_options_argument(spm_options *, const char *name, const char *value) SPM_MUST_CHECK;
/* What of them the store itself is to know. */
spm_store_options spm_options_of_store(const spm_options *);
/* Take over what is in force there, perhaps set by another connection. */
void spm_options_in_force(spm_options *, const spm_store_options *);
bool spm_options_is(const spm_options *, spm_option_id, const char *word);
/* The present value of the option a pragma names ("pmem_mode"), as text from
** sqlite3_mprintf; NULL: no such option. */
char *spm_options_show(const spm_options *, const char *pragma);

#endif
