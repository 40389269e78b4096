/*
** work_store.c - the store's own interface, one process.
**
**     life      an X of some size comes under the store, is written to, and leaves it
**     store     every sequence of up to three operations, then one more commit
**     random    long random ones, with any of the three log sizes
**     laps      small commits until the log has gone round several times
**     large     a transaction larger than the log's limit; the log shrinks back
**     spill     transactions that do not fit into memory
**     later     commits that are durable later, with flushes, steps of them, and others between
*/
#include "model.h"
#include "work.h"

#include "../../vfs/store/core.h"
#include "../../vfs/store/pending.h"

#include <string.h>

#define BLOCK SPM_BLOCK_SIZE
#define LOG_LEAST (UINT64_C(1) << 20)

static model *m;
static void need_model(void) {
  if (m == NULL) m = model_new();
}

static void fill(uint8_t *bytes, size_t n) {
  for (size_t i = 0; i < n; i++) bytes[i] = (uint8_t)chance(256);
}

static void must(int rc, const char *what) {
  if (rc != SQLITE_OK) live_failure("%s: %d, %s", what, rc, spm_last_error());
}

/* -------------------------------------------------------------- operations -- */

/* A byte of X behind its header's block. */
static uint64_t somewhere(uint64_t room) {
  uint64_t size = m->draft.size;
  return size <= BLOCK + room ? BLOCK : BLOCK + chance(size - BLOCK - room);
}

static void op_put(spm_conn *c) {
  uint8_t bytes[200];
  for (int i = 0; i < 2; i++) {
    uint32_t n = 1 + (uint32_t)chance(sizeof bytes);
    fill(bytes, n);
    model_write(m, c, somewhere(n), n, bytes);
  }
}

static void op_delete(spm_conn *c) {
  static const uint8_t zeros[600];
  model_write(m, c, somewhere(sizeof zeros), sizeof zeros, zeros);
}

/* As after ROLLBACK TO: a block is written, and most of it written back. */
static void op_rewrite(spm_conn *c) {
  uint8_t before[BLOCK], after[BLOCK];
  uint64_t at = somewhere(BLOCK) / BLOCK * BLOCK;
  memcpy(before, m->draft.bytes + at, BLOCK);
  fill(after, BLOCK);
  model_write(m, c, at, BLOCK, after);
  model_write(m, c, at, BLOCK - 512, before);
}

/* Half of them nearly what had stood there before a cut: the array still has it. */
static void op_grow(spm_conn *c) {
  uint8_t bytes[BLOCK];
  uint64_t blocks = 1 + chance(4);
  bool again = chance(2) == 0;
  for (uint64_t i = 0; i < blocks; i++) {
    uint64_t at = m->draft.size / BLOCK * BLOCK;
    memcpy(bytes, m->draft.bytes + at, BLOCK);
    fill(bytes, again ? 40 : BLOCK);
    model_write(m, c, at, BLOCK, bytes);
  }
}

static void op_shrink(spm_conn *c) {
  uint64_t blocks = m->draft.size / BLOCK;
  if (blocks > 2) model_truncate(m, c, (1 + chance(blocks - 1)) * BLOCK);
}

static void op_commit(spm_conn *c) {
  must(model_commit(m, c), "committing");
  must(model_begin(m, c), "beginning");
}

static void op_rollback(spm_conn *c) {
  model_rollback(m, c);
  must(model_begin(m, c), "beginning");
}

static void op_checkpoint(spm_conn *c) {
  must(model_commit(m, c), "committing");
  must(spm_snapshot_begin(c), "a snapshot");
  must(spm_conn_checkpoint(c), "a checkpoint");
  spm_snapshot_end(c);
  must(model_begin(m, c), "beginning");
}

static void (*const operations[])(spm_conn *) = {op_put,    op_delete, op_commit, op_rollback,
                                                 op_rewrite, op_checkpoint, op_grow, op_shrink};
#define OPERATIONS (sizeof operations / sizeof *operations)

/* ------------------------------------------------------------------- life -- */

static void life_prepare(const stage *at) {
  static const uint64_t sizes[] = {0, BLOCK, 512, 6 * BLOCK, 1024, 40 * BLOCK};
  model_prepare(at, sizes[at->unit % (sizeof sizes / sizeof *sizes)]);
}

