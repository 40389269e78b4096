/*
** kills.c - processes of a bank, killed and stopped by the thousand.
**
**     kills LIBRARY FOLDER KILLS SEED
**
** Every process loads the extension as users do, opens the databases of FOLDER by SQL,
** and works until it is told to stop, or killed: SIGKILL at a random moment, beginning
** with its first instructions; or as soon as it is seen to be the writer; or some in a
** row, so that whoever takes over from a dead one dies too; or all at once, also just when
** the file is being stamped or its stamp taken off; or after SIGSTOP.  What must hold is bank.c's to know.  Each writer tells of a commit through a pipe after it has
** returned; what was told of must be there.
**
** The kills come in rounds.  After each, those who live stop by themselves, and then
** both databases are looked at here, closed, and looked at by stock SQLite: plain files
** with nothing beside them.  The rounds differ in who takes part:
**
**     crowd    writers and readers that stay, one that lets database and log grow and
**              shrink and VACUUMs: take-over by the living
**     lives    a few, each with a connection for some transactions: adoption, clean close
**              and recovery, again and again
**     mixed    the same with visitors through stock SQLite, who leave hot journals behind
**     pairs    transactions over two databases
**     all      everyone at once
*/
#define _GNU_SOURCE
#include "../bank.h"
#include "aim.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MEMBERS 9
#define KILLS_A_ROUND 50
#define END_PATIENCE_MS 120000 /* for a commit, and for a process that was told to stop: it hangs */

/* What all processes write on; the bank's board is part of it. */
typedef struct tally {
  bank_board board;
  atomic_long takeovers, recoveries, openings, closings, refused_stock, kept;
} tally;

typedef struct party {
  const char *library;
  char main_path[512], other_path[512];
  tally *tally;
  bank_books books;
  int pipes[2];
  uint64_t random;
  long kills, kills_of_stopped, kills_of_writers, ends_of_lives, stops, stops_of_writers;
} party;

typedef struct member {
  bank_member bank; /* first: bank.c's functions are given it */
  const party *party;
  void (*work)(bank_board *, void *);
  pid_t pid;
} member;

/* --------------------------------------------------------- the processes -- */

static tally *told; /* of this process */

/* The engine tells of every take-over and recovery in SQLite's error log. */
static void listen(void *unused, int code, const char *message) {
  (void)unused;
  if (strstr(message, ": took over from a dead writer") != NULL) atomic_fetch_add(&told->takeovers, 1);
  if (strstr(message, ": recovered to LSN") != NULL) atomic_fetch_add(&told->recoveries, 1);
  if (strstr(message, " keeps its log") != NULL) atomic_fetch_add(&told->kept, 1);
  if (getenv("KILLS_LOG") != NULL) (void)fprintf(stderr, "%d (%d): %s\n", (int)getpid(), code, message);
}

static sqlite3 *join(bank_board *b, const member *m, const char *vfs, bool both) {
  /* Who dies loses nothing of what it has committed, whenever that would have been durable. */
  static const char *const ways[] = {"", "&pmem_max_log_size=1M&pmem_mode=async", "&pmem_mode=periodic&pmem_flush_interval=0.05",
                                     "&pmem_max_log_size=1M"};
  sqlite3 *db = bank_open(b, m->party->main_path, vfs, strcmp(vfs, "pmem") == 0 ? ways[m->bank.number % 4] : "");
  atomic_fetch_add(&told->openings, 1);
  if (!both) return db;
  char *sql = sqlite3_mprintf("ATTACH 'file:%q?vfs=%s' AS other", m->party->other_path, vfs);
  bank_insist(b, db, sql);
  sqlite3_free(sql);
  return db;
}

static void leave(bank_board *b, sqlite3 *db) {
  bank_abandon(b, db);
  if (sqlite3_close(db) != SQLITE_OK) bank_wrong(b, "closing: %s", sqlite3_errmsg(db));
  atomic_fetch_add(&told->closings, 1);
}

static void tell(bank_board *b, member *m, int64_t sequence) {
  m->bank.tell(b, &m->bank, sequence);
  atomic_fetch_add(&b->commits, 1);
}

