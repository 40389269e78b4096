/*
** bank.h - processes that move money in one database, and what may never be seen of it.
**
** Every process is forked before the VFS is registered in it: connections are not for
** sharing.  What a process finds wrong it writes on a board that all of them map, and
** exits; the parent fails the test with that text.
*/
#ifndef SPM_TESTS_BANK_H
#define SPM_TESTS_BANK_H

#include <sqlite3.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define BANK_MEMBERS 8

typedef struct bank_board {
  atomic_bool stop;
  atomic_int wrong;      /* 1: `text` is being written, 2: it is there */
  char text[512];
  atomic_long commits, upgrades_lost, busy, snapshots, rolled_back;
} bank_board;

/* Shared with the children forked from now on. */
bank_board *bank_board_new(void);
/* The first to call it decides the text; ends the process. */
_Noreturn void bank_wrong(bank_board *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Fail the test in its own process if a child found something wrong. */
void bank_check_board(bank_board *);

/* Fork a process that runs `body`, with the VFS registered; it exits 0 when that returns. */
pid_t bank_spawn(bank_board *, void (*body)(bank_board *, void *), void *argument);
/* Wait for it; anything but exit status 0 or, if `killed`, SIGKILL fails the test. */
void bank_reap(bank_board *, pid_t, bool killed);

/* A connection: `vfs` is pmem or unix; `options` begins with & or is empty. */
sqlite3 *bank_open(bank_board *, const char *path, const char *vfs, const char *options);
/* Run it until it is neither SQLITE_OK nor SQLITE_BUSY; anything else is wrong. */
void bank_insist(bank_board *, sqlite3 *, const char *sql);
/* The first column of the first row; *rc is SQLITE_OK, or the error. */
int64_t bank_value(sqlite3 *, const char *sql, int *rc);

uint64_t bank_random(uint64_t *state);
void bank_sleep_ms(unsigned ms);
uint64_t bank_now_ms(void);

/* Five writers, three readers, killed, stopped and replaced at random for so long. */
void bank_run(const char *path, unsigned seconds, uint64_t seed);

#endif
