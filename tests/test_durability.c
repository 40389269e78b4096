/*
** test_durability.c - commits that are durable later: modes async and periodic, and
** synchronous=OFF (S13, S5, S8).
*/
#include "database.h"
#include "fixture.h"
#include "steps.h"

#include "../vfs/store/apply.h"
#include "../vfs/store/counters.h"
#include "../vfs/store/pending.h"
#include "../vfs/store/version.h"
#include "../vfs/store/writer.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define NEVER UINT64_C(1000000000000000) /* ns: a tick that no test lives to see */
#define BLOCKS 12u

static void configure(spm_conn *c, spm_durability durability, uint64_t interval_ns) {
  x_ok(spm_store_configure(c, &(spm_store_options){
                                  .log_size_max = 1u << 20, .durability = durability, .flush_interval_ns = interval_ns}));
}

static uint64_t durable(spm_conn *c) { return atomic_load(&c->store->shm->durable_lsn); }
static uint32_t pending(spm_conn *c) { return atomic_load(&c->store->shm->images_pending); }

static void flush(spm_conn *c) {
  uint64_t lsn;
  x_ok(spm_store_flush(c->store->path, &lsn));
  ck_assert_uint_eq(lsn, spm_conn_latest_lsn(c));
}

/* What X has of a block, in the file itself. */
static uint64_t in_file(spm_conn *c, uint32_t block) {
  uint64_t word;
  x_ok(spm_region_read(&c->store->data, X_AT(block), &word, sizeof word));
  return word;
}

/* ------------------------------------------------------------------ commits -- */

/* On FILE nothing is synced, and X stays as it is until a flush; readers see the commit
** all the same.  On PMEM a commit is durable at once in every mode. */
START_TEST(s13_a_commit_waits_for_nothing) {
  x_medium(_i);
  media_install();
  spm_conn *c = x_create(x_new("x.db", BLOCKS)), *other = x_join(c->store->path);
  x_commit(c, 0, 2, 1);
  configure(c, SPM_DURABLE_AT_TICKS, NEVER);
  media_forget();
  x_commit(c, 0, 2, 2);
  x_commit(c, 1, 2, 3);
  if (_i == X_PMEM) {
    ck_assert_uint_eq(durable(c), spm_conn_latest_lsn(c));
    ck_assert_uint_eq(pending(c), 0);
  } else {
    ck_assert_uint_eq(media_count(MEDIA_BIT(MEDIA_SYNC) | MEDIA_BIT(MEDIA_FDATASYNC), NULL), 0);
    ck_assert_uint_eq(media_count(MEDIA_BIT(MEDIA_STORE), "x"), 0);
    ck_assert_uint_eq(in_file(c, 0), 1);
    ck_assert_uint_eq(pending(c), 3);
    ck_assert_uint_lt(durable(c), spm_conn_latest_lsn(c));
  }
  ck_assert_uint_eq(x_read(c, 0, 1), 2);
  ck_assert_uint_eq(x_read(other, 1, 2), 3);
  flush(c);
  ck_assert_uint_eq(durable(c), spm_conn_latest_lsn(c));
  x_commit(other, 5, 1, 4); /* one that is durable at once brings X up to date */
  ck_assert_uint_eq(pending(c), 0);
  ck_assert_uint_eq(in_file(c, 2), 3);
  ck_assert_uint_eq(in_file(c, 5), 4);
  x_detach(other);
  x_detach(c);
}
END_TEST

/* Memory for what waits is bounded; a large commit, and one past the bound, is durable. */
START_TEST(s13_what_waits_is_bounded) {
  x_medium(X_FILE);
  spm_conn *c = x_create(x_new("x.db", 6000));
  configure(c, SPM_DURABLE_AT_TICKS, NEVER);
  for (uint32_t i = 0; i < 80; i++) {
    x_commit(c, i * 60, 60, i + 1);
    ck_assert_uint_le(pending(c), 4096);
  }
  for (uint32_t i = 0; i < 80; i++) ck_assert_uint_eq(x_read(c, i * 60, 60), i + 1);
  x_commit(c, 0, 1, 99);
  ck_assert_uint_gt(pending(c), 0);
  x_commit(c, 0, SPM_SMALL_COMMIT + 1, 100);
  ck_assert_uint_eq(pending(c), 0);
  ck_assert_uint_eq(durable(c), spm_conn_latest_lsn(c));
  x_detach(c);
}
END_TEST

/* ---------------------------------------------------------------- snapshots -- */

#define READERS 5u

typedef struct model {
  uint64_t now[BLOCKS];
  uint64_t seen[READERS][BLOCKS];
  bool open[READERS];
} model;

