/*
** test_kv_copy.c - copies of a store that others go on writing to: one snapshot, a store of
** its own, all of it or nothing; and long calls that end when they are told to.
*/
#include "test_kv.h"

#include "../ext/kv/decision.h"
#include "../ext/kv/kvformat.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEYS 12000u /* of 300 bytes: some twenty parts of a copy */
#define VALUE 300u

/* Every key has the same value at any time. */
static void fill(spm_kv *kv, const char *name, uint64_t value) {
  uint8_t bytes[VALUE];
  kv_fill(bytes, VALUE, value);
  kv_begin(kv);
  spm_tree t = kv_tree(kv, name);
  for (uint32_t i = 0; i < KEYS; i++) kv_ok(spm_tree_put(&t, &i, sizeof i, bytes, VALUE));
  kv_commit(kv);
}

static spm_kv *filled(const char *path) {
  spm_kv *kv = kv_open(path);
  (void)kv_create(kv, "a");
  (void)kv_create(kv, "b");
  fill(kv, "a", 1);
  fill(kv, "b", 1);
  return kv;
}

static void read_value(const spm_tree *t, uint32_t key, uint8_t to[VALUE]) {
  spm_value v;
  kv_ok(spm_tree_get(t, &key, sizeof key, &v));
  if (v.size > VALUE) kv_fail("a value of %u bytes", (unsigned)v.size);
  memset(to, 0, VALUE);
  if (v.bytes != NULL)
    memcpy(to, v.bytes, v.size);
  else
    kv_ok(spm_value_read(t->conn, &v, 0, (uint32_t)v.size, to));
}

static void expect_filled(spm_kv *kv, const char *name, uint64_t value) {
  uint8_t bytes[VALUE], found[VALUE];
  kv_fill(bytes, VALUE, value);
  spm_tree t = kv_tree(kv, name);
  for (uint32_t i = 0; i < KEYS; i++) {
    read_value(&t, i, found);
    if (memcmp(bytes, found, VALUE) != 0) kv_fail("key %u of %s is not %u", i, name, (unsigned)value);
  }
}

static void expect_copy(const char *path, uint64_t value) {
  ck_assert(!x_exists(path, "-pmlog"));
  spm_kv *kv = kv_open(path);
  kv_check(kv);
  kv_snapshot(kv);
  expect_filled(kv, "a", value);
  expect_filled(kv, "b", value);
  spm_kv_snapshot_end(kv);
  spm_kv_close(kv, false);
}

/* ------------------------------------------------------- writers go on -- */

typedef struct watcher {
  spm_kv *writer;
  uint32_t looks, stop_at; /* 0: never */
  uint64_t value;
  bool die;
} watcher;

/* Between any two parts of the copy everything is written anew. */
static bool write_meanwhile(void *argument) {
  watcher *w = argument;
  w->looks++;
  if (w->die && w->looks == w->stop_at) (void)raise(SIGKILL);
  if (w->writer != NULL && w->looks % 4 == 0) {
    fill(w->writer, "a", ++w->value);
    fill(w->writer, "b", w->value);
  }
  return w->looks == w->stop_at;
}

START_TEST(a_copy_is_one_snapshot) {
  x_medium(_i);
  const char *path = kv_path("x.kv"), *to = kv_path("copy.kv");
  spm_kv *kv = filled(path);
  watcher w = {.writer = kv_open(path), .value = 1};
  uint64_t blocks;
  spm_kv_watch(kv, write_meanwhile, &w);
  x_ok(spm_kv_copy(kv, to, &blocks));
  ck_assert_uint_gt(w.value, 3);
  ck_assert_uint_eq(blocks * SPM_BLOCK_SIZE, x_length(to, ""));
  expect_copy(to, 1);
  kv_check(kv);
  uint8_t id[16];
  memcpy(id, spm_kv_id(kv), sizeof id);
  spm_kv_close(w.writer, false);
  spm_kv_close(kv, false);
  expect_copy(path, w.value);
  kv = kv_open(to); /* a store of its own */
  ck_assert_mem_ne(spm_kv_id(kv), id, sizeof id);
  fill(kv, "a", 99);
  fill(kv, "b", 99);
  spm_kv_close(kv, false);
  expect_copy(to, 99);
  expect_copy(path, w.value);
}
END_TEST

/* A store of another process, which commits both trees in one transaction each time. */
static void write_forever(void *argument) {
  const x_party *p = argument;
  spm_kv *kv = kv_open(p->path);
  for (uint32_t n = 2;; n++) {
    kv_begin(kv);
    spm_tree a = kv_tree(kv, "a"), b = kv_tree(kv, "b");
    uint32_t key = n % 500;
    kv_ok(spm_tree_put(&a, &key, sizeof key, &n, sizeof n));
    kv_ok(spm_tree_put(&b, &key, sizeof key, &n, sizeof n));
    kv_commit(kv);
    p->shared->stage = 1;
  }
}

