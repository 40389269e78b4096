/*
** test_recovery.c - what is left when a process dies or the power goes, at every step
** of everything that changes media: a life's beginning and end, commits, checkpoints,
** recovery itself.  Each test is named after its rule.
*/
#define _GNU_SOURCE
#include "fixture.h"

#include "../vfs/store/log.h"
#include "../vfs/store/superblock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define BLOCK SPM_BLOCK_SIZE

/* ------------------------------------------------ S2: beginning and end -- */

typedef struct step {
  const char *path;
  unsigned long n;
  uint64_t value;
} step;

static void create_and_die(void *argument) {
  const step *s = argument;
  media_install();
  media_at(MEDIA_ALL, NULL, s->n, MEDIA_KILL);
  spm_conn *c = x_create(s->path);
  media_calm();
  x_detach_dirty(c);
}

/* An X that SQLite could have made: of no length, or with a page. */
static void fresh(const char *path, bool empty) {
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  ck_assert_int_ge(fd, 0);
  close(fd);
  if (!empty) (void)x_new("x.db", 4);
}

/* A file that nobody has stamped must be what stock SQLite can open. */
static void check_usable(const char *path, bool empty) {
  spm_header_kind kind = x_kind(path);
  if (kind == SPM_HEADER_STAMPED) ck_assert(x_exists(path, "-pmlog"));
  else ck_assert_msg(kind == SPM_HEADER_PLAIN || kind == SPM_HEADER_HALF || (empty && kind == SPM_HEADER_EMPTY),
                     "the file is of kind %d", kind);
}

START_TEST(s2_crash_while_a_life_begins) {
  bool empty = _i / 2;
  x_medium(_i % 2);
  const char *x = x_new("x.db", 4);
  bool alive = false;
  unsigned long n = 0;
  while (!alive) {
    fresh(x, empty);
    int status = x_child(create_and_die, &(step){x, ++n, 0});
    alive = x_finished(status);
    ck_assert(alive || x_killed(status));
    check_usable(x, empty);
    spm_conn *c = x_attach(x);
    x_ok(spm_snapshot_begin(c));
    ck_assert_msg(spm_conn_size(c) == (empty ? 0 : 5u * BLOCK), "died at %lu: %llu bytes", n,
                  (unsigned long long)spm_conn_size(c));
    spm_snapshot_end(c);
    if (!empty) x_commit(c, 1, 2, n);
    x_detach(c);
    ck_assert_int_eq(x_kind(x), empty ? SPM_HEADER_EMPTY : SPM_HEADER_PLAIN);
  }
  ck_assert_uint_gt(n, 10);
}
END_TEST

static void close_and_die(void *argument) {
  const step *s = argument;
  spm_conn *c = x_attach(s->path);
  x_commit(c, 1, 3, s->value);
  media_install();
  media_at(MEDIA_ALL, NULL, s->n, MEDIA_KILL);
  x_detach(c);
  media_calm();
}

START_TEST(s2_crash_while_a_life_ends) {
  x_medium(_i);
  const char *x = x_new("x.db", 4);
  bool alive = false;
  unsigned long n = 0;
  while (!alive) {
    int status = x_child(close_and_die, &(step){x, ++n, n});
    alive = x_finished(status);
    ck_assert(alive || x_killed(status));
    check_usable(x, false);
    spm_conn *c = x_attach(x);
    ck_assert_msg(x_read(c, 1, 3) == n, "died at %lu", n);
    if (n % 2 != 0) x_detach(c);
    else x_detach_dirty(c);
  }
  ck_assert_uint_gt(n, 10);
}
END_TEST

/* The header goes last and in this order: life cleared, durable, format, durable; the
** log before it is marked clean and the names vanish after it. */
START_TEST(s2_order_of_a_clean_close) {
  x_medium(_i);
  spm_conn *c = x_create(x_new("x.db", 4));
  x_commit(c, 1, 3, 1);
  media_install();
  x_detach(c);
  size_t count, life = 0, format = 0, superblock = 0, gone = 0, synced = 0;
  const media_operation *op = media_operations(&count);
  for (size_t i = 1; i < count; i++) {
    bool store = op[i].kind == MEDIA_STORE && op[i].file == MEDIA_DATA;
    if (store && op[i].offset == 72) life = i;
    if (store && op[i].offset == 18) format = i;
    if (op[i].kind == MEDIA_APPEND && op[i].file == MEDIA_LOG) superblock = i;
    if (op[i].kind == MEDIA_SYNC && life > 0 && format == 0) synced = i;
    if (op[i].kind == MEDIA_UNLINK && gone == 0) gone = i;
  }
  ck_assert(superblock < life && life < synced && synced < format && format < gone);
}
END_TEST

