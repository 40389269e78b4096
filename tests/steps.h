/*
** steps.h - kill a process between any two of its steps, or stop it between any two of its
** instructions.
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
/* Work that marks the beginning and the end of a stretch, again and again: in its n-th turn
** the child stands still after n instructions of the stretch, n = first, first + 1..., while
** `meanwhile` is called; and again at the end of the stretch, for `after`.  Then it is
** killed: when a stretch has no n instructions, or `meanwhile` says that it is enough.
** How many turns there were. */
typedef struct step_visit {
  bool (*meanwhile)(void *);
  void (*after)(void *);
} step_visit;
int visit_instructions(int first, void (*work)(void *), void *argument, step_visit);
/* Called by the work: counting begins, or something worth knowing has been done. */
void step_mark(void);

#endif