static void check_readers(spm_conn **readers, const model *m) {
  for (uint32_t r = 0; r < READERS; r++)
    for (uint32_t b = 0; m->open[r] && b < BLOCKS; b++)
      ck_assert_msg(x_value(readers[r], b) == m->seen[r][b], "reader %u, block %u", r, b);
}

static void toggle_reader(spm_conn *reader, model *m, uint32_t r) {
  m->open[r] = !m->open[r];
  if (!m->open[r]) {
    spm_snapshot_end(reader);
    return;
  }
  x_ok(spm_snapshot_begin(reader));
  memcpy(m->seen[r], m->now, sizeof m->now);
}

static void model_commit(spm_conn *writer, model *m, uint64_t *seed, uint64_t value) {
  uint32_t first = (uint32_t)(x_random(seed) % BLOCKS), count = 1 + (uint32_t)(x_random(seed) % (BLOCKS - first));
  x_commit(writer, first, count, value);
  for (uint32_t i = 0; i < count; i++) m->now[first + i] = value;
}

/* Bring some of what is durable to X, as a flusher does. */
static void apply_some(spm_conn *c) {
  bool more;
  x_ok(spm_lock_acquire(c));
  x_ok(spm_pending_apply(c->store, &more));
  spm_lock_release(c);
}

/* Commits of both kinds, flushes and checkpoints between snapshots that come and go: each
** goes on seeing what it saw. */
START_TEST(s13_snapshots_see_one_state) {
  x_medium(_i);
  uint64_t seed = x_seed();
  spm_conn *c = x_create(x_new("x.db", BLOCKS)), *sync = x_join(c->store->path), *readers[READERS];
  model m = {0};
  for (uint32_t r = 0; r < READERS; r++) readers[r] = x_join(c->store->path);
  configure(c, SPM_DURABLE_AT_TICKS, NEVER);
  for (uint64_t k = 1; k <= 3000; k++) {
    switch (x_random(&seed) % 12) {
      case 0: model_commit(sync, &m, &seed, k); break;
      case 1: flush(c); break;
      case 2: apply_some(sync); break;
      case 3: case 4: case 5: {
        uint32_t r = (uint32_t)(x_random(&seed) % READERS);
        toggle_reader(readers[r], &m, r);
        break;
      }
      case 6:
        if (x_random(&seed) % 8 != 0) break;
        x_ok(spm_snapshot_begin(sync));
        x_ok(spm_conn_checkpoint(sync));
        spm_snapshot_end(sync);
        ck_assert_uint_eq(pending(c), 0);
        break;
      default: model_commit(c, &m, &seed, k);
    }
    check_readers(readers, &m);
  }
  for (uint32_t r = 0; r < READERS; r++) x_detach(readers[r]);
  x_detach(sync);
  for (uint32_t b = 0; b < BLOCKS; b++) ck_assert_uint_eq(x_read(c, b, 1), m.now[b]);
  x_detach(c);
}
END_TEST

/* A reader that has copied from X what a flush is just writing there copies again. */
static spm_conn *between;
static void apply_between(const media_operation *op) {
  (void)op;
  apply_some(between);
}

START_TEST(s13_readers_during_a_flush) {
  x_medium(X_FILE);
  x_shared *shared = x_shared_new();
  spm_conn *c = x_create(x_new("x.db", BLOCKS));
  between = x_join(c->store->path);
  configure(c, SPM_DURABLE_AT_TICKS, NEVER);
  pid_t pid = fork(); /* a reader elsewhere, all the time */
  ck_assert_int_ge(pid, 0);
  if (pid == 0) {
    spm_conn *reader = x_join(c->store->path);
    uint64_t last = 0;
    while (atomic_load(&shared->stage) == 0) {
      int rc = spm_snapshot_begin(reader);
      if (rc == SQLITE_BUSY) continue; /* the writer has been off its processor for long */
      x_ok(rc);
      uint64_t value = x_peek(reader, 0, BLOCKS);
      spm_snapshot_end(reader);
      if (value < last || value >= X_ERROR) _exit(1); /* older, or not of one piece */
      last = value;
      atomic_fetch_add(&shared->number[0], 1);
    }
    x_detach(reader);
    _exit(0);
  }
  for (uint64_t k = 1; k <= 4000 || atomic_load(&shared->number[0]) < 200; k++) {
    x_commit(c, 0, BLOCKS, k);
    if (k % 2 == 0) flush(c);
    apply_between(NULL);
  }
  atomic_store(&shared->stage, 1);
  ck_assert(x_finished(x_wait(pid)));
  x_detach(between);
  x_detach(c);
}
END_TEST

