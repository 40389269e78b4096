/*
** steps.h - kill a process between any two of its steps.
**
** A *step* is the moment just before or just after a system call that changes a file.
** The child is traced, so nothing in it has to be replaced: SQLite's own code and the
** store's are counted alike.  What the child stores to a mapping between two calls
** belongs to the step that follows it.
*/
#ifndef SPM_TESTS_STEPS_H
#define SPM_TESTS_STEPS_H

#include <stdbool.h>

typedef struct step_result {
  bool killed; /* false: the work ended before the step came */
  int marks;   /* how often step_mark() had been called */
} step_result;

/* Run `work` in a child and kill it at its n-th step after the first mark; n = 1, 2... */
step_result kill_at_step(int n, void (*work)(void *), void *argument);
/* Stop it there instead, calls that lock counted as steps too, do `meanwhile`, and let
** it go on to its end; false: the work ended before the step came. */
bool pause_at_step(int n, void (*work)(void *), void *argument, void (*meanwhile)(void *));
/* Called by the work: counting begins, or something worth knowing has been done. */
void step_mark(void);

#endif
