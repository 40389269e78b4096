/*
** args.h - the arguments of CREATE VIRTUAL TABLE ... USING pmemkv(path='x', size=1G, ...).
*/
#ifndef SPM_KV_ARGS_H
#define SPM_KV_ARGS_H

#include "../../vfs/options.h"

typedef struct spm_args {
  spm_options options;
  char *path; /* of the store, from sqlite3_malloc */
} spm_args;

/* `argv` as xCreate gets it: module, schema, table, arguments.  SQLITE_ERROR names an
** unknown option, a bad value, or a path that cannot be known. */
int spm_args_parse(sqlite3 *, int argc, const char *const *argv, spm_args *) SPM_MUST_CHECK;
void spm_args_free(spm_args *);

#endif