typedef struct flushed_between {
  spm_conn *c;
  x_shared *shared; /* number[0]: what is committed */
} flushed_between;

static void read_in_steps(void *argument) {
  const flushed_between *f = argument;
  spm_conn *c = x_join(f->c->store->path);
  for (;;) {
    x_ok(spm_snapshot_begin(c));
    uint64_t wanted = atomic_load(&f->shared->number[0]), found = 0;
    step_mark();
    int rc = spm_conn_read(c, X_AT(0) + 8, sizeof found, &found);
    step_mark();
    x_ok(rc);
    ck_assert_uint_eq(found, wanted);
    spm_snapshot_end(c);
  }
}

static bool flush_meanwhile(void *argument) {
  const flushed_between *f = argument;
  flush(f->c);
  apply_some(f->c);
  ck_assert_uint_eq(pending(f->c), 0);
  return true;
}

static void commit_after(void *argument) {
  const flushed_between *f = argument;
  x_commit(f->c, 0, 1, atomic_fetch_add(&f->shared->number[0], 1) + 1);
}

/* Wherever a read stands, the block it wants goes to X: it takes the old place or the new
** one, and not what was in X before. */
START_TEST(s13_a_flush_between_any_two_instructions_of_a_read) {
  x_medium(X_FILE);
  flushed_between f = {.c = x_create(x_new("x.db", 2)), .shared = x_shared_new()};
  configure(f.c, SPM_DURABLE_AT_TICKS, NEVER);
  commit_after(&f);
  int turns = visit_instructions(0, read_in_steps, &f, (step_visit){flush_meanwhile, commit_after});
  ck_assert_int_gt(turns, 50);
  x_detach(f.c);
}
END_TEST

/* A large commit that is hardened and rolled back has saved images for an LSN that a smaller
** one then takes: they are not to serve those who read that one's state. */
START_TEST(s12_images_of_a_commit_taken_back) {
  x_medium(_i);
  spm_conn *c = x_create(x_new("x.db", 400)), *old = x_join(c->store->path), *late = x_join(c->store->path);
  x_commit(c, 0, 400, 1);
  x_ok(spm_snapshot_begin(old));
  x_ok(x_begin(c));
  x_ok(x_fill(c, 0, 300, 2));
  x_ok(spm_commit_stage(c, NULL));
  x_ok(spm_commit_harden(c));
  x_ok(spm_commit_rollback(c));
  x_end(c);
  x_commit(c, 5, 1, 3);
  x_ok(spm_snapshot_begin(late));
  x_commit(c, 350, 1, 4);
  ck_assert_uint_eq(x_value(late, 5), 3);
  ck_assert_uint_eq(x_value(late, 350), 1);
  ck_assert_uint_eq(x_value(old, 5), 1);
  x_detach(late);
  x_detach(old);
  x_detach(c);
}
END_TEST

typedef struct apply_watched {
  spm_conn *c; /* of the one who does not go by instructions */
  uint64_t moved;
  bool found;
} apply_watched;

static void apply_in_steps(void *argument) {
  const apply_watched *w = argument;
  spm_conn *c = x_join(w->c->store->path);
  for (uint64_t k = 1;; k++) {
    bool more;
    x_ok(x_begin(c));
    x_ok(x_fill(c, 0, 1, k));
    spm_commit_unsynced(c, true); /* pending without a flusher: its thread would not be stepped */
    x_ok(spm_commit_finish(c));
    x_end(c);
    flush(c);
    x_ok(spm_lock_acquire(c));
    step_mark();
    int rc = spm_pending_apply(c->store, &more);
    step_mark();
    x_ok(rc);
    spm_lock_release(c);
  }
}

/* As a reader does: the count first, then the image. */
static bool look_meanwhile(void *argument) {
  apply_watched *w = argument;
  uint64_t word;
  spm_store *s = w->c->store;
  w->moved = atomic_load(&s->shm->pending_moved);
  w->found = spm_versions_read(s, (uint32_t)(X_AT(0) / SPM_BLOCK_SIZE), spm_committed_lsn(s->shm), 0, sizeof word, &word) == SQLITE_OK;
  return true;
}

static void noticed_after(void *argument) {
  const apply_watched *w = argument;
  if (w->found) ck_assert_uint_ne(atomic_load(&w->c->store->shm->pending_moved), w->moved);
}

/* Wherever a flush stands: whoever finds a pending image yet sees, once it may be used again,
** that something has moved, and does not trust what it has copied. */
START_TEST(s13_an_image_that_goes_is_noticed) {
  x_medium(X_FILE);
  apply_watched w = {.c = x_create(x_new("x.db", 2))};
  int turns = visit_instructions(0, apply_in_steps, &w, (step_visit){look_meanwhile, noticed_after});
  ck_assert_int_gt(turns, 100);
  x_detach(w.c);
}
END_TEST