/* Some transactions on a connection of their own, over and over. */
static void visit(bank_board *b, void *argument) {
  member *m = argument;
  uint64_t *random = &m->bank.seed;
  int64_t sequence;
  while (!atomic_load(&b->stop)) {
    sqlite3 *db = join(b, m, "pmem", false);
    for (uint64_t n = 1 + bank_random(random) % 4; n > 0; n--) {
      if (bank_transaction(b, db, m->bank.number, random, &sequence) == SQLITE_OK) tell(b, m, sequence);
      bank_abandon(b, db);
    }
    leave(b, db);
  }
}

/* Every page changed and no money made: with a small cache the file is changed long
** before the end, and a journal that is left behind is needed. */
static int begin_stock(bank_board *b, sqlite3 *db, uint64_t *random) {
  static const char *const wide = "UPDATE account SET balance=balance+CASE WHEN id%2 THEN 1 ELSE -1 END";
  int rc = sqlite3_exec(db, "PRAGMA cache_size=10; BEGIN IMMEDIATE", NULL, NULL, NULL);
  if (rc == SQLITE_OK && bank_random(random) % 2 == 0) rc = sqlite3_exec(db, wide, NULL, NULL, NULL);
  if (rc != SQLITE_OK && rc != SQLITE_NOTADB && (rc & 0xff) != SQLITE_BUSY)
    bank_wrong(b, "stock SQLite: %s (%d)", sqlite3_errmsg(db), rc);
  return rc;
}

/* Through stock SQLite, to which a database that is open here is no database. */
static void visit_stock(bank_board *b, void *argument) {
  member *m = argument;
  int64_t sequence;
  while (!atomic_load(&b->stop)) {
    sqlite3 *db = join(b, m, "unix", false);
    int rc = begin_stock(b, db, &m->bank.seed);
    if (rc != SQLITE_OK) atomic_fetch_add(&told->refused_stock, 1);
    if (rc == SQLITE_OK && bank_go_on(b, db, m->bank.number, &m->bank.seed, &sequence) == SQLITE_OK)
      tell(b, m, sequence);
    leave(b, db);
    if (rc != SQLITE_OK) bank_sleep_ms(1);
  }
}

static void write_pairs(bank_board *b, void *argument) {
  member *m = argument;
  uint64_t *random = &m->bank.seed;
  int64_t sequence;
  while (!atomic_load(&b->stop)) {
    sqlite3 *db = join(b, m, "pmem", true);
    for (uint64_t n = 1 + bank_random(random) % 20; n > 0 && !atomic_load(&b->stop); n--) {
      if (bank_transaction_of_two(b, db, m->bank.number, random, &sequence) == SQLITE_OK) tell(b, m, sequence);
      bank_abandon(b, db);
    }
    leave(b, db);
  }
}

static void grow(bank_board *b, void *argument) {
  member *m = argument;
  sqlite3 *db = join(b, m, "pmem", false);
  bank_insist(b, db, "PRAGMA cache_size=20");
  while (!atomic_load(&b->stop)) {
    if (bank_grow(b, db, m->bank.number, &m->bank.seed) != SQLITE_OK) bank_sleep_ms(1);
    bank_abandon(b, db);
  }
  leave(b, db);
}

/* -------------------------------------------------------------- the rounds -- */

typedef struct round_kind {
  const char *name;
  void (*work[MEMBERS])(bank_board *, void *);
  bool lives; /* begin and end in it */
} round_kind;

static const round_kind kinds[] = {
    {"crowd", {bank_write, bank_write, bank_write, bank_write, grow, bank_read, bank_read, bank_read}, false},
    {"lives", {visit, visit, visit}, true},
    {"mixed", {visit, visit, visit_stock, visit_stock}, true},
    {"pairs", {write_pairs, write_pairs, write_pairs, bank_write, bank_read}, false},
    {"all", {bank_write, bank_write, visit, visit, write_pairs, write_pairs, grow, bank_read, bank_read}, false},
};
#define KINDS (sizeof kinds / sizeof *kinds)

static pid_t spawn(party *p, void (*work)(bank_board *, void *), void *argument) {
  pid_t pid = fork();
  if (pid < 0) {
    perror("fork");
    exit(EXIT_FAILURE);
  }
  if (pid > 0) return pid;
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
  (void)signal(SIGPIPE, SIG_IGN);
  (void)close(p->pipes[0]);
  told = p->tally;
  (void)sqlite3_config(SQLITE_CONFIG_LOG, listen, NULL);
  bank_load(&told->board, p->library);
  work(&told->board, argument);
  _exit(0);
}

