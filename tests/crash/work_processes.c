/*
** work_processes.c - several processes on one store; some of them die.
**
** A director tells members, one at a time, what to do: attach, commit, look, checkpoint,
** detach.  A member can be told to die before some event of that, or to stop there while
** others are told to do something, and then to go on or die.  So every interleaving is
** the seed's, and what a dead process had on its way to media stays on its way while the
** others take over, go on, or all leave.
*/
#define _GNU_SOURCE
#include "model.h"
#include "work.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MEMBERS 3u
#define BLOCK SPM_BLOCK_SIZE
#define LOG_LEAST (UINT64_C(1) << 20)
#define TRIES 6

typedef enum task { ATTACH, DETACH, LOOK, PUT, BIG, GROW, SHRINK, CHECKPOINT, TASKS } task;
typedef enum end { FINISH, DIE, DIE_AT_SYNC, STOP } end;
enum { IDLE, GO, STOPPED, DEAD };

typedef struct member {
  _Atomic uint32_t status;
  task what;
  end how;
  unsigned long when; /* before this event or sync, from 1 */
  bool attached;
  pid_t pid; /* 0: none */
} member;

typedef struct crew {
  model m;
  member members[MEMBERS];
} crew;
static crew *all;
static member *self;

/* ------------------------------------------------------------- rendezvous -- */