/* --------------------------------------------------------------- the flusher -- */

static bool settled(spm_conn *c) { return durable(c) == spm_conn_latest_lsn(c) && pending(c) == 0; }

static bool settles(spm_conn *c) {
  for (int i = 0; i < 20000 && !settled(c); i++) usleep(1000);
  return settled(c);
}

/* Nobody does anything, and the commit becomes durable, and X up to date. */
START_TEST(s13_the_flusher_comes_in_time) {
  x_medium(X_FILE);
  spm_conn *c = x_create(x_new("x.db", BLOCKS));
  configure(c, _i == 0 ? SPM_DURABLE_SOON : SPM_DURABLE_AT_TICKS, 50000000);
  for (uint64_t k = 1; k <= 5; k++) {
    x_commit(c, 0, 3, k);
    ck_assert(settles(c));
    ck_assert_uint_eq(in_file(c, 1), k);
  }
  x_detach(c);
}
END_TEST

static long switches_of_others(void) {
  long sum = 0;
  char name[64], line[128];
  DIR *folder = opendir("/proc/self/task");
  ck_assert_ptr_nonnull(folder);
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
    if (entry->d_name[0] == '.' || atoi(entry->d_name) == getpid()) continue;
    snprintf(name, sizeof name, "/proc/self/task/%.20s/status", entry->d_name);
    FILE *status = fopen(name, "r");
    while (status != NULL && fgets(line, sizeof line, status) != NULL)
      if (strncmp(line, "voluntary_ctxt_switches:", 24) == 0) sum += 1 + atol(line + 24);
    if (status != NULL) (void)fclose(status);
  }
  (void)closedir(folder);
  return sum;
}

/* One thread, and only with such a mode; idle, it is not woken. */
START_TEST(s13_an_idle_flusher_sleeps) {
  x_medium(X_FILE);
  spm_conn *c = x_create(x_new("x.db", BLOCKS));
  x_commit(c, 0, 1, 1);
  ck_assert_int_eq(switches_of_others(), 0);
  configure(c, SPM_DURABLE_SOON, 2000000);
  x_commit(c, 0, 1, 2);
  ck_assert(settles(c));
  bool quiet = false; /* it may be on its way to sleep for some time */
  for (int i = 0; i < 40 && !quiet; i++) {
    long before = switches_of_others();
    ck_assert_int_gt(before, 0);
    usleep(300000);
    quiet = switches_of_others() == before;
  }
  ck_assert(quiet);
  x_detach(c);
  ck_assert_int_eq(switches_of_others(), 0);
}
END_TEST

/* There is none, as if it were stopped: past the time a commit is durable itself. */
START_TEST(s13_no_commit_trusts_a_late_flusher) {
  x_medium(X_FILE);
  spm_conn *c = x_create(x_new("x.db", BLOCKS));
  c->durability = SPM_DURABLE_AT_TICKS;
  c->flush_interval_ns = NEVER;
  x_commit(c, 0, 1, 1);
  ck_assert(!settled(c));
  atomic_store(&c->store->shm->flush_due, 1); /* at the beginning of time, and nobody came */
  c->flush_interval_ns = 1000;
  x_commit(c, 0, 1, 2);
  ck_assert(settled(c));
  x_detach(c);
}
END_TEST

/* It was set by somebody who died before he had woken a flusher: the next to rely on it does. */
START_TEST(s13_a_deadline_nobody_was_told_of) {
  x_medium(X_FILE);
  spm_conn *c = x_create(x_new("x.db", BLOCKS));
  configure(c, SPM_DURABLE_SOON, NEVER);
  x_commit(c, 0, 1, 1);
  ck_assert(settles(c));
  usleep(50000); /* fast asleep again */
  atomic_store(&c->store->shm->flush_due, (spm_clock_ns() & ~SPM_DUE_BITS) | SPM_DUE_RELIED_ON);
  x_commit(c, 0, 1, 2);
  ck_assert(settles(c));
  x_detach(c);
}
END_TEST

