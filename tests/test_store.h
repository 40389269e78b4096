/*
** test_store.h - the files of the suite `store`, each with its cases.
*/
#ifndef SPM_TEST_STORE_H
#define SPM_TEST_STORE_H

#include "fixture.h"

#include "../vfs/store/apply.h"

#define LARGE (SPM_SMALL_COMMIT + 40) /* blocks: a commit that saves its images first */

void store_checkpoint(TCase *);
void store_between(TCase *);
void store_edit(TCase *);
void store_failures(TCase *);
void store_size(TCase *);
void store_snapshots(TCase *);
void store_writers(TCase *);

#endif
