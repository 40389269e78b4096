/*
** fixture.h - a store without SQLite: a file X with the header of a database, whose
** other blocks the tests fill, each with one number over and over, so that a block or
** a commit of which only a part is there shows itself.
*/
#ifndef SPM_TEST_FIXTURE_H
#define SPM_TEST_FIXTURE_H

#include "media.h"
#include "tests.h"

#include "../vfs/stamp.h"
#include "../vfs/store/core.h"
#include "../vfs/store/store.h"

#include <sys/types.h>

/* Where block `b` of the tests stands: behind the header. */
#define X_AT(b) (((uint64_t)(b) + 1) * SPM_BLOCK_SIZE)

/* Loop tests run on both: PMEM is tmpfs and forced, FILE is tmpfs and not. */
enum { X_PMEM, X_FILE, X_MEDIA };

/* Choose the medium of this process and its children; before the first store. */
void x_medium(int medium);
/* An X of `blocks` blocks of zeros behind its header, no log; a path to keep. */
const char *x_new(const char *name, uint32_t blocks);
/* Copy X and its log. */
void x_copy(const char *from, const char *to);
/* Hash of a file's whole content; 0: it is not there. */
uint64_t x_hash(const char *path, const char *suffix);
/* The name of a file beside X; valid for some calls more. */
const char *x_beside(const char *path, const char *suffix);
bool x_exists(const char *path, const char *suffix);
uint64_t x_length(const char *path, const char *suffix);
/* Change one byte of a file in place. */
void x_flip(const char *path, const char *suffix, uint64_t offset);
void x_patch(const char *path, const char *suffix, uint64_t offset, const void *, size_t);
spm_header_kind x_kind(const char *path);

spm_conn *x_create(const char *path);
spm_conn *x_join(const char *path);
int x_try_join(const char *path, spm_conn **);
int x_try_join_unlogged(const char *path, const spm_store_options *, spm_conn **);
spm_conn *x_verifying(const char *path); /* what recovery=full has attached first */
/* What the VFS does: join a stamped file, finish a half one, create for another. */
int x_try_attach(const char *path, spm_conn **);
spm_conn *x_attach(const char *path);
void x_detach(spm_conn *);
void x_limit_log(spm_conn *, uint64_t bytes);
/* Leave in the middle: the log stays, as after a crash. */
void x_detach_dirty(spm_conn *);

/* One transaction: blocks [first, first + count) become full of `value`. */
int x_try_commit(spm_conn *, uint32_t first, uint32_t count, uint64_t value);
void x_commit(spm_conn *, uint32_t first, uint32_t count, uint64_t value);
/* The same in steps: from a snapshot to a staged transaction. */
int x_begin(spm_conn *);
int x_fill(spm_conn *, uint32_t first, uint32_t count, uint64_t value);
void x_end(spm_conn *);
int x_truncate(spm_conn *, uint64_t size); /* a whole transaction */

/* The value of a block in the snapshot of the connection; it must be of one piece. */
uint64_t x_value(spm_conn *, uint32_t block);
/* The value of all these blocks in a snapshot of their own; they must agree. */
uint64_t x_read(spm_conn *, uint32_t first, uint32_t count);
/* The same for a test that can go on: these where x_read() would fail it. */
#define X_MIXED UINT64_MAX       /* blocks, or parts of one, differ       */
#define X_ERROR (UINT64_MAX - 1) /* the store says BUSY, or something else */
uint64_t x_peek(spm_conn *, uint32_t first, uint32_t count);

/* What the fake host answers and was told. */
extern bool x_decision;
extern int x_decide_code;
extern unsigned x_decided, x_settled;
extern void (*x_deciding)(void); /* what it does meanwhile; NULL: nothing */

/* Run work(argument) in a child of its own; its wait status.  x_start() does not wait. */
pid_t x_start(void (*work)(void *), void *argument);
int x_wait(pid_t);
int x_child(void (*work)(void *), void *argument);
bool x_killed(int status);
/* The child ended by itself, its assertions held. */
bool x_finished(int status);

/* A flag and some numbers that parent and children share. */
typedef struct x_shared { _Atomic int stage; _Atomic uint64_t number[8]; } x_shared;
x_shared *x_shared_new(void);
void x_await(x_shared *, int stage);

typedef struct x_party {
  const char *path;
  x_shared *shared;
} x_party;

/* Work of a child: to die as the writer of two blocks that are staged. */
void x_write_and_die(void *path);
/* A commit that may find itself overtaken, by a dead writer's commit, once. */
int x_commit_retrying(spm_conn *, uint32_t first, uint32_t count, uint64_t value);

uint64_t x_random(uint64_t *state);
uint64_t x_seed(void); /* $SPM_SEED, made usable: see tests/run.sh */

#define x_ok(call) ck_assert_int_eq((call), SQLITE_OK)

#endif