/* ------------------------------------------------------------- S7: damage -- */

/* The byte in the log at which the record of each of `count` commits begins. */
static void write_commits(const char *path, uint64_t *at, uint32_t count) {
  spm_conn *c = x_create(path);
  for (uint32_t i = 0; i < count; i++) {
    at[i] = spm_committed(c->store->shm)->tail.offset;
    x_commit(c, 0, 2, i + 1);
  }
  x_detach_dirty(c);
}

#define COMMITS 6u

START_TEST(s7_damage_before_durable_records_is_refused) {
  uint64_t at[COMMITS];
  x_medium(_i);
  const char *x = x_new("x.db", 4), *copy = x_new("copy.db", 4);
  spm_conn *c;
  write_commits(x, at, COMMITS);
  for (uint32_t damaged = 0; damaged < COMMITS; damaged++) {
    x_copy(x, copy);
    x_flip(copy, "-pmlog", at[damaged] + 100);
    uint64_t before = x_hash(copy, "") ^ x_hash(copy, "-pmlog");
    int rc = x_try_join(copy, &c);
    if (damaged < COMMITS - 1) {
      ck_assert_msg(rc == SQLITE_CORRUPT, "commit %u is damaged: %d", damaged, rc);
      ck_assert_uint_eq(x_hash(copy, "") ^ x_hash(copy, "-pmlog"), before);
      continue;
    }
    ck_assert_int_eq(rc, SQLITE_OK); /* the last one may be torn, and is cut */
    ck_assert_uint_eq(x_read(c, 0, 2), COMMITS - 1);
    x_detach(c);
  }
}
END_TEST

START_TEST(s7_new_salt_after_recovery_and_takeover) {
  uint64_t at[COMMITS];
  x_medium(_i);
  const char *x = x_new("x.db", 4);
  spm_superblock before, after;
  write_commits(x, at, COMMITS);
  spm_conn *c = x_join(x);
  x_ok(spm_superblock_read(&c->store->log, &before));
  ck_assert_uint_eq(before.salt, c->store->shm->salt);
  ck_assert_uint_eq(before.checkpoint.chain, before.salt);
  x_commit(c, 0, 2, 9);
  x_detach_dirty(c);
  c = x_join(x);
  x_ok(spm_superblock_read(&c->store->log, &after));
  ck_assert_uint_ne(before.salt, after.salt);
  /* What the old life's tail held is at the same places: none of it is read again. */
  ck_assert_uint_eq(spm_committed_lsn(c->store->shm), after.checkpoint.lsn);
  ck_assert_uint_eq(x_read(c, 0, 2), 9);
  x_detach(c);
}
END_TEST

static void die_as_writer(void *path) {
  spm_conn *c = x_join(path);
  x_ok(x_begin(c));
  (void)raise(SIGKILL);
}

START_TEST(s7_new_salt_after_takeover) {
  const char *x = x_new("x.db", 4);
  spm_superblock after;
  spm_conn *c = x_create(x);
  x_commit(c, 0, 2, 8);
  uint64_t salt = c->store->shm->salt;
  ck_assert(x_killed(x_child(die_as_writer, (void *)x)));
  x_commit(c, 0, 2, 9);
  x_ok(spm_superblock_read(&c->store->log, &after));
  ck_assert_uint_ne(after.salt, salt);
  ck_assert_uint_eq(after.salt, c->store->shm->salt);
  x_detach(c);
}
END_TEST

START_TEST(s7_shortened_files_are_refused) {
  uint64_t at[COMMITS];
  const char *x = x_new("x.db", 40);
  spm_conn *c;
  write_commits(x, at, COMMITS);
  ck_assert_int_eq(truncate(x, 20 * BLOCK), 0);
  ck_assert_int_eq(x_try_join(x, &c), SQLITE_CORRUPT);
  char log[600];
  (void)snprintf(log, sizeof log, "%s-pmlog", x);
  ck_assert_int_eq(truncate(log, 100), 0);
  ck_assert_int_eq(x_try_join(x, &c), SQLITE_CORRUPT);
  ck_assert_int_eq(truncate(log, 0), 0);
  ck_assert_int_eq(x_try_join(x, &c), SQLITE_CORRUPT);
}
END_TEST