/* wal=off is refused, for there are others, or given up again: their flusher is there. */
START_TEST(s13_who_asks_for_a_flusher_has_one) {
  x_medium(X_FILE);
  spm_conn *c = x_create(x_new("x.db", BLOCKS)), *other;
  spm_store_options off = {.log_size_max = 1u << 20, .unlogged = true};
  if (_i == 0) {
    other = x_join(c->store->path);
    configure(c, SPM_DURABLE_SOON, 20000000);
    ck_assert_int_eq(spm_store_configure(other, &off), SQLITE_BUSY);
  } else {
    x_ok(spm_store_configure(c, &off));
    off.durability = SPM_DURABLE_SOON;
    off.flush_interval_ns = 20000000;
    x_ok(spm_store_configure(c, &off));
    other = c;
    x_ok(x_try_join_unlogged(c->store->path, &off, &c));
    configure(other, SPM_DURABLE_AT_ONCE, 20000000);
  }
  x_commit(c, 0, 3, 1);
  ck_assert(settles(c));
  x_detach(other);
  x_detach(c);
}
END_TEST

static void begin_a_flush_and_die(void *path) {
  spm_conn *c = x_join(path);
  media_install();
  media_at(MEDIA_BIT(MEDIA_SYNC) | MEDIA_BIT(MEDIA_FDATASYNC), "l", 1, MEDIA_KILL);
  uint64_t lsn;
  x_ok(spm_store_flush(c->store->path, &lsn));
}

/* The deadline outlives whoever had begun to see to it. */
START_TEST(s13_a_flush_that_death_cuts_short) {
  x_medium(X_FILE);
  spm_conn *c = x_create(x_new("x.db", BLOCKS));
  configure(c, SPM_DURABLE_AT_TICKS, 300000000);
  x_commit(c, 0, 3, 1);
  ck_assert(x_killed(x_child(begin_a_flush_and_die, (void *)(uintptr_t)c->store->path)));
  ck_assert(settles(c));
  x_detach(c);
}
END_TEST

static void flush_and_be_stopped(void *path) {
  spm_conn *c = x_join(path);
  configure(c, SPM_DURABLE_SOON, NEVER);
  media_install();
  media_at(MEDIA_BIT(MEDIA_SYNC) | MEDIA_BIT(MEDIA_FDATASYNC), "l", 1, MEDIA_STOP);
  x_commit(c, 0, 3, 1);
  for (;;) pause();
}

/* Whoever commits while a flush is under way relies on the deadline it has put off, and the
** flush, over, leaves it to him. */
START_TEST(s13_a_deadline_others_rely_on_stays) {
  x_medium(X_FILE);
  int status;
  spm_conn *c = x_create(x_new("x.db", BLOCKS));
  pid_t pid = x_start(flush_and_be_stopped, (void *)(uintptr_t)c->store->path);
  ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
  ck_assert(WIFSTOPPED(status));
  c->durability = SPM_DURABLE_SOON; /* and no flusher here that could help */
  c->flush_interval_ns = NEVER;
  x_commit(c, 0, 3, 2);
  ck_assert(!settled(c));
  ck_assert_int_eq(kill(pid, SIGCONT), 0);
  ck_assert(settles(c));
  ck_assert_int_eq(kill(pid, SIGKILL), 0);
  ck_assert(x_killed(x_wait(pid)));
  x_detach(c);
}
END_TEST

static int skip_store(spm_store *s, void *argument) { return (void)s, (void)argument, SQLITE_OK; }

static void prepare_and_die(void *path) {
  spm_conn *c = x_join(path);
  x_ok(x_begin(c));
  x_ok(x_fill(c, 0, 2, 2));
  x_ok(spm_commit_stage(c, "a super-journal"));
  (void)raise(SIGKILL);
}

/* As one that asks another store what became of the transaction. */
static void look_at_other_stores(void) { x_ok(spm_stores_visit(NULL, skip_store, NULL)); }

/* What a dead one had prepared is decided by who closes the store, not by the flusher that it
** waits for: the answer may stand in another store. */
START_TEST(s17_a_flusher_decides_nothing) {
  x_medium(X_FILE);
  spm_conn *c = x_create(x_new("x.db", BLOCKS));
  configure(c, SPM_DURABLE_SOON, 20000000);
  x_commit(c, 0, 3, 1);
  ck_assert(settles(c));
  ck_assert(x_killed(x_child(prepare_and_die, (void *)(uintptr_t)c->store->path)));
  x_deciding = look_at_other_stores;
  x_detach(c);
  ck_assert_uint_eq(x_decided, 1);
}
END_TEST

/* S8: what could not be flushed is not committed upon. */
START_TEST(s8_a_failed_flush_poisons) {
  x_medium(X_FILE);
  uint64_t lsn;
  spm_conn *c = x_create(x_new("x.db", BLOCKS));
  configure(c, SPM_DURABLE_AT_TICKS, NEVER);
  x_commit(c, 0, 2, 1);
  media_install();
  media_at(MEDIA_BIT(MEDIA_SYNC), "l", 1, MEDIA_FAIL);
  ck_assert_int_eq(spm_store_flush(c->store->path, &lsn) & 0xff, SQLITE_IOERR);
  media_calm();
  ck_assert(spm_conn_poisoned(c));
  ck_assert_int_eq(x_try_commit(c, 0, 1, 2), SQLITE_IOERR);
  ck_assert_int_eq(spm_store_flush(c->store->path, &lsn), SQLITE_IOERR);
  ck_assert_uint_eq(x_read(c, 0, 2), 1); /* what was committed can still be read */
  ck_assert_uint_eq(in_file(c, 0), 0);
  x_detach_dirty(c);
}
END_TEST

