/*
** threads.c - threads of one process on one store, for the thread sanitizer.
**
**     threads SECONDS SEED
**
** The sanitizer sees one process only, so everything that processes do to each other
** is done here by threads, each with a connection of its own: the engine's shared
** memory is the same to it.  It is the store alone, without SQLite, whose own mutexes
** would order what the engine leaves unordered.
**
** The store is a bank: ACCOUNTS blocks, each full of one number, its balance.
**
**     movers    move money between two accounts; every 16th time between LARGE of
**               them, a commit that saves its images first; sometimes roll back; half of
**               them commit later than they say (mode=async), so there is a flusher too
**     growers   make the store longer and shorter behind the accounts
**     readers   add up a snapshot, pause, and add it up again
**     visitors  attach, read, leave; the last thread out ends the life, the next one
**               in begins another
**
** In every snapshot each block is of one piece and the sum is what it was at first.
** The program prints what was done and fails on the first thing wrong.
*/
#define _GNU_SOURCE
#include "../../vfs/stamp.h"
#include "../../vfs/store/apply.h"
#include "../../vfs/store/core.h"
#include "../../vfs/store/store.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORDS (SPM_BLOCK_SIZE / 8)
#define ACCOUNTS 96u
#define LARGE (SPM_SMALL_COMMIT + 8) /* accounts, at one commit */
#define OPENING_BALANCE 1000u
#define AT(account) (((uint64_t)(account) + 1) * SPM_BLOCK_SIZE)
#define END AT(ACCOUNTS)
#define GROWTH_MAX 64u /* blocks */
#define VISIT_PAUSE_US 100000u /* an attachment maps and unmaps much, which costs the sanitizer a lot */

static char path[256];
static uint64_t seed;
static atomic_bool stop;
static atomic_ulong commits, rollbacks, snapshots, busy, visits, lives;

static _Noreturn void wrong(const char *what, int rc) {
  fprintf(stderr, "WRONG: %s: %d, %s (seed %llu)\n", what, rc, spm_last_error(), (unsigned long long)seed);
  exit(1);
}

static uint64_t next_random(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  return *state ^= *state << 17;
}

/* ---------------------------------------------------------------- the host -- */

static int decide(const char *of, const char *super, bool *committed) {
  (void)of, (void)super;
  *committed = false;
  return SQLITE_OK;
}
static int settled(const char *of, const char *super) { return (void)of, (void)super, SQLITE_OK; }
static const spm_host host = {.kind = "database",
                              .identify = spm_stamp_identify,
                              .stamp = spm_stamp_on,
                              .unstamp = spm_stamp_off,
                              .decide = decide,
                              .settled = settled};
static const spm_store_options options = {.log_size_max = 1u << 20};

static pthread_mutex_t door = PTHREAD_MUTEX_INITIALIZER;

/* What the VFS does under stock SQLite's lock bytes, here under a mutex. */
static spm_conn *attach(void) {
  spm_conn *c = NULL;
  pthread_mutex_lock(&door);
  int rc = spm_store_join(path, &host, &options, &c);
  if (rc == SQLITE_NOTFOUND) {
    rc = spm_store_create(path, &host, &options, &c);
    lives++;
  }
  pthread_mutex_unlock(&door);
  if (rc != SQLITE_OK) wrong("attaching", rc);
  return c;
}

static int allow(void *argument) { return (void)argument, SQLITE_OK; }

static void detach(spm_conn *c) {
  pthread_mutex_lock(&door);
  spm_store_detach(c, allow, NULL);
  pthread_mutex_unlock(&door);
}

/* ------------------------------------------------------------- the accounts -- */

static uint64_t balance(spm_conn *c, uint32_t account) {
  uint64_t words[WORDS];
  int rc = spm_conn_read(c, AT(account), sizeof words, words);
  if (rc != SQLITE_OK) wrong("reading", rc);
  for (size_t i = 1; i < WORDS; i++)
    if (words[i] != words[0]) wrong("a block is torn", SQLITE_CORRUPT);
  return words[0];
}

static int set_balance(spm_conn *c, uint32_t account, uint64_t value) {
  uint64_t words[WORDS];
  for (size_t i = 0; i < WORDS; i++) words[i] = value;
  return spm_write(c, AT(account), sizeof words, words);
}

static void check_sum(spm_conn *c) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < ACCOUNTS; i++) sum += balance(c, i);
  if (sum != (uint64_t)ACCOUNTS * OPENING_BALANCE) wrong("the sum of a snapshot", SQLITE_CORRUPT);
}

static bool is_busy(int rc) {
  bool is = (rc & 0xff) == SQLITE_BUSY;
  busy += is;
  return is;
}

/* A snapshot and the writer lock; false: somebody else was faster. */
static bool begin(spm_conn *c) {
  int rc = spm_snapshot_begin(c);
  if (is_busy(rc)) return false;
  if (rc != SQLITE_OK) wrong("a snapshot", rc);
  rc = spm_write_begin(c);
  if (rc == SQLITE_OK) return true;
  spm_snapshot_end(c);
  if (!is_busy(rc)) wrong("the writer lock", rc);
  return false;
}

static void end(spm_conn *c, bool commit) {
  int rc = commit ? spm_commit_finish(c) : SQLITE_OK;
  if (rc != SQLITE_OK) wrong("a commit", rc);
  rc = spm_write_end(c);
  if (rc != SQLITE_OK) wrong("leaving the lock", rc);
  spm_snapshot_end(c);
  if (commit)
    commits++;
  else
    rollbacks++;
}

