/*
** test_vfs.h - the suite "vfs" is in several files; each gives its part.
*/
#ifndef SPM_TESTS_VFS_H
#define SPM_TESTS_VFS_H

#include <check.h>

TCase *vfs_pages_case(void);        /* page sizes, VACUUM, backup      */
TCase *vfs_transactions_case(void); /* rollback, savepoints, journals  */
TCase *vfs_sharing_case(void);      /* several connections, exclusion  */
TCase *vfs_methods_case(void);      /* what the pager calls            */
TCase *vfs_rare_case(void);         /* what it calls seldom or never  */

#endif