/* ------------------------------------------------------------- dead writers -- */

static void commit_and_die(void *path) {
  spm_conn *c = x_join(path);
  configure(c, SPM_DURABLE_AT_TICKS, NEVER);
  for (uint64_t k = 2; k <= 4; k++) x_commit(c, (uint32_t)k, 3, k);
  x_ok(x_begin(c));
  x_ok(x_fill(c, 2, 3, 9));
  (void)raise(SIGKILL);
}

/* Those who live on see what it had committed, in X too once it is taken over. */
START_TEST(s17_what_a_dead_one_left_pending) {
  x_medium(X_FILE);
  spm_conn *c = x_create(x_new("x.db", BLOCKS)), *reader = x_join(c->store->path);
  x_commit(c, 0, BLOCKS, 1);
  x_ok(spm_snapshot_begin(reader));
  ck_assert(x_killed(x_child(commit_and_die, (void *)(uintptr_t)c->store->path)));
  ck_assert_uint_eq(x_read(c, 2, 1), 2);
  ck_assert_uint_eq(x_read(c, 4, 3), 4);
  ck_assert_uint_gt(pending(c), 0);
  x_commit(c, 0, 1, 5);
  ck_assert(settled(c));
  ck_assert_uint_eq(in_file(c, 2), 2);
  ck_assert_uint_eq(in_file(c, 3), 3);
  ck_assert_uint_eq(in_file(c, 6), 4);
  for (uint32_t b = 0; b < BLOCKS; b++) ck_assert_uint_eq(x_value(reader, b), 1);
  x_detach(reader);
  x_detach(c);
}
END_TEST

/* Killed before any of its operations on files, in the middle of a run of commits. */
static void commit_until_killed(void *path) {
  spm_conn *c = x_join(path);
  configure(c, SPM_DURABLE_AT_TICKS, NEVER);
  x_commit(c, 0, 3, 2);
  media_install();
  media_at(MEDIA_ALL, "xl", (unsigned long)*(int *)(void *)((char *)path - sizeof(int)), MEDIA_KILL);
  for (uint64_t k = 3; k < 8; k++) {
    x_commit(c, (uint32_t)k % 3, 3, k);
    if (k == 5) flush(c);
  }
  (void)raise(SIGKILL);
}

START_TEST(s17_a_writer_that_dies_anywhere) {
  x_medium(X_FILE);
  spm_conn *c = x_create(x_new("x.db", BLOCKS)), *reader = x_join(c->store->path);
  x_commit(c, 0, BLOCKS, 1);
  struct { int at; char path[4096]; } argument = {.at = _i + 1};
  snprintf(argument.path, sizeof argument.path, "%s", c->store->path);
  x_ok(spm_snapshot_begin(reader));
  ck_assert(x_killed(x_child(commit_until_killed, argument.path)));
  uint64_t seen[BLOCKS];
  for (uint32_t b = 0; b < BLOCKS; b++) seen[b] = x_read(c, b, 1);
  x_ok(x_commit_retrying(c, BLOCKS - 1, 1, 1)); /* takes over, and may finish a commit that was complete */
  ck_assert(settled(c));
  uint64_t newest = 0;
  for (uint32_t b = 0; b < 5; b++) newest = in_file(c, b) > newest ? in_file(c, b) : newest;
  ck_assert_uint_ge(newest, 2);
  if (newest > 2) ck_assert_uint_eq(x_read(c, (uint32_t)newest % 3, 3), newest);
  for (uint32_t b = 0; b < BLOCKS; b++) {
    ck_assert_uint_eq(in_file(c, b), x_read(c, b, 1));
    ck_assert_uint_ge(x_read(c, b, 1), seen[b]);
    ck_assert_uint_eq(x_value(reader, b), 1);
  }
  x_detach(reader);
  x_detach(c);
}
END_TEST

/* --------------------------------------------------------------- power loss -- */

typedef struct outage {
  const char *image;
  uint64_t durable, acknowledged, at, seed;
} outage;
static outage now;

/* Commit k fills two blocks with k. */
static uint32_t place_of(uint64_t k) { return (uint32_t)(k * 7 % (BLOCKS - 1)); }

