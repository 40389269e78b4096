/*
** test_kv_crash.c - a key-value store whose process is killed, or whose machine loses its
** power, before any operation on its files: afterwards it has all transactions that were
** acknowledged, at most the one more that was under way, and every check holds.
*/
#include "test_kv.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UNIVERSE 300u
#define COUNTER "the number of the last transaction"
#define OTHER_EACH 29u  /* transactions between a tree's making and its dropping */
#define SHRINK_EACH 31u

/* Transaction k on the model, and on the tree if there is one. */
static void apply(const spm_tree *t, kv_model *m, uint64_t seed, uint64_t k) {
  uint64_t random = (seed + k) * UINT64_C(0x9e3779b97f4a7c15) | 1;
  for (uint64_t steps = x_random(&random) % 9; steps > 0; steps--) {
    kv_key key;
    kv_random_key(&key, (kv_sort)(x_random(&random) % KV_SORTS), &random, UNIVERSE);
    if (x_random(&random) % 8 < (k / 100 % 2 ? 2u : 5u)) {
      uint32_t size = kv_random_size(&random);
      uint64_t content = x_random(&random);
      if (t != NULL)
        kv_put(t, m, &key, size, content);
      else
        kv_model_put(m, &key, size, content);
    } else if (t != NULL) {
      kv_delete(t, m, &key);
    } else {
      (void)kv_model_delete(m, &key);
    }
  }
}

/* A second tree comes and goes. */
static void change_other(spm_kv *kv, uint64_t k) {
  static uint8_t value[6000];
  spm_tree t;
  if (k % OTHER_EACH != 0) return;
  if (k / OTHER_EACH % 2 == 0) {
    x_ok(spm_kv_tree_drop(kv, "other"));
    return;
  }
  x_ok(spm_kv_tree_create(kv, "other", &t));
  for (uint64_t i = 0; i < 60; i++) x_ok(spm_tree_put(&t, &i, sizeof i, value, i % 3 ? 300 : sizeof value));
}

static void transaction(spm_kv *kv, kv_model *m, uint64_t seed, uint64_t k) {
  spm_tree t;
  kv_begin(kv);
  if (k == 1)
    x_ok(spm_kv_tree_create(kv, "crash", &t));
  else
    t = kv_tree(kv, "crash");
  apply(&t, m, seed, k);
  x_ok(spm_tree_put(&t, COUNTER, sizeof COUNTER, &k, sizeof k));
  change_other(kv, k);
  kv_commit(kv);
  if (k % SHRINK_EACH == 0) x_ok(spm_kv_shrink(kv));
}

/* The number of transactions that are there: exactly these, and nothing is damaged. */
static uint64_t state_of(spm_kv *kv, uint64_t seed, kv_model *m) {
  uint64_t k = 0;
  spm_tree t;
  spm_value v;
  kv_check(kv);
  x_ok(spm_kv_snapshot_begin(kv));
  int rc = spm_kv_tree(kv, "crash", &t);
  if (rc == SQLITE_NOTFOUND) {
    spm_kv_snapshot_end(kv);
    return 0;
  }
  x_ok(rc);
  x_ok(spm_tree_get(&t, COUNTER, sizeof COUNTER, &v));
  memcpy(&k, v.bytes, sizeof k);
  for (uint64_t i = 1; i <= k; i++) apply(NULL, m, seed, i);
  kv_key counter = {.n = sizeof COUNTER};
  memcpy(counter.bytes, COUNTER, sizeof COUNTER);
  for (uint32_t i = 0; i < m->count; i++) {
    rc = spm_tree_get(&t, m->pair[i].key->bytes, m->pair[i].key->n, &v);
    if (rc != SQLITE_OK) kv_fail("after %llu transactions a key is missing: %d", (unsigned long long)k, rc);
    kv_expect_value(t.conn, &v, &m->pair[i]);
  }
  uint32_t keys = 0;
  spm_tree_cursor c;
  spm_cursor_open(&c, &t);
  for (rc = spm_cursor_seek(&c, SPM_SEEK_FIRST, NULL, 0); rc == SQLITE_OK; rc = spm_cursor_next(&c)) keys++;
  if (keys != m->count + 1)
    kv_fail("after %llu transactions there are %u keys instead of %u", (unsigned long long)k, keys, m->count + 1);
  rc = spm_kv_tree(kv, "other", &t);
  if (rc != (k / OTHER_EACH % 2 ? SQLITE_OK : SQLITE_NOTFOUND)) kv_fail("the other tree: %d", rc);
  spm_kv_snapshot_end(kv);
  return k;
}

/* ---------------------------------------------------------------- kills -- */

typedef struct party {
  const char *path;
  x_shared *shared; /* number[0]: the last transaction acknowledged */
  uint64_t seed;
  unsigned long kill_at;
} party;

#define A_LIFE 45u

static void write_until_killed(void *argument) {
  party *p = argument;
  kv_model m = {0};
  media_install();
  media_at(MEDIA_ALL, "xls", p->kill_at, MEDIA_KILL);
  spm_kv *kv = kv_open(p->path);
  x_limit_log(spm_kv_conn(kv), 1u << 20);
  uint64_t k = state_of(kv, p->seed, &m);
  p->shared->number[0] = k;
  for (uint32_t i = 0; i < A_LIFE; i++) {
    transaction(kv, &m, p->seed, ++k);
    p->shared->number[0] = k;
  }
  spm_kv_close(kv, false);
  _exit(0);
}

