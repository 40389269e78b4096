/*
** test_scripts.c - runs every tests/scripts/NAME.sh as a test of its own.  A script
** gets an empty folder on each medium ($PMEM, $DISK) and fails by its exit status;
** what it printed is shown then.
*/
#include "tests.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static glob_t scripts;

/* What a script could not do here is told, though it passed. */
static void tell_skipped(const char *path, char *output) {
  for (char *line = strtok(output, "\n"); line != NULL; line = strtok(NULL, "\n"))
    if (strncmp(line, "SKIPPED", 7) == 0) printf("  %s: %s\n", path, line);
  (void)fflush(stdout);
}

START_TEST(script) {
  char command[2048], output[16384];
  const char *path = scripts.gl_pathv[_i];
  (void)setenv("PMEM", pmem_path("."), 1);
  (void)setenv("DISK", file_path("."), 1);
  (void)snprintf(command, sizeof command, "sh -eu %s 2>&1", path);
  FILE *pipe = popen(command, "r");
  ck_assert_ptr_nonnull(pipe);
  /* Keep the end: that is where a failure shows. */
  size_t used = 0, got;
  while ((got = fread(output + used, 1, sizeof output - 1 - used, pipe)) > 0) {
    used += got;
    if (used < sizeof output - 1) continue;
    memmove(output, output + sizeof output / 2, used - sizeof output / 2);
    used -= sizeof output / 2;
  }
  output[used] = 0;
  int status = pclose(pipe);
  ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s failed:\n%s", path, output);
  tell_skipped(path, output);
}
END_TEST

Suite *scripts_suite(void) {
  Suite *suite = suite_create("scripts");
  TCase *all = tcase_create("scripts");
  tcase_set_timeout(all, 600);
  (void)glob("tests/scripts/*.sh", 0, NULL, &scripts);
  /* An empty folder must not look like a pass. */
  tcase_add_loop_test(all, script, 0, scripts.gl_pathc > 0 ? (int)scripts.gl_pathc : 1);
  suite_add_tcase(suite, all);
  return suite;
}