static bool is_state(spm_conn *c, uint64_t k) {
  uint64_t blocks[BLOCKS] = {0};
  for (uint64_t i = 1; i <= k; i++) blocks[place_of(i)] = blocks[place_of(i) + 1] = i;
  for (uint32_t b = 0; b < BLOCKS; b++)
    if (x_peek(c, b, 1) != blocks[b]) return false;
  return true;
}

static void recover_image(void *argument) {
  const outage *o = argument;
  spm_conn *c = x_attach(o->image);
  uint64_t k = o->durable;
  while (k <= o->acknowledged + 1 && !is_state(c, k)) k++;
  ck_assert_msg(k <= o->acknowledged + 1, "it is none of the states after %llu to %llu commits",
                (unsigned long long)o->durable, (unsigned long long)o->acknowledged + 1);
  x_commit(c, 0, 3, 1000);
  ck_assert_uint_eq(x_read(c, 0, 3), 1000);
}

static void lose_power(const media_operation *op) {
  for (media_loss loss = MEDIA_LOSE_ALL; loss <= MEDIA_LOSE_SOME; loss++) {
    media_power_loss(now.image, loss, now.seed + now.at);
    ck_assert_msg(x_finished(x_child(recover_image, &now)), "power lost at kind %d of %c, loss %d, after commit %llu, %llu durable",
                  op->kind, op->file, loss, (unsigned long long)now.acknowledged, (unsigned long long)now.durable);
  }
}

/* A prefix of the commits is left, with all that was flushed; a commit that is durable at
** once takes the earlier ones along. */
START_TEST(s5_power_leaves_a_prefix) {
  x_medium(_i);
  const char *x = x_new("x.db", BLOCKS);
  now = (outage){.image = x_new("image.db", 4), .seed = x_seed()};
  spm_conn *c = x_create(x), *sync = x_join(x);
  configure(c, SPM_DURABLE_AT_TICKS, NEVER);
  media_install();
  media_track(x);
  media_call(lose_power);
  uint64_t seed = now.seed;
  for (uint64_t k = 1; k <= 300; k++) {
    bool at_once = x_random(&seed) % 9 == 0;
    if (k % 2 == 0) media_at(MEDIA_TABLES, "xl", 1 + (unsigned long)(x_random(&seed) % 5), MEDIA_CALL);
    x_commit(at_once ? sync : c, place_of(k), 2, k);
    now.acknowledged = k;
    if (at_once || _i == X_PMEM) now.durable = k;
    if (x_random(&seed) % 6 == 0) {
      flush(c);
      now.durable = k;
    }
    if (x_random(&seed) % 6 == 0) apply_some(sync);
    now.at = k;
  }
  media_calm();
  x_detach_dirty(sync);
  x_detach_dirty(c);
}
END_TEST

/* ---------------------------------------------------------------------- SQL -- */

static int copy_metrics(void *to, const spm_metrics *m) {
  *(spm_metrics *)to = *m;
  return SQLITE_OK;
}

/* Of the one store that is open: its mode, and whether all of it is durable. */
static void expect_mode(const char *mode, bool durable_all) {
  spm_metrics m = {0};
  x_ok(spm_inspect_stores(copy_metrics, &m));
  ck_assert_str_eq(m.mode, mode);
  ck_assert_int_eq(m.durable_lsn == m.last_lsn, durable_all);
}

