/*
** tests.h - what the files of the test program share.
*/
#ifndef SPM_TESTS_H
#define SPM_TESTS_H

#include <check.h>

#include <stdbool.h>

Suite *decision_suite(void);
Suite *together_suite(void);
Suite *ddl_suite(void);
Suite *format_suite(void);
Suite *processes_suite(void);
Suite *durability_suite(void);
Suite *unlogged_suite(void);
Suite *log_suite(void);
Suite *store_suite(void);
Suite *recovery_suite(void);
Suite *redo_suite(void);
Suite *damage_suite(void);
Suite *scripts_suite(void);
Suite *growth_suite(void);
Suite *kv_suite(void);
Suite *zero_copy_suite(void);
Suite *adopt_suite(void);
Suite *multi_suite(void);
Suite *vfs_suite(void);
Suite *pmemkv_suite(void);

/* A path in the test's own empty folder on persistent memory, or on a disk. */
const char *pmem_path(const char *name);
const char *file_path(const char *name);
/* Is the folder for persistent memory on a DAX file system, as $SPM_PMEM_REAL says? */
bool pmem_is_real(void);

#endif
