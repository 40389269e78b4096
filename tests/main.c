/*
** main.c - the test program: every suite, one process a test.
*/
#include "tests.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *path_in(const char *variable, const char *name) {
  static char paths[8][512];
  static unsigned turn;
  const char *folder = getenv(variable);
  ck_assert_msg(folder != NULL, "%s is not set: run the tests with tests/run.sh", variable);
  char *path = paths[turn++ % 8];
  (void)snprintf(path, sizeof *paths, "%s/%d", folder, (int)getpid());
  (void)mkdir(path, 0700);
  (void)snprintf(path, sizeof *paths, "%s/%d/%s", folder, (int)getpid(), name);
  return path;
}

/* On a DAX file system (tests/dax) nothing needs to be forced, and nothing is. */
bool pmem_is_real(void) { return getenv("SPM_PMEM_REAL") != NULL; }

/* libpmem reads the variable when it is first asked about a mapping: a test, which is a
** process of its own, is on the medium whose path it asked for first. */
const char *pmem_path(const char *name) {
  if (pmem_is_real())
    (void)unsetenv("PMEM_IS_PMEM_FORCE");
  else
    (void)setenv("PMEM_IS_PMEM_FORCE", "1", 1);
  return path_in("SPM_PMEM_FOLDER", name);
}
const char *file_path(const char *name) {
  (void)setenv("PMEM_IS_PMEM_FORCE", "0", 1);
  return path_in("SPM_FILE_FOLDER", name);
}

int main(void) {
  SRunner *runner = srunner_create(format_suite());
  srunner_add_suite(runner, adopt_suite());
  srunner_add_suite(runner, multi_suite());
  srunner_add_suite(runner, vfs_suite());
  srunner_add_suite(runner, pmemkv_suite());
  srunner_add_suite(runner, growth_suite());
  srunner_add_suite(runner, zero_copy_suite());
  srunner_add_suite(runner, processes_suite());
  srunner_add_suite(runner, log_suite());
  srunner_add_suite(runner, unlogged_suite());
  srunner_add_suite(runner, durability_suite());
  srunner_add_suite(runner, store_suite());
  srunner_add_suite(runner, recovery_suite());
  srunner_add_suite(runner, redo_suite());
  srunner_add_suite(runner, damage_suite());
  srunner_add_suite(runner, kv_suite());
  srunner_add_suite(runner, decision_suite());
  srunner_add_suite(runner, together_suite());
  srunner_add_suite(runner, ddl_suite());
  srunner_add_suite(runner, scripts_suite());
  srunner_run_all(runner, CK_ENV);
  int run = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  if (run == 0) (void)fprintf(stderr, "no suite or case is called so\n");
  return run > 0 && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