static void enter(party *p, member *m) {
  m->bank.seed = bank_random(&p->random);
  m->pid = spawn(p, m->work, m);
}

static void look_at_status(party *p, int status, bool killed) {
  if (killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) return;
  if (status != 0) bank_complain(&p->tally->board, "a process ended with wait status 0x%x", (unsigned)status);
}

/* Wait for one that was told to stop. */
static void reap(party *p, pid_t pid) {
  int status = 0;
  uint64_t deadline = bank_now_ms() + END_PATIENCE_MS;
  while (waitpid(pid, &status, WNOHANG) == 0) {
    bank_hear(&p->tally->board, p->pipes[0], &p->books);
    if (bank_now_ms() > deadline) {
      bank_complain(&p->tally->board, "process %d hangs", (int)pid);
      (void)kill(pid, SIGABRT);
      deadline = UINT64_MAX;
    }
    bank_sleep_ms(1);
  }
  look_at_status(p, status, false);
}

static void kill_one(party *p, member *m) {
  int status = 0;
  (void)kill(m->pid, SIGKILL);
  (void)waitpid(m->pid, &status, 0);
  look_at_status(p, status, true);
  bank_hear(&p->tally->board, p->pipes[0], &p->books);
  if (m->bank.number < BANK_WRITERS) p->books.lost[m->bank.number]++;
  p->kills++;
}

static void pause_us(uint64_t us) {
  struct timespec pause = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};
  while (nanosleep(&pause, &pause) != 0 && errno == EINTR) continue;
}

static void spin(uint64_t times) {
  for (; times > 0; times--) atomic_signal_fence(memory_order_seq_cst);
}

/* Mostly short; long enough, now and then, for the others to give up waiting. */
static unsigned stop_ms(party *p) {
  bool lasts = bank_random(&p->random) % 8 == 0;
  return (unsigned)(bank_random(&p->random) % (lasts ? 400 : 30));
}

/* A third never goes on. */
static void end_stop(party *p, member *m) {
  if (bank_random(&p->random) % 3 == 0) {
    kill_one(p, m);
    p->kills_of_stopped++;
    enter(p, m);
  } else {
    (void)kill(m->pid, SIGCONT);
  }
}

static void stop_one(party *p, member *m) {
  (void)kill(m->pid, SIGSTOP);
  p->stops++;
  bank_sleep_ms(stop_ms(p));
  end_stop(p, m);
}

/* While the writer stands still nobody takes its place, and nothing is committed. */
static void stop_writer(party *p, member *m, const aim *a) {
  int status = 0;
  if (kill(m->pid, SIGSTOP) != 0 || waitpid(m->pid, &status, WUNTRACED) != m->pid || !WIFSTOPPED(status)) {
    bank_complain(&p->tally->board, "a process could not be stopped: 0x%x", (unsigned)status);
    return;
  }
  p->stops++;
  if (aim_writer(a) == m->pid) {
    uint64_t published = aim_published(a);
    p->stops_of_writers++;
    bank_sleep_ms(stop_ms(p));
    if (aim_writer(a) != m->pid || aim_published(a) != published)
      bank_complain(&p->tally->board, "a stopped writer was taken for a dead one");
  }
  end_stop(p, m);
}

static member *member_with(member *members, int count, pid_t pid) {
  for (int i = 0; pid > 0 && i < count; i++)
    if (members[i].pid == pid) return &members[i];
  return NULL;
}

/* Wait until one of them is the writer, not for long, and let it get somewhere; NULL:
** nobody is. */
static member *aim_at_writer(party *p, member *members, int count, const aim *a) {
  member *m = NULL;
  for (uint64_t deadline = bank_now_ms() + 20; m == NULL && bank_now_ms() < deadline;)
    m = member_with(members, count, aim_writer(a));
  spin(bank_random(&p->random) % 100000);
  return m;
}

/* What it does, as likely as not, it does with the writer. */
static bool strike_writer(party *p, member *members, int count, bool stop) {
  aim a;
  if (!aim_open(&a, p->main_path)) return false;
  member *m = aim_at_writer(p, members, count, &a);
  if (m != NULL && stop) stop_writer(p, m, &a);
  if (m != NULL && !stop) {
    kill_one(p, m);
    enter(p, m);
    p->kills_of_writers++;
  }
  aim_close(&a);
  return m != NULL;
}

static void strike_one(party *p, member *m) {
  kill_one(p, m);
  enter(p, m);
}

