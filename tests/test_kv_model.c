/*
** test_kv_model.c - random transactions on a tree beside the same on a sorted array: puts,
** deletes, rollbacks, an old snapshot held meanwhile, reopenings with and without a
** recovery, checks, shrinks.  Whatever is read must be what the array says.
*/
#include "test_kv.h"

#include <stdlib.h>
#include <string.h>

#define TRANSACTIONS 1500u
#define UNIVERSE 1200u

typedef struct run {
  const char *path;
  spm_kv *kv, *reader;
  kv_model now, before, held; /* committed or in the transaction; before it; of `reader` */
  kv_sort sort;
  uint64_t random, puts, deletes, reopened;
  uint32_t percent_puts;
} run;

static uint64_t below(run *r, uint64_t n) { return x_random(&r->random) % n; }

static void random_key(run *r, kv_key *key) {
  kv_sort sort = r->sort == KV_SORTS ? (kv_sort)below(r, KV_SORTS) : r->sort;
  kv_random_key(key, sort, &r->random, UNIVERSE);
}

static void step(run *r, const spm_tree *t) {
  kv_key key;
  random_key(r, &key);
  uint64_t what = below(r, 100);
  if (what < 15) {
    kv_expect_get(t, &r->now, &key);
  } else if (what < 20) {
    kv_expect_cursor(t, &r->now, &key, &r->random);
  } else if (below(r, 100) < r->percent_puts) {
    kv_put(t, &r->now, &key, kv_random_size(&r->random), x_random(&r->random));
    r->puts++;
  } else {
    kv_delete(t, &r->now, &key);
    r->deletes++;
  }
}

static void transaction(run *r) {
  kv_model_copy(&r->before, &r->now);
  kv_begin(r->kv);
  spm_tree t = kv_tree(r->kv, "model");
  for (uint64_t steps = below(r, 4) == 0 ? below(r, 120) : below(r, 6); steps > 0; steps--) step(r, &t);
  if (below(r, 8) != 0) {
    if (below(r, 3) == 0) x_ok(spm_kv_stage(r->kv));
    kv_commit(r->kv);
  } else {
    if (below(r, 2) == 0) x_ok(spm_kv_stage(r->kv));
    spm_kv_rollback(r->kv);
    kv_model_copy(&r->now, &r->before);
  }
}

/* A snapshot that others' commits overtake sees what it saw. */
static void hold_or_look(run *r) {
  if (spm_kv_lsn(r->reader) == 0) {
    x_ok(spm_kv_snapshot_begin(r->reader));
    kv_model_copy(&r->held, &r->now);
    return;
  }
  spm_tree t = kv_tree(r->reader, "model");
  kv_key key;
  for (int i = 0; i < 10; i++) {
    random_key(r, &key);
    kv_expect_get(&t, &r->held, &key);
    kv_expect_cursor(&t, &r->held, &key, &r->random);
  }
  if (below(r, 3) == 0) kv_expect(&t, &r->held);
  if (below(r, 3) == 0) spm_kv_snapshot_end(r->reader);
}

static void look(run *r) {
  x_ok(spm_kv_snapshot_begin(r->kv));
  spm_tree t = kv_tree(r->kv, "model");
  kv_expect(&t, &r->now);
  kv_check(r->kv);
  spm_kv_snapshot_end(r->kv);
}

static void reopen(run *r) {
  bool clean = below(r, 2) == 0;
  spm_kv_close(r->reader, false);
  if (clean)
    spm_kv_close(r->kv, true); /* it is not empty: the file stays */
  else
    kv_leave(r->kv);
  ck_assert(x_exists(r->path, "-pmlog") == !clean);
  r->kv = kv_open(r->path);
  r->reader = kv_open(r->path);
  r->reopened++;
}

static void upkeep(run *r) {
  switch (below(r, 60)) {
    case 0: reopen(r); break;
    case 1: x_ok(spm_kv_shrink(r->kv)); break;
    case 2: x_ok(spm_kv_checkpoint(r->kv)); break;
    case 3:
    case 4: look(r); break;
    case 5:
    case 6:
    case 7: hold_or_look(r); break;
    default: break;
  }
}

/* Grow, stay, shrink, and to nothing in the end. */
static void go(run *r, uint32_t transactions) {
  static const uint32_t percent[] = {85, 50, 60, 20, 75, 8};
  for (uint32_t i = 0; i < transactions; i++) {
    r->percent_puts = percent[i * (sizeof percent / sizeof *percent) / transactions];
    transaction(r);
    upkeep(r);
  }
  look(r);
}

static void end(run *r) {
  kv_begin(r->kv);
  spm_tree t = kv_tree(r->kv, "model");
  while (r->now.count > 0) kv_delete(&t, &r->now, r->now.pair[below(r, r->now.count)].key);
  kv_commit(r->kv);
  look(r);
  ck_assert_uint_eq(kv_used(r->kv), 11 * SPM_BLOCK_SIZE); /* an empty root is left of it */
  spm_kv_close(r->reader, false);
  x_ok(spm_kv_shrink(r->kv));
  ck_assert_uint_eq(kv_size(r->kv), 11 * SPM_BLOCK_SIZE);
  spm_kv_close(r->kv, false);
}

static void model(const char *name, int medium, kv_sort sort, uint64_t seed, uint32_t transactions) {
  x_medium(medium);
  run r = {.path = kv_path(name), .sort = sort, .random = seed * 2654435761u + (uint64_t)sort * 77 + 1};
  r.kv = kv_open(r.path);
  r.reader = kv_open(r.path);
  (void)kv_create(r.kv, "model");
  go(&r, transactions);
  end(&r);
  ck_assert_uint_gt(r.puts, 0);
  ck_assert_uint_gt(r.deletes, 0);
  ck_assert_uint_gt(r.reopened, 0);
  kv_model_free(&r.now);
  kv_model_free(&r.before);
  kv_model_free(&r.held);
}

/* Each sort of keys, and all together; on a fixed seed and on the run's own. */
START_TEST(fixed_seed) { model("x.kv", X_PMEM, (kv_sort)_i, 20260, TRANSACTIONS); }
END_TEST
START_TEST(random_seed) { model("x.kv", X_PMEM, (kv_sort)_i, x_seed(), TRANSACTIONS); }
END_TEST
START_TEST(on_file) { model("x.kv", X_FILE, KV_SORTS, x_seed(), TRANSACTIONS / 4); }
END_TEST

void kv_model_cases(TCase *tcase) {
  tcase_add_loop_test(tcase, fixed_seed, 0, KV_SORTS + 1);
  tcase_add_loop_test(tcase, random_seed, 0, KV_SORTS + 1);
  tcase_add_test(tcase, on_file);
}
