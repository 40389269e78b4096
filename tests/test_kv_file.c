/*
** test_kv_file.c - the file of a key-value store: made, refused, left alone, removed; the
** trees in it; its limits.
*/
#define _GNU_SOURCE
#include "test_kv.h"

#include "../ext/kv/kvhost.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---------------------------------------------------------------- lives -- */

START_TEST(one_file_is_left) {
  x_medium(_i);
  const char *path = kv_path("x.kv");
  uint8_t id[16];
  spm_kv *kv = kv_open(path);
  ck_assert(x_exists(path, "-pmlog"));
  memcpy(id, spm_kv_id(kv), sizeof id);
  spm_tree t = kv_create(kv, "t");
  kv_begin(kv);
  x_ok(spm_tree_put(&t, "k", 1, "v", 1));
  kv_commit(kv);
  spm_kv_close(kv, false);
  ck_assert(x_exists(path, ""));
  ck_assert(!x_exists(path, "-pmlog"));
  ck_assert(!x_exists(path, "-pmshm"));
  kv = kv_open(path);
  ck_assert_mem_eq(id, spm_kv_id(kv), sizeof id);
  x_ok(spm_kv_snapshot_begin(kv));
  t = kv_tree(kv, "t");
  spm_value v;
  x_ok(spm_tree_get(&t, "k", 1, &v));
  ck_assert_uint_eq(v.size, 1);
  ck_assert_uint_eq(v.bytes[0], 'v');
  spm_kv_snapshot_end(kv);
  spm_kv_close(kv, false);
}
END_TEST

/* By a link, by a relative path, and from elsewhere: one store. */
START_TEST(one_store_whatever_it_is_called) {
  const char *path = kv_path("x.kv"), *link = kv_path("link.kv");
  char *folder = strdup(path), here[4096];
  *strrchr(folder, '/') = 0;
  ck_assert_ptr_nonnull(getcwd(here, sizeof here));
  ck_assert_int_eq(chdir(folder), 0);
  spm_kv *kv = kv_open("x.kv");
  (void)kv_create(kv, "t");
  ck_assert_int_eq(symlink("x.kv", link), 0);
  ck_assert_int_eq(chdir("/"), 0);
  spm_kv *other = kv_open(link);
  x_ok(spm_kv_snapshot_begin(other));
  (void)kv_tree(other, "t");
  spm_kv_snapshot_end(other);
  spm_kv_close(other, false);
  kv_leave(kv);
  ck_assert(!x_exists(link, "-pmlog"));
  kv = kv_open(link);
  spm_kv_close(kv, false);
  ck_assert(!x_exists(path, "-pmlog"));
  ck_assert_int_eq(chdir(here), 0);
  free(folder);
}
END_TEST

static void make(const char *path, const void *bytes, size_t n) {
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  ck_assert_int_ge(fd, 0);
  ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
  close(fd);
}

static void expect_refused(const char *path, int code, const char *text) {
  spm_kv *kv;
  uint64_t before = x_hash(path, "");
  ck_assert_int_eq(kv_try_open(path, &kv), code);
  if (strstr(spm_last_error(), text) == NULL) kv_fail("the refusal says: %s", spm_last_error());
  ck_assert_uint_eq(x_hash(path, ""), before);
  ck_assert(!x_exists(path, "-pmlog"));
  ck_assert(!x_exists(path, "-pmshm"));
}

START_TEST(foreign_files_are_left_alone) {
  static const uint8_t zeros[SPM_BLOCK_SIZE + 1];
  spm_kv_header header = {.magic = SPM_KV_MAGIC, .version = SPM_KV_VERSION, .block_size = SPM_BLOCK_SIZE};
  const char *path = kv_path("x.kv");
  make(path, "my only copy of something", 25);
  expect_refused(path, SQLITE_NOTADB, "neither empty nor a key-value store");
  make(path, "SQLite format 3\0and a whole database", 36);
  expect_refused(path, SQLITE_NOTADB, "neither empty nor a key-value store");
  make(path, zeros, sizeof zeros);
  expect_refused(path, SQLITE_NOTADB, "neither empty");
  make(path, &header, 20); /* cut off */
  expect_refused(path, SQLITE_NOTADB, "neither empty");
  header.version++;
  make(path, &header, sizeof header);
  expect_refused(path, SQLITE_CANTOPEN, "another format version");
  ck_assert_int_eq(unlink(path), 0);
  ck_assert_int_eq(mkdir(path, 0700), 0);
  spm_kv *kv;
  ck_assert_int_eq(kv_try_open(path, &kv), SQLITE_NOTADB);
  ck_assert_int_eq(rmdir(path), 0);
  ck_assert_int_eq(mkfifo(path, 0600), 0);
  ck_assert_int_eq(kv_try_open(path, &kv), SQLITE_NOTADB);
}
END_TEST

