/*
** operations.h - the public operations, each as what comes before it and what it is.
*/
#ifndef SPM_FAULTS_OPERATIONS_H
#define SPM_FAULTS_OPERATIONS_H

#include "world.h"

#include <stddef.h>

typedef struct operation {
  const char *name;
  void (*prepare)(world *); /* without faults; must succeed */
  int (*act)(world *);      /* its result code */
  unsigned commits;         /* that it acknowledges one by one */
  bool peer;                /* another process is attached meanwhile */
  bool adopts_wal;          /* that stock SQLite has left */
  bool unlogged;            /* with wal=off: a crash or a failed flush leaves what recovery refuses */
  unsigned stride;          /* large ones: every so many calls of a kind after its first few */
} operation;

extern const operation operations[];
extern const size_t operation_count;
/* Those of the key-value table. */
extern const operation key_operations[];
extern const size_t key_operation_count;

#endif
