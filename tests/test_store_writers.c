/*
** test_store_writers.c - one writer at a time: who it is, who waits for it, and what comes
** after its death or its PREPARE: S15, S16, S17 and S20.
*/
#define _GNU_SOURCE
#include "test_store.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BLOCK SPM_BLOCK_SIZE

/* ----------------------------------------------------- S15 to S17: writers -- */

/* The dead owner's slot has a new owner: of another generation, so not the writer. */
START_TEST(s15_a_reused_slot_is_not_the_dead_owner) {
  const char *x = x_new("x.db", 8);
  spm_conn *c = x_create(x);
  ck_assert(x_killed(x_child(x_write_and_die, (void *)x)));
  uint32_t word = atomic_load(&c->store->shm->writer);
  spm_conn *heir = x_join(x); /* of the lowest free slot, which is the dead one's */
  ck_assert_uint_eq((word & 0x7ff) - 1, heir->slot);
  ck_assert(!spm_writer_is(c->store->shm, heir->slot));
  ck_assert(!spm_writer_alive(&c->store->locks, c->store->shm, word));
  if (_i == 0) x_commit(heir, 0, 2, 10);
  else x_commit(c, 0, 2, 10);
  ck_assert_uint_eq(x_read(c, 0, 2), 10);
  x_detach(heir);
  x_detach(c);
}
END_TEST

static void hold_the_lock(void *argument) {
  x_party *w = argument;
  spm_conn *c = x_join(w->path);
  x_ok(x_begin(c));
  w->shared->stage = 1;
  x_await(w->shared, 2);
  x_end(c);
  x_detach(c);
}

static uint32_t writer_slot(const spm_conn *c) { return (atomic_load(&c->store->shm->writer) & SPM_OWNER_SLOT_MASK) - 1; }

/* A process id that is in the slot says nothing: another process may have the dead one's by
** now, and of a living one in another PID namespace it is somebody else's, or nobody's. */
START_TEST(s15_process_ids_mean_nothing) {
  x_party w = {x_new("x.db", 8), x_shared_new()};
  spm_conn *c = x_create(w.path);
  ck_assert(x_killed(x_child(x_write_and_die, (void *)w.path)));
  c->store->shm->slots[writer_slot(c)].pid = (uint64_t)getpid();
  x_commit(c, 0, 2, 10);
  pid_t pid = x_start(hold_the_lock, &w);
  x_await(w.shared, 1);
  c->store->shm->slots[writer_slot(c)].pid = INT32_MAX; /* beyond what the kernel gives out */
  ck_assert_int_eq(x_try_commit(c, 0, 2, 11), SQLITE_BUSY);
  w.shared->stage = 2;
  ck_assert(x_finished(x_wait(pid)));
  x_commit(c, 0, 2, 11);
  x_detach(c);
}
END_TEST

START_TEST(s16_busy_comes_soon) {
  x_party w = {x_new("x.db", 8), x_shared_new()};
  spm_conn *c = x_create(w.path), *stale = x_join(w.path);
  x_ok(spm_snapshot_begin(stale));
  x_commit(c, 0, 1, 1);
  pid_t pid = x_start(hold_the_lock, &w);
  x_await(w.shared, 1);
  uint64_t best = UINT64_MAX, best_stale = UINT64_MAX;
  for (int i = 0; i < 5; i++) { /* the machine may be busy: the best of some */
    uint64_t start = spm_now_us();
    ck_assert_int_eq(x_try_commit(c, 0, 1, 2), SQLITE_BUSY);
    uint64_t middle = spm_now_us();
    ck_assert_int_eq(spm_write_begin(stale), SQLITE_BUSY_SNAPSHOT);
    uint64_t end = spm_now_us();
    if (middle - start < best) best = middle - start;
    if (end - middle < best_stale) best_stale = end - middle;
  }
  ck_assert_uint_lt(best, 5000);
  ck_assert_uint_ge(best, 500); /* it does wait */
  ck_assert_uint_lt(best_stale, 100);
  w.shared->stage = 2;
  ck_assert(x_finished(x_wait(pid)));
  spm_snapshot_end(stale);
  x_commit(c, 0, 1, 2);
  x_detach(stale);
  x_detach(c);
}
END_TEST

