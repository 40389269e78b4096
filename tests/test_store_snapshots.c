/*
** test_store_snapshots.c - what readers see while others commit: S11, S12 and S14.
*/
#define _GNU_SOURCE
#include "test_store.h"

#include "../vfs/store/snapshot.h"

#include <signal.h>

#define BLOCK SPM_BLOCK_SIZE

/* ---------------------------------------------------- S11, S12: snapshots -- */

/* A reader during every store of a commit: who was there before sees what was before,
** who comes then waits and sees neither half. */
static spm_conn *watcher, *newcomer;
static uint32_t watched_blocks, newcomers_seen;

static void look_around(const media_operation *op) {
  (void)op;
  ck_assert_uint_eq(x_peek(watcher, 0, watched_blocks), 1);
  int rc = spm_snapshot_begin(newcomer);
  ck_assert(rc == SQLITE_OK || rc == SQLITE_BUSY);
  if (rc != SQLITE_OK) return;
  ck_assert_uint_eq(x_peek(newcomer, 0, watched_blocks), 1);
  spm_snapshot_end(newcomer);
  newcomers_seen++;
}

START_TEST(s11_readers_in_the_middle_of_a_commit) {
  static const uint32_t blocks[] = {8, LARGE};
  uint32_t count = blocks[_i / 2];
  x_medium(_i % 2);
  media_install();
  media_call(look_around);
  for (unsigned long n = 1; n <= count; n += 1 + n / 6) {
    const char *x = x_new("x.db", count + 1);
    spm_conn *c = x_create(x);
    watcher = x_join(x);
    newcomer = x_join(x);
    watched_blocks = count;
    x_commit(c, 0, count, 1);
    x_ok(spm_snapshot_begin(watcher));
    media_at(MEDIA_BIT(MEDIA_STORE), "x", n, MEDIA_CALL);
    x_commit(c, 0, count, 2);
    ck_assert_uint_eq(x_peek(watcher, 0, count), 1);
    ck_assert_uint_eq(x_read(newcomer, 0, count), 2);
    spm_snapshot_end(watcher);
    x_detach(newcomer);
    x_detach(watcher);
    x_detach(c);
  }
  /* A small commit is waited for; a covered one never is. */
  ck_assert_int_eq(newcomers_seen > 0, count > SPM_SMALL_COMMIT);
}
END_TEST

/* A reader that has said ANY, and lost its processor before it read the word: it may have
** read it, and go on with the LSN of then. */
START_TEST(s11_who_is_registering_counts) {
  uint32_t blocks = _i == 0 ? 5 : LARGE;
  spm_conn *c = x_create(x_new("x.db", LARGE)), *reader = x_join(c->store->path);
  x_commit(c, 0, LARGE, 1);
  _Atomic uint64_t *slot = &c->store->shm->slots[reader->slot].snapshot;
  atomic_store(slot, SPM_SNAPSHOT_ANY);
  uint64_t lsn = spm_committed_lsn(c->store->shm), size = X_AT(LARGE);
  for (uint64_t i = 2; i < 5; i++) x_commit(c, 0, blocks, i);
  atomic_store(slot, lsn);
  reader->snapshot = lsn;
  reader->snapshot_size = size;
  ck_assert_uint_eq(x_peek(reader, 0, LARGE), 1);
  spm_snapshot_end(reader);
  x_detach(reader);
  x_detach(c);
}
END_TEST

#define CROWD 100u /* blocks: 0..29 in every commit, the rest in large ones only */
#define CROWD_SMALL 30u

static void write_for_a_while(void *argument) {
  x_party *w = argument;
  spm_conn *c = x_join(w->path);
  uint64_t end = spm_now_us() + 1000000;
  for (uint64_t value = 2; spm_now_us() < end; value++) {
    int rc = x_try_commit(c, 0, value % 3 ? CROWD_SMALL : CROWD, value);
    ck_assert(rc == SQLITE_OK || rc == SQLITE_BUSY);
    atomic_fetch_add(&w->shared->number[0], rc == SQLITE_OK);
  }
  w->shared->stage = 1;
  x_detach(c);
}

