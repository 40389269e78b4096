/*
** steps.c - see steps.h.
*/
#define _GNU_SOURCE
#include "steps.h"

#include "tests.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SYSCALL_STOP (SIGTRAP | 0x80)

static bool locks_are_steps;

void step_mark(void) { (void)raise(SIGSTOP); }

static bool opens_for_creating(const struct __ptrace_syscall_info *call) {
#ifdef SYS_open
  if (call->entry.nr == SYS_open) return (call->entry.args[1] & O_CREAT) != 0;
#endif
  return call->entry.nr == SYS_openat && (call->entry.args[2] & O_CREAT) != 0;
}

static bool changes_files(const struct __ptrace_syscall_info *call) {
  switch (call->entry.nr) {
    case SYS_write:
    case SYS_pwrite64:
    case SYS_pwritev:
    case SYS_fsync:
    case SYS_fdatasync:
    case SYS_msync:
    case SYS_ftruncate:
    case SYS_fallocate:
    case SYS_fchmod:
    case SYS_fchown:
    case SYS_unlinkat:
#ifdef SYS_unlink
    case SYS_unlink:
    case SYS_rename:
#endif
      return true;
    case SYS_fcntl:
      return locks_are_steps && call->entry.args[1] == F_OFD_SETLK;
    default:
      return opens_for_creating(call);
  }
}

static void trace(pid_t child, enum __ptrace_request request, void *address, void *data) {
  ck_assert_msg(ptrace(request, child, address, data) != -1, "ptrace: %s", strerror(errno));
}

/* Is the stop a step?  The end of a call does not say which call it was. */
static bool is_step(pid_t child, bool *inside) {
  struct __ptrace_syscall_info call;
  trace(child, PTRACE_GET_SYSCALL_INFO, (void *)sizeof call, &call);
  bool step = call.op == PTRACE_SYSCALL_INFO_ENTRY ? changes_files(&call) : *inside;
  *inside = call.op == PTRACE_SYSCALL_INFO_ENTRY && step;
  return step;
}

static void kill_and_reap(pid_t child) {
  int status;
  ck_assert_int_eq(kill(child, SIGKILL), 0);
  do ck_assert_int_eq(waitpid(child, &status, 0), child);
  while (WIFSTOPPED(status));
  ck_assert(WIFSIGNALED(status));
}

/* From stop to stop, up to the n-th step; false: the child has ended before. */
static bool follow(pid_t child, int n, int *marks) {
  bool inside = false;
  int status, steps = 0;
  for (*marks = 0;;) {
    trace(child, PTRACE_SYSCALL, NULL, NULL);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    if (!WIFSTOPPED(status)) break;
    if (WSTOPSIG(status) == SIGSTOP) ++*marks;
    if (WSTOPSIG(status) != SYSCALL_STOP || !is_step(child, &inside)) continue;
    if (*marks > 0 && ++steps >= n) return true;
  }
  ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the traced child failed: %x", status);
  return false;
}

static pid_t traced_child(void (*work)(void *), void *argument) {
  int status;
  pid_t child = fork();
  ck_assert_int_ge(child, 0);
  if (child == 0) {
    (void)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    (void)raise(SIGSTOP);
    work(argument);
    _exit(0);
  }
  ck_assert_int_eq(waitpid(child, &status, 0), child);
  ck_assert(WIFSTOPPED(status));
  trace(child, PTRACE_SETOPTIONS, NULL, (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL));
  return child;
}

step_result kill_at_step(int n, void (*work)(void *), void *argument) {
  step_result result;
  pid_t child = traced_child(work, argument);
  locks_are_steps = false;
  result.killed = follow(child, n, &result.marks);
  if (result.killed) kill_and_reap(child);
  return result;
}

bool pause_at_step(int n, void (*work)(void *), void *argument, void (*meanwhile)(void *)) {
  int marks, status;
  pid_t child = traced_child(work, argument);
  locks_are_steps = true;
  if (!follow(child, n, &marks)) return false;
  meanwhile(argument);
  trace(child, PTRACE_DETACH, NULL, NULL);
  ck_assert_int_eq(waitpid(child, &status, 0), child);
  ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the paused child failed: %x", status);
  return true;
}

/* ------------------------------------------------------------ instructions -- */

static int next_stop(pid_t child, enum __ptrace_request request) {
  int status;
  trace(child, request, NULL, NULL);
  ck_assert_int_eq(waitpid(child, &status, 0), child);
  ck_assert_msg(WIFSTOPPED(status), "the traced child ended: %x", status);
  return WSTOPSIG(status);
}

static void run_to_mark(pid_t child) {
  while (next_stop(child, PTRACE_CONT) != SIGSTOP) continue;
}

int visit_instructions(int first, void (*work)(void *), void *argument, step_visit visit) {
  pid_t child = traced_child(work, argument);
  bool more = true;
  int n = first;
  for (; more; n++) {
    run_to_mark(child);
    for (int i = 0; i < n && more; i++) more = next_stop(child, PTRACE_SINGLESTEP) != SIGSTOP;
    if (!more) break;
    more = visit.meanwhile(argument);
    run_to_mark(child);
    if (visit.after != NULL) visit.after(argument);
  }
  kill_and_reap(child);
  return n - first;
}
