/*
** stamp.h - how a database file says that it belongs to a log.
**
** While a database is open here, bytes of its first page differ from what SQLite
** would write (and the VFS shows them as SQLite would):
**
**     OFFSET  SIZE  SQLITE WRITES            STAMPED
**     18      2     format 1, 1              1, 0x70: "file is not a database"
**     24      4     change counter           one more: caches elsewhere are stale
**     72      4     zero                     "PMEM"
**     76      16    zero                     the life's random id
**     92      4     counter's twin           the same as 24
**
** Byte 18 stays as it is: a write format that SQLite does not know would make its
** connections read-only for good, also when the stamp is long gone.  Where 24 and 92 were
** not equal the size at 28 did not count, and becomes the file's, which did.
**
** A file of no length gets a placeholder: a stamped page whose page size field is
** zero.  Taking the stamp off clears 72 to 79, then the rest of the life, moves the
** counter on, and restores 18 and 19 last, each with a sync of its own; in between
** (stamped, 72 to 79 zero) the file needs nothing but that.
*/
#ifndef SPM_STAMP_H
#define SPM_STAMP_H

#include "store/store.h"

#define SPM_HEADER_SIZE 100 /* of a SQLite database */

typedef enum spm_header_kind {
  SPM_HEADER_EMPTY,     /* no bytes at all, or one block of zeros                */
  SPM_HEADER_PLAIN,     /* a database that stock SQLite can open, formats 1 or 2 */
  SPM_HEADER_WAL,       /* the same in WAL mode                                  */
  SPM_HEADER_STAMPED,   /* ours, with a life                                     */
  SPM_HEADER_HALF,      /* ours, a clean close interrupted before its last step  */
  SPM_HEADER_FOREIGN    /* anything else: left alone                             */
} spm_header_kind;

/* The file has `n` bytes; so many of them as lie in its first block are in `header`, or
** in any case those of the header if `n` is another number than a block's. */
spm_header_kind spm_stamp_kind(const uint8_t *header, uint64_t n);
/* Does a page begin like page 1 of a SQLite database? */
bool spm_stamp_possible(const void *page);
/* Is a stamped header that of this life? */
bool spm_stamp_matches(const uint8_t *header, const uint8_t life[SPM_LIFE_SIZE]);
/* Is a stamped header the placeholder of a database without a page? */
bool spm_stamp_placeholder(const uint8_t *header);
/* Put the stamp on, take it off, in a buffer that holds [offset, offset + n) of X. */
void spm_stamp_show(uint8_t *buffer, uint64_t offset, uint64_t n);
/* Write the stamp into the transaction whose page 1 has just been written. */
int spm_stamp_write(spm_conn *) SPM_MUST_CHECK;

uint32_t spm_get4(const uint8_t *);
void spm_put4(uint8_t *, uint32_t);

/* The store's host functions that concern X itself. */
int spm_stamp_identify(int fd, uint8_t life[SPM_LIFE_SIZE]);
int spm_stamp_on(spm_region *, const uint8_t life[SPM_LIFE_SIZE], uint64_t *logical_size);
int spm_stamp_off(spm_region *, uint64_t logical_size);
/* Finish an interrupted clean close of a SPM_HEADER_HALF file. */
int spm_stamp_finish(const char *path) SPM_MUST_CHECK;

#endif