/* A look at a database of this process must not give up its locks. */
START_TEST(locks_of_a_database_survive_a_look) {
  const char *path = kv_path("x.db");
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
  spm_kv *kv;
  make(path, "SQLite format 3\0and a whole database", 36);
  int fd = open(path, O_RDWR | O_CLOEXEC);
  ck_assert_int_eq(fcntl(fd, F_SETLK, &lock), 0);
  ck_assert_int_eq(kv_try_open(path, &kv), SQLITE_NOTADB);
  struct flock asked = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
  int other = open(path, O_RDWR | O_CLOEXEC);
  ck_assert_int_eq(fcntl(other, F_OFD_GETLK, &asked), 0);
  ck_assert_int_eq(asked.l_type, F_WRLCK); /* the process's own lock still stands in the way */
}
END_TEST

START_TEST(missing_and_readonly) {
  const char *path = kv_path("x.kv");
  spm_kv *kv;
  ck_assert_int_eq(spm_kv_open(path, &(spm_kv_options){0}, &kv), SQLITE_CANTOPEN);
  ck_assert(!x_exists(path, ""));
  make(path, "", 0);
  x_ok(spm_kv_open(path, &(spm_kv_options){.readonly = true}, &kv));
  spm_tree t;
  char name[SPM_KV_NAME_MAX + 1];
  x_ok(spm_kv_snapshot_begin(kv));
  ck_assert_int_eq(spm_kv_tree(kv, "t", &t), SQLITE_NOTFOUND);
  ck_assert_int_eq(spm_kv_tree_next(kv, "", name), SQLITE_NOTFOUND);
  spm_kv_snapshot_end(kv);
  kv_check(kv);
  ck_assert_int_eq(spm_kv_begin(kv), SQLITE_READONLY);
  spm_kv *writer = kv_open(path);
  (void)kv_create(writer, "t");
  x_ok(spm_kv_snapshot_begin(kv));
  x_ok(spm_kv_tree(kv, "t", &t));
  spm_kv_snapshot_end(kv);
  spm_kv_close(writer, false);
  spm_kv_close(kv, false);
  ck_assert_uint_eq(x_length(path, ""), 11 * SPM_BLOCK_SIZE);
}
END_TEST

/* What a power failure leaves of the first write to a file. */
START_TEST(a_block_of_zeros_is_empty) {
  static const uint8_t zeros[SPM_BLOCK_SIZE];
  const char *path = kv_path("x.kv");
  make(path, zeros, sizeof zeros);
  spm_kv *kv;
  x_ok(spm_kv_open(path, &(spm_kv_options){.readonly = true}, &kv));
  spm_kv_close(kv, false);
  ck_assert_uint_eq(x_length(path, ""), 0);
  make(path, zeros, sizeof zeros);
  kv = kv_open(path);
  (void)kv_create(kv, "t");
  kv_check(kv);
  kv_leave(kv);
  kv = kv_open(path);
  kv_check(kv);
  spm_kv_close(kv, false);
  ck_assert_uint_eq(x_length(path, ""), 11 * SPM_BLOCK_SIZE);
}
END_TEST

START_TEST(empty_file_stays_empty_until_used) {
  const char *path = kv_path("x.kv");
  spm_kv *kv;
  make(path, "", 0);
  x_ok(spm_kv_open(path, &(spm_kv_options){.readonly = true}, &kv));
  spm_kv_close(kv, false);
  ck_assert(x_exists(path, ""));
  ck_assert_uint_eq(x_length(path, ""), 0);
}
END_TEST

static void drop(spm_kv *kv, const char *name) {
  kv_begin(kv);
  x_ok(spm_kv_tree_drop(kv, name));
  kv_commit(kv);
}