/* ---------------------------------------------------- recovery, crashed too -- */

/* A store that a crash left: several transactions, one over more than a segment, a
** shrinking and a growing one, one that did not finish. */
static void leave_a_crash(const char *path) {
  spm_conn *c = x_create(path);
  x_commit(c, 0, 150, 1);
  for (uint32_t i = 0; i < 10; i++) x_commit(c, i * 10, 3, 2 + i);
  x_ok(x_truncate(c, X_AT(60)));
  x_commit(c, 0, 120, 20);
  x_ok(x_begin(c));
  x_ok(x_fill(c, 0, 90, 21));
  x_ok(spm_commit_stage(c, NULL));
  x_end(c); /* in the log, without a commit record */
  x_detach_dirty(c);
}

static void check_after_crash(spm_conn *c) {
  ck_assert_uint_eq(x_read(c, 0, 120), 20);
  x_ok(spm_snapshot_begin(c));
  ck_assert_uint_eq(spm_conn_size(c), X_AT(120));
  spm_snapshot_end(c);
}

static void recover_and_die(void *argument) {
  const step *s = argument;
  spm_conn *c;
  media_install();
  media_at(MEDIA_ALL, NULL, s->n, MEDIA_KILL);
  x_ok(x_try_join(s->path, &c));
  media_calm(); /* recovered; the process ends without a detachment */
}

/* Killed at its n-th operation for every n, then run to its end: the same bytes. */
START_TEST(recovery_may_be_killed_anywhere) {
  x_medium(_i);
  const char *x = x_new("x.db", 200), *copy = x_new("copy.db", 4);
  leave_a_crash(x);
  uint64_t expected = 0;
  int status;
  unsigned long n = 0;
  do {
    x_copy(x, copy);
    status = x_child(recover_and_die, &(step){copy, ++n, 0});
    ck_assert(x_killed(status) || x_finished(status));
    spm_conn *c = x_join(copy);
    check_after_crash(c);
    x_detach(c);
    if (n == 1) expected = x_hash(copy, "");
    ck_assert_msg(x_hash(copy, "") == expected, "recovery killed at %lu leaves other bytes", n);
  } while (x_killed(status));
  ck_assert_uint_gt(n, 10);
}
END_TEST

/* Again and again, killed at a random operation each time. */
START_TEST(recovery_may_be_killed_often) {
  x_medium(_i);
  const char *x = x_new("x.db", 200);
  uint64_t seed = x_seed();
  leave_a_crash(x);
  for (int i = 0; i < 30; i++) (void)x_child(recover_and_die, &(step){x, 1 + x_random(&seed) % 60, 0});
  spm_conn *c = x_join(x);
  check_after_crash(c);
  x_detach(c);
}
END_TEST

START_TEST(recovery_twice_is_recovery_once) {
  x_medium(_i);
  const char *x = x_new("x.db", 200);
  leave_a_crash(x);
  (void)x_child(recover_and_die, &(step){x, UINT32_MAX, 0});
  uint64_t once = x_hash(x, "");
  (void)x_child(recover_and_die, &(step){x, UINT32_MAX, 0});
  ck_assert_uint_eq(x_hash(x, ""), once);
  spm_conn *c = x_join(x);
  check_after_crash(c);
  x_detach(c);
}
END_TEST

#define LARGE_COMMITS 5u /* each over more than a segment, but the last */

static void write_large_commits(const char *path, uint64_t *at) {
  spm_conn *c = x_create(path);
  for (uint32_t i = 0; i < LARGE_COMMITS; i++) {
    at[i] = spm_committed(c->store->shm)->tail.offset;
    x_commit(c, 0, i + 1 < LARGE_COMMITS ? 150 : 1, i + 1);
  }
  x_detach_dirty(c);
}