static void expect_twins(const char *path) {
  spm_kv *kv = kv_open(path);
  kv_check(kv);
  kv_snapshot(kv);
  spm_tree a = kv_tree(kv, "a"), b = kv_tree(kv, "b");
  for (uint32_t i = 0; i < 500; i++) {
    uint8_t one[VALUE], other[VALUE];
    read_value(&a, i, one);
    read_value(&b, i, other);
    ck_assert_mem_eq(one, other, VALUE);
  }
  spm_kv_snapshot_end(kv);
  spm_kv_close(kv, false);
}

START_TEST(a_copy_of_what_another_process_writes) {
  x_medium(_i);
  x_party p = {kv_path("x.kv"), x_shared_new()};
  spm_kv *kv = filled(p.path);
  pid_t pid = x_start(write_forever, &p);
  x_await(p.shared, 1);
  for (int i = 0; i < 5; i++) {
    const char *to = kv_path("copy.kv");
    uint64_t blocks;
    x_ok(spm_kv_copy(kv, to, &blocks));
    expect_twins(to);
    ck_assert_int_eq(unlink(to), 0);
  }
  (void)kill(pid, SIGKILL);
  ck_assert(x_killed(x_wait(pid)));
  spm_kv_close(kv, false);
}
END_TEST

/* What the store has decided for others is in the copy (kvcopy.c); an empty store's copy is one. */
START_TEST(decisions_go_along) {
  const char *path = kv_path("x.kv"), *to = kv_path("copy.kv"), *empty = kv_path("empty.kv");
  const spm_decision decision = {.number = 7};
  uint64_t blocks;
  spm_kv *kv = kv_open(path);
  x_ok(spm_kv_copy(kv, empty, &blocks));
  kv_begin(kv);
  x_ok(spm_decision_put(kv, &decision));
  kv_commit(kv);
  x_ok(spm_kv_copy(kv, to, &blocks));
  spm_kv_close(kv, false);
  kv = kv_open(to);
  kv_check(kv);
  kv_snapshot(kv);
  spm_tree t;
  x_ok(spm_kv_tree(kv, SPM_DECISION_TREE, &t));
  spm_kv_snapshot_end(kv);
  spm_kv_close(kv, false);
  kv = kv_open(empty);
  kv_check(kv);
  spm_kv_close(kv, true);
  ck_assert(!x_exists(empty, ""));
}
END_TEST

/* ------------------------------------------------------- all or nothing -- */

static void make_file(const char *path, const char *content) {
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0640);
  ck_assert_int_ge(fd, 0);
  ck_assert_int_eq(write(fd, content, strlen(content)), (ssize_t)strlen(content));
  (void)close(fd);
}

START_TEST(existing_files_are_left_alone) {
  spm_kv *kv = filled(kv_path("x.kv"));
  const char *to = kv_path("there"), *folder = kv_path("folder");
  uint64_t blocks;
  make_file(to, "a");
  ck_assert_int_eq(mkdir(folder, 0700), 0);
  ck_assert_int_eq(spm_kv_copy(kv, to, &blocks), SQLITE_CANTOPEN);
  ck_assert_ptr_nonnull(strstr(spm_last_error(), "not empty"));
  ck_assert_uint_eq(x_length(to, ""), 1);
  ck_assert_int_eq(spm_kv_copy(kv, folder, &blocks), SQLITE_CANTOPEN);
  ck_assert_int_eq(spm_kv_copy(kv, kv_path("no/such/folder"), &blocks), SQLITE_CANTOPEN);
  ck_assert_int_eq(spm_kv_copy(kv, spm_kv_path(kv), &blocks), SQLITE_CANTOPEN);
  make_file(to, "");
  watcher w = {.stop_at = 3};
  spm_kv_watch(kv, write_meanwhile, &w);
  ck_assert_int_eq(spm_kv_copy(kv, to, &blocks), SQLITE_INTERRUPT);
  ck_assert(x_exists(to, ""));
  ck_assert_uint_eq(x_length(to, ""), 0);
  x_ok(spm_kv_copy(kv, to, &blocks));
  spm_kv_close(kv, false);
  expect_copy(to, 1);
}
END_TEST

START_TEST(an_interrupted_copy_is_gone) {
  const char *to = kv_path("copy.kv");
  spm_kv *kv = filled(kv_path("x.kv"));
  watcher w = {.looks = 0};
  uint64_t blocks;
  spm_kv_watch(kv, write_meanwhile, &w);
  x_ok(spm_kv_copy(kv, to, &blocks));
  uint32_t looks = w.looks;
  ck_assert_uint_gt(looks, 10);
  ck_assert_int_eq(unlink(to), 0);
  for (w.stop_at = 1; w.stop_at <= looks; w.stop_at++) {
    w.looks = 0;
    ck_assert_int_eq(spm_kv_copy(kv, to, &blocks), SQLITE_INTERRUPT);
    ck_assert(!x_exists(to, ""));
    ck_assert_uint_eq(spm_kv_lsn(kv), 0); /* no snapshot was left behind */
  }
  spm_kv_close(kv, false);
}
END_TEST

