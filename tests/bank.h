/*
** bank.h - processes that move money in one database, and what may never be seen of it.
**
** Whoever finds something wrong writes it on a board that all processes map, and exits;
** the parent fails with that text.
**
** bank.c knows of SQL only: the check program, and the proofs that have programs of
** their own, share it.  bank_run.c is the check program's part.
*/
#ifndef SPM_TESTS_BANK_H
#define SPM_TESTS_BANK_H

#include <sqlite3.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define BANK_WRITERS 8 /* as many have a counter */

typedef struct bank_board {
  atomic_bool stop;
  atomic_int wrong;      /* 1: `text` is being written, 2: it is there */
  char text[512];
  atomic_long commits, upgrades_lost, busy, snapshots, rolled_back;
} bank_board;

/* The first to call it decides the text; bank_wrong() ends the process, too. */
void bank_complain(bank_board *, const char *format, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void bank_wrong(bank_board *, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Load the extension into this process, as its users do. */
void bank_load(bank_board *, const char *library);
/* A connection: `vfs` is pmem or unix; `options` begins with & or is empty. */
sqlite3 *bank_open(bank_board *, const char *path, const char *vfs, const char *options);
/* Run it until it is neither SQLITE_OK nor SQLITE_BUSY; anything else is wrong. */
void bank_insist(bank_board *, sqlite3 *, const char *sql);
/* The first column of the first row; *rc is SQLITE_OK, or the error. */
int64_t bank_value(sqlite3 *, const char *sql, int *rc);

uint64_t bank_random(uint64_t *state);
void bank_sleep_ms(unsigned ms);
uint64_t bank_now_ms(void);

/* A writer, or a reader, and its work until the board says stop.  A writer tells of a
** commit when it has returned. */
typedef struct bank_member {
  const char *path;
  int number; /* of the writer */
  int pipe;   /* for bank_tell() */
  uint64_t seed;
  void (*tell)(bank_board *, const struct bank_member *, int64_t sequence);
} bank_member;
void bank_tell(bank_board *, const bank_member *, int64_t sequence);
void bank_write(bank_board *, void *member);
void bank_read(bank_board *, void *member);

/* Make the tables of a new database. */
void bank_found(bank_board *, sqlite3 *);
/* One transaction; *sequence is its number once SQLITE_OK came back.  SQLITE_BUSY: try
** again; bank_abandon() rolls back what is still open. */
int bank_transaction(bank_board *, sqlite3 *, int writer, uint64_t *random, int64_t *sequence);
/* The same for who has already begun it. */
int bank_go_on(bank_board *, sqlite3 *, int writer, uint64_t *random, int64_t *sequence);
/* The same over main and the attached `other`. */
int bank_transaction_of_two(bank_board *, sqlite3 *, int writer, uint64_t *random, int64_t *sequence);
/* Let database and log grow and shrink, with a VACUUM now and then; not told of. */
int bank_grow(bank_board *, sqlite3 *, int writer, uint64_t *random);
void bank_abandon(bank_board *, sqlite3 *);
/* With the write locks of both held: neither has committed without the other. */
void bank_compare_pairs(bank_board *, sqlite3 *);

/* What the parent knows of each writer: its last commit that was told of, and how many
** may have died after a commit and before telling. */
typedef struct bank_books {
  int64_t acknowledged[BANK_WRITERS], lost[BANK_WRITERS];
} bank_books;
/* Read what came through the pipe; a number that cannot be is complained of. */
void bank_hear(bank_board *, int pipe, bank_books *);
/* A whole database: integrity_check, all rules, and the books. */
void bank_check_whole(bank_board *, sqlite3 *, const bank_books *);

/* ---- bank_run.c ---- */
/* Shared with the children forked from now on. */
bank_board *bank_board_new(void);
/* Fail the test in its own process if a child found something wrong. */
void bank_check_board(bank_board *);

/* Fork a process that runs `body`, with the VFS registered; it exits 0 when that returns.
** The parent must not have registered it: connections are not for sharing. */
pid_t bank_spawn(bank_board *, void (*body)(bank_board *, void *), void *argument);
/* Wait for it; anything but exit status 0 or, if `killed`, SIGKILL fails the test. */
void bank_reap(bank_board *, pid_t, bool killed);

/* Five writers, three readers, killed, stopped and replaced at random for so long. */
void bank_run(const char *path, unsigned seconds, uint64_t seed);

#endif