#define ASLEEP (1u << 30) /* in the writer word: somebody sleeps on it */

static void sleep_for_the_lock(void *argument) {
  x_party *w = argument;
  spm_conn *c = x_join(w->path);
  for (uint64_t round = 1; round <= 30; round++) {
    while (w->shared->number[0] < round) spm_cpu_relax();
    while (x_begin(c) != SQLITE_OK) continue;
    w->shared->number[1] = round;
    x_end(c);
  }
  x_detach(c);
}

/* Who gives the lock back while somebody sleeps on it leaves it for the sleeper, not for
** whoever comes by first, himself for one. */
START_TEST(s16_sleepers_are_handed_the_lock) {
  x_party w = {x_new("x.db", 8), x_shared_new()};
  spm_conn *c = x_create(w.path);
  _Atomic uint32_t *word = &c->store->shm->writer;
  x_ok(x_begin(c)); /* nobody does, but only the word can tell */
  atomic_fetch_or(word, ASLEEP);
  x_end(c);
  ck_assert_uint_ne(*word, 0);
  pid_t pid = x_start(sleep_for_the_lock, &w);
  for (uint64_t round = 1; round <= 30; round++) {
    while (x_begin(c) != SQLITE_OK) continue;
    w.shared->number[0] = round;
    while ((*word & ASLEEP) == 0) spm_cpu_relax();
    (void)spm_write_end(c);
    bool kept = *word != 0;
    ck_assert(kept || w.shared->number[1] == round);
    spm_snapshot_end(c);
    while (w.shared->number[1] < round) usleep(20);
  }
  ck_assert(x_finished(x_wait(pid)));
  x_detach(c);
}
END_TEST

/* Like spm_writer_wait(), but for as long as it takes. */
static void sleep_until_woken(void *argument) {
  x_party *w = argument;
  spm_conn *c = x_join(w->path);
  _Atomic uint32_t *word = &c->store->shm->writer;
  struct timespec limit = {.tv_sec = 30};
  uint32_t asleep = atomic_fetch_or(word, ASLEEP) | ASLEEP;
  w->shared->stage = 1;
  bool woken = syscall(SYS_futex, word, FUTEX_WAIT, asleep, &limit, NULL, 0) == 0;
  ck_assert(woken || errno == EAGAIN); /* too late to fall asleep */
  w->shared->number[0] += woken;
  x_detach(c);
}

/* It is woken, and not only handed the lock; and where it does not take it, because it gave
** up or died, others do. */
START_TEST(s16_sleepers_are_woken) {
  x_party w = {x_new("x.db", 8), x_shared_new()};
  spm_conn *c = x_create(w.path);
  for (int round = 0; round < 20 && w.shared->number[0] == 0; round++) {
    w.shared->stage = 0;
    x_ok(x_begin(c));
    pid_t pid = x_start(sleep_until_woken, &w);
    x_await(w.shared, 1);
    usleep(20000u << (round / 4));
    x_end(c);
    ck_assert(x_finished(x_wait(pid)));
    x_commit(c, 0, 1, 1);
  }
  ck_assert_uint_eq(w.shared->number[0], 1);
  x_detach(c);
}
END_TEST

typedef struct victim {
  const char *path;
  unsigned long n;
  media_action action;
  uint32_t blocks;
  uint64_t value;
} victim;

static void commit_and_meet_fate(void *argument) {
  const victim *v = argument;
  media_install();
  spm_conn *c = x_join(v->path);
  if (v->blocks > LARGE) x_limit_log(c, 1); /* it dies in checkpoints as well */
  x_ok(x_begin(c));
  media_at(MEDIA_ALL, NULL, v->n, v->action);
  x_ok(x_fill(c, 0, v->blocks, v->value));
  x_ok(spm_commit_finish(c));
  media_calm();
  x_end(c);
  x_detach(c);
}

