/*
** test_kv_sharing.c - threads and processes on one store: a bank whose sum is the same in
** every snapshot, while accounts move between leaves, leaves split and join, and writers
** are killed.  Readers search in place what a commit is just changing (K7).
*/
#include "test_kv.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ACCOUNTS 400u
#define EACH 1000u
#define READERS 3
#define COMMITS 4000u

static void account_key(char key[24], uint64_t account) {
  (void)snprintf(key, 24, "account:%06llu", (unsigned long long)account * 7919 % 1000000);
}

static uint64_t balance(const spm_tree *t, uint64_t account) {
  char key[24];
  spm_value v;
  uint64_t amount;
  account_key(key, account);
  int rc = spm_tree_get(t, key, (uint32_t)strlen(key), &v);
  if (rc != SQLITE_OK || v.size < sizeof amount)
    kv_fail("account %llu: %d, %s", (unsigned long long)account, rc, spm_last_error());
  kv_ok(spm_value_read(t->conn, &v, 0, sizeof amount, &amount));
  return amount;
}

/* The size varies, so that cells move and leaves overflow and run low. */
static void set_balance(const spm_tree *t, uint64_t account, uint64_t amount, uint32_t size) {
  static _Thread_local uint8_t value[6000];
  char key[24];
  account_key(key, account);
  memcpy(value, &amount, sizeof amount);
  int rc = spm_tree_put(t, key, (uint32_t)strlen(key), value, size);
  if (rc != SQLITE_OK) kv_fail("account %llu: %d, %s", (unsigned long long)account, rc, spm_last_error());
}

static void open_accounts(spm_kv *kv) {
  (void)kv_create(kv, "bank");
  kv_begin(kv);
  spm_tree t = kv_tree(kv, "bank");
  for (uint64_t i = 0; i < ACCOUNTS; i++) set_balance(&t, i, EACH, 8);
  kv_commit(kv);
}

/* Between two accounts, and something that comes and goes beside them. */
static void transfer(spm_kv *kv, uint64_t *random) {
  uint64_t from = x_random(random) % ACCOUNTS, to = x_random(random) % ACCOUNTS, guest = x_random(random) % 3000;
  kv_begin(kv);
  spm_tree t = kv_tree(kv, "bank");
  uint64_t has = balance(&t, from), amount = has == 0 ? 0 : x_random(random) % has;
  uint32_t size = x_random(random) % 10 == 0 ? 5000 : 8 + (uint32_t)(x_random(random) % 300);
  if (from != to) {
    set_balance(&t, from, has - amount, size);
    set_balance(&t, to, balance(&t, to) + amount, size);
  }
  int rc = x_random(random) % 2 ? spm_tree_put(&t, &guest, sizeof guest, random, sizeof *random)
                                : spm_tree_delete(&t, &guest, sizeof guest);
  if (rc != SQLITE_OK && rc != SQLITE_NOTFOUND) kv_fail("a guest: %d, %s", rc, spm_last_error());
  kv_commit(kv);
}

static bool is_account(const uint8_t *key, uint32_t n) { return n == 14 && memcmp(key, "account:", 8) == 0; }

/* By a scan, up or down, or one by one. */
static void expect_sum(spm_kv *kv, uint64_t *random) {
  uint64_t sum = 0, found = 0, way = x_random(random) % 3;
  kv_snapshot(kv);
  spm_tree t = kv_tree(kv, "bank");
  if (way == 0) {
    for (; found < ACCOUNTS; found++) sum += balance(&t, found);
  } else {
    spm_tree_cursor c;
    spm_value v;
    uint32_t n;
    spm_cursor_open(&c, &t);
    int rc = spm_cursor_seek(&c, way == 1 ? SPM_SEEK_FIRST : SPM_SEEK_LAST, NULL, 0);
    for (; rc == SQLITE_OK; rc = way == 1 ? spm_cursor_next(&c) : spm_cursor_prev(&c)) {
      uint64_t amount;
      const uint8_t *key = spm_cursor_key(&c, &n);
      if (!is_account(key, n)) continue;
      int read = spm_cursor_value(&c, &v);
      if (read == SQLITE_OK) read = spm_value_read(t.conn, &v, 0, sizeof amount, &amount);
      if (read != SQLITE_OK) kv_fail("a value: %d, %s", read, spm_last_error());
      sum += amount;
      found++;
    }
    if (rc != SQLITE_NOTFOUND) kv_fail("a scan: %d, %s", rc, spm_last_error());
  }
  if (found != ACCOUNTS || sum != (uint64_t)ACCOUNTS * EACH)
    kv_fail("%llu accounts have %llu together", (unsigned long long)found, (unsigned long long)sum);
  spm_kv_snapshot_end(kv);
}

/* -------------------------------------------------------------- threads -- */

typedef struct reader {
  const char *path;
  atomic_bool *stop;
  uint64_t random, looks;
} reader;

