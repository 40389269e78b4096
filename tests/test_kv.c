/*
** test_kv.c - the suite of the key-value store.
*/
#include "test_kv.h"

static void add(Suite *suite, const char *name, void (*cases)(TCase *)) {
  TCase *tcase = tcase_create(name);
  tcase_set_timeout(tcase, 300);
  cases(tcase);
  suite_add_tcase(suite, tcase);
}

Suite *kv_suite(void) {
  Suite *suite = suite_create("kv");
  add(suite, "format", kv_format_cases);
  add(suite, "node", kv_node_cases);
  add(suite, "space", kv_space_cases);
  add(suite, "tree", kv_tree_cases);
  add(suite, "model", kv_model_cases);
  add(suite, "file", kv_file_cases);
  add(suite, "copies", kv_copy_cases);
  add(suite, "crash", kv_crash_cases);
  add(suite, "damage", kv_damage_cases);
  add(suite, "sharing", kv_sharing_cases);
  return suite;
}
