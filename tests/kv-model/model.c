/*
** model.c - many runs of sqlmodel.h, in processes of their own, some of which are killed.
**
** A killed one has left a store behind, and the number of the point it had reached.  The
** same run is then made again, unkilled, to that point and one further: the store, once
** recovered, must have the table as it was at one of the two.
*/
#include "../sqlmodel.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STEPS 5000ul /* statements of a run that is not killed */
#define STEPS_TO_KILL (1000 * STEPS)
#define KILL_EVERY 3u /* runs */
#define MILLISECONDS_MAX 400u /* until the kill */

typedef struct shared {
  _Atomic unsigned long points;
} shared;

static unsigned long kills, kept, lost_race;

static void pause_ms(unsigned ms) {
  struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
  (void)nanosleep(&t, NULL);
}

static _Noreturn void fail(uint64_t seed, const char *what) {
  (void)fprintf(stderr, "kv-model: seed %llu: %s\n", (unsigned long long)seed, what);
  exit(1);
}

static void make_folder(char *to, size_t n, const char *base, const char *name) {
  char command[600];
  (void)snprintf(to, n, "%s/%s", base, name);
  (void)snprintf(command, sizeof command, "rm -rf '%s'", to);
  if (system(command) != 0 || mkdir(to, 0700) != 0) fail(0, "no folder can be made");
}

static sqlmodel_options options_of(uint64_t seed, const char *folder) {
  return (sqlmodel_options){.folder = folder, .seed = seed, .steps = STEPS,
                            .encoding = seed % 5 == 0 ? "UTF-16le" : seed % 7 == 0 ? "UTF-16be" : "UTF-8",
                            .schema = seed % 3 == 0 ? "temp" : "main"};
}

static pid_t start(sqlmodel_options *options, shared *s) {
  options->points = &s->points;
  s->points = 0;
  pid_t child = fork();
  if (child != 0) return child;
  (void)sqlmodel_run(options);
  _exit(0);
}

static int wait_for(pid_t child) {
  int status;
  if (waitpid(child, &status, 0) != child) fail(0, "a child is gone");
  return status;
}

/* In a process of its own: this one never opens a database, which could not survive fork(). */
static void compare_with_replay(uint64_t seed, const char *killed, const char *folder, unsigned long points) {
  pid_t child = fork();
  if (child == 0) {
    sqlmodel_options again = options_of(seed, folder);
    again.steps = STEPS_TO_KILL;
    again.wanted = points + 1;
    (void)sqlmodel_run(&again);
    uint64_t found = sqlmodel_digest(killed);
    _exit(found == 0 ? 1 : found == again.digests[0] ? 10 : found == again.digests[1] ? 11 : 12);
  }
  int status = wait_for(child);
  if (!WIFEXITED(status) || WEXITSTATUS(status) == 1 || WEXITSTATUS(status) == 12)
    fail(seed, "what a killed process left is not what it had committed");
  WEXITSTATUS(status) == 10 ? kept++ : lost_race++;
}

static void run_and_kill(uint64_t seed, const char *base, unsigned ms, shared *s) {
  char killed[500], folder[500];
  make_folder(killed, sizeof killed, base, "killed");
  make_folder(folder, sizeof folder, base, "again");
  sqlmodel_options options = options_of(seed, killed);
  options.steps = STEPS_TO_KILL;
  pid_t child = start(&options, s);
  pause_ms(ms);
  (void)kill(child, SIGKILL);
  int status = wait_for(child);
  if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) fail(seed, "a run ended before it could be killed");
  kills++;
  if (s->points > 2) compare_with_replay(seed, killed, folder, s->points);
}

static void run_whole(uint64_t seed, const char *base, shared *s) {
  char folder[500];
  make_folder(folder, sizeof folder, base, "whole");
  sqlmodel_options options = options_of(seed, folder);
  int status = wait_for(start(&options, s));
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) fail(seed, "a difference, or a crash");
}

int main(int argc, char **argv) {
  if (argc != 4) {
    (void)fprintf(stderr, "usage: %s FOLDER SEED STATEMENTS\n", argv[0]);
    return 2;
  }
  uint64_t seed = strtoull(argv[2], NULL, 10);
  unsigned long wanted = strtoul(argv[3], NULL, 10), done = 0;
  shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (s == MAP_FAILED) fail(seed, "no memory");
  for (unsigned run = 0; done < wanted; run++, seed++) {
    if (run % KILL_EVERY == KILL_EVERY - 1)
      run_and_kill(seed, argv[1], 20 + (unsigned)(seed * 2654435761u % MILLISECONDS_MAX), s);
    else {
      run_whole(seed, argv[1], s);
      done += STEPS;
    }
  }
  (void)printf("%lu random statements on both tables, no difference; %lu kills, after %lu of which the last "
               "transaction was not there, after %lu it was\n", done, kills, kept, lost_race);
  return kept + lost_race > 0 ? 0 : 1;
}