/* S19: before the first byte of X changes, every record that is accepted has been
** flushed again, and synced. */
START_TEST(s19_log_is_durable_before_redo) {
  x_medium(_i);
  const char *x = x_new("x.db", 200);
  uint64_t at[LARGE_COMMITS];
  write_large_commits(x, at);
  media_install();
  spm_conn *c = x_join(x);
  size_t count;
  const media_operation *op = media_operations(&count);
  media_kind hardens = _i == X_FILE ? MEDIA_APPEND : MEDIA_FLUSH;
  enum { UNTOUCHED, UNDER_WAY, DURABLE } state[LARGE_COMMITS] = {UNTOUCHED};
  uint64_t superblock_flushed = 0, stores = 0;
  for (size_t i = 0; i < count; i++) {
    bool log = op[i].file == MEDIA_LOG;
    if (op[i].kind == MEDIA_FLUSH && log && op[i].offset < SPM_LOG_HEADER_SIZE) superblock_flushed++;
    for (uint32_t k = 0; k < LARGE_COMMITS && log; k++)
      if (op[i].kind == hardens && op[i].offset <= at[k] && at[k] < op[i].offset + op[i].length) state[k] = UNDER_WAY;
      else if (op[i].kind == MEDIA_SYNC && state[k] == UNDER_WAY) state[k] = DURABLE;
    if (op[i].kind != MEDIA_STORE || op[i].file != MEDIA_DATA) continue;
    for (uint32_t k = 0; k < LARGE_COMMITS; k++)
      ck_assert_msg(state[k] == DURABLE, "X changes before commit %u is durable in the log", k);
    stores++;
  }
  ck_assert_uint_gt(stores, 0);
  /* S6: the superblock that was believed, too: its writer may not have come to its fence. */
  if (_i == X_PMEM) ck_assert_uint_gt(superblock_flushed, 0);
  x_detach(c);
}
END_TEST

/* What REDO touches is flushed even where the bytes already match: they may match in a
** cache only. */
START_TEST(s19_redo_flushes_what_already_matches) {
  const char *x = x_new("x.db", 8);
  spm_conn *c = x_create(x);
  x_commit(c, 3, 2, 1);
  x_detach_dirty(c);
  media_install();
  c = x_join(x);
  size_t count;
  const media_operation *op = media_operations(&count);
  uint64_t flushed = 0;
  for (size_t i = 0; i < count; i++)
    if (op[i].kind == MEDIA_FLUSH && op[i].file == MEDIA_DATA && op[i].offset >= X_AT(3) && op[i].offset < X_AT(5))
      flushed += op[i].length;
  ck_assert_uint_eq(flushed, 2 * BLOCK);
  x_detach(c);
}
END_TEST

/* Bounded by the log, not the database: a large X costs recovery nothing. */
START_TEST(recovery_is_bounded_by_the_log) {
  const char *x = x_new("x.db", 50000);
  spm_conn *c = x_create(x);
  for (uint32_t i = 0; i < 20; i++) x_commit(c, i * 2000, 1, i + 1);
  x_detach_dirty(c);
  media_install();
  struct rusage before, after;
  (void)getrusage(RUSAGE_SELF, &before);
  c = x_join(x);
  (void)getrusage(RUSAGE_SELF, &after);
  ck_assert_uint_le(media_count(MEDIA_BIT(MEDIA_STORE), "x"), 40);
  ck_assert_int_lt(after.ru_minflt - before.ru_minflt, 4000); /* pages, of 50000 */
  for (uint32_t i = 0; i < 20; i++) ck_assert_uint_eq(x_read(c, i * 2000, 1), i + 1);
  x_detach(c);
}
END_TEST

/* ------------------------------------------------------------- power loss -- */

/* A workload of numbered commits whose state after each is known by its number alone:
** commit k fills two of 20 blocks with k; every 8th all of 120, or cuts to 20. */
#define SMALL_BLOCKS 20u
#define ALL_BLOCKS 120u

static bool steady; /* only small ones: the log goes round, its segments used again */

static int commit_number(spm_conn *c, uint64_t k) {
  if (steady) return x_try_commit(c, (uint32_t)(k * 7 % (SMALL_BLOCKS - 1)), 2, k);
  if (k % 16 == 8) return x_try_commit(c, 0, ALL_BLOCKS, k);
  if (k % 16 == 0) return x_truncate(c, X_AT(SMALL_BLOCKS));
  return x_try_commit(c, (uint32_t)(k * 7 % (SMALL_BLOCKS - 1)), 2, k);
}

static void model_number(uint64_t *blocks, uint32_t *count, uint64_t k) {
  bool all = !steady && k % 16 == 8, cut = !steady && k % 16 == 0;
  uint32_t from = all ? 0 : (uint32_t)(k * 7 % (SMALL_BLOCKS - 1)), n = all ? ALL_BLOCKS : 2;
  for (uint32_t i = 0; !cut && i < n; i++) blocks[from + i] = k;
  *count = all ? ALL_BLOCKS : cut ? SMALL_BLOCKS : *count;
}

