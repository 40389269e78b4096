/*
** test_pmemkv.h - the suite "pmemkv" is in several files; each gives its part.
*/
#ifndef SPM_TESTS_PMEMKV_H
#define SPM_TESTS_PMEMKV_H

#include <check.h>

TCase *pmemkv_key_case(void);     /* values as bytes         */
TCase *pmemkv_changes_case(void); /* the ordered write set   */
TCase *pmemkv_model_case(void);   /* SQL against an ordinary table */
TCase *pmemkv_table_case(void);   /* the table at its edges */
TCase *pmemkv_sharing_case(void); /* connections, threads, processes */

#endif