static void *read_on(void *argument) {
  reader *r = argument;
  spm_kv *kv = kv_open(r->path);
  for (; !atomic_load(r->stop); r->looks++) expect_sum(kv, &r->random);
  spm_kv_close(kv, false);
  return NULL;
}

START_TEST(threads_read_while_one_writes) {
  x_medium(_i);
  const char *path = kv_path("x.kv");
  atomic_bool stop = false;
  pthread_t thread[READERS];
  reader r[READERS];
  uint64_t random = x_seed();
  spm_kv *kv = kv_open(path);
  open_accounts(kv);
  for (int i = 0; i < READERS; i++) {
    r[i] = (reader){path, &stop, random + (uint64_t)i * 2 + 2, 0};
    ck_assert_int_eq(pthread_create(&thread[i], NULL, read_on, &r[i]), 0);
  }
  for (uint32_t i = 0; i < COMMITS; i++) {
    transfer(kv, &random);
    if (i % 500 == 499) kv_ok(spm_kv_shrink(kv));
  }
  atomic_store(&stop, true);
  for (int i = 0; i < READERS; i++) {
    (void)pthread_join(thread[i], NULL);
    ck_assert_uint_gt(r[i].looks, 0);
  }
  kv_check(kv);
  spm_kv_close(kv, false);
}
END_TEST

/* ------------------------------------------------------------ processes -- */

typedef struct clerk {
  const char *path;
  x_shared *shared;
  uint64_t random;
  int number;
} clerk;

static void write_on(void *argument) {
  clerk *k = argument;
  spm_kv *kv = kv_open(k->path);
  while (k->shared->stage == 0) {
    transfer(kv, &k->random);
    if (x_random(&k->random) % 8 == 0) expect_sum(kv, &k->random);
    atomic_fetch_add(&k->shared->number[k->number], 1);
  }
  spm_kv_close(kv, false);
}

START_TEST(processes_write_and_are_killed) {
  enum { CLERKS = 3, KILLS = 25 };
  x_medium(_i);
  clerk k[CLERKS];
  pid_t pid[CLERKS];
  uint64_t random = x_seed();
  const char *path = kv_path("x.kv");
  x_shared *shared = x_shared_new();
  spm_kv *kv = kv_open(path);
  open_accounts(kv);
  for (int i = 0; i < CLERKS; i++) {
    k[i] = (clerk){path, shared, random + (uint64_t)i * 2 + 2, i};
    pid[i] = x_start(write_on, &k[i]);
  }
  for (int kill_number = 0; kill_number < KILLS; kill_number++) {
    int i = (int)(x_random(&random) % CLERKS);
    usleep((useconds_t)(x_random(&random) % 20000));
    ck_assert_int_eq(kill(pid[i], SIGKILL), 0);
    ck_assert(x_killed(x_wait(pid[i])));
    expect_sum(kv, &random);
    k[i].random += 2;
    pid[i] = x_start(write_on, &k[i]);
  }
  for (int i = 0; i < CLERKS; i++)
    while (shared->number[i] == 0) usleep(1000);
  shared->stage = 1;
  for (int i = 0; i < CLERKS; i++) ck_assert(x_finished(x_wait(pid[i])));
  expect_sum(kv, &random);
  kv_check(kv);
  spm_kv_close(kv, false);
  ck_assert(!x_exists(path, "-pmlog"));
}
END_TEST

/* ------------------------------------------------------- in one thread -- */

/* A value that has been found is the reader's own: a commit that comes before it is read
** changes the leaf where the value stood, and not the value. */
START_TEST(a_value_found_outlives_the_next_commit) {
  x_medium(_i);
  const char *path = kv_path("x.kv");
  char key[24];
  uint64_t amount = 0;
  spm_value found;
  spm_kv *writer = kv_open(path), *other = kv_open(path);
  open_accounts(writer);
  account_key(key, 7);

  kv_snapshot(other);
  spm_tree seen = kv_tree(other, "bank");
  x_ok(spm_tree_get(&seen, key, (uint32_t)strlen(key), &found));
  kv_begin(writer);
  spm_tree changed = kv_tree(writer, "bank");
  set_balance(&changed, 7, EACH * 2, 8);
  kv_commit(writer);
  x_ok(spm_value_read(seen.conn, &found, 0, sizeof amount, &amount));
  ck_assert_uint_eq(amount, EACH);
  spm_kv_snapshot_end(other);

  kv_snapshot(other);
  seen = kv_tree(other, "bank");
  ck_assert_uint_eq(balance(&seen, 7), EACH * 2);
  spm_kv_snapshot_end(other);
  spm_kv_close(other, false);
  spm_kv_close(writer, false);
}
END_TEST

void kv_sharing_cases(TCase *tcase) {
  tcase_add_loop_test(tcase, a_value_found_outlives_the_next_commit, 0, X_MEDIA);
  tcase_add_loop_test(tcase, threads_read_while_one_writes, 0, X_MEDIA);
  tcase_add_loop_test(tcase, processes_write_and_are_killed, 0, X_MEDIA);
}
