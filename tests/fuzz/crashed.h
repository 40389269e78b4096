/*
** crashed.h - databases that a crash left, in memory, to be damaged and recovered.
**
** The images are made once, by the engine itself, when a target starts.  Each has the
** database twice: as it was when the log began, so that everything has to be redone,
** and as the dead process left it.  A target takes one, runs a program of damage over
** it that the fuzzer wrote, and lets the engine recover it.
**
** A PROGRAM is a sequence of operations: a byte says which, the bytes behind it are its
** arguments, zeros when they run out.  Damage can be *signed*: the checksums are made
** right again with the real function, so that what is behind them is reached.
*/
#ifndef SPM_FUZZ_CRASHED_H
#define SPM_FUZZ_CRASHED_H

#include "../../vfs/store/store.h"

#include <stddef.h>

#define CRASHED_RECORDS 64u

typedef struct crashed {
  uint8_t *x, *old_x, *log;
  size_t x_size, log_size; /* old_x is as long as x: zeros behind its end */
  uint8_t life[SPM_LIFE_SIZE];
  size_t records;
  uint64_t record[CRASHED_RECORDS]; /* bytes in the log */
} crashed;

/* In the way in which a program is read. */
typedef struct program {
  const uint8_t *at;
  size_t left;
} program;
uint8_t program_byte(program *);
uint64_t program_number(program *, unsigned bytes);
/* A number that is likely to hurt: near a power of two, a size of the format, anything. */
uint64_t program_hurting(program *);

enum { DAMAGE_LOG = 1, DAMAGE_SUPERBLOCKS = 2, DAMAGE_DATABASE = 4 };

/* The folder of this process's files, on tmpfs; gone when it ends. */
const char *fuzz_folder(void);
/* The file beside the database under test; path for the database itself with "". */
const char *fuzz_path(const char *suffix);
void fuzz_write_file(const char *path, const void *bytes, size_t n);
uint8_t *fuzz_read_file(const char *path, size_t *n);
/* Say what is wrong, and stop as the fuzzer expects it. */
_Noreturn void fuzz_wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The host of the stores under test: its answer about pending transactions. */
extern const spm_host fuzz_host;
extern bool fuzz_decision;

/* Images: to be used, not changed. */
#define CRASHED_COUNT 4u
const crashed *crashed_image(unsigned which);
/* A copy of its bytes, damaged. */
typedef struct damaged {
  uint8_t *x, *log;
  size_t x_size, log_size;
  const crashed *from;
} damaged;
void damage(damaged *, program *, unsigned what);
void damaged_free(damaged *);
/* Recover it with the engine and compare with the model. */
void recover_and_compare(const damaged *, bool twice);

#endif