/* Alone, whole, and no older than what was acknowledged. */
static void check_survivor(spm_conn *c, uint32_t blocks, uint64_t before, uint64_t after, bool acknowledged) {
  uint64_t value = x_read(c, 0, blocks);
  ck_assert_msg(value == after || (!acknowledged && value == before), "%llu instead of %llu or %llu",
                (unsigned long long)value, (unsigned long long)before, (unsigned long long)after);
}

static const uint32_t victim_blocks[] = {6, LARGE, 150 /* more than a segment */};

/* The writer dies at its n-th operation, for every n; others take over without a new
** start: the next writer (even n) or a reader (odd n), while a snapshot of before goes
** on, and without an error. */
START_TEST(s17_dead_writers_are_taken_over) {
  uint32_t blocks = victim_blocks[_i / 2];
  x_medium(_i % 2);
  const char *x = x_new("x.db", 160);
  spm_conn *c = x_create(x), *reader = x_join(x);
  uint64_t value = 1;
  x_commit(c, 0, blocks, value);
  bool alive = false;
  unsigned long steps = 0;
  for (unsigned long n = 1; !alive; n += 1 + n / 40) {
    x_ok(spm_snapshot_begin(reader));
    victim v = {x, n, MEDIA_KILL, blocks, value + 1};
    int status = x_child(commit_and_meet_fate, &v);
    alive = x_finished(status);
    ck_assert(alive || x_killed(status));
    ck_assert_uint_eq(x_peek(reader, 0, blocks), value);
    if (n % 2 != 0) check_survivor(c, blocks, value, value + 1, alive);
    ck_assert_uint_eq(x_peek(reader, 0, blocks), value);
    int rc = x_commit_retrying(c, 150, 2, n);
    ck_assert_msg(rc == SQLITE_OK, "died at %lu: %d", n, rc);
    check_survivor(c, blocks, value, value + 1, alive);
    ck_assert_uint_eq(x_peek(reader, 0, blocks), value);
    spm_snapshot_end(reader);
    value += 2;
    x_commit(c, 0, blocks, value);
    steps++;
  }
  ck_assert_uint_gt(steps, 8);
  x_detach(reader);
  x_detach(c);
  ck_assert(!x_exists(x, "-pmlog"));
}
END_TEST

/* A stopped writer is not dead: nobody proceeds, nobody sees a half of it, and when it
** goes on it commits. */
START_TEST(s17_stopped_writers_are_waited_for) {
  uint32_t blocks = victim_blocks[_i / 2];
  x_medium(_i % 2);
  const char *x = x_new("x.db", 160);
  spm_conn *c = x_create(x);
  x_commit(c, 0, blocks, 1);
  for (unsigned long n = 1; n < 40; n += 1 + n / 3) {
    uint64_t before = x_read(c, 0, blocks);
    victim v = {x, n, MEDIA_STOP, blocks, before + 1};
    pid_t pid = x_start(commit_and_meet_fate, &v);
    int status;
    ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
    if (!WIFSTOPPED(status)) break;
    for (int i = 0; i < 3; i++) {
      ck_assert_int_eq(x_try_commit(c, 150, 2, n) & 0xff, SQLITE_BUSY);
      int rc = spm_snapshot_begin(c);
      ck_assert(rc == SQLITE_OK || rc == SQLITE_BUSY);
      if (rc == SQLITE_OK) {
        uint64_t seen = x_peek(c, 0, blocks);
        ck_assert(seen == before || seen == before + 1);
      }
      spm_snapshot_end(c);
    }
    kill(pid, SIGCONT);
    ck_assert(x_finished(x_wait(pid)));
    ck_assert_uint_eq(x_read(c, 0, blocks), before + 1);
    x_commit(c, 150, 2, n);
  }
  x_detach(c);
}
END_TEST

/* The heir dies as well, at its n-th operation; the next one finishes. */
static void inherit_and_meet_fate(void *argument) {
  const victim *v = argument;
  media_install();
  spm_conn *c = x_join(v->path);
  media_at(MEDIA_ALL, NULL, v->n, v->action);
  x_ok(x_commit_retrying(c, 150, 2, 77));
  media_calm();
  x_detach(c);
}

