/*
** test_store.c - the rules of the store that living processes show: here who may attach,
** what a child of fork has, and in which order a commit does what (S1, S3 to S6); the
** others in test_store_*.c.  Each test is named after its rule.
*/
#define _GNU_SOURCE
#include "test_store.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK SPM_BLOCK_SIZE

/* ------------------------------------------------------------ S1: identity -- */

START_TEST(s1_log_of_another_life_is_refused) {
  const char *x = x_new("x.db", 4), *y = x_new("y.db", 4);
  spm_conn *c = x_create(x);
  x_commit(c, 0, 1, 1);
  x_detach_dirty(c);
  c = x_create(y);
  x_commit(c, 0, 1, 2);
  x_detach_dirty(c);
  ck_assert_int_eq(rename(x_beside(y, "-pmlog"), x_beside(x, "-pmlog")), 0);
  uint64_t before = x_hash(x, "");
  ck_assert_int_eq(x_try_join(x, &c), SQLITE_CANTOPEN);
  ck_assert_uint_eq(x_hash(x, ""), before);
  ck_assert_int_eq(x_try_join(y, &c), SQLITE_CANTOPEN); /* and a stamped one without its log */
  ck_assert_ptr_nonnull(strstr(spm_last_error(), "missing"));
}
END_TEST

START_TEST(s1_unstamped_never_replays) {
  const char *x = x_new("x.db", 4), *saved = x_new("saved.db", 4);
  spm_conn *c = x_create(x);
  x_commit(c, 1, 1, 5);
  x_detach_dirty(c);
  x_copy(x, saved);
  x_detach(x_join(x)); /* clean: an ordinary file */
  ck_assert(!x_exists(x, "-pmlog"));
  x_patch(x, "", X_AT(2), "stock wrote here", 16);
  ck_assert_int_eq(rename(x_beside(saved, "-pmlog"), x_beside(x, "-pmlog")), 0);
  uint64_t before = x_hash(x, "");
  ck_assert_int_eq(x_try_join(x, &c), SQLITE_NOTFOUND);
  ck_assert_uint_eq(x_hash(x, ""), before);
  c = x_attach(x);
  char bytes[16];
  x_ok(spm_snapshot_begin(c));
  x_ok(spm_conn_read(c, X_AT(2), 16, bytes));
  ck_assert_mem_eq(bytes, "stock wrote here", 16);
  spm_snapshot_end(c);
  x_detach(c);
}
END_TEST

static void join_refused(void *path) {
  spm_conn *c;
  ck_assert_int_eq(x_try_join(path, &c), SQLITE_CANTOPEN);
}

START_TEST(s1_foreign_sidecars_are_refused_while_open) {
  const char *x = x_new("x.db", 4);
  spm_conn *c = x_create(x);
  c->store->shm->life[3] ^= 1;
  ck_assert(x_finished(x_child(join_refused, (void *)x)));
  c->store->shm->life[3] ^= 1;
  atomic_store(&c->store->shm->ready, 0);
  ck_assert(x_finished(x_child(join_refused, (void *)x)));
  atomic_store(&c->store->shm->ready, 1);
  x_flip(x, "-pmlog", SPM_SUPERBLOCK_STRIDE + offsetof(spm_superblock, life)); /* torn: no superblock */
  spm_conn *other;
  ck_assert_int_eq(x_try_join(x, &other), SQLITE_OK); /* this process has it open: nothing is read */
  x_detach(other);
  x_flip(x, "-pmlog", SPM_SUPERBLOCK_STRIDE + offsetof(spm_superblock, life));
  x_detach(c);
}
END_TEST

