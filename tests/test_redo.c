/*
** test_redo.c - what REDO makes of a log, when it is all that there is: X as it was before
** the first commit, against a model that knows what each committed transaction changed.
*/
#define _GNU_SOURCE
#include "fixture.h"

#include "../vfs/store/log.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define BLOCK SPM_BLOCK_SIZE
#define BLOCK_WORDS (BLOCK / 8)
#define LARGEST 1200u /* blocks of an X here, behind its header */
#define UNFINISHED 120u
#define MANY 17000u   /* blocks: more than REDO gathers before it flushes or writes them */
#define TIMES 3u      /* that each is changed: words.h has room for less than half of the changes */
#define LOG_SIZE (UINT64_C(64) << 20) /* of which no checkpoint takes anything */

/* Every line of X that was stored to is flushed after that; how many stores there were. */
static size_t check_flushed_after_stored(void) {
  static bool due[(MANY + 1) * (BLOCK / SPM_LINE_SIZE)];
  size_t count, stores = 0, lines = sizeof due / sizeof *due;
  const media_operation *op = media_operations(&count);
  for (size_t i = 0; i < count; i++) {
    bool store = op[i].kind == MEDIA_STORE;
    if (op[i].file != MEDIA_DATA || !(store || op[i].kind == MEDIA_FLUSH)) continue;
    stores += store;
    for (uint64_t at = op[i].offset / SPM_LINE_SIZE; at * SPM_LINE_SIZE < op[i].offset + op[i].length; at++)
      if (at < lines) due[at] = store;
  }
  for (size_t at = 0; at < lines; at++) /* an assertion that holds costs a system call, too */
    if (due[at]) ck_abort_msg("line %zu is not flushed", at);
  return stores;
}

/* Logs that REDO has to read in different ways (words.h). */
static const struct kind {
  uint32_t blocks, transactions;
  uint32_t longest; /* change, in words */
  unsigned cuts;    /* one in so many transactions cuts X or lets it grow; 0: none */
  unsigned large;   /* one in so many has more than a segment holds */
  bool dropped;     /* one is prepared and rolled back half way */
  bool unfinished;  /* the last one is in the log without its commit */
} kinds[] = {
    {.blocks = 120, .transactions = 600, .longest = 8},
    {.blocks = 120, .transactions = 600, .longest = 8, .unfinished = true},
    {.blocks = 120, .transactions = 600, .longest = 8, .dropped = true},
    {.blocks = LARGEST, .transactions = 9000, .longest = 8}, /* more words than it gathers */
    {.blocks = LARGEST, .transactions = 9000, .longest = 8, .unfinished = true},
    {.blocks = 40, .transactions = 600, .longest = BLOCK_WORDS},
    {.blocks = 40, .transactions = 600, .longest = 8, .cuts = 20},
    {.blocks = 120, .transactions = 100, .longest = 60, .cuts = 10, .large = 20},
    {.blocks = 120, .transactions = 100, .longest = 60, .large = 20, .unfinished = true},
};
#define KINDS (sizeof kinds / sizeof *kinds)

typedef struct model {
  uint64_t word[LARGEST * BLOCK_WORDS];
  uint32_t blocks; /* of X, behind its header */
} model;

static model committed, dropped;

static void finish(spm_conn *c) {
  x_ok(spm_commit_stage(c, NULL));
  x_ok(spm_commit_finish(c));
  x_end(c);
}

static void change(spm_conn *c, model *m, uint32_t block, uint32_t first, uint32_t n, uint64_t *seed) {
  uint64_t *words = &m->word[block * BLOCK_WORDS + first];
  for (uint32_t i = 0; i < n; i++) words[i] = x_random(seed);
  x_ok(spm_write(c, X_AT(block) + first * 8u, n * 8u, words));
}

static void change_some(spm_conn *c, model *m, const struct kind *k, uint64_t *seed) {
  for (uint64_t left = 1 + x_random(seed) % 6; left > 0; left--) {
    uint32_t n = 1 + (uint32_t)(x_random(seed) % k->longest), block = (uint32_t)(x_random(seed) % m->blocks);
    change(c, m, block, (uint32_t)(x_random(seed) % (BLOCK_WORDS - n + 1)), n, seed);
  }
}