static void life_run(const stage *at) {
  need_model();
  model_load(at, m);
  scope(true);
  for (unsigned life = 0; life < 1 + at->unit / 6 % 2; life++) {
    spm_conn *c = model_attach(at, LOG_LEAST);
    if (at->unit / 12 % 2 == 0) {
      must(model_begin(m, c), "beginning");
      if (m->now.size < BLOCK) {
        uint8_t page[BLOCK] = "SQLite format 3\0\020\0\1\160";
        memcpy(page + 72, "PMEM", 4);
        memcpy(page + 76, spm_store_life(c), SPM_LIFE_SIZE);
        fill(page + 100, BLOCK - 100);
        model_write(m, c, 0, BLOCK, page);
      }
      op_put(c);
      if (chance(2) == 0) op_grow(c);
      op_commit(c);
      model_rollback(m, c);
    }
    model_detach(c);
  }
}

/* -------------------------------------------------- sequences of operations -- */

static void prepare_blocks(const stage *at) { model_prepare(at, (3 + chance(6)) * BLOCK); }

static spm_conn *begin_open(const stage *at, uint64_t log_size_max) {
  need_model();
  model_load(at, m);
  spm_conn *c = model_attach(at, log_size_max);
  must(model_begin(m, c), "beginning");
  return c;
}

/* Sequence `number` of those with one, two, three operations. */
static void sequence(uint32_t number, spm_conn *c) {
  uint32_t length = 1, count = OPERATIONS;
  for (; number >= count && length < 3; length++, count *= OPERATIONS) number -= count;
  for (; length > 0; length--, number /= OPERATIONS) operations[number % OPERATIONS](c);
}

static void store_run(const stage *at) {
  spm_conn *c = begin_open(at, LOG_LEAST);
  op_put(c);
  op_commit(c);
  scope(true);
  sequence(at->unit % WORK_SEQUENCES, c);
  op_commit(c);
  op_put(c);
  op_commit(c);
  scope(false);
  model_rollback(m, c);
  model_detach(c);
}

static void random_run(const stage *at) {
  spm_conn *c = begin_open(at, LOG_LEAST << chance(3));
  scope(true);
  for (uint64_t n = 10 + chance(30); n > 0; n--) operations[chance(OPERATIONS)](c);
  op_commit(c);
  model_rollback(m, c);
  model_detach(c);
}

static void write_blocks(spm_conn *c, uint64_t from, uint64_t count) {
  uint8_t bytes[BLOCK];
  for (uint64_t i = 0; i < count; i++) {
    fill(bytes, BLOCK);
    model_write(m, c, (1 + from + i) * BLOCK, BLOCK, bytes);
  }
}

/* Segments are freed and filled again, with records of another length than before. */
static void laps_run(const stage *at) {
  spm_conn *c = begin_open(at, LOG_LEAST);
  for (int i = 0; i < 90; i++) {
    if (i == 30) scope(true);
    write_blocks(c, chance(24), 8 + chance(8));
    for (uint64_t n = chance(3); n > 0; n--) op_put(c);
    op_commit(c);
  }
  model_rollback(m, c);
  model_detach(c);
}

static void large_run(const stage *at) {
  spm_conn *c = begin_open(at, LOG_LEAST);
  op_put(c);
  op_commit(c);
  scope(true);
  write_blocks(c, 0, 300 + chance(100)); /* a MiB and more, where four segments are the limit */
  op_commit(c);
  op_put(c);
  op_commit(c);
  write_blocks(c, 40, 280);
  if (chance(2) == 0) op_shrink(c);
  op_rollback(c);
  op_put(c);
  op_shrink(c);
  op_commit(c);
  op_put(c);
  op_commit(c);
  model_rollback(m, c);
  model_detach(c);
}

/* As after ROLLBACK TO a savepoint: most of some blocks is again as it is committed. */
static void write_back(spm_conn *c, uint64_t from, uint64_t count) {
  for (uint64_t at = (1 + from) * BLOCK; count-- > 0 && at + BLOCK <= m->now.size && at + BLOCK <= m->draft.size; at += BLOCK)
    model_write(m, c, at, BLOCK - 512, m->now.bytes + at);
}

#define SPILL_AT 12u /* blocks that a write set keeps */

