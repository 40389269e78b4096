/*
** test_kv.h - the cases of the suite "kv", a file each.
*/
#ifndef SPM_TEST_KV_CASES_H
#define SPM_TEST_KV_CASES_H

#include "kv.h"

void kv_format_cases(TCase *);  /* test_kv_format.c  */
void kv_node_cases(TCase *);    /* test_kv_node.c    */
void kv_space_cases(TCase *);   /* test_kv_space.c   */
void kv_tree_cases(TCase *);    /* test_kv_tree.c    */
void kv_model_cases(TCase *);   /* test_kv_model.c   */
void kv_file_cases(TCase *);    /* test_kv_file.c    */
void kv_copy_cases(TCase *);    /* test_kv_copy.c    */
void kv_crash_cases(TCase *);   /* test_kv_crash.c   */
void kv_damage_cases(TCase *);  /* test_kv_damage.c  */
void kv_sharing_cases(TCase *); /* test_kv_sharing.c */

#endif
