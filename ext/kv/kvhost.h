/*
** kvhost.h - how a key-value store's file says that it belongs to a log.
**
** The header has the life's id, and a word that says whether it means anything.  The id
** is durable before the word says so, and the word is cleared alone: each is one store
** that cannot be torn, so there is no state in between.  An empty file gets its header
** with its stamp, in one write; its bitmap and directory come with the first transaction,
** and until then its size, one block at most, says that there is nothing in it.  If the
** power goes in that write, a block of zeros may be left: that is an empty file too.
**
** The one place here that reaches past the engine's interface, to the region the engine
** hands to its hosts.
*/
#ifndef SPM_KVHOST_H
#define SPM_KVHOST_H

#include "kvformat.h"

typedef enum spm_kv_kind {
  SPM_KV_EMPTY,   /* no bytes, or one block of zeros      */
  SPM_KV_PLAIN,   /* ours, and no log belongs to it       */
  SPM_KV_STAMPED, /* ours, with a life                    */
  SPM_KV_LATER,   /* ours, of another format version      */
  SPM_KV_FOREIGN  /* anything else: left alone            */
} spm_kv_kind;

/* What the first `n` bytes of a file say of it. */
#define SPM_KV_LOOK (SPM_BLOCK_SIZE + 1u)
spm_kv_kind spm_kv_kind_of(const uint8_t first[SPM_KV_LOOK], uint64_t n);
/* Read them; *n is how many there are.  SQLITE_IOERR_READ names what was read: `path`. */
int spm_kv_look(int fd, const char *path, uint8_t first[SPM_KV_LOOK], uint64_t *n) SPM_MUST_CHECK;

extern const spm_host spm_kv_host;

/* What a host is asked of a prepared transaction, and told of its end, by whom it is
** answered (decision.h); set before the first store is opened. */
typedef struct spm_kv_decisions {
  int (*ask)(const char *path, const char *reference, bool *committed);
  int (*settled)(const char *path, const char *reference);
} spm_kv_decisions;
extern spm_kv_decisions spm_kv_host_decisions;

/* While it is set, this thread's end of a life removes the file. */
extern _Thread_local bool spm_kv_host_removes;

#endif
