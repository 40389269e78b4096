/*
** work.c - the table of workloads.
*/
#include "work.h"

#include <stdio.h>

const workload *const workloads[] = {&work_life, &work_store, &work_random, &work_laps, &work_large,
                                     &work_spill, &work_later, &work_processes, &work_sql, &work_leftovers, &work_multi, &work_keys, &work_tied, NULL};

const char *stage_path(const stage *at, const char *name) {
  static char paths[8][400];
  static unsigned turn;
  char *path = paths[turn++ % 8];
  (void)snprintf(path, sizeof *paths, "%s/%s", at->folder, name);
  return path;
}
