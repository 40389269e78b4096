/*
** test_vfs.c - the suite of the VFS `pmem` under SQL: test_vfs_*.c are its parts.
*/
#include "test_vfs.h"

#include "tests.h"

Suite *vfs_suite(void) {
  Suite *suite = suite_create("vfs");
  suite_add_tcase(suite, vfs_methods_case());
  suite_add_tcase(suite, vfs_sharing_case());
  suite_add_tcase(suite, vfs_transactions_case());
  suite_add_tcase(suite, vfs_pages_case());
  suite_add_tcase(suite, vfs_rare_case());
  return suite;
}