START_TEST(the_last_close_removes_an_empty_store) {
  const char *path = kv_path("x.kv");
  spm_kv *kv = kv_open(path), *other = kv_open(path);
  spm_tree t = kv_create(kv, "t");
  (void)kv_create(kv, "\001mine");
  spm_kv_close(kv, true); /* not the last */
  ck_assert(x_exists(path, ""));
  spm_kv_close(other, true); /* not empty */
  ck_assert(x_exists(path, ""));
  kv = kv_open(path);
  drop(kv, "t");
  spm_kv_close(kv, false); /* not asked to */
  ck_assert(x_exists(path, ""));
  kv = kv_open(path);
  kv_begin(kv);
  t = kv_tree(kv, "\001mine");
  x_ok(spm_tree_put(&t, "k", 1, "v", 1));
  kv_commit(kv);
  spm_kv_close(kv, true); /* something is in doubt in there */
  ck_assert(x_exists(path, ""));
  kv = kv_open(path);
  kv_begin(kv);
  t = kv_tree(kv, "\001mine");
  x_ok(spm_tree_delete(&t, "k", 1));
  kv_commit(kv);
  kv_begin(kv); /* a transaction under way is rolled back by the close */
  x_ok(spm_kv_tree_create(kv, "t", &t));
  spm_kv_close(kv, true);
  ck_assert(!x_exists(path, ""));
  ck_assert(!x_exists(path, "-pmlog"));
  ck_assert(!x_exists(path, "-pmshm"));
}
END_TEST

/* Between a look at a file and the beginning of its life another process may have begun,
** and died. */
START_TEST(a_stamped_file_gets_no_second_life) {
  const char *path = kv_path("x.kv");
  spm_kv *kv = kv_open(path);
  (void)kv_create(kv, "t");
  kv_leave(kv);
  spm_conn *c;
  uint64_t before = x_hash(path, "-pmlog");
  ck_assert_int_eq(spm_store_create(path, &spm_kv_host, &(spm_store_options){.log_size_max = 10u << 20}, &c),
                   SQLITE_BUSY);
  ck_assert_uint_eq(x_hash(path, "-pmlog"), before);
  kv = kv_open(path);
  kv_begin(kv);
  (void)kv_tree(kv, "t");
  spm_kv_rollback(kv);
  spm_kv_close(kv, false);
}
END_TEST

typedef struct family {
  spm_kv *kv;
  const char *path;
} family;

static void use_in_child(void *argument) {
  const family *f = argument;
  ck_assert_int_eq(spm_kv_snapshot_begin(f->kv), SQLITE_MISUSE);
  ck_assert_int_eq(spm_kv_begin(f->kv), SQLITE_MISUSE);
  spm_kv_close(f->kv, true); /* the parent's: memory only */
  spm_kv *mine = kv_open(f->path);
  x_ok(spm_kv_snapshot_begin(mine));
  (void)kv_tree(mine, "t");
  spm_kv_snapshot_end(mine);
  spm_kv_close(mine, true);
}

START_TEST(a_child_closes_nothing) {
  family f = {.path = kv_path("x.kv")};
  f.kv = kv_open(f.path);
  (void)kv_create(f.kv, "t");
  kv_begin(f.kv);
  ck_assert(x_finished(x_child(use_in_child, &f)));
  spm_kv_rollback(f.kv);
  ck_assert(x_exists(f.path, "-pmlog"));
  drop(f.kv, "t");
  spm_kv_close(f.kv, true);
  ck_assert(!x_exists(f.path, ""));
}
END_TEST

/* ---------------------------------------------------------------- trees -- */

