/*
** kvmodel.h - is this file a key-value store, and what is in it?  Told from the bytes by the
** rules of ext/kv/kvformat.h, without the engine's code.
*/
#ifndef SPM_FUZZ_KVMODEL_H
#define SPM_FUZZ_KVMODEL_H

#include "../../ext/kv/kvformat.h"

typedef struct kvmodel {
  bool whole;          /* everything that the format says of a store holds */
  const char *why;     /* if not: the first thing that does not            */
  uint32_t trees;      /* of users                                         */
  uint64_t keys;       /* in those                                         */
} kvmodel;

void kvmodel_read(const uint8_t *file, size_t size, kvmodel *);
/* What the format says of a single node; *prefix, *head and so on are never followed out of it. */
bool kvmodel_node(const uint8_t *node, uint32_t self);

#endif