static void set_status(member *who, uint32_t status) {
  atomic_store(&who->status, status);
  (void)syscall(SYS_futex, &who->status, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* A member that failed says so by ending. */
static bool has_ended(const member *who) {
  siginfo_t info = {.si_pid = 0};
  return waitid(P_PID, (id_t)who->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == who->pid;
}

/* Wait until the status is another one. */
static uint32_t await_change(member *who, uint32_t from) {
  while (atomic_load(&who->status) == from) {
    struct timespec patience = {.tv_nsec = 5000000};
    (void)syscall(SYS_futex, &who->status, FUTEX_WAIT, from, &patience, NULL, 0);
    if (who != self && has_ended(who) && atomic_load(&who->status) == from) live_failure("a member ended early");
  }
  return atomic_load(&who->status);
}

static void die_here(void) {
  set_status(self, DEAD);
  (void)raise(SIGKILL);
}

static void stop_here(void) {
  set_status(self, STOPPED);
  (void)await_change(self, STOPPED);
}

/* ---------------------------------------------------------------- members -- */

static bool busy(int rc) { return (rc & 0xff) == SQLITE_BUSY; }

static void must(int rc, const char *what) {
  if (rc != SQLITE_OK) live_failure("%s: %d, %s", what, rc, spm_last_error());
}

/* BUSY while somebody is stopped in the middle; overtaken once by what a dead one left. */
static bool begin(spm_conn *c) {
  int rc = SQLITE_BUSY;
  for (int i = 0; i < TRIES && busy(rc); i++) rc = model_begin(&all->m, c);
  if (busy(rc)) return false;
  must(rc, "beginning");
  return true;
}

static void write_some(spm_conn *c, uint64_t at, uint64_t n) {
  uint8_t bytes[BLOCK];
  for (uint64_t i = 0; i < n; i++) bytes[i] = (uint8_t)chance(256);
  model_write(&all->m, c, at, (uint32_t)n, bytes);
}

static void change(spm_conn *c, task what) {
  const content *d = &all->m.draft;
  uint64_t blocks = d->size / BLOCK;
  if (what == SHRINK && blocks > 4) model_truncate(&all->m, c, (2 + chance(blocks - 2)) * BLOCK);
  write_some(c, BLOCK + chance(d->size - BLOCK - 300), 300); /* no state twice */
  if (what == BIG)
    for (uint64_t n = 66 + chance(80), b = 0; b < n; b++) write_some(c, (1 + b) * BLOCK, BLOCK);
  if (what == GROW)
    for (uint64_t b = 1 + chance(20); b > 0; b--) write_some(c, d->size, BLOCK);
}

static void commit(spm_conn *c, task what) {
  if (!begin(c)) return;
  change(c, what);
  must(model_commit(&all->m, c), "committing");
}

static void checkpoint(spm_conn *c) {
  int rc = spm_snapshot_begin(c);
  if (rc == SQLITE_OK) rc = spm_conn_checkpoint(c);
  if (!busy(rc)) must(rc, "a checkpoint");
  spm_snapshot_end(c);
}

static void do_task(const stage *at, task what, spm_conn **c) {
  switch (what) {
    case ATTACH: *c = model_attach(at, LOG_LEAST); return;
    case DETACH:
      model_detach(*c);
      *c = NULL;
      return;
    case LOOK: {
      int rc = model_look(&all->m, *c);
      if (!busy(rc)) must(rc, "looking");
      return;
    }
    case CHECKPOINT: checkpoint(*c); return;
    default: commit(*c, what); return;
  }
}

static void be_member(const stage *at, void *argument) {
  spm_conn *c = NULL;
  self = argument;
  for (;;) {
    (void)await_change(self, IDLE);
    if (self->how == DIE_AT_SYNC)
      trace_at_sync(self->when, die_here);
    else if (self->how != FINISH)
      trace_at(self->when, self->how == DIE ? die_here : stop_here);
    do_task(at, self->what, &c);
    trace_at(0, NULL);
    if (self->how == DIE || self->how == DIE_AT_SYNC) die_here(); /* the task had fewer events: die after it */
    set_status(self, IDLE);
  }
}

/* --------------------------------------------------------------- director -- */

static const stage *scene;
static uint32_t born;

static void bury(member *who) {
  (void)kill(who->pid, SIGKILL);
  while (waitpid(who->pid, NULL, 0) < 0 && errno == EINTR)
    ;
  who->pid = 0;
  who->attached = false;
}

/* IDLE: done; STOPPED: in the middle; DEAD. */
static uint32_t tell(member *who, task what, end how, unsigned long when) {
  if (who->pid == 0) {
    atomic_store(&who->status, IDLE);
    who->pid = crew_start(scene, ++born, be_member, who);
  }
  who->what = what;
  who->how = how;
  who->when = when;
  set_status(who, GO);
  uint32_t status = await_change(who, GO);
  if (status == DEAD) bury(who);
  if (status == IDLE) who->attached = what == DETACH ? false : what == ATTACH ? true : who->attached;
  return status;
}

static member *anybody(void) { return &all->members[chance(MEMBERS)]; }

static void need_attached(member *who) {
  if (!who->attached) (void)tell(who, ATTACH, FINISH, 0);
}

static task some_change(void) {
  static const task changes[] = {PUT, PUT, BIG, GROW, SHRINK, CHECKPOINT};
  return changes[chance(sizeof changes / sizeof *changes)];
}

static void something(member *who) {
  need_attached(who);
  task what = chance(5) == 0 ? LOOK : chance(12) == 0 ? DETACH : some_change();
  (void)tell(who, what, FINISH, 0);
}

/* Others go on while one is stopped; in the end it goes on too, or dies there. */
static void stopped_scene(member *who) {
  for (uint64_t n = 1 + chance(2); n > 0; n--) {
    member *other = anybody();
    if (other != who) something(other);
  }
  if (chance(2) == 0) {
    bury(who);
    return;
  }
  set_status(who, GO);
  (void)await_change(who, GO);
}

static void death_scene(const stage *at) {
  member *who = anybody();
  static const task fatal[] = {PUT, BIG, GROW, CHECKPOINT, SHRINK, DETACH, BIG, PUT};
  task what = fatal[at->unit % (sizeof fatal / sizeof *fatal)];
  /* The units walk through the first events, where files grow and records are written. */
  unsigned long when = 1 + (unsigned long)(chance(3) > 0 ? at->unit / 8 % 16 : chance(what == BIG ? 170 : 24));
  if (chance(8) == 0 && !who->attached) what = ATTACH;
  if (what != ATTACH) need_attached(who);
  if (chance(3) == 0)
    (void)tell(who, what, DIE_AT_SYNC, 1 + (unsigned long)chance(3));
  else
    (void)tell(who, what, DIE, when);
  if (chance(2) == 0) return;
  /* An heir needs at once what the dead one was about to make. */
  member *heir = anybody();
  need_attached(heir);
  (void)tell(heir, what == DETACH || what == ATTACH ? BIG : what, FINISH, 0);
}

/* One dies when the log is longer and not synced yet: the second sync, X's was the first.
** Its heir links into what it finds there. */
static void growth_scene(void) {
  (void)tell(&all->members[0], BIG, DIE_AT_SYNC, 2);
  need_attached(&all->members[1]);
  (void)tell(&all->members[1], BIG, FINISH, 0);
}

static void play(const stage *at) {
  if (at->unit % 8 == 6) growth_scene();
  for (uint64_t n = 4 + chance(6); n > 0; n--) {
    uint64_t turn = chance(10);
    if (turn < 3) {
      death_scene(at);
    } else if (turn < 5) {
      member *who = anybody();
      need_attached(who);
      if (tell(who, some_change(), STOP, 1 + (unsigned long)chance(30)) == STOPPED) stopped_scene(who);
    } else {
      something(anybody());
    }
  }
}

static void prepare(const stage *at) { model_prepare(at, (4 + chance(8)) * BLOCK); }

static void run(const stage *at) {
  scene = at;
  all = mmap(NULL, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (all == MAP_FAILED) crash_die("mapping a crew");
  model_load(at, &all->m);
  (void)tell(&all->members[0], ATTACH, FINISH, 0);
  (void)tell(&all->members[1], ATTACH, FINISH, 0);
  (void)tell(&all->members[0], PUT, FINISH, 0);
  scope(true);
  play(at);
  if (chance(3) == 0) /* the crash of all, and somebody comes later */
    for (unsigned i = 0; i < MEMBERS; i++)
      if (all->members[i].pid != 0) bury(&all->members[i]);
  member *last = anybody();
  need_attached(last);
  (void)tell(last, PUT, FINISH, 0);
  (void)tell(last, LOOK, FINISH, 0);
  scope(false);
  for (unsigned i = 0; i < MEMBERS; i++)
    if (all->members[i].pid != 0) bury(&all->members[i]);
}

const workload work_processes = {
    "processes", "three processes: killed or stopped at any event, taken over, all dead, gone on", 64, 25, 150, true, true,
    prepare, run, model_reopen, work_store_resume};