/* Slots and gate are OFD locks on X, far above SQLite's own, and none on the sidecars. */
START_TEST(s1_locks_stand_on_the_database) {
  const char *x = x_new("x.db", 4);
  spm_conn *c = x_create(x);
  for (int i = 0; i < 3; i++) {
    static const char *const suffix[] = {"", "-pmlog", "-pmshm"};
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(x_beside(x, suffix[i]), O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(fcntl(fd, F_OFD_GETLK, &lock), 0);
    ck_assert_int_eq(lock.l_type, i == 0 ? F_WRLCK : F_UNLCK);
    if (i == 0) ck_assert_int_gt(lock.l_start, INT64_C(1) << 40);
    close(fd);
  }
  ck_assert(spm_slot_alive(&c->store->locks, c->slot)); /* one's own too */
  x_detach(c);
}
END_TEST

START_TEST(s1_symlinks_are_not_followed) {
  const char *x = x_new("x.db", 4), *victim = x_new("victim.db", 4);
  uint64_t before = x_hash(victim, "");
  ck_assert_int_eq(symlink(victim, x_beside(x, "-pmlog")), 0);
  ck_assert_int_eq(symlink(victim, x_beside(x, "-pmshm")), 0);
  spm_conn *c = x_create(x);
  x_commit(c, 0, 1, 1);
  x_detach_dirty(c);
  ck_assert_uint_eq(x_hash(victim, ""), before);
  ck_assert_int_eq(rename(x_beside(x, "-pmlog"), x_beside(x, "-elsewhere")), 0);
  ck_assert_int_eq(symlink(x_beside(x, "-elsewhere"), x_beside(x, "-pmlog")), 0);
  ck_assert_int_eq(x_try_join(x, &c), SQLITE_CANTOPEN);
}
END_TEST

START_TEST(s1_sidecars_have_the_mode_of_the_database) {
  struct stat status;
  const char *x = x_new("x.db", 4);
  ck_assert_int_eq(chmod(x, 0642), 0);
  mode_t mask = umask(077);
  spm_conn *c = x_create(x);
  (void)umask(mask);
  for (int i = 0; i < 2; i++) {
    ck_assert_int_eq(stat(x_beside(x, i ? "-pmlog" : "-pmshm"), &status), 0);
    ck_assert_uint_eq(status.st_mode & 0777, 0642);
  }
  x_detach(c);
}
END_TEST

typedef struct attempt {
  const char *path;
  int expected;
} attempt;

static void try_join(void *argument) {
  const attempt *a = argument;
  spm_conn *c;
  ck_assert_int_eq(x_try_join(a->path, &c), a->expected);
}

/* While somebody waits at the gate the path becomes another file. */
START_TEST(s1_replaced_path_is_noticed) {
  const char *x = x_new("x.db", 4), *y = x_new("y.db", 4);
  x_detach_dirty(x_create(x));
  x_detach_dirty(x_create(y));
  int fd = open(x, O_RDWR | O_CLOEXEC);
  spm_locks locks = {fd, fd};
  x_ok(spm_gate_enter(&locks, 100));
  pid_t pid = x_start(try_join, &(attempt){x, SQLITE_BUSY});
  usleep(100000); /* it has X open and waits */
  uint64_t before = x_hash(y, "");
  ck_assert_int_eq(rename(y, x), 0);
  spm_gate_leave(&locks);
  ck_assert(x_finished(x_wait(pid)));
  ck_assert_uint_eq(x_hash(x, ""), before);
}
END_TEST

/* ---------------------------------------------------------------- S3: fork -- */

static void have_a_child_and_wait(void *argument) {
  x_party *f = argument;
  spm_conn *c = x_join(f->path);
  x_commit(c, 0, 1, 8);
  x_ok(x_begin(c)); /* the writer, with a snapshot */
  pid_t pid = fork();
  if (pid == 0) {
    ck_assert(spm_conn_orphaned(c));
    x_detach(c); /* only frees memory */
    spm_conn *mine;
    ck_assert_int_eq(x_try_join(f->path, &mine), SQLITE_OK);
    ck_assert_uint_eq(x_read(mine, 0, 1), 8);
    ck_assert_int_eq(x_try_commit(mine, 0, 1, 9), SQLITE_BUSY); /* the parent writes */
    x_detach(mine);
    f->shared->stage = 1;
    pause();
  }
  f->shared->number[0] = (uint64_t)pid;
  pause();
}

/* The parent's locks die with the parent, although a child of it has its descriptors. */
START_TEST(s3_a_child_has_nothing_of_its_parent) {
  x_party f = {x_new("x.db", 4), x_shared_new()};
  spm_conn *c = x_create(f.path);
  pid_t pid = x_start(have_a_child_and_wait, &f);
  x_await(f.shared, 1);
  kill(pid, SIGKILL);
  ck_assert(x_killed(x_wait(pid)));
  ck_assert_uint_eq(x_read(c, 0, 1), 8);
  x_commit(c, 0, 1, 10); /* taken over */
  x_detach(c);
  ck_assert(!x_exists(f.path, "-pmlog")); /* nobody else was there */
  kill((pid_t)f.shared->number[0], SIGKILL);
}
END_TEST

#define MANY 300

START_TEST(s3_hundreds_of_attachments) {
  static spm_conn *c[MANY];
  const char *x = x_new("x.db", 4);
  for (uint32_t i = 0; i < MANY; i++) {
    c[i] = i == 0 ? x_create(x) : x_join(x);
    x_commit(c[i], 0, 1, i + 1);
    x_ok(spm_snapshot_begin(c[i]));
  }
  for (uint32_t i = 0; i < MANY; i++) ck_assert_uint_eq(x_value(c[i], 1) + x_value(c[i], 0), i + 1);
  for (uint32_t i = 0; i < MANY; i++) spm_snapshot_end(c[i]);
  for (uint32_t i = 0; i < MANY; i++) x_detach(c[i]);
  ck_assert(!x_exists(x, "-pmlog"));
}
END_TEST

START_TEST(s3_one_attachment_too_many_is_told) {
  const char *x = x_new("x.db", 4);
  spm_conn *c[SPM_SLOT_COUNT], *extra;
  for (uint32_t i = 0; i < SPM_SLOT_COUNT; i++) c[i] = i == 0 ? x_create(x) : x_join(x);
  ck_assert_int_eq(x_try_join(x, &extra), SQLITE_CANTOPEN);
  ck_assert_ptr_nonnull(strstr(spm_last_error(), "1024"));
  x_detach(c[7]);
  x_detach(x_join(x));
  for (uint32_t i = 0; i < SPM_SLOT_COUNT; i++)
    if (i != 7) x_detach(c[i]);
}
END_TEST

#define CLAIM_US 1500000u

static void meet(x_shared *shared, int side, uint64_t round) {
  atomic_store(&shared->number[side], round);
  for (uint32_t spin = 0; atomic_load(&shared->number[1 - side]) < round; spin++)
    if (spin > 2000) sched_yield();
}

/* Claim and give back a slot, at the same moment as the other side. */
static void claim_together(const x_party *f, int side, spm_shm *shm, uint64_t round) {
  x_shared *shared = f->shared;
  if (side == 0) atomic_store(&shm->slot_high_water, 2); /* as if nobody had been above */
  meet(shared, side, round);
  spm_conn *c = x_join(f->path);
  shared->number[2 + side] = c->slot;
  meet(shared, side, round + 1);
  uint64_t highest = shared->number[2] > shared->number[3] ? shared->number[2] : shared->number[3];
  if (highest >= atomic_load(&shm->slot_high_water)) ck_abort_msg("slot %d is out of sight", (int)highest);
  meet(shared, side, round + 2);
  x_detach(c);
  if (spm_now_us() > shared->number[4]) shared->stage = 2;
  meet(shared, side, round + 3);
}

static void claim_in_child(void *argument) {
  x_party *f = argument;
  spm_conn *base = x_join(f->path);
  f->shared->stage = 1;
  for (uint64_t round = 4; f->shared->stage == 1; round += 4) claim_together(f, 1, base->store->shm, round);
  x_detach(base);
}

/* S11: slots beyond the high water are not looked at: two processes that claim at once
** must not lose the higher one. */
START_TEST(s11_no_slot_above_the_high_water) {
  x_party f = {x_new("x.db", 4), x_shared_new()};
  spm_conn *c = x_create(f.path);
  f.shared->number[4] = spm_now_us() + CLAIM_US;
  pid_t pid = x_start(claim_in_child, &f);
  x_await(f.shared, 1);
  for (uint64_t round = 4; f.shared->stage == 1; round += 4) claim_together(&f, 0, c->store->shm, round);
  f.shared->number[0] = UINT64_MAX;
  ck_assert(x_finished(x_wait(pid)));
  x_detach(c);
}
END_TEST

/* ----------------------------------------------------- S4 to S6: the order -- */

static void update_100_bytes(spm_conn *c, uint8_t value) {
  uint8_t row[100];
  memset(row, value, sizeof row);
  x_ok(x_begin(c));
  x_ok(spm_write(c, X_AT(3) + 1000, sizeof row, row));
  x_ok(spm_commit_finish(c));
  x_end(c);
}

START_TEST(s4_one_durability_point_a_commit) {
  x_medium(_i);
  spm_conn *c = x_create(x_new("x.db", 8));
  update_100_bytes(c, 1);
  media_install();
  uint64_t tail = spm_committed(c->store->shm)->tail.offset;
  unsigned long drains = media_drains();
  for (uint8_t i = 0; i < 100; i++) update_100_bytes(c, (uint8_t)(i + 2));
  uint64_t bytes = (spm_committed(c->store->shm)->tail.offset - tail) / 100;
  ck_assert_msg(bytes <= 320, "a 100-byte update takes %llu bytes of log", (unsigned long long)bytes);
  ck_assert_uint_eq(media_count(MEDIA_BIT(MEDIA_SYNC), NULL), 100);
  if (_i == X_PMEM) {
    ck_assert_uint_eq(media_drains() - drains, 100);
    ck_assert_uint_eq(media_count(MEDIA_CALLS, NULL), 0);
  } else {
    ck_assert_uint_eq(media_count(MEDIA_BIT(MEDIA_FDATASYNC), "l"), 100);
    ck_assert_uint_eq(media_count(MEDIA_BIT(MEDIA_PWRITE), NULL), 200);
    ck_assert_uint_eq(media_count(MEDIA_CALLS, NULL), 300);
  }
  x_detach(c);
}
END_TEST

/* Nothing is stored to X between an append to the log and the sync that follows. */
static void check_wal_order(void) {
  size_t count;
  const media_operation *op = media_operations(&count);
  bool pending = false;
  uint32_t stores = 0;
  for (size_t i = 0; i < count; i++) {
    if (op[i].kind == MEDIA_APPEND && op[i].file == MEDIA_LOG) pending = true;
    if (op[i].kind == MEDIA_SYNC && op[i].file == MEDIA_LOG) pending = false;
    if (op[i].kind != MEDIA_STORE || op[i].file != MEDIA_DATA) continue;
    stores++;
    ck_assert_msg(!pending, "operation %zu changes X before the log is durable", i);
  }
  ck_assert_uint_gt(stores, 0);
}

START_TEST(s5_log_first) {
  x_medium(_i);
  spm_conn *c = x_create(x_new("x.db", 400)), *reader = x_join(c->store->path);
  static const uint32_t blocks[] = {1, 30, LARGE, 300, 9000 /* spilled */};
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
    x_ok(spm_snapshot_begin(reader));
    media_install();
    media_forget();
    x_commit(c, 0, blocks[i], i + 1);
    check_wal_order();
    spm_snapshot_end(reader);
    ck_assert_uint_eq(x_read(reader, 0, blocks[i]), i + 1);
  }
  x_detach(reader);
  x_detach(c);
}
END_TEST

