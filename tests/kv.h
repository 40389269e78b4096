/*
** kv.h - what the tests of the key-value store share: a store on either medium, and a
** model of one tree, a sorted array, that says what must be in it.
*/
#ifndef SPM_TEST_KV_H
#define SPM_TEST_KV_H

#include "fixture.h"

#include "../ext/kv/kvcheck.h"
#include "../ext/kv/kvstore.h"

/* A path for a store, in the test's folder, on the medium of x_medium(); to keep. */
const char *kv_path(const char *name);
spm_kv *kv_open(const char *path); /* made if need be */
int kv_try_open(const char *path, spm_kv **);
/* Leave in the middle: the log stays. */
void kv_leave(spm_kv *);

void kv_snapshot(spm_kv *); /* as often as it takes: the writer may have been stopped */
void kv_begin(spm_kv *);
void kv_commit(spm_kv *);
/* Begin, as often as it takes: a killed writer, a busy one. */
int kv_try_begin(spm_kv *);
spm_tree kv_tree(spm_kv *, const char *name);   /* must be there                */
spm_tree kv_create(spm_kv *, const char *name); /* in a transaction of its own  */
/* No fault; of a check that finds one, its text is the test's failure. */
void kv_check(spm_kv *);
/* The faults found, printed to nobody. */
uint32_t kv_faults(spm_kv *, int *rc);
uint64_t kv_size(spm_kv *);
uint64_t kv_used(spm_kv *);

/* ---- keys and values ---- */

typedef struct kv_key {
  uint32_t n;
  uint8_t bytes[SPM_KV_KEY_MAX];
} kv_key;

/* Sorts of keys that random tests draw from. */
typedef enum kv_sort { KV_SHORT, KV_RANDOM16, KV_COUNTED, KV_PREFIXED, KV_LONG, KV_SORTS } kv_sort;
void kv_random_key(kv_key *, kv_sort, uint64_t *random, uint32_t universe);
uint32_t kv_random_size(uint64_t *random);

/* The bytes of a value, known by its seed. */
void kv_fill(uint8_t *to, uint32_t n, uint64_t seed);

/* ---- the model ---- */

typedef struct kv_pair {
  kv_key *key; /* shared by copies of the model, never freed */
  uint32_t size;
  uint64_t seed;
} kv_pair;

typedef struct kv_model {
  kv_pair *pair;
  uint32_t count, capacity;
} kv_model;

void kv_model_copy(kv_model *to, const kv_model *from);
void kv_model_free(kv_model *);
/* The first pair not below the key; *found: it is that key's. */
uint32_t kv_model_find(const kv_model *, const kv_key *, bool *found);
void kv_model_put(kv_model *, const kv_key *, uint32_t size, uint64_t seed);
bool kv_model_delete(kv_model *, const kv_key *);

/* Put into tree and model; delete from both. */
void kv_put(const spm_tree *, kv_model *, const kv_key *, uint32_t size, uint64_t seed);
void kv_delete(const spm_tree *, kv_model *, const kv_key *);
/* The tree has this pair. */
void kv_expect_value(spm_conn *, const spm_value *, const kv_pair *);
void kv_expect_get(const spm_tree *, const kv_model *, const kv_key *);
/* The tree, stepped through in both directions, is the model. */
void kv_expect(const spm_tree *, const kv_model *);
/* One cursor, sought at random and stepped some way. */
void kv_expect_cursor(const spm_tree *, const kv_model *, const kv_key *, uint64_t *random);

/* Fail the test; never returns. */
#define kv_fail(...) ck_abort_msg(__VA_ARGS__)
/* An assertion that says nothing while it holds.  check's own write to a file that all
** processes of a test share: in one that is killed, or that runs beside others, they would
** leave half a message. */
#define kv_ok(call) \
  do { \
    int kv_rc = (call); \
    if (kv_rc != SQLITE_OK) kv_fail("%s: %d, %s", #call, kv_rc, spm_last_error()); \
  } while (0)

#endif
