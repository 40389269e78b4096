/*
** bank_run.c - see bank.h: the parent of the check program.
*/
#define _GNU_SOURCE
#include "bank.h"
#include "tests.h"

#include "../vfs/vfs.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MEMBERS 8
#define WRITERS 5 /* the others read */

bank_board *bank_board_new(void) {
  void *board = mmap(NULL, sizeof(bank_board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ck_assert_ptr_ne(board, MAP_FAILED);
  return board;
}

void bank_check_board(bank_board *b) {
  for (int i = 0; i < 1000 && atomic_load(&b->wrong) == 1; i++) bank_sleep_ms(1);
  ck_assert_msg(atomic_load(&b->wrong) == 0, "%s", b->text);
}

pid_t bank_spawn(bank_board *b, void (*body)(bank_board *, void *), void *argument) {
  pid_t pid = fork();
  ck_assert_int_ge(pid, 0);
  if (pid > 0) return pid;
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody behind */
  if (spm_vfs_register(false) != SQLITE_OK) bank_wrong(b, "the VFS could not be registered");
  body(b, argument);
  _exit(0);
}

void bank_reap(bank_board *b, pid_t pid, bool killed) {
  int status;
  ck_assert_int_eq(waitpid(pid, &status, 0), pid);
  bank_check_board(b);
  if (killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) return;
  ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a process ended with wait status 0x%x", status);
}

typedef struct audit {
  const char *path;
  const bank_books *books;
} audit;

static void found(bank_board *b, void *path) {
  sqlite3 *db = bank_open(b, path, "pmem", "");
  bank_found(b, db);
  (void)sqlite3_close(db);
}

static void audit_here(bank_board *b, void *argument) {
  const audit *a = argument;
  sqlite3 *db = bank_open(b, a->path, "pmem", "");
  bank_check_whole(b, db, a->books);
  (void)sqlite3_close(db);
}

/* Every sidecar gone, and stock SQLite finds the same. */
static void audit_stock(bank_board *b, void *argument) {
  const audit *a = argument;
  static const char *const suffix[] = {"-pmlog", "-pmshm", "-journal", "-wal"};
  for (size_t i = 0; i < sizeof suffix / sizeof *suffix; i++) {
    char name[1024];
    (void)snprintf(name, sizeof name, "%s%s", a->path, suffix[i]);
    if (access(name, F_OK) == 0) bank_wrong(b, "%s is left after the last close", name);
  }
  sqlite3 *db = bank_open(b, a->path, "unix", "");
  bank_check_whole(b, db, a->books);
  (void)sqlite3_close(db);
}

static pid_t enter(bank_board *b, bank_member *m, uint64_t *random) {
  m->seed = bank_random(random);
  return bank_spawn(b, m->number < WRITERS ? bank_write : bank_read, m);
}

void bank_run(const char *path, unsigned seconds, uint64_t seed) {
  bank_board *b = bank_board_new();
  int pipes[2];
  ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
  (void)fcntl(pipes[0], F_SETFL, O_NONBLOCK);
  bank_member members[MEMBERS];
  pid_t pids[MEMBERS];
  bank_books books = {0};
  uint64_t random = seed;
  long kills = 0;
  for (int i = 0; i < MEMBERS; i++) members[i] = (bank_member){path, i, pipes[1], 0, bank_tell};
  bank_reap(b, bank_spawn(b, found, (void *)(uintptr_t)path), false);
  for (int i = 0; i < MEMBERS; i++) pids[i] = enter(b, &members[i], &random);
  uint64_t end = bank_now_ms() + (uint64_t)seconds * 1000;
  while (bank_now_ms() < end && atomic_load(&b->wrong) == 0) {
    struct pollfd heard = {.fd = pipes[0], .events = POLLIN};
    uint64_t strike = bank_now_ms() + bank_random(&random) % 120;
    for (uint64_t now; (now = bank_now_ms()) < strike;) {
      (void)poll(&heard, 1, (int)(strike - now));
      bank_hear(b, pipes[0], &books);
    }
    int victim = (int)(bank_random(&random) % MEMBERS);
    if (bank_random(&random) % 4 == 0) {
      (void)kill(pids[victim], SIGSTOP);
      bank_sleep_ms((unsigned)(bank_random(&random) % 60));
      (void)kill(pids[victim], SIGCONT);
      continue;
    }
    (void)kill(pids[victim], SIGKILL);
    bank_reap(b, pids[victim], true);
    bank_hear(b, pipes[0], &books);
    if (victim < WRITERS) books.lost[victim]++;
    pids[victim] = enter(b, &members[victim], &random);
    kills++;
  }
  atomic_store(&b->stop, true);
  for (int i = 0; i < MEMBERS; i++) bank_reap(b, pids[i], false);
  bank_hear(b, pipes[0], &books);
  audit a = {path, &books};
  bank_reap(b, bank_spawn(b, audit_here, &a), false);
  bank_reap(b, bank_spawn(b, audit_stock, &a), false);
  printf("  bank, seed %llu: %ld commits, %ld snapshots, %ld kills, %ld busy, %ld overtaken, %ld rolled back\n",
         (unsigned long long)seed, atomic_load(&b->commits), atomic_load(&b->snapshots), kills,
         atomic_load(&b->busy), atomic_load(&b->upgrades_lost), atomic_load(&b->rolled_back));
  ck_assert_int_gt(atomic_load(&b->commits), 0);
  ck_assert_int_gt(atomic_load(&b->snapshots), 0);
}