/* S6: what a superblock frees is not written to before a sync has followed it; S18:
** nor is it written before what was flushed is synced. */
START_TEST(s6_s18_superblocks_are_fenced_on_both_sides) {
  x_medium(_i);
  spm_conn *c = x_create(x_new("x.db", 100));
  x_limit_log(c, 1u << 20);
  media_install();
  for (uint32_t i = 0; i < 1500; i++) x_commit(c, i % 90, 1, i);
  x_ok(spm_snapshot_begin(c));
  x_ok(spm_conn_checkpoint(c));
  spm_snapshot_end(c);
  size_t count;
  const media_operation *op = media_operations(&count);
  bool data_pending = false;
  uint32_t superblocks = 0;
  for (size_t i = 0; i < count; i++) {
    if (op[i].file == MEDIA_DATA && op[i].kind == (_i == X_PMEM ? MEDIA_FLUSH : MEDIA_STORE)) data_pending = true;
    if (op[i].kind == MEDIA_SYNC && (_i == X_PMEM || op[i].file == MEDIA_DATA)) data_pending = false;
    if (op[i].kind != MEDIA_APPEND || op[i].offset >= SPM_LOG_HEADER_SIZE) continue;
    superblocks++;
    ck_assert(!data_pending);
    while (op[++i].kind == MEDIA_PWRITE) continue;
    ck_assert_int_eq(op[i].kind, MEDIA_SYNC);
    ck_assert_int_eq(op[i].file, MEDIA_LOG);
  }
  ck_assert_uint_gt(superblocks, 3);
  x_detach(c);
}
END_TEST