START_TEST(names) {
  static char name[SPM_KV_NAME_MAX + 2];
  spm_kv *kv = kv_open(kv_path("x.kv"));
  spm_tree t, u;
  kv_begin(kv);
  memset(name, 'n', sizeof name - 1);
  ck_assert_int_eq(spm_kv_tree_create(kv, name, &t), SQLITE_TOOBIG);
  ck_assert_int_eq(spm_kv_tree_create(kv, "", &t), SQLITE_TOOBIG);
  name[SPM_KV_NAME_MAX] = 0;
  x_ok(spm_kv_tree_create(kv, name, &t));
  x_ok(spm_kv_tree_create(kv, "b", &t));
  x_ok(spm_kv_tree_create(kv, "\002x", &u));
  ck_assert_int_eq(spm_kv_tree_create(kv, "b", &u), SQLITE_CONSTRAINT);
  ck_assert_int_eq(spm_kv_tree_rename(kv, "c", "d"), SQLITE_NOTFOUND);
  ck_assert_int_eq(spm_kv_tree_rename(kv, "b", name), SQLITE_CONSTRAINT);
  ck_assert_int_eq(spm_kv_tree_drop(kv, "c"), SQLITE_NOTFOUND);
  x_ok(spm_tree_put(&t, "k", 1, "v", 1));
  x_ok(spm_kv_tree_rename(kv, "b", "a"));
  ck_assert_int_eq(spm_kv_tree(kv, "b", &u), SQLITE_NOTFOUND);
  u = kv_tree(kv, "a");
  ck_assert_uint_eq(u.root, t.root);
  kv_commit(kv);
  char found[SPM_KV_NAME_MAX + 1] = "";
  x_ok(spm_kv_snapshot_begin(kv));
  x_ok(spm_kv_tree_next(kv, found, found));
  ck_assert_str_eq(found, "\002x");
  x_ok(spm_kv_tree_next(kv, found, found));
  ck_assert_str_eq(found, "a");
  x_ok(spm_kv_tree_next(kv, found, found));
  ck_assert_str_eq(found, name);
  ck_assert_int_eq(spm_kv_tree_next(kv, found, found), SQLITE_NOTFOUND);
  spm_kv_snapshot_end(kv);
  kv_check(kv);
  spm_kv_close(kv, false);
}
END_TEST

START_TEST(hundreds_of_trees) {
  spm_kv *kv = kv_open(kv_path("x.kv"));
  spm_tree t;
  char name[100];
  for (int i = 0; i < 500; i++) {
    (void)snprintf(name, sizeof name, "a table with some name, %d", i * 7919 % 500);
    kv_begin(kv);
    x_ok(spm_kv_tree_create(kv, name, &t));
    x_ok(spm_tree_put(&t, name, (uint32_t)strlen(name), &i, sizeof i));
    kv_commit(kv);
  }
  kv_check(kv);
  x_ok(spm_kv_snapshot_begin(kv));
  for (int i = 0; i < 500; i++) {
    spm_value v;
    int number;
    (void)snprintf(name, sizeof name, "a table with some name, %d", i * 7919 % 500);
    t = kv_tree(kv, name);
    x_ok(spm_tree_get(&t, name, (uint32_t)strlen(name), &v));
    memcpy(&number, v.bytes, sizeof number);
    if (number != i) kv_fail("tree %s has what belongs to another", name);
  }
  spm_kv_snapshot_end(kv);
  for (int i = 0; i < 500; i += 1) {
    (void)snprintf(name, sizeof name, "a table with some name, %d", i * 7919 % 500);
    drop(kv, name);
  }
  kv_check(kv);
  ck_assert_uint_eq(kv_size(kv), 10 * SPM_BLOCK_SIZE);
  spm_kv_close(kv, false);
}
END_TEST

/* A root that is remembered must not outlive what it was remembered from. */
START_TEST(remembered_roots_follow) {
  const char *path = kv_path("x.kv");
  spm_kv *kv = kv_open(path), *other = kv_open(path);
  spm_tree t, u;
  spm_value v;
  (void)kv_create(kv, "a");
  x_ok(spm_kv_snapshot_begin(other));
  u = kv_tree(other, "a");
  ck_assert_int_eq(spm_tree_get(&u, "k", 1, &v), SQLITE_NOTFOUND);
  kv_begin(kv);
  x_ok(spm_kv_tree_drop(kv, "a"));
  x_ok(spm_kv_tree_create(kv, "b", &t));
  x_ok(spm_kv_tree_create(kv, "a", &t));
  x_ok(spm_tree_put(&t, "k", 1, "v", 1));
  kv_commit(kv);
  u = kv_tree(other, "a");
  ck_assert_int_eq(spm_tree_get(&u, "k", 1, &v), SQLITE_NOTFOUND); /* the old one, as it was */
  spm_kv_snapshot_end(other);
  x_ok(spm_kv_snapshot_begin(other));
  u = kv_tree(other, "a");
  ck_assert_uint_eq(u.root, t.root);
  x_ok(spm_tree_get(&u, "k", 1, &v));
  spm_kv_snapshot_end(other);
  /* A generation that was rolled back comes again with another content. */
  kv_begin(kv);
  x_ok(spm_kv_tree_create(kv, "d", &t));
  x_ok(spm_kv_tree_create(kv, "c", &t));
  u = kv_tree(kv, "c");
  spm_kv_rollback(kv);
  kv_begin(other);
  x_ok(spm_kv_tree_create(other, "c", &t));
  x_ok(spm_kv_tree_create(other, "e", &u));
  kv_commit(other);
  kv_begin(kv);
  ck_assert_int_eq(spm_kv_tree(kv, "d", &u), SQLITE_NOTFOUND);
  u = kv_tree(kv, "c");
  ck_assert_uint_eq(u.root, t.root);
  spm_kv_rollback(kv);
  spm_kv_close(other, false);
  spm_kv_close(kv, false);
}
END_TEST