START_TEST(s17_heirs_may_die_too) {
  x_medium(_i);
  const char *x = x_new("x.db", 160);
  spm_conn *c = x_create(x), *reader = x_join(x);
  uint64_t value = 1;
  x_commit(c, 0, 6, value);
  for (unsigned long first = 2; first < 12; first += 3) {
    bool alive = false;
    for (unsigned long n = 1; !alive; n++) {
      x_ok(spm_snapshot_begin(reader));
      victim v = {x, first, MEDIA_KILL, 6, value + 1};
      if (!x_killed(x_child(commit_and_meet_fate, &v))) break;
      v.n = n;
      int status = x_child(inherit_and_meet_fate, &v);
      alive = x_finished(status);
      ck_assert(alive || x_killed(status));
      ck_assert_uint_eq(x_peek(reader, 0, 6), value);
      check_survivor(c, 6, value, value + 1, false);
      spm_snapshot_end(reader);
      x_ok(x_commit_retrying(c, 0, 6, value += 2));
    }
  }
  x_detach(reader);
  x_detach(c);
}
END_TEST

/* ------------------------------------------------ S20: several databases -- */

static void prepare_and_die(void *path) {
  spm_conn *c = x_join(path);
  x_ok(x_begin(c));
  x_ok(x_fill(c, 0, 4, 2));
  x_ok(spm_commit_stage(c, "/super"));
  (void)raise(SIGKILL);
}

/* PREPARE is durable when staging returns, and what becomes of it is the host's to say:
** at the next start (_i & 1) or at the take-over by somebody living. */
START_TEST(s20_prepared_is_settled_by_the_host) {
  bool living = _i & 1, commits = _i & 2;
  const char *x = x_new("x.db", 8);
  spm_conn *c = x_create(x);
  x_commit(c, 0, 4, 1);
  if (!living) x_detach_dirty(c);
  ck_assert(x_killed(x_child(prepare_and_die, (void *)x)));
  x_decision = commits;
  uint64_t before = x_hash(x, "");
  x_decide_code = SQLITE_CANTOPEN; /* at first it cannot be known */
  if (!living) {
    ck_assert_int_eq(x_try_join(x, &c), SQLITE_CANTOPEN);
    ck_assert_uint_eq(x_hash(x, ""), before);
  } else {
    ck_assert_int_eq(x_try_commit(c, 6, 1, 1), SQLITE_CANTOPEN);
    ck_assert_uint_eq(x_read(c, 0, 4), 1);
  }
  ck_assert_uint_eq(x_settled, 0);
  x_decide_code = SQLITE_OK;
  if (!living) c = x_join(x);
  x_ok(x_commit_retrying(c, 6, 1, 1));
  ck_assert_uint_eq(x_read(c, 0, 4), commits ? 2 : 1);
  ck_assert_uint_eq(x_decided, 2);
  ck_assert_uint_eq(x_settled, 1);
  x_detach_dirty(c);
  x_decision = !commits;
  c = x_join(x); /* the decision was durable: nobody is asked again */
  ck_assert_uint_eq(x_read(c, 0, 4), commits ? 2 : 1);
  ck_assert_uint_eq(x_decided, 2);
  x_detach(c);
}
END_TEST