/* Blocks that have been moved to the log are written again, read back, cut off, committed and
** rolled back; what is rolled back leads nobody behind the log's end. */
static void spill_run(const stage *at) {
  spm_conn *c = begin_open(at, LOG_LEAST);
  c->store->resident_max = SPILL_AT;
  op_put(c);
  op_commit(c);
  scope(true);
  for (uint64_t turn = 2 + chance(2); turn > 0; turn--) {
    uint64_t count = SPILL_AT + chance(chance(2) == 0 ? 30 : 150);
    write_blocks(c, chance(6), count);
    write_blocks(c, chance(count), 1 + chance(SPILL_AT));
    write_back(c, chance(4), chance(6));
    op_put(c);
    if (chance(3) == 0) op_shrink(c);
    if (chance(3) == 0) op_grow(c);
    must(model_compare(m, c), "reading what was written");
    if (chance(3) == 0)
      op_rollback(c);
    else
      op_commit(c);
    op_put(c);
    if (chance(2) == 0) op_commit(c);
  }
  model_rollback(m, c);
  model_detach(c);
}

#define NEVER_NS UINT64_C(1000000000000000) /* no tick comes: flushes are the workload's */

static void op_flush(spm_conn *c) {
  must(spm_conn_flush(c), "flushing");
  promise(PROMISE_KEPT, content_hash(&m->now));
}

/* As the flusher does with the lock, which is this connection's here. */
static void op_apply(spm_conn *c) {
  bool more;
  must(spm_pending_apply(c->store, &more), "bringing X up to date");
}

static void op_commit_at_once(spm_conn *c) {
  spm_commit_at_once(c);
  op_commit(c);
}

static void later_run(const stage *at) {
  static void (*const between[])(spm_conn *) = {op_flush, op_flush, op_apply, op_apply, op_commit_at_once, op_checkpoint,
                                                op_rollback, op_grow, op_shrink, op_delete};
  spm_conn *c = begin_open(at, LOG_LEAST);
  spm_store_options options = {
      .log_size_max = LOG_LEAST, .durability = SPM_DURABLE_AT_TICKS, .flush_interval_ns = NEVER_NS};
  must(spm_store_configure(c, &options), "asking for commits that are durable later");
  scope(true);
  for (uint64_t n = 8 + chance(12); n > 0; n--) {
    op_put(c);
    if (chance(3) != 0) op_commit(c);
    if (chance(2) == 0) between[chance(sizeof between / sizeof *between)](c);
  }
  op_commit(c);
  model_rollback(m, c);
  model_detach(c);
}

/* Work on what a recovery has left. */
void work_store_resume(const stage *at) {
  need_model();
  spm_conn *c = model_attach(at, LOG_LEAST);
  must(model_adopt(m, c), "reading what was recovered");
  must(model_begin(m, c), "beginning");
  for (uint64_t n = 1 + chance(4); n > 0; n--) operations[chance(OPERATIONS)](c);
  op_commit(c);
  op_put(c);
  op_commit(c);
  model_rollback(m, c);
  if (chance(2) == 0)
    model_detach(c);
  else
    model_leave(c);
}

const workload work_life = {
    "life", "adoption and clean close of an X of every kind of size, once and twice", 24, 10, 120, true, true,
    life_prepare, life_run, model_reopen, NULL};
const workload work_store = {
    "store", "every sequence of up to three of put, delete, commit, rollback, rewrite, checkpoint, grow, shrink",
    WORK_SEQUENCES, 30, 60, true, true, prepare_blocks, store_run, model_reopen, work_store_resume};
const workload work_random = {
    "random", "long random sequences of them, to the clean close", 8, 15, 300, true, true,
    prepare_blocks, random_run, model_reopen, work_store_resume};
const workload work_laps = {
    "laps", "the log goes round: segments freed by checkpoints and filled again", 2, 5, 300, true, true,
    prepare_blocks, laps_run, model_reopen, work_store_resume};
const workload work_large = {
    "large", "transactions larger than the log's limit, committed and rolled back", 2, 3, 150, true, true,
    prepare_blocks, large_run, model_reopen, work_store_resume};
const workload work_later = {
    "later", "commits acknowledged before they are durable, flushes and checkpoints between them", 8, 15, 250, true, true,
    prepare_blocks, later_run, model_reopen, work_store_resume};
const workload work_spill = {
    "spill", "transactions that do not fit into memory: they move to the log before they end", 8, 8, 250, true, true,
    prepare_blocks, spill_run, model_reopen, work_store_resume};