START_TEST(numbers_are_given_out_once) {
  spm_kv *kv = kv_open(kv_path("x.kv"));
  uint64_t number, last = 0;
  for (int i = 0; i < 10; i++) {
    kv_begin(kv);
    x_ok(spm_kv_number(kv, &number));
    ck_assert_uint_gt(number, last);
    last = number;
    kv_commit(kv);
  }
  kv_leave(kv);
  kv = kv_open(kv_path("x.kv"));
  kv_begin(kv);
  x_ok(spm_kv_number(kv, &number));
  ck_assert_uint_eq(number, last + 1);
  spm_kv_rollback(kv);
  spm_kv_close(kv, false);
}
END_TEST

START_TEST(one_writes) {
  const char *path = kv_path("x.kv");
  spm_kv *kv = kv_open(path), *other = kv_open(path);
  (void)kv_create(kv, "t");
  kv_begin(kv);
  ck_assert_int_eq(spm_kv_begin(other), SQLITE_BUSY);
  spm_tree t = kv_tree(kv, "t");
  x_ok(spm_tree_put(&t, "k", 1, "v", 1));
  x_ok(spm_kv_snapshot_begin(other));
  ck_assert_uint_eq(spm_kv_lsn(other), spm_kv_latest_lsn(other));
  kv_commit(kv);
  ck_assert_uint_lt(spm_kv_lsn(other), spm_kv_latest_lsn(other));
  ck_assert_uint_eq(spm_kv_lsn(kv), 0);
  spm_kv_snapshot_end(other);
  x_ok(spm_kv_begin(other));
  spm_kv_rollback(other);
  spm_kv_close(other, false);
  spm_kv_close(kv, false);
}
END_TEST

/* --------------------------------------------------------------- limits -- */

/* Fill until it is refused; the keys that were acknowledged. */
static uint64_t fill_up(spm_kv *kv, uint64_t from, int expected) {
  static const uint8_t value[700] = {3};
  for (uint64_t i = from;; i++) {
    uint64_t key = __builtin_bswap64(i * 7919);
    kv_begin(kv);
    spm_tree t = kv_tree(kv, "t");
    int rc = spm_tree_put(&t, &key, sizeof key, value, i % 10 == 0 ? 5000 % sizeof value : sizeof value);
    if (rc == SQLITE_OK) rc = spm_kv_stage(kv);
    if (rc != SQLITE_OK) {
      spm_kv_rollback(kv);
      ck_assert_int_eq(rc, expected);
      return i;
    }
    kv_commit(kv);
    ck_assert_uint_lt(i, 1000000);
  }
}

static void expect_filled(spm_kv *kv, uint64_t to) {
  x_ok(spm_kv_snapshot_begin(kv));
  spm_tree t = kv_tree(kv, "t");
  for (uint64_t i = 0; i < to; i++) {
    spm_value v;
    uint64_t key = __builtin_bswap64(i * 7919);
    if (spm_tree_get(&t, &key, sizeof key, &v) != SQLITE_OK)
      kv_fail("key %llu of %llu is gone", (unsigned long long)i, (unsigned long long)to);
  }
  spm_kv_snapshot_end(kv);
  kv_check(kv);
}

static void delete_half(spm_kv *kv, uint64_t to) {
  kv_begin(kv);
  spm_tree t = kv_tree(kv, "t");
  for (uint64_t i = to / 2; i < to; i++) {
    uint64_t key = __builtin_bswap64(i * 7919);
    x_ok(spm_tree_delete(&t, &key, sizeof key));
  }
  kv_commit(kv);
}