START_TEST(s20_prepare_and_abort_are_durable) {
  x_medium(_i);
  const char *x = x_new("x.db", 8);
  spm_conn *c = x_create(x);
  x_commit(c, 0, 4, 1);
  media_install();
  for (uint64_t i = 0; i < 3; i++) {
    size_t count;
    x_ok(x_begin(c));
    x_ok(x_fill(c, 0, 4, 2 + i));
    media_forget();
    x_ok(spm_commit_stage(c, "/super"));
    const media_operation *op = media_operations(&count);
    ck_assert(op[count - 1].kind == (_i == X_PMEM ? MEDIA_SYNC : MEDIA_FDATASYNC) && op[count - 1].file == MEDIA_LOG);
    ck_assert_uint_eq(media_count(MEDIA_BIT(MEDIA_STORE), "x"), 0);
    ck_assert_int_ne(spm_write(c, BLOCK, 1, "x"), SQLITE_OK); /* it is what it is */
    media_forget();
    if (i == 1) x_ok(spm_commit_finish(c));
    else x_ok(spm_commit_rollback(c));
    ck_assert_uint_eq(media_count(MEDIA_BIT(MEDIA_SYNC), "l"), 1);
    x_end(c);
    ck_assert_uint_eq(x_read(c, 0, 4), i == 0 ? 1 : 3);
  }
  x_detach_dirty(c);
  c = x_join(x);
  ck_assert_uint_eq(x_read(c, 0, 4), 3);
  ck_assert_uint_eq(x_decided, 0);
  x_detach(c);
}
END_TEST

/* A small transaction: 8 bytes take 128 of the log, 80 take 192. */
static void commit_bytes(spm_conn *c, uint32_t n, uint64_t value) {
  uint64_t words[10];
  for (int i = 0; i < 10; i++) words[i] = value;
  x_ok(x_begin(c));
  x_ok(spm_write(c, X_AT(5), n, words));
  x_ok(spm_commit_finish(c));
  x_end(c);
}

/* PREPARE at the end of a segment, the disk full: either there is room for the record
** that settles it as well, or PREPARE is not there at all; for if staging fails, the
** super-journal goes, and that would be taken for a commit. */
START_TEST(s20_prepare_has_room_for_its_end) {
  uint32_t full = 0;
  media_install();
  media_errno(ENOSPC);
  for (uint32_t left = 2; left < 16; left++) { /* lines to the end of the segment */
    const char *x = x_new("x.db", 8);
    spm_conn *c = x_create(x);
    x_commit(c, 0, 1, 1);
    uint64_t end = spm_segment_offset(1);
    if (left % 2 != 0) commit_bytes(c, 80, UINT64_MAX);
    for (uint64_t i = 1; spm_committed(c->store->shm)->tail.offset + left * 64 < end; i++) commit_bytes(c, 8, i);
    ck_assert_uint_eq(spm_committed(c->store->shm)->tail.offset + left * 64, end);
    media_at(MEDIA_BIT(MEDIA_ALLOCATE), "l", 1, MEDIA_FAIL_ON);
    x_ok(x_begin(c));
    x_ok(spm_write(c, X_AT(0), 8, "12345678"));
    int rc = spm_commit_stage(c, "/super");
    ck_assert(rc == SQLITE_OK || rc == SQLITE_FULL);
    if (rc == SQLITE_OK) x_ok(spm_commit_finish(c));
    x_decision = true; /* what the host would say, were it asked */
    const char *copy = x_new("copy.db", 8);
    x_copy(x, copy); /* a crash here */
    media_calm();
    spm_conn *other = x_join(copy);
    ck_assert_uint_eq(x_decided, 0);
    x_ok(spm_snapshot_begin(other));
    char bytes[8];
    x_ok(spm_conn_read(other, X_AT(0), 8, bytes));
    ck_assert_int_eq(memcmp(bytes, "12345678", 8) == 0, rc == SQLITE_OK);
    spm_snapshot_end(other);
    x_detach(other);
    x_end(c);
    x_commit(c, 0, 3, 7); /* what comes behind it is read, too */
    x_detach_dirty(c);
    c = x_join(x);
    ck_assert_uint_eq(x_read(c, 0, 3), 7);
    x_detach(c);
    full += rc == SQLITE_FULL;
  }
  ck_assert(full > 0 && full < 14);
}
END_TEST