/* Which of the states after `least` and `most` commits is it?  UINT64_MAX: none. */
static uint64_t state_of(spm_conn *c, uint64_t least, uint64_t most) {
  static uint64_t blocks[ALL_BLOCKS];
  uint32_t count = SMALL_BLOCKS;
  memset(blocks, 0, sizeof blocks);
  x_ok(spm_snapshot_begin(c));
  uint64_t found = UINT64_MAX;
  for (uint64_t k = 0; k <= most && found == UINT64_MAX; k++) {
    if (k > 0) model_number(blocks, &count, k);
    if (k < least || spm_conn_size(c) != X_AT(count)) continue;
    uint32_t same = 0;
    while (same < count && x_peek(c, same, 1) == blocks[same]) same++;
    if (same == count) found = k;
  }
  spm_snapshot_end(c);
  return found;
}

typedef struct outage {
  const char *path, *image;
  uint64_t acknowledged, at, seed;
} outage;
static outage now;

static void recover_image(void *argument) {
  const outage *o = argument;
  spm_conn *c = x_attach(o->image);
  uint64_t state = state_of(c, o->acknowledged, o->acknowledged + 1);
  ck_assert_msg(state != UINT64_MAX, "neither %llu nor %llu commits are there",
                (unsigned long long)o->acknowledged, (unsigned long long)o->acknowledged + 1);
  x_commit(c, 0, 3, 1000); /* and it goes on */
  ck_assert_uint_eq(x_read(c, 0, 3), 1000);
}

static void lose_power(const media_operation *op) {
  for (media_loss loss = MEDIA_LOSE_ALL; loss <= MEDIA_LOSE_SOME; loss++) {
    media_power_loss(now.image, loss, now.seed + now.at);
    int status = x_child(recover_image, &now);
    ck_assert_msg(x_finished(status), "power lost before operation %llu (kind %d of %c, loss %d), after commit %llu",
                  (unsigned long long)now.at, op->kind, op->file, loss, (unsigned long long)now.acknowledged);
  }
}

/* The power goes before every n-th operation of a workload that checkpoints, reuses its
** log, grows and shrinks: all that was acknowledged is there, whole, and at most the one
** commit more that was under way.  S5, S6, S7, S9, S18 and S19 together. */
START_TEST(power_may_go_at_any_time) {
  static const uint64_t commits[] = {40, 600, 900};
  uint64_t most = commits[_i / 2];
  unsigned long stride = most > 100 ? 211 : 5;
  steady = _i / 2 == 2;
  x_medium(_i % 2);
  const char *x = x_new("x.db", SMALL_BLOCKS), *image = x_new("image.db", 4);
  now = (outage){x, image, 0, 0, x_seed()};
  spm_conn *c = x_create(x);
  x_limit_log(c, 1u << 20);
  media_install();
  media_track(x);
  media_call(lose_power);
  unsigned long before = 0;
  media_at(MEDIA_TABLES, "xl", 1 + (unsigned long)now.seed % stride, MEDIA_CALL);
  for (uint64_t k = 1; k <= most; k++) {
    x_ok(commit_number(c, k));
    now.acknowledged = k;
    unsigned long done = media_count(MEDIA_TABLES, "xl");
    now.at = done;
    if (done - before < stride) continue;
    before = done;
    now.seed++;
    media_at(MEDIA_TABLES, "xl", 1 + (unsigned long)(now.seed * 7919) % stride, MEDIA_CALL);
  }
  x_detach_dirty(c);
}
END_TEST

/* Each line of X is written once, by commits that small checkpoint steps keep up with. */
#define ONCE_BLOCKS 2000u
#define ONCE_COMMITS (5 * ONCE_BLOCKS)

static uint64_t once_at(uint64_t k) { return X_AT(k % ONCE_BLOCKS) + k / ONCE_BLOCKS * SPM_LINE_SIZE; }

static void write_once(spm_conn *c, uint64_t k) {
  uint64_t word = k + 1;
  x_ok(x_begin(c));
  x_ok(spm_write(c, once_at(k), sizeof word, &word));
  x_ok(spm_commit_stage(c, NULL));
  x_ok(spm_commit_finish(c));
  x_end(c);
}

