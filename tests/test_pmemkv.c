/*
** test_pmemkv.c - the suite of the virtual table: from its codec to SQL.
*/
#include "test_pmemkv.h"
#include "tests.h"

Suite *pmemkv_suite(void) {
  Suite *suite = suite_create("pmemkv");
  suite_add_tcase(suite, pmemkv_key_case());
  suite_add_tcase(suite, pmemkv_changes_case());
  suite_add_tcase(suite, pmemkv_sharing_case());
  suite_add_tcase(suite, pmemkv_table_case());
  suite_add_tcase(suite, pmemkv_model_case());
  return suite;
}