/* A large prepared transaction cannot be finished: its records stay, whatever of the log is
** given back, for its super-journal says that it is committed. */
START_TEST(s20_prepared_outlives_a_failed_end) {
  enum { COUNT = 400 }; /* blocks: more segments than a rollback leaves alone */
  x_medium(X_FILE);
  media_install();
  const char *x = x_new("x.db", COUNT);
  spm_conn *c = x_create(x);
  x_commit(c, 0, COUNT, 1);
  x_ok(x_begin(c));
  x_ok(x_fill(c, 0, COUNT, 2));
  x_ok(spm_commit_stage(c, "/super"));
  media_at(MEDIA_BIT(MEDIA_SYNC), "l", 1, MEDIA_FAIL);
  ck_assert_int_eq(spm_commit_finish(c) & 0xff, SQLITE_IOERR);
  x_end(c);
  x_detach(c);
  x_decision = true;
  c = x_join(x);
  ck_assert_uint_eq(x_decided, 1);
  ck_assert_uint_eq(x_read(c, 0, COUNT), 2);
  x_detach(c);
}
END_TEST

/* Take-over of a prepared transaction on a poisoned store: the log still says PREPARE,
** so nobody may be told that it is settled. */
START_TEST(s20_poisoned_is_not_settled) {
  const char *x = x_new("x.db", 8);
  spm_conn *c = x_create(x);
  x_commit(c, 0, 4, 1);
  ck_assert(x_killed(x_child(prepare_and_die, (void *)x)));
  atomic_store(&c->store->shm->poisoned, 1);
  ck_assert_int_ne(x_try_commit(c, 6, 1, 1), SQLITE_OK);
  x_detach(c);
  unsigned settled = x_settled;
  c = x_join(x);
  ck_assert_uint_eq(x_read(c, 0, 4), 1);
  ck_assert_uint_eq(x_settled, 1);
  ck_assert_uint_eq(settled, 0);
  x_detach(c);
}
END_TEST

/* After PREPARE nothing may fail: not even for a reader that came after it, with no
** room for its images. */
START_TEST(s20_nothing_fails_after_prepare) {
  const char *x = x_new("x.db", 400);
  spm_conn *c = x_create(x);
  x_commit(c, 0, 400, 1);
  x_ok(x_begin(c));
  x_ok(x_fill(c, 0, 400, 2));
  x_ok(spm_commit_stage(c, "/super"));
  spm_conn *reader = x_join(x);
  x_ok(spm_snapshot_begin(reader));
  media_install();
  media_errno(ENOSPC);
  media_at(MEDIA_BIT(MEDIA_ALLOCATE), NULL, 1, MEDIA_FAIL_ON);
  int rc = spm_commit_finish(c);
  media_calm();
  ck_assert_int_eq(rc, SQLITE_OK);
  x_end(c);
  ck_assert_uint_eq(x_peek(reader, 0, 400), 1);
  spm_snapshot_end(reader);
  x_detach(reader);
  x_detach(c);
}
END_TEST

void store_writers(TCase *tcase) {
  tcase_add_loop_test(tcase, s15_a_reused_slot_is_not_the_dead_owner, 0, 2);
  tcase_add_test(tcase, s15_process_ids_mean_nothing);
  tcase_add_test(tcase, s16_busy_comes_soon);
  tcase_add_test(tcase, s16_sleepers_are_handed_the_lock);
  tcase_add_test(tcase, s16_sleepers_are_woken);
  tcase_add_loop_test(tcase, s17_dead_writers_are_taken_over, 0, 3 * X_MEDIA);
  tcase_add_loop_test(tcase, s17_stopped_writers_are_waited_for, 0, 2 * X_MEDIA);
  tcase_add_loop_test(tcase, s17_heirs_may_die_too, 0, X_MEDIA);
  tcase_add_loop_test(tcase, s20_prepared_is_settled_by_the_host, 0, 4);
  tcase_add_test(tcase, s20_prepared_outlives_a_failed_end);
  tcase_add_loop_test(tcase, s20_prepare_and_abort_are_durable, 0, X_MEDIA);
  tcase_add_test(tcase, s20_prepare_has_room_for_its_end);
  tcase_add_test(tcase, s20_poisoned_is_not_settled);
  tcase_add_test(tcase, s20_nothing_fails_after_prepare);
}