/* What checkpoint steps have passed is on media by itself: nothing in the log says it again. */
START_TEST(s18_what_small_steps_passed_is_durable) {
  x_medium(_i);
  const char *x = x_new("x.db", ONCE_BLOCKS), *image = x_new("image.db", 4);
  spm_conn *c = x_create(x);
  x_limit_log(c, 1u << 20);
  media_install();
  media_track(x);
  for (uint64_t k = 0; k < ONCE_COMMITS; k++) write_once(c, k);
  ck_assert_uint_gt(c->store->shm->checkpoint.lsn, ONCE_COMMITS / 4);
  media_power_loss(image, MEDIA_LOSE_ALL, 1);
  x_detach_dirty(c);
  c = x_attach(image);
  x_ok(spm_snapshot_begin(c));
  for (uint64_t k = 0, word; k < ONCE_COMMITS; k++) {
    x_ok(spm_conn_read(c, once_at(k), sizeof word, &word));
    ck_assert_msg(word == k + 1, "commit %llu is lost", (unsigned long long)k + 1);
  }
  spm_snapshot_end(c);
  x_detach(c);
}
END_TEST

#define IMAGES_MAX 400
static outage images[IMAGES_MAX];
static uint32_t image_count;

/* What would be left now, for later: the store's own locks are held here. */
static void keep_images(const media_operation *op) {
  (void)op;
  for (media_loss loss = MEDIA_LOSE_ALL; loss <= MEDIA_LOSE_SOME; loss++) {
    ck_assert_uint_lt(image_count, IMAGES_MAX);
    char name[40];
    (void)snprintf(name, sizeof name, "image%u.db", image_count);
    outage *o = &images[image_count++];
    *o = now;
    o->image = strdup(pmem_path(name));
    media_power_loss(o->image, loss, now.seed + image_count);
  }
  media_at(MEDIA_ALL, NULL, 1, MEDIA_CALL);
}

/* The same before every operation with which a life begins and ends. */
START_TEST(s2_power_may_go_at_either_end_of_a_life) {
  x_medium(_i);
  const char *x = x_new("x.db", SMALL_BLOCKS);
  now = (outage){x, NULL, 0, 0, x_seed()};
  media_install();
  media_track(x);
  media_call(keep_images);
  media_at(MEDIA_ALL, NULL, 1, MEDIA_CALL);
  spm_conn *c = x_create(x);
  media_calm();
  for (uint64_t k = 1; k < 24; k++) {
    x_ok(commit_number(c, k));
    now.acknowledged = k;
  }
  media_at(MEDIA_ALL, NULL, 1, MEDIA_CALL);
  x_detach(c);
  media_calm();
  ck_assert_uint_gt(image_count, 60);
  for (uint32_t i = 0; i < image_count; i++)
    ck_assert_msg(x_finished(x_child(recover_image, &images[i])), "image %u, after commit %llu", i,
                  (unsigned long long)images[i].acknowledged);
}
END_TEST

Suite *recovery_suite(void) {
  Suite *suite = suite_create("recovery");
  TCase *recovery = tcase_create("recovery");
  tcase_set_timeout(recovery, 60);
  tcase_add_loop_test(recovery, s2_crash_while_a_life_begins, 0, 2 * X_MEDIA);
  tcase_add_loop_test(recovery, s2_crash_while_a_life_ends, 0, X_MEDIA);
  tcase_add_loop_test(recovery, s2_order_of_a_clean_close, 0, X_MEDIA);
  tcase_add_loop_test(recovery, s7_damage_before_durable_records_is_refused, 0, X_MEDIA);
  tcase_add_loop_test(recovery, s7_new_salt_after_recovery_and_takeover, 0, X_MEDIA);
  tcase_add_test(recovery, s7_new_salt_after_takeover);
  tcase_add_test(recovery, s7_shortened_files_are_refused);
  tcase_add_loop_test(recovery, recovery_may_be_killed_anywhere, 0, X_MEDIA);
  tcase_add_loop_test(recovery, recovery_may_be_killed_often, 0, X_MEDIA);
  tcase_add_loop_test(recovery, recovery_twice_is_recovery_once, 0, X_MEDIA);
  tcase_add_loop_test(recovery, s19_log_is_durable_before_redo, 0, X_MEDIA);
  tcase_add_test(recovery, s19_redo_flushes_what_already_matches);
  tcase_add_test(recovery, recovery_is_bounded_by_the_log);
  tcase_add_loop_test(recovery, power_may_go_at_any_time, 0, 3 * X_MEDIA);
  tcase_add_loop_test(recovery, s18_what_small_steps_passed_is_durable, 0, X_MEDIA);
  tcase_add_loop_test(recovery, s2_power_may_go_at_either_end_of_a_life, 0, X_MEDIA);
  suite_add_tcase(suite, recovery);
  return suite;
}