static void change_all(spm_conn *c, model *m, uint64_t *seed) {
  for (uint32_t block = 0; block < m->blocks; block++) change(c, m, block, 0, BLOCK_WORDS, seed);
}

/* What comes after the end is written as a whole, as pages are. */
static void change_size(spm_conn *c, model *m, const struct kind *k, uint64_t *seed) {
  uint32_t blocks = 1 + (uint32_t)(x_random(seed) % k->blocks), before = m->blocks;
  m->blocks = blocks;
  if (blocks < before) x_ok(spm_write_truncate(c, X_AT(blocks)));
  for (uint32_t block = before; block < blocks; block++) change(c, m, block, 0, BLOCK_WORDS, seed);
}

static bool one_in(unsigned n, uint64_t *seed) { return n != 0 && x_random(seed) % n == 0; }

static void commit(spm_conn *c, const struct kind *k, uint64_t *seed) {
  x_ok(x_begin(c));
  if (one_in(k->cuts, seed)) change_size(c, &committed, k, seed);
  if (one_in(k->large, seed)) change_all(c, &committed, seed);
  change_some(c, &committed, k, seed);
  finish(c);
}

/* Changes of words and then of blocks, more than fits one record, so that the words are in the
** log; and less than what a rollback takes out of it. */
static void leave_unfinished(spm_conn *c, uint64_t *seed) {
  dropped = committed;
  x_ok(x_begin(c));
  for (uint32_t block = 0; block < UNFINISHED; block++)
    change(c, &dropped, block, 0, block < UNFINISHED / 4 ? 1 : BLOCK_WORDS, seed);
  x_ok(spm_commit_stage(c, NULL));
  x_end(c);
}

static void prepare_and_drop(spm_conn *c, uint64_t *seed) {
  dropped = committed;
  x_ok(x_begin(c));
  for (uint32_t block = 0; block < dropped.blocks; block++) change(c, &dropped, block, 0, 1, seed);
  x_ok(spm_commit_stage(c, "super"));
  x_ok(spm_commit_rollback(c));
  x_end(c);
}

/* The last block is changed first, and is behind the end at last. */
static void change_last_word(spm_conn *c, uint64_t *seed) {
  x_ok(x_begin(c));
  change(c, &committed, committed.blocks - 1, 0, 1, seed);
  finish(c);
}

static void cut_at_last(spm_conn *c, const struct kind *k) {
  x_ok(x_truncate(c, X_AT(k->blocks / 2)));
  committed.blocks = k->blocks / 2;
}

/* S9: what a later truncate cut is skipped. */
static void check_nothing_behind_the_end(void) {
  size_t count;
  const media_operation *op = media_operations(&count);
  for (size_t i = 0; i < count; i++)
    if (op[i].kind == MEDIA_STORE && op[i].file == MEDIA_DATA)
      ck_assert_uint_le(op[i].offset + op[i].length, X_AT(committed.blocks));
}

static void check_content(const char *path) {
  static uint64_t words[LARGEST * BLOCK_WORDS];
  size_t size = (size_t)committed.blocks * BLOCK;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ck_assert_int_eq(pread(fd, words, size, (off_t)X_AT(0)), (ssize_t)size);
  close(fd);
  for (size_t i = 0; i < size / 8; i++)
    if (words[i] != committed.word[i]) ck_abort_msg("word %zu of block %zu", i % BLOCK_WORDS, i / BLOCK_WORDS);
}

/* X as the log's beginning knows it: what commits have applied since then never comes to media. */
typedef struct beginning {
  uint64_t lsn;
  uint8_t bytes[(LARGEST + 1) * BLOCK];
  size_t size;
} beginning;

static void remember(const char *path, spm_conn *c, beginning *b) {
  b->lsn = c->store->shm->checkpoint.lsn;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = pread(fd, b->bytes, sizeof b->bytes, 0);
  ck_assert_int_gt(n, 0);
  b->size = (size_t)n;
  close(fd);
}

