/*
** sim.h - the media of a folder: what is on them for certain, and what may be.
**
** FAULT MODEL.  A simulated folder holds, for every file, the bytes that are durable
** and, above them, what is *pending*, in the order in which it was written:
**
**   a cached store (STORE) to a line of 64 bytes
**       is durable when the line was flushed after it and the same actor has then
**       fenced.  Before that the cache may have evicted the line at any moment: media
**       hold any prefix of its stores, the last of them torn at 8 bytes.
**   a non-temporal store (NT)
**       is durable when its own actor has fenced.  Before that its words of 8 bytes may
**       be there or not, each for itself, whatever their order was.
**   a flush (FLUSH) of a line
**       takes up what every actor had stored to it by then: caches are coherent.
**   a write to the page cache (WRITE), a hole (PUNCH)
**       is durable when the file has been synced.  Before that any page may have been
**       written back at any moment, a page torn at sectors of 512 bytes.
**   a length
**       is durable when the file has been synced.  Before that it is any one of the
**       lengths the file has had since.  What lies behind it is not there; where a cut is
**       not there, neither is what was written behind it later.
**   a name made or removed
**       is durable when the folder has been synced; each name for itself, in order.
**       A file's sync does not make its name durable, as POSIX has it.
**
** A process that dies takes nothing with it: what it had written stays pending until
** another flushes and fences it, or syncs the file; nobody can do its fence.
**
** Harsher than the machine where that costs nothing: fsync() does not flush the mapped
** lines of a DAX file here, a new file's fsync does not save its name, an atomic unit
** is 8 bytes.  What it takes on trust, as SQLite does: sectors are not torn, a sync that
** said it is done is done, media return what they were given.
**
** An *image* is one outcome: for each pending unit (a line, a sector, a length, a name)
** one of its possible contents.
*/
#ifndef SPM_CRASH_SIM_H
#define SPM_CRASH_SIM_H

#include "trace.h"

#define SECTOR 512u

typedef struct sim sim;
typedef struct image image;

sim *sim_new(void);
void sim_free(sim *);
/* Begin with the files that lie in `folder`, which a trace has been opened for: all of
** them durable. */
void sim_load(sim *, const char *folder);
void sim_apply(sim *, const event *);
/* Is what the trace says the files now hold what they do hold?  If not, something
** reached them unseen. */
bool sim_verify(const sim *, const char *folder);

/* Lines that were flushed although nothing in them was pending for this actor. */
uint64_t sim_redundant_flushes(const sim *);

/* What may be found after a power loss now; valid until the next sim_apply(). */
unsigned sim_units(sim *);
typedef enum outcome {
  OUTCOME_NONE,    /* nothing of what is pending                   */
  OUTCOME_ALL,     /* all of it                                    */
  OUTCOME_ONE,     /* one unit, `choice` its number                */
  OUTCOME_BUT_ONE, /* all but that one                             */
  OUTCOME_SUBSET,  /* those whose bit is set in `choice`           */
  OUTCOME_RANDOM   /* each by the throw of dice, torn ones too     */
} outcome;
/* Hash of that image's whole content; the image itself is kept for sim_write_image(). */
uint64_t sim_image(sim *, outcome, uint64_t choice);
/* Put the image that was built last into `folder`, which is empty. */
void sim_write_image(sim *, const char *folder);
void folder_clear(const char *folder);

/* What a reopening may find. */
bool sim_allows(const sim *, uint64_t state);
void sim_describe_allowed(const sim *, char *to, size_t n);
/* The state as it was promised last, the first of those allowed. */
uint64_t sim_kept(const sim *);
bool sim_in_scope(const sim *);

#endif
