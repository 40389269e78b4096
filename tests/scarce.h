/*
** scarce.h - memory that runs out: SQLite's allocator, with so many allocations left.
*/
#ifndef SPM_TESTS_SCARCE_H
#define SPM_TESTS_SCARCE_H

/* Before SQLite's first allocation in this process, which each test is. */
void scarce_install(void);
/* How many will succeed; -1: as many as one likes. */
extern long scarce_left;

#endif