START_TEST(killed_at_any_operation) {
  x_medium(_i);
  party p = {.path = kv_path("x.kv"), .shared = x_shared_new(), .seed = x_seed()};
  uint64_t random = p.seed, killed = 0;
  for (int round = 0; round < 60; round++) {
    uint64_t range = round < 20 ? 20 : round < 40 ? 100 : 400;
    p.kill_at = (unsigned long)(x_random(&random) % range + 1);
    int status = x_child(write_until_killed, &p);
    ck_assert(x_killed(status) || x_finished(status));
    killed += x_killed(status);
    kv_model m = {0};
    spm_kv *kv = kv_open(p.path);
    uint64_t k = state_of(kv, p.seed, &m), acknowledged = p.shared->number[0];
    if (k != acknowledged && k != acknowledged + 1)
      kv_fail("%llu transactions are there, %llu were acknowledged", (unsigned long long)k,
              (unsigned long long)acknowledged);
    p.shared->number[0] = k;
    if (round % 2)
      kv_leave(kv);
    else
      spm_kv_close(kv, false);
    kv_model_free(&m);
  }
  ck_assert_uint_gt(killed, 20);
  ck_assert_uint_gt(p.shared->number[0], 200);
}
END_TEST

/* ---------------------------------------------------------------- power -- */

typedef struct outage {
  const char *image;
  uint64_t seed, acknowledged, at;
} outage;

static outage now;

static void recover_image(void *argument) {
  const outage *o = argument;
  kv_model m = {0};
  media_calm();
  spm_kv *kv = kv_open(o->image);
  uint64_t k = state_of(kv, o->seed, &m);
  if (k != o->acknowledged && k != o->acknowledged + 1)
    kv_fail("%llu transactions are there, %llu were acknowledged", (unsigned long long)k,
            (unsigned long long)o->acknowledged);
  transaction(kv, &m, o->seed, k + 1); /* and it goes on */
  spm_kv_close(kv, false);
}

static void lose_power(const media_operation *op) {
  for (media_loss loss = MEDIA_LOSE_ALL; loss <= MEDIA_LOSE_SOME; loss++) {
    media_power_loss(now.image, loss, now.seed + now.at);
    int status = x_child(recover_image, &now);
    if (!x_finished(status))
      kv_fail("power lost before operation %llu (kind %d of %c, loss %d), after transaction %llu",
              (unsigned long long)now.at, (int)op->kind, op->file, (int)loss, (unsigned long long)now.acknowledged);
  }
}

START_TEST(power_may_go_at_any_time) {
  x_medium(_i);
  const char *path = kv_path("x.kv");
  unsigned long before = 0, stride = 61;
  kv_model m = {0};
  now = (outage){.image = kv_path("image.kv"), .seed = x_seed()};
  uint64_t random = now.seed;
  spm_kv *kv = kv_open(path);
  x_limit_log(spm_kv_conn(kv), 1u << 20);
  media_install();
  media_track(path);
  media_call(lose_power);
  media_at(MEDIA_TABLES, "xl", 5, MEDIA_CALL);
  for (uint64_t k = 1; k <= 200; k++) {
    transaction(kv, &m, now.seed, k);
    now.acknowledged = k;
    now.at = media_count(MEDIA_TABLES, "xl");
    if (now.at - before < stride) continue;
    before = now.at;
    media_at(MEDIA_TABLES, "xl", (unsigned long)(x_random(&random) % stride + 1), MEDIA_CALL);
  }
  media_calm();
  spm_kv_close(kv, false);
  kv_model_free(&m);
}
END_TEST

/* What is left before each operation with which a life begins and ends; looked at when
** the store's own locks are not held. */
#define IMAGES_MAX 600u
static outage images[IMAGES_MAX];
static uint32_t image_count;

static void keep_images(const media_operation *op) {
  (void)op;
  for (media_loss loss = MEDIA_LOSE_ALL; loss <= MEDIA_LOSE_SOME; loss++) {
    char name[40];
    ck_assert_uint_lt(image_count, IMAGES_MAX);
    (void)snprintf(name, sizeof name, "image%u.kv", image_count);
    outage *o = &images[image_count++];
    *o = now;
    o->image = kv_path(name);
    media_power_loss(o->image, loss, now.seed + image_count);
  }
  media_at(MEDIA_ALL, NULL, 1, MEDIA_CALL);
}

START_TEST(power_may_go_at_either_end_of_a_life) {
  x_medium(_i);
  const char *path = kv_path("x.kv");
  kv_model m = {0};
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  ck_assert_int_ge(fd, 0);
  close(fd);
  now = (outage){.seed = x_seed()};
  media_install();
  media_call(keep_images);
  for (int life = 0; life < 2; life++) {
    media_track(path); /* a new life, a new log */
    media_at(MEDIA_ALL, NULL, 1, MEDIA_CALL);
    spm_kv *kv = kv_open(path);
    media_calm();
    for (int i = 0; i < 3; i++) transaction(kv, &m, now.seed, ++now.acknowledged);
    media_call(keep_images);
    media_at(MEDIA_ALL, NULL, 1, MEDIA_CALL);
    spm_kv_close(kv, false);
    media_calm();
    media_call(keep_images);
  }
  ck_assert_uint_gt(image_count, 60);
  for (uint32_t i = 0; i < image_count; i++) {
    int status = x_child(recover_image, &images[i]);
    if (!x_finished(status))
      kv_fail("image %u, after transaction %llu", i, (unsigned long long)images[i].acknowledged);
  }
}
END_TEST

void kv_crash_cases(TCase *tcase) {
  tcase_add_loop_test(tcase, killed_at_any_operation, 0, X_MEDIA);
  tcase_add_loop_test(tcase, power_may_go_at_any_time, 0, X_MEDIA);
  tcase_add_loop_test(tcase, power_may_go_at_either_end_of_a_life, 0, X_MEDIA);
}