static void read_one_snapshot(x_party *w, spm_conn *c) {
  if (spm_snapshot_begin(c) != SQLITE_OK) {
    atomic_fetch_add(&w->shared->number[5], 1);
    return;
  }
  for (int again = 0; again < 2; again++) {
    uint64_t first = x_peek(c, 0, CROWD_SMALL), rest = x_peek(c, CROWD_SMALL, CROWD - CROWD_SMALL);
    /* Nor may a snapshot that has begun meet BUSY: nobody would try the statement again. */
    ck_assert_msg(first < X_ERROR && rest <= first, "a snapshot of %llu and %llu", (unsigned long long)first,
                  (unsigned long long)rest);
    if (again) ck_assert_uint_eq(first, w->shared->number[4]);
    w->shared->number[4] = first;
  }
  spm_snapshot_end(c);
  atomic_fetch_add(&w->shared->number[1], 1);
}

static void read_for_a_while(void *argument) {
  x_party *w = argument;
  spm_conn *c = x_join(w->path);
  while (w->shared->stage == 0) read_one_snapshot(w, c);
  x_detach(c);
}

START_TEST(s11_snapshots_never_mix) {
  x_medium(_i);
  x_party w[2] = {{x_new("x.db", CROWD), x_shared_new()}};
  w[1] = (x_party){w[0].path, w[0].shared};
  spm_conn *c = x_create(w[0].path);
  x_commit(c, 0, CROWD, 1);
  pid_t writer = x_start(write_for_a_while, &w[0]), reader = x_start(read_for_a_while, &w[1]);
  ck_assert(x_finished(x_wait(writer)));
  ck_assert(x_finished(x_wait(reader)));
  ck_assert_uint_gt(w[0].shared->number[0], 50);
  ck_assert_uint_gt(w[0].shared->number[1], 50);
  ck_assert_uint_lt(w[0].shared->number[5], w[0].shared->number[1]); /* told to wait */
  for (uint32_t i = 0; i < 300; i++) x_commit(c, 0, 1, i);
  ck_assert_uint_eq(atomic_load(&c->store->shm->images_live), 0);
  x_detach(c);
}
END_TEST

/* Once a block and newest snapshot; freed when no snapshot is that old. */
START_TEST(s12_images_are_saved_once) {
  const char *x = x_new("x.db", 8);
  spm_conn *c = x_create(x), *r[2] = {x_join(x), x_join(x)};
  _Atomic uint32_t *live = &c->store->shm->images_live;
  x_commit(c, 0, 3, 1);
  ck_assert_uint_eq(*live, 0); /* nobody looks */
  x_ok(spm_snapshot_begin(r[0]));
  for (uint64_t i = 2; i < 12; i++) x_commit(c, 0, 3, i);
  ck_assert_uint_eq(*live, 3);
  x_ok(spm_snapshot_begin(r[1]));
  for (uint64_t i = 12; i < 22; i++) x_commit(c, 0, 3, i);
  ck_assert_uint_eq(*live, 6);
  ck_assert_uint_eq(x_peek(r[0], 0, 3), 1);
  ck_assert_uint_eq(x_peek(r[1], 0, 3), 11);
  spm_snapshot_end(r[0]);
  x_commit(c, 7, 1, 1);
  ck_assert_uint_eq(*live, 3 + 1);
  ck_assert_uint_eq(x_peek(r[1], 0, 3), 11);
  spm_snapshot_end(r[1]);
  x_commit(c, 7, 1, 2);
  ck_assert_uint_eq(*live, 0);
  x_detach(r[0]);
  x_detach(r[1]);
  x_detach(c);
}
END_TEST

static void read_and_die(void *path) {
  spm_conn *c = x_join(path);
  x_ok(spm_snapshot_begin(c));
  (void)raise(SIGKILL);
}