START_TEST(size_is_a_limit) {
  spm_kv *kv;
  const char *path = kv_path("x.kv");
  x_ok(spm_kv_open(path, &(spm_kv_options){.create = true, .store.size_max = 1u << 20}, &kv));
  (void)kv_create(kv, "t");
  uint64_t keys = fill_up(kv, 0, SQLITE_FULL);
  ck_assert_ptr_nonnull(strstr(spm_last_error(), "1048576"));
  ck_assert_uint_gt(keys, 700);
  ck_assert_uint_le(kv_size(kv), 1u << 20);
  expect_filled(kv, keys);
  ck_assert_uint_eq(fill_up(kv, keys, SQLITE_FULL), keys); /* again: nothing has changed */
  delete_half(kv, keys);
  ck_assert_uint_gt(fill_up(kv, keys / 2, SQLITE_FULL), keys * 8 / 10);
  spm_kv_close(kv, false);
  ck_assert_uint_le(x_length(path, ""), 1u << 20);
}
END_TEST

START_TEST(full_disk_is_told) {
  x_medium(_i);
  spm_kv *kv = kv_open(kv_path("x.kv"));
  (void)kv_create(kv, "t");
  media_install();
  media_errno(ENOSPC);
  media_at(MEDIA_BIT(MEDIA_ALLOCATE), "x", 3, MEDIA_FAIL_ON);
  uint64_t keys = fill_up(kv, 0, SQLITE_FULL);
  ck_assert_uint_gt(keys, 100);
  expect_filled(kv, keys);
  delete_half(kv, keys); /* still on the full disk */
  uint64_t again = fill_up(kv, keys / 2, SQLITE_FULL);
  ck_assert_uint_gt(again, keys * 8 / 10);
  media_calm();
  expect_filled(kv, again);
  kv_begin(kv);
  spm_tree t = kv_tree(kv, "t");
  x_ok(spm_tree_put(&t, "more", 4, "", 0));
  kv_commit(kv);
  spm_kv_close(kv, false);
}
END_TEST

START_TEST(a_store_that_cannot_be_made) {
  spm_kv *kv;
  x_ok(spm_kv_open(kv_path("y.kv"), &(spm_kv_options){.create = true}, &kv)); /* the medium is known */
  ck_assert_int_eq(spm_kv_open(kv_path("x.kv"), &(spm_kv_options){.create = true, .store.size_max = 20000}, &kv),
                   SQLITE_FULL);
  ck_assert_uint_eq(x_length(kv_path("x.kv"), ""), 0);
  ck_assert(!x_exists(kv_path("x.kv"), "-pmlog"));
  kv = kv_open(kv_path("x.kv")); /* an empty file is in nobody's way */
  spm_kv_close(kv, true);
  ck_assert_int_eq(kv_try_open("/nowhere/at/all.kv", &kv), SQLITE_CANTOPEN);
}
END_TEST

void kv_file_cases(TCase *tcase) {
  tcase_add_loop_test(tcase, one_file_is_left, 0, X_MEDIA);
  tcase_add_test(tcase, one_store_whatever_it_is_called);
  tcase_add_test(tcase, foreign_files_are_left_alone);
  tcase_add_test(tcase, locks_of_a_database_survive_a_look);
  tcase_add_test(tcase, missing_and_readonly);
  tcase_add_test(tcase, a_block_of_zeros_is_empty);
  tcase_add_test(tcase, empty_file_stays_empty_until_used);
  tcase_add_test(tcase, the_last_close_removes_an_empty_store);
  tcase_add_test(tcase, a_stamped_file_gets_no_second_life);
  tcase_add_test(tcase, a_child_closes_nothing);
  tcase_add_test(tcase, names);
  tcase_add_test(tcase, hundreds_of_trees);
  tcase_add_test(tcase, remembered_roots_follow);
  tcase_add_test(tcase, numbers_are_given_out_once);
  tcase_add_test(tcase, one_writes);
  tcase_add_test(tcase, size_is_a_limit);
  tcase_add_loop_test(tcase, full_disk_is_told, 0, X_MEDIA);
  tcase_add_test(tcase, a_store_that_cannot_be_made);
}