/* Each of `n` accounts from `first` on gives one to the next, the last to the first. */
static void move(spm_conn *c, uint32_t first, uint32_t n, bool commit) {
  uint64_t amount = balance(c, first) > 0;
  for (uint32_t i = 0; i < n; i += 2) {
    uint32_t from = (first + i) % ACCOUNTS, to = (first + i + 1) % ACCOUNTS;
    amount = balance(c, from) > 0;
    int rc = set_balance(c, from, balance(c, from) - amount);
    if (rc == SQLITE_OK) rc = set_balance(c, to, balance(c, to) + amount);
    if (rc != SQLITE_OK) wrong("writing", rc);
  }
  end(c, commit);
}

/* -------------------------------------------------------------- the threads -- */

static void *mover(void *argument) {
  uint64_t state = seed + (uintptr_t)argument;
  spm_conn *c = attach();
  spm_store_options later = options;
  later.durability = (uintptr_t)argument % 2 ? SPM_DURABLE_SOON : SPM_DURABLE_AT_ONCE;
  later.flush_interval_ns = 4000000;
  int rc = spm_store_configure(c, &later);
  if (rc != SQLITE_OK) wrong("a durability", rc);
  while (!stop) {
    uint64_t dice = next_random(&state);
    if (!begin(c)) continue;
    move(c, (uint32_t)(dice >> 8) % ACCOUNTS, dice % 16 == 0 ? LARGE : 2, dice % 7 != 0);
  }
  detach(c);
  return NULL;
}

static void *grower(void *argument) {
  uint64_t state = seed + (uintptr_t)argument;
  spm_conn *c = attach();
  while (!stop) {
    uint64_t dice = next_random(&state);
    if (!begin(c)) continue;
    int rc = spm_write_truncate(c, END + (dice >> 8) % GROWTH_MAX * SPM_BLOCK_SIZE);
    if (rc != SQLITE_OK) wrong("a change of size", rc);
    end(c, dice % 5 != 0);
    usleep(300);
  }
  detach(c);
  return NULL;
}

static void *reader(void *argument) {
  uint64_t state = seed + (uintptr_t)argument;
  spm_conn *c = attach();
  while (!stop) {
    int rc = spm_snapshot_begin(c);
    if (is_busy(rc)) continue;
    if (rc != SQLITE_OK) wrong("a reader's snapshot", rc);
    check_sum(c);
    if (next_random(&state) % 4 == 0) {
      usleep(500);
      check_sum(c);
    }
    spm_snapshot_end(c);
    snapshots++;
  }
  detach(c);
  return NULL;
}

static void *visitor(void *argument) {
  uint64_t state = seed + (uintptr_t)argument;
  while (!stop) {
    spm_conn *c = attach();
    spm_conn_want_pointers(c, next_random(&state) % 2 == 0);
    int rc = spm_snapshot_begin(c);
    if (rc == SQLITE_OK) {
      check_sum(c);
      spm_snapshot_end(c);
    } else if (!is_busy(rc)) {
      wrong("a visitor's snapshot", rc);
    }
    detach(c);
    visits++;
    usleep(VISIT_PAUSE_US);
  }
  return NULL;
}

static void make_bank(void) {
  static const char header[20] = "SQLite format 3\0\020\0\1\1";
  int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0 || ftruncate(fd, (off_t)END) != 0 || pwrite(fd, header, sizeof header, 0) != sizeof header)
    wrong(path, SQLITE_CANTOPEN);
  close(fd);
  spm_conn *c = attach();
  if (!begin(c)) wrong("the first transaction", SQLITE_BUSY);
  for (uint32_t i = 0; i < ACCOUNTS; i++)
    if (set_balance(c, i, OPENING_BALANCE) != SQLITE_OK) wrong("the opening balance", SQLITE_FULL);
  end(c, true);
  detach(c);
}

/* A round of threads; nobody is attached between two of them, so lives end and begin. */
static void round_of_threads(unsigned seconds) {
  static void *(*const work[])(void *) = {mover, mover, grower, reader, reader, visitor};
  enum { COUNT = sizeof work / sizeof *work };
  pthread_t threads[COUNT];
  stop = false;
  for (uintptr_t i = 0; i < COUNT; i++)
    if (pthread_create(&threads[i], NULL, work[i], (void *)(i * 7919)) != 0) wrong("a thread", SQLITE_NOMEM);
  sleep(seconds);
  stop = true;
  for (int i = 0; i < COUNT; i++) (void)pthread_join(threads[i], NULL);
}

int main(int n, char **arguments) {
  if (n != 4) {
    fprintf(stderr, "usage: threads FOLDER SECONDS SEED\n");
    return 2;
  }
  unsigned seconds = (unsigned)atoi(arguments[2]);
  seed = strtoull(arguments[3], NULL, 10) * 2 + 1;
  (void)snprintf(path, sizeof path, "%s/bank.db", arguments[1]);
  make_bank();
  for (unsigned past = 0; past < seconds; past += 2) round_of_threads(2);
  spm_conn *c = attach();
  if (spm_snapshot_begin(c) != SQLITE_OK) wrong("the last snapshot", SQLITE_BUSY);
  check_sum(c);
  spm_snapshot_end(c);
  detach(c);
  printf("threads: %lu commits, %lu rollbacks, %lu snapshots, %lu visits, %lu lives, %lu times busy\n",
         commits, rollbacks, snapshots, visits, lives, busy);
  if (commits == 0 || rollbacks == 0 || snapshots == 0 || visits == 0) wrong("a kind of thread did nothing", SQLITE_ERROR);
  return 0;
}