/* A dead reader holds back no image for ever, whatever LSNs the commits happen to have. */
START_TEST(s12_images_of_dead_readers_are_freed) {
  const char *x = x_new("x.db", 300);
  spm_conn *c = x_create(x);
  if (_i == 1) x_commit(c, 0, 1, 1);
  ck_assert(x_killed(x_child(read_and_die, (void *)x)));
  uint64_t lsn = spm_committed_lsn(c->store->shm);
  for (uint32_t i = 0; i < 600; i++) { /* of one record and of three, in turn */
    x_ok(x_begin(c));
    x_ok(x_fill(c, 1, 1, i));
    if (i % 2 == 0) x_ok(spm_commit_stage(c, "super"));
    x_ok(spm_commit_finish(c));
    x_end(c);
  }
  ck_assert_uint_gt(spm_committed_lsn(c->store->shm), lsn + 600 - 1);
  ck_assert_uint_eq(atomic_load(&c->store->shm->images_live), 0);
  x_detach(c);
}
END_TEST

static void read_until_told(void *argument) {
  const x_party *p = argument;
  spm_conn *c = x_join(p->path);
  x_ok(spm_snapshot_begin(c));
  atomic_store(&p->shared->stage, 1);
  x_await(p->shared, 2);
  _exit(x_peek(c, 0, 3) == 1 ? 0 : 1);
}

/* However often the slots of the dead are looked for, a living reader keeps his, and what he
** reads. */
START_TEST(s3_living_readers_keep_their_slots) {
  x_party p = {x_new("x.db", 8), x_shared_new()};
  spm_conn *c = x_create(p.path);
  x_commit(c, 0, 3, 1);
  pid_t reader = x_start(read_until_told, &p);
  x_await(p.shared, 1);
  for (uint64_t i = 2; i < 12; i++) {
    spm_snapshot_reap(c->store);
    ck_assert(spm_snapshot_elsewhere(c->store));
    x_commit(c, 0, 3, i);
  }
  atomic_store(&p.shared->stage, 2);
  ck_assert(x_finished(x_wait(reader)));
  ck_assert(!spm_snapshot_elsewhere(c->store));
  x_detach(c);
}
END_TEST

/* S14: who is dead does not count as another attachment for ever. */
static void attach_and_die(void *path) {
  (void)x_join(path);
  (void)raise(SIGKILL);
}

START_TEST(s14_the_dead_do_not_count) {
  const char *x = x_new("x.db", 8);
  spm_conn *c = x_create(x);
  ck_assert(spm_snapshot_alone(c->store, c->slot));
  ck_assert(x_killed(x_child(attach_and_die, (void *)x)));
  for (uint32_t i = 0; i < 600; i++) x_commit(c, 0, 1, i);
  ck_assert(spm_snapshot_alone(c->store, c->slot));
  x_detach(c);
}
END_TEST

START_TEST(s14_pointers_only_while_alone) {
  const char *x = x_new("x.db", 8);
  spm_conn *c = x_create(x);
  x_commit(c, 0, 8, 3);
  spm_conn_want_pointers(c, true);
  x_ok(spm_snapshot_begin(c));
  const uint64_t *in_place = spm_conn_pointer(c, X_AT(1), BLOCK);
  ck_assert_ptr_nonnull(in_place);
  spm_conn *other = x_join(x);
  ck_assert_int_eq(x_try_commit(other, 1, 1, 4), SQLITE_BUSY); /* waits for the pointers, bounded */
  ck_assert_uint_eq(*in_place, 3);
  spm_snapshot_end(c);
  x_commit(other, 1, 1, 4);
  x_ok(spm_snapshot_begin(c));
  ck_assert_ptr_null(spm_conn_pointer(c, X_AT(1), BLOCK));
  spm_snapshot_end(c);
  x_detach(other);
  x_ok(x_begin(c));
  x_ok(x_fill(c, 1, 1, 5)); /* its own collected set */
  ck_assert_ptr_null(spm_conn_pointer(c, X_AT(1), BLOCK));
  ck_assert_ptr_nonnull(spm_conn_pointer(c, X_AT(3), BLOCK));
  x_end(c);
  x_detach(c);
}
END_TEST