START_TEST(modes_from_sql) {
  const char *path = path_on(_i, "app.db");
  sqlite3 *db = open_with(path, "pmem", "pmem_mode=periodic&pmem_flush_interval=1000000");
  run(db, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
  expect(db, "PRAGMA pmem_mode", "periodic");
  expect(db, "PRAGMA pmem_flush_interval", "1000000");
  expect_mode("periodic", _i == ON_PMEM);
  uint64_t lsn;
  x_ok(spm_store_flush(path, &lsn));
  expect_mode("periodic", true);
  run(db, "INSERT INTO t VALUES(2)");
  expect_mode("periodic", _i == ON_PMEM);
  expect(db, "PRAGMA pmem_mode=sync", "sync");
  run(db, "INSERT INTO t VALUES(3)");
  expect_mode("sync", true);
  expect(db, "PRAGMA pmem_mode=async", "async");
  run(db, "INSERT INTO t VALUES(4)");
  expect(db, "SELECT group_concat(a) FROM t", "1,2,3,4");
  ck_assert_int_eq(code_of(db, "PRAGMA pmem_mode=soon"), SQLITE_ERROR);
  ck_assert_ptr_nonnull(strstr(sqlite3_errmsg(db), "sync|async|periodic"));
  ck_assert_int_eq(code_of(db, "PRAGMA pmem_flush_interval=0"), SQLITE_ERROR);
  close_db(db);
  db = open_stock(path);
  expect(db, "SELECT group_concat(a) FROM t", "1,2,3,4");
  expect(db, "PRAGMA integrity_check", "ok");
  close_db(db);
}
END_TEST

/* synchronous=OFF skips the sync, not the order; the next commit that wants it takes the
** others along. */
START_TEST(synchronous_off_waits_for_nothing) {
  media_install();
  sqlite3 *db = open_pmem(path_on(ON_DISK, "app.db"));
  run(db, "CREATE TABLE t(a); PRAGMA synchronous=OFF; INSERT INTO t VALUES(1)");
  media_forget();
  run(db, "INSERT INTO t VALUES(2); INSERT INTO t VALUES(3)");
  ck_assert_uint_eq(media_count(MEDIA_BIT(MEDIA_FDATASYNC) | MEDIA_BIT(MEDIA_FSYNC), NULL), 0);
  expect_mode("sync", false);
  run(db, "PRAGMA synchronous=FULL; INSERT INTO t VALUES(4)");
  ck_assert_uint_ge(media_count(MEDIA_BIT(MEDIA_FDATASYNC), "l"), 1);
  expect_mode("sync", true);
  expect(db, "SELECT group_concat(a) FROM t", "1,2,3,4");
  close_db(db);
}
END_TEST

static void use_both(void *path) {
  sqlite3 *db = open_pmem(path);
  expect(db, "SELECT count(*) FROM t", "2");
  run(db, "INSERT INTO t VALUES(3)");
  close_db(db);
}

/* The child of a fork has no flusher, and can open the database for itself. */
START_TEST(a_fork_leaves_the_flusher_behind) {
  const char *path = path_on(ON_DISK, "app.db");
  sqlite3 *db = open_with(path, "pmem", "pmem_mode=async&pmem_flush_interval=0.01");
  run(db, "CREATE TABLE t(a); INSERT INTO t VALUES(1); INSERT INTO t VALUES(2)");
  ck_assert(x_finished(x_child(use_both, (void *)(uintptr_t)path)));
  expect(db, "SELECT count(*) FROM t", "3");
  close_db(db);
}
END_TEST

Suite *durability_suite(void) {
  Suite *suite = suite_create("durability");
  TCase *store = tcase_create("store");
  tcase_set_timeout(store, 60);
  tcase_add_loop_test(store, s13_a_commit_waits_for_nothing, 0, X_MEDIA);
  tcase_add_test(store, s13_what_waits_is_bounded);
  tcase_add_loop_test(store, s13_snapshots_see_one_state, 0, X_MEDIA);
  tcase_add_test(store, s13_readers_during_a_flush);
  tcase_add_loop_test(store, s13_the_flusher_comes_in_time, 0, 2);
  tcase_add_test(store, s13_an_idle_flusher_sleeps);
  tcase_add_test(store, s13_no_commit_trusts_a_late_flusher);
  tcase_add_test(store, s13_a_deadline_nobody_was_told_of);
  tcase_add_loop_test(store, s12_images_of_a_commit_taken_back, 0, X_MEDIA);
  tcase_add_test(store, s17_a_flusher_decides_nothing);
  tcase_add_test(store, s13_a_flush_that_death_cuts_short);
  tcase_add_test(store, s13_a_deadline_others_rely_on_stays);
  tcase_add_loop_test(store, s13_who_asks_for_a_flusher_has_one, 0, 2);
  tcase_add_test(store, s8_a_failed_flush_poisons);
  tcase_add_test(store, s17_what_a_dead_one_left_pending);
  tcase_add_loop_test(store, s17_a_writer_that_dies_anywhere, 0, 24);
  tcase_add_loop_test(store, s5_power_leaves_a_prefix, 0, X_MEDIA);
  suite_add_tcase(suite, store);
  TCase *instructions = tcase_create("between instructions");
  tcase_set_timeout(instructions, 60);
  tcase_set_tags(instructions, "every-instruction");
  tcase_add_test(instructions, s13_a_flush_between_any_two_instructions_of_a_read);
  tcase_add_test(instructions, s13_an_image_that_goes_is_noticed);
  suite_add_tcase(suite, instructions);
  TCase *sql = tcase_create("sql");
  tcase_set_timeout(sql, 60);
  tcase_add_loop_test(sql, modes_from_sql, 0, MEDIA);
  tcase_add_test(sql, synchronous_off_waits_for_nothing);
  tcase_add_test(sql, a_fork_leaves_the_flusher_behind);
  suite_add_tcase(suite, sql);
  return suite;
}