START_TEST(redo_makes_what_was_committed) {
  static beginning b;
  const struct kind *k = &kinds[(size_t)_i % KINDS];
  x_medium(_i / (int)KINDS);
  const char *x = x_new("x.db", k->blocks);
  uint64_t seed = x_seed();
  spm_conn *c = x_create(x);
  x_limit_log(c, LOG_SIZE);
  spm_conn *reader = x_join(x);
  x_ok(spm_snapshot_begin(reader)); /* so X is not cut, which would begin the log anew */
  committed.blocks = k->blocks;
  remember(x, c, &b);
  if (k->cuts) change_last_word(c, &seed);
  for (uint32_t i = 0; i < k->transactions; i++) {
    if (k->dropped && i == k->transactions / 2) prepare_and_drop(c, &seed);
    commit(c, k, &seed);
  }
  if (k->cuts && committed.blocks > k->blocks / 2) cut_at_last(c, k);
  ck_assert_uint_eq(c->store->shm->checkpoint.lsn, b.lsn);
  if (k->unfinished) leave_unfinished(c, &seed);
  x_detach_dirty(reader);
  x_detach_dirty(c);
  x_patch(x, "", 0, b.bytes, b.size);
  media_install();
  c = x_join(x);
  ck_assert_uint_eq(c->store->shm->counters.undone, k->unfinished);
  if (_i / (int)KINDS == X_PMEM) ck_assert_uint_gt(check_flushed_after_stored(), 0);
  check_nothing_behind_the_end();
  x_ok(spm_snapshot_begin(c));
  ck_assert_uint_eq(spm_conn_size(c), X_AT(committed.blocks));
  spm_snapshot_end(c);
  check_content(x);
  x_detach(c);
}
END_TEST

/* ------------------------------------------- more than is gathered at once -- */

static uint64_t word_of(uint64_t block, uint64_t n) { return (block + n * 100) % (BLOCK / 8); }

/* The n-th of its words that a block gets. */
static void change_many(spm_conn *c, uint64_t n) {
  for (uint32_t first = 0; first < MANY; first += 500) {
    x_ok(x_begin(c));
    for (uint64_t i = first; i < first + 500; i++) {
      uint64_t word = i * TIMES + n + 1;
      x_ok(spm_write(c, X_AT(i) + word_of(i, n) * 8, sizeof word, &word));
    }
    finish(c);
  }
}

static void check_many(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  for (uint64_t i = 0; i < MANY; i++) {
    uint64_t expected[BLOCK / 8] = {0}, words[BLOCK / 8];
    for (uint64_t n = 0; n < TIMES; n++) expected[word_of(i, n)] = i * TIMES + n + 1;
    ck_assert_int_eq(pread(fd, words, BLOCK, (off_t)X_AT(i)), BLOCK);
    ck_assert_msg(memcmp(words, expected, BLOCK) == 0, "block %llu", (unsigned long long)i);
  }
  close(fd);
}

START_TEST(redo_changes_more_blocks_than_it_gathers) {
  x_medium(_i);
  const char *x = x_new("x.db", MANY);
  spm_conn *c = x_create(x);
  for (uint64_t n = 0; n < TIMES; n++) change_many(c, n);
  x_detach_dirty(c);
  int fd = open(x, O_RDWR | O_CLOEXEC); /* what the commits have applied never came to media */
  ck_assert_int_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)X_AT(0), (off_t)MANY * BLOCK), 0);
  close(fd);
  media_install();
  c = x_join(x);
  if (_i == X_PMEM) ck_assert_uint_ge(check_flushed_after_stored(), TIMES * MANY);
  x_detach(c);
  check_many(x);
}
END_TEST

Suite *redo_suite(void) {
  Suite *suite = suite_create("redo");
  TCase *redo = tcase_create("redo");
  tcase_set_timeout(redo, 60);
  tcase_add_loop_test(redo, redo_makes_what_was_committed, 0, X_MEDIA * (int)KINDS);
  tcase_add_loop_test(redo, redo_changes_more_blocks_than_it_gathers, 0, X_MEDIA);
  suite_add_tcase(suite, redo);
  return suite;
}