static void kill_all(party *p, member *members, int count) {
  for (int i = 0; i < count; i++) (void)kill(members[i].pid, SIGSTOP);
  for (int i = 0; i < count; i++) kill_one(p, &members[i]);
  for (int i = 0; i < count; i++) enter(p, &members[i]);
}

static void hear_for(party *p, uint64_t ms) {
  struct pollfd heard = {.fd = p->pipes[0], .events = POLLIN};
  (void)poll(&heard, 1, (int)ms);
  bank_hear(&p->tally->board, p->pipes[0], &p->books);
}

/* Hear what is told until the moment has come: a time, or some commits from now, so that
** a slow machine gets somewhere too. */
static void await_moment(party *p) {
  bool by_commits = bank_random(&p->random) % 2 == 0;
  atomic_long *commits = &p->tally->board.commits;
  long wanted = atomic_load(commits) + (by_commits ? (long)(bank_random(&p->random) % 6) : LONG_MAX / 2);
  uint64_t strike = bank_now_ms() + (by_commits ? 300 : bank_random(&p->random) % 40);
  for (uint64_t now; (now = bank_now_ms()) < strike && atomic_load(commits) < wanted;) hear_for(p, strike - now);
}

/* A round in which nothing was committed has shown nothing. */
static void await_commit(party *p, long before) {
  bank_board *b = &p->tally->board;
  uint64_t deadline = bank_now_ms() + END_PATIENCE_MS;
  while (atomic_load(&b->wrong) == 0 && atomic_load(&b->commits) == before) {
    if (bank_now_ms() > deadline) bank_complain(b, "nobody commits anything");
    hear_for(p, 10);
  }
}

static bool right(const party *p) { return atomic_load(&p->tally->board.wrong) == 0; }

/* Everybody, just when a life of main.db begins or ends; false: none does. */
static bool strike_life(party *p, member *members, int count) {
  uint8_t before[AIM_STAMP_SIZE], now[AIM_STAMP_SIZE];
  bool changed = false, known = aim_stamp(p->main_path, before);
  for (uint64_t deadline = bank_now_ms() + 200; known && !changed && bank_now_ms() < deadline;)
    changed = aim_stamp(p->main_path, now) && memcmp(now, before, sizeof now) != 0;
  if (!changed) return false;
  spin(bank_random(&p->random) % 60000);
  kill_all(p, members, count);
  p->ends_of_lives++;
  return true;
}

static member *anyone(party *p, member *members, int count) {
  return &members[bank_random(&p->random) % (unsigned)count];
}

/* As many as take over from a dead one within a moment. */
static void strike_in_a_row(party *p, member *members, int count) {
  for (uint64_t n = 2 + bank_random(&p->random) % 4; n > 0 && right(p); n--) {
    if (!strike_writer(p, members, count, false)) strike_one(p, anyone(p, members, count));
    pause_us(bank_random(&p->random) % 1500);
  }
}

static void strike(party *p, const round_kind *kind, member *members, int count) {
  uint64_t how = bank_random(&p->random) % 20;
  if (how == 0)
    kill_all(p, members, count);
  else if (how < 3)
    strike_in_a_row(p, members, count);
  else if (how < 5)
    stop_one(p, anyone(p, members, count));
  else if (how < 8 && strike_writer(p, members, count, true))
    return;
  else if (how < 12 && kind->lives && strike_life(p, members, count))
    return;
  else if (how >= 14 || !strike_writer(p, members, count, false))
    strike_one(p, anyone(p, members, count));
}

/* ------------------------------------------------------------------- audit -- */

static void audit_one(bank_board *b, const char *path, const char *vfs, const bank_books *books) {
  sqlite3 *db = bank_open(b, path, vfs, "");
  bank_check_whole(b, db, books);
  leave(b, db);
}

static void audit_here(bank_board *b, void *argument) {
  static const bank_books none;
  const party *p = argument;
  const member m = {.party = p};
  sqlite3 *db = join(b, &m, "pmem", true);
  bank_insist(b, db, "BEGIN IMMEDIATE");
  bank_compare_pairs(b, db);
  leave(b, db);
  audit_one(b, p->main_path, "pmem", &p->books);
  audit_one(b, p->other_path, "pmem", &none);
}

