/*
** model.h - what recovery must make of a database and its log, worked out from their
** bytes by the rules of format.h and recovery.h, in another way than the engine does it.
**
** Includes the format, and nothing of the engine that reads it.
*/
#ifndef SPM_FUZZ_MODEL_H
#define SPM_FUZZ_MODEL_H

#include "../../vfs/store/format.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct model {
  const char *refused; /* why recovery must say no; NULL: it must say yes */
  bool asked;          /* a prepared transaction was pending              */
  uint64_t size;       /* bytes of the database                           */
  uint8_t *bytes;      /* of the first MODEL_MAX bytes; malloc            */
} model;

#define MODEL_MAX (UINT64_C(1) << 20)

typedef struct model_input {
  const uint8_t *x, *log;
  size_t x_size, log_size;
  const uint8_t *life;
  bool decision; /* what the host says of a pending transaction */
} model_input;

void model_recover(const model_input *, model *);
void model_free(model *);
/* The checksums of the format, for those who sign what they changed. */
uint64_t model_record_checksum(const uint8_t *record, uint64_t salt);
uint64_t model_superblock_checksum(const uint8_t *superblock);

#endif
