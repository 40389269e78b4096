/*
** aim.h - what a database is at, seen from outside: who is the writer now, by its shared
** memory; whether it is open, by the stamp in its header.
**
** Only looked at; what is found is as old as the moment in which it was read.
*/
#ifndef SPM_KILLS_AIM_H
#define SPM_KILLS_AIM_H

#include "../../vfs/store/shm_layout.h"

#include <stdbool.h>
#include <sys/types.h>

typedef struct aim {
  const spm_shm *shm;
} aim;

/* false: nobody has the database open. */
bool aim_open(aim *, const char *path);
void aim_close(aim *);
/* The process that holds the writer word; 0: none. */
pid_t aim_writer(const aim *);
/* The newest commit that is published, with what its successor is doing. */
uint64_t aim_published(const aim *);

/* The bytes of the header that a stamp changes (vfs/stamp.h). */
#define AIM_STAMP_SIZE 22
bool aim_stamp(const char *path, uint8_t bytes[AIM_STAMP_SIZE]);

#endif