static void audit_stock(bank_board *b, void *argument) {
  static const char *const suffix[] = {"-pmlog", "-pmshm", "-journal", "-wal"};
  static const bank_books none;
  const party *p = argument;
  for (size_t i = 0; i < 8; i++) {
    char name[1024];
    (void)snprintf(name, sizeof name, "%s%s", i % 2 ? p->main_path : p->other_path, suffix[i / 2]);
    if (access(name, F_OK) == 0) bank_wrong(b, "%s is left after the last close", name);
  }
  audit_one(b, p->main_path, "unix", &p->books);
  audit_one(b, p->other_path, "unix", &none);
}

static void found(bank_board *b, void *argument) {
  const party *p = argument;
  const char *paths[] = {p->main_path, p->other_path};
  for (int i = 0; i < 2; i++) {
    sqlite3 *db = bank_open(b, paths[i], "pmem", "");
    bank_found(b, db);
    leave(b, db);
  }
}

/* ------------------------------------------------------------------- parent -- */

static void play(party *p, const round_kind *kind) {
  member members[MEMBERS];
  bank_board *b = &p->tally->board;
  int count = 0;
  long before = atomic_load(&b->commits), until = p->kills + KILLS_A_ROUND;
  for (; count < MEMBERS && kind->work[count] != NULL; count++) {
    members[count] = (member){{p->main_path, count, p->pipes[1], 0, bank_tell}, p, kind->work[count], 0};
    enter(p, &members[count]);
  }
  while (right(p) && p->kills < until) {
    await_moment(p);
    strike(p, kind, members, count);
  }
  await_commit(p, before);
  atomic_store(&b->stop, true);
  for (int i = 0; i < count; i++) reap(p, members[i].pid);
  bank_hear(b, p->pipes[0], &p->books);
  atomic_store(&b->stop, false);
  if (right(p)) reap(p, spawn(p, audit_here, p));
  if (right(p)) reap(p, spawn(p, audit_stock, p));
}

static void print_totals(const party *p) {
  const tally *t = p->tally;
  printf("%ld kills (%ld of writers, %ld of stopped processes, %ld times at either end of a life), %ld stops (%ld of writers), %ld commits, %ld snapshots,"
         " %ld times busy\n%ld take-overs, %ld recoveries, %ld openings, %ld closings (%ld with the log kept), stock refused %ld times\n",
         p->kills, p->kills_of_writers, p->kills_of_stopped, p->ends_of_lives, p->stops, p->stops_of_writers, atomic_load(&t->board.commits), atomic_load(&t->board.snapshots),
         atomic_load(&t->board.busy), atomic_load(&t->takeovers), atomic_load(&t->recoveries),
         atomic_load(&t->openings), atomic_load(&t->closings), atomic_load(&t->kept), atomic_load(&t->refused_stock));
  (void)fflush(stdout);
}

/* A run in which something never happened has not shown that it is survived. */
static bool everything_happened(const party *p) {
  const tally *t = p->tally;
  if (p->kills_of_writers == 0 || p->stops_of_writers == 0) return false;
  return atomic_load(&t->takeovers) > 0 && atomic_load(&t->recoveries) > 0 && atomic_load(&t->board.busy) > 0 &&
         atomic_load(&t->board.snapshots) > 0 && atomic_load(&t->refused_stock) > 0;
}

int main(int argc, char **argv) {
  party p = {0};
  if (argc != 5) return EXIT_FAILURE;
  long wanted = strtol(argv[3], NULL, 10);
  p.library = argv[1];
  p.random = strtoull(argv[4], NULL, 10);
  (void)snprintf(p.main_path, sizeof p.main_path, "%s/main.db", argv[2]);
  (void)snprintf(p.other_path, sizeof p.other_path, "%s/other.db", argv[2]);
  p.tally = mmap(NULL, sizeof(tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (p.tally == MAP_FAILED || pipe2(p.pipes, O_CLOEXEC) != 0) return EXIT_FAILURE;
  (void)fcntl(p.pipes[0], F_SETFL, O_NONBLOCK);
  reap(&p, spawn(&p, found, &p));
  for (size_t i = 0; right(&p) && p.kills < wanted; i++) play(&p, &kinds[i % KINDS]);
  print_totals(&p);
  if (right(&p) && !everything_happened(&p)) bank_complain(&p.tally->board, "too little happened");
  if (right(&p)) return EXIT_SUCCESS;
  printf("WRONG, with seed %s: %s\n", argv[4], p.tally->board.text);
  return EXIT_FAILURE;
}