static void store_lives(TCase *tcase) {
  tcase_add_test(tcase, s1_log_of_another_life_is_refused);
  tcase_add_test(tcase, s1_unstamped_never_replays);
  tcase_add_test(tcase, s1_foreign_sidecars_are_refused_while_open);
  tcase_add_test(tcase, s1_locks_stand_on_the_database);
  tcase_add_test(tcase, s1_symlinks_are_not_followed);
  tcase_add_test(tcase, s1_sidecars_have_the_mode_of_the_database);
  tcase_add_test(tcase, s1_replaced_path_is_noticed);
  tcase_add_test(tcase, s3_a_child_has_nothing_of_its_parent);
  tcase_add_test(tcase, s3_hundreds_of_attachments);
  tcase_add_test(tcase, s3_one_attachment_too_many_is_told);
  tcase_add_loop_test(tcase, s4_one_durability_point_a_commit, 0, X_MEDIA);
  tcase_add_loop_test(tcase, s5_log_first, 0, X_MEDIA);
  tcase_add_loop_test(tcase, s6_s18_superblocks_are_fenced_on_both_sides, 0, X_MEDIA);
  tcase_add_test(tcase, s11_no_slot_above_the_high_water);
}

static void add(Suite *suite, const char *name, void (*cases)(TCase *)) {
  TCase *tcase = tcase_create(name);
  tcase_set_timeout(tcase, 60);
  cases(tcase);
  suite_add_tcase(suite, tcase);
}

Suite *store_suite(void) {
  Suite *suite = suite_create("store");
  add(suite, "lives", store_lives);
  add(suite, "checkpoints by time", store_checkpoint);
  add(suite, "edits in place", store_edit);
  add(suite, "failures", store_failures);
  add(suite, "size", store_size);
  add(suite, "snapshots", store_snapshots);
  add(suite, "between instructions", store_between);
  add(suite, "writers", store_writers);
  return suite;
}