/* The sweep of a take-over makes the lists anew; a reader that comes by meanwhile neither
** believes that there is no image nor has to wait. */
static uint64_t seen_in_sweep;
static void look_in_sweep(void) { seen_in_sweep = x_peek(watcher, 0, 6); }

START_TEST(s12_readers_during_a_sweep) {
  const char *x = x_new("x.db", 160);
  spm_conn *c = x_create(x);
  watcher = x_join(x);
  x_commit(c, 0, 6, 1);
  x_ok(spm_snapshot_begin(watcher));
  x_commit(c, 0, 6, 2);
  ck_assert(x_killed(x_child(x_write_and_die, (void *)x)));
  media_in_qsort(look_in_sweep);
  x_commit(c, 0, 6, 3);
  ck_assert_msg(seen_in_sweep == 1, "the snapshot of 1 saw %llu",
                (unsigned long long)seen_in_sweep);
  ck_assert_uint_eq(x_peek(watcher, 0, 6), 1);
  spm_snapshot_end(watcher);
  x_detach(watcher);
  x_detach(c);
}
END_TEST

#define NOWHERE 0xffffffu

/* The first chunk's images begin with what is known of them. */
static spm_image_meta *meta_of(spm_shm *shm, uint32_t image) {
  return (spm_image_meta *)(void *)((char *)shm + SPM_SHM_IMAGES) + image;
}

static void break_something(spm_shm *shm, int what) {
  switch (what) {
    case 0: shm->images.newest = NOWHERE; break;
    case 1: shm->images.oldest = NOWHERE; break;
    case 2: atomic_store(&meta_of(shm, shm->images.oldest)->newer, NOWHERE); break;
    default: shm->held_size = UINT64_C(1) << 40; break;
  }
}

/* Shared memory that leads nowhere is not followed: the next commit notices, poisons the
** store, and the reader of before has what it had; X and its log are whole. */
START_TEST(s12_what_leads_nowhere_is_noticed) {
  const char *x = x_new("x.db", 8);
  spm_conn *c = x_create(x), *reader = x_join(x), *later = x_join(x);
  x_commit(c, 0, 3, 1);
  x_ok(spm_snapshot_begin(reader));
  x_commit(c, 0, 3, 2);
  x_ok(spm_snapshot_begin(later));
  ck_assert_uint_eq(atomic_load(&c->store->shm->images_live), 3);
  bool unneeded = _i == 1 || _i == 2;
  if (unneeded) spm_snapshot_end(reader); /* its images are to be freed */
  break_something(c->store->shm, _i);
  int rc = x_try_commit(c, 0, 3, 3);
  ck_assert_int_eq(rc, _i < 3 ? SQLITE_OK : SQLITE_IOERR);
  ck_assert(spm_poisoned(c->store));
  ck_assert_uint_eq(x_peek(later, 0, 3), 2);
  if (!unneeded) ck_assert_uint_eq(x_peek(reader, 0, 3), 1);
  spm_snapshot_end(reader);
  spm_snapshot_end(later);
  x_detach(later);
  x_detach(reader);
  x_detach(c);
  c = x_join(x);
  ck_assert_uint_eq(x_read(c, 0, 3), rc == SQLITE_OK ? 3 : 2);
  x_detach(c);
}
END_TEST

void store_snapshots(TCase *tcase) {
  tcase_add_loop_test(tcase, s11_readers_in_the_middle_of_a_commit, 0, 2 * X_MEDIA);
  tcase_add_loop_test(tcase, s11_who_is_registering_counts, 0, 2);
  tcase_add_loop_test(tcase, s11_snapshots_never_mix, 0, X_MEDIA);
  tcase_add_test(tcase, s12_images_are_saved_once);
  tcase_add_loop_test(tcase, s12_images_of_dead_readers_are_freed, 0, 2);
  tcase_add_test(tcase, s3_living_readers_keep_their_slots);
  tcase_add_test(tcase, s12_readers_during_a_sweep);
  tcase_add_loop_test(tcase, s12_what_leads_nowhere_is_noticed, 0, 4);
  tcase_add_test(tcase, s14_the_dead_do_not_count);
  tcase_add_test(tcase, s14_pointers_only_while_alone);
}