typedef struct doomed {
  const char *path, *to;
  uint32_t at;
} doomed;

static void copy_and_die(void *argument) {
  const doomed *d = argument;
  spm_kv *kv = kv_open(d->path);
  watcher w = {.stop_at = d->at, .die = true};
  uint64_t blocks;
  spm_kv_watch(kv, write_meanwhile, &w);
  (void)!spm_kv_copy(kv, d->to, &blocks);
}

/* Half a copy that nobody could remove is no store to anybody. */
START_TEST(a_killed_copy_is_no_store) {
  doomed d = {kv_path("x.kv"), kv_path("copy.kv"), 0};
  spm_kv_close(filled(d.path), false);
  for (d.at = 2; d.at < 10; d.at += 3) {
    spm_kv *kv;
    ck_assert(x_killed(x_child(copy_and_die, &d)));
    ck_assert_uint_gt(x_length(d.to, ""), SPM_BLOCK_SIZE);
    ck_assert_int_eq(kv_try_open(d.to, &kv), SQLITE_NOTADB);
    ck_assert_int_eq(unlink(d.to), 0);
  }
}
END_TEST

static void copy_to_little_room(void *argument) {
  const doomed *d = argument;
  spm_kv *kv = kv_open(d->path);
  uint64_t blocks;
  struct rlimit limit = {1000000, 1000000};
  (void)signal(SIGXFSZ, SIG_IGN);
  ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
  ck_assert_int_eq(spm_kv_copy(kv, d->to, &blocks), SQLITE_FULL);
  ck_assert(!x_exists(d->to, ""));
  _exit(0);
}

START_TEST(no_room_for_a_copy) {
  doomed d = {kv_path("x.kv"), kv_path("copy.kv"), 0};
  spm_kv *kv = filled(d.path);
  ck_assert(x_finished(x_child(copy_to_little_room, &d)));
  kv_check(kv);
  spm_kv_close(kv, false);
}
END_TEST

/* ---------------------------------------------------- the other long ones -- */

static bool no_fault(void *argument, const char *line) {
  (void)argument;
  kv_fail("%s", line);
}

START_TEST(a_check_can_be_stopped) {
  spm_kv *kv = filled(kv_path("x.kv"));
  watcher w = {.stop_at = 0};
  spm_kv_watch(kv, write_meanwhile, &w);
  kv_check(kv);
  ck_assert_uint_gt(w.looks, 10);
  w = (watcher){.stop_at = 5};
  ck_assert_int_eq(spm_kv_check(kv, no_fault, NULL), SQLITE_INTERRUPT);
  ck_assert_uint_eq(w.looks, 5);
  ck_assert_uint_eq(spm_kv_lsn(kv), 0);
  spm_kv_close(kv, false);
}
END_TEST

/* What was moved has been moved, and the next one goes on. */
START_TEST(shrinking_can_be_stopped) {
  const char *path = kv_path("x.kv");
  spm_kv *kv = filled(path);
  kv_begin(kv);
  x_ok(spm_kv_tree_drop(kv, "a"));
  kv_commit(kv);
  uint64_t before = kv_size(kv), shorter = before;
  watcher w;
  int rc = SQLITE_INTERRUPT;
  spm_kv_watch(kv, write_meanwhile, &w);
  for (int rounds = 0; rc == SQLITE_INTERRUPT; rounds++) {
    ck_assert_int_lt(rounds, 100);
    w = (watcher){.stop_at = 1};
    rc = spm_kv_shrink(kv);
    ck_assert_uint_le(w.looks, 1);
    kv_check(kv);
    ck_assert_uint_le(kv_size(kv), shorter);
    shorter = kv_size(kv);
    if (rounds == 0) ck_assert_int_eq(rc, SQLITE_INTERRUPT);
    if (rounds == 3) spm_kv_watch(kv, NULL, NULL);
  }
  x_ok(rc);
  ck_assert_uint_lt(shorter, before * 6 / 10);
  kv_snapshot(kv);
  expect_filled(kv, "b", 1);
  spm_kv_snapshot_end(kv);
  spm_kv_close(kv, false);
}
END_TEST

void kv_copy_cases(TCase *tcase) {
  tcase_add_loop_test(tcase, a_copy_is_one_snapshot, 0, X_MEDIA);
  tcase_add_loop_test(tcase, a_copy_of_what_another_process_writes, 0, X_MEDIA);
  tcase_add_test(tcase, decisions_go_along);
  tcase_add_test(tcase, existing_files_are_left_alone);
  tcase_add_test(tcase, an_interrupted_copy_is_gone);
  tcase_add_test(tcase, a_killed_copy_is_no_store);
  tcase_add_test(tcase, no_room_for_a_copy);
  tcase_add_test(tcase, a_check_can_be_stopped);
  tcase_add_test(tcase, shrinking_can_be_stopped);
}
