/*
** test_log.c - the parts of the log, each alone: the chain of records, segments,
** reading what is damaged, entries, differences, write sets, images, superblocks.
*/
#include "fixture.h"

#include "../vfs/store/apply.h"
#include "../vfs/store/checkpoint.h"
#include "../vfs/store/diff.h"
#include "../vfs/store/log.h"
#include "../vfs/store/superblock.h"
#include "../vfs/store/version.h"
#include "../vfs/store/writeset.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BLOCK SPM_BLOCK_SIZE

/* ----------------------------------------------------------------- records -- */

static spm_log_reader reader_from_checkpoint(spm_store *s, bool copied) {
  spm_log_reader r;
  x_ok(spm_log_reader_open(&r, &s->log, s->shm->salt, s->shm->checkpoint, copied));
  return r;
}

/* Format rule (2) and (3): each record continues the one before it. */
START_TEST(records_form_a_chain) {
  x_medium(_i);
  spm_conn *c = x_create(x_new("x.db", 8));
  for (uint32_t i = 0; i < 5; i++) x_commit(c, i, 2, 100 + i);
  for (int copied = 0; copied < 2; copied++) {
    spm_log_reader r = reader_from_checkpoint(c->store, copied);
    spm_log_pos before = r.pos;
    const spm_record *record;
    uint32_t commits = 0;
    while (spm_log_next(&r, &record) == SQLITE_ROW) {
      ck_assert_uint_eq(record->lsn, before.lsn + 1);
      ck_assert_uint_eq(record->prev_checksum, before.chain);
      ck_assert_uint_eq(before.offset % SPM_LINE_SIZE, 0);
      ck_assert_uint_lt(record->durable_lsn, record->lsn);
      commits += record->flags & SPM_REC_COMMIT;
      before = r.pos;
    }
    ck_assert_uint_eq(commits, 5);
    ck_assert_mem_eq(&before, &spm_committed(c->store->shm)->tail, sizeof before);
    spm_log_reader_close(&r);
  }
  x_detach(c);
}
END_TEST

/* No record crosses a segment; a LINK leads into the next one. */
START_TEST(segments_are_linked) {
  x_medium(_i);
  spm_conn *c = x_create(x_new("x.db", 300));
  x_commit(c, 0, 200, 7);
  spm_log_reader r = reader_from_checkpoint(c->store, true);
  const spm_record *record;
  uint32_t links = 0, entries = 0;
  for (uint64_t at = r.pos.offset; spm_log_next(&r, &record) == SQLITE_ROW; at = r.pos.offset) {
    uint64_t end = at + spm_record_span(record->length) - 1;
    ck_assert_uint_eq(spm_offset_segment(at), spm_offset_segment(end));
    links += record->type == SPM_REC_LINK;
    spm_entry_cursor e;
    for (spm_entries_open(&e, record); spm_entries_next(&e);) entries++;
    ck_assert_ptr_eq(e.next, e.end);
  }
  ck_assert_uint_eq(links, 200u * BLOCK / SPM_SEGMENT_SIZE);
  ck_assert_uint_eq(entries, 200);
  spm_log_reader_close(&r);
  x_detach(c);
}
END_TEST

/* S7: whichever byte of the last record is not what was written, the log ends before
** it; its padding means nothing. */
START_TEST(every_flipped_byte_is_noticed) {
  x_medium(_i);
  const char *path = x_new("x.db", 8);
  spm_conn *c = x_create(path);
  spm_store *s = c->store;
  x_commit(c, 0, 1, 1);
  uint64_t start = spm_committed(s->shm)->tail.offset, lsn = spm_committed_lsn(s->shm);
  x_ok(x_begin(c));
  x_ok(spm_write(c, 2 * BLOCK + 40, 5, "12345"));
  x_ok(spm_commit_finish(c));
  x_end(c);
  const spm_record *record = (const spm_record *)(const void *)(s->log.base + start);
  uint64_t bytes = sizeof *record + record->length;
  for (uint64_t i = 0; i <= bytes; i++) {
    if (i < bytes) x_flip(path, "-pmlog", start + i);
    spm_log_reader r = reader_from_checkpoint(s, true);
    const spm_record *found;
    while (spm_log_next(&r, &found) == SQLITE_ROW) continue;
    ck_assert_msg(r.pos.lsn == lsn + (i == bytes), "byte %llu of the record may change", (unsigned long long)i);
    spm_log_reader_close(&r);
    if (i < bytes) x_flip(path, "-pmlog", start + i);
  }
  x_detach(c);
}
END_TEST

/* S7: a record of another salt, of another place, of another predecessor. */
START_TEST(whole_records_of_elsewhere_end_the_log) {
  spm_conn *c = x_create(x_new("x.db", 8));
  spm_store *s = c->store;
  spm_log_pos first = spm_committed(s->shm)->tail;
  for (uint32_t i = 0; i < 4; i++) x_commit(c, i, 1, i + 1);
  struct { uint64_t salt, offset, lsn, chain; int expected; } cases[] = {
      {0, 0, 0, 0, SQLITE_ROW}, {1, 0, 0, 0, SQLITE_DONE}, {0, 0, 1, 0, SQLITE_DONE},
      {0, 0, 0, 1, SQLITE_DONE}, {0, 1, 0, 0, SQLITE_DONE}, {0, 64, 0, 0, SQLITE_DONE},
      {0, UINT64_C(1) << 45, 0, 0, SQLITE_CORRUPT}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    spm_log_pos from = {first.offset + cases[i].offset, first.lsn + cases[i].lsn, first.chain + cases[i].chain};
    spm_log_reader r;
    const spm_record *record;
    x_ok(spm_log_reader_open(&r, &s->log, s->shm->salt + cases[i].salt, from, true));
    ck_assert_msg(spm_log_next(&r, &record) == cases[i].expected, "case %zu", i);
    spm_log_reader_close(&r);
  }
  x_detach(c);
}
END_TEST

/* A rolled back transaction gives its segments back, and leaves nothing to be read. */
START_TEST(rollback_gives_segments_back) {
  spm_conn *c = x_create(x_new("x.db", 300));
  spm_shm *shm = c->store->shm;
  x_commit(c, 0, 1, 1);
  uint32_t used = shm->segments_used;
  for (int i = 0; i < 3; i++) {
    x_ok(x_begin(c));
    x_ok(x_fill(c, 0, 250, 2));
    x_ok(spm_commit_stage(c, NULL));
    ck_assert_uint_gt(shm->segments_used, used + 2);
    if (i == 1) x_ok(x_fill(c, 1, 1, 3)); /* staged anew: the first stage's segments go */
    if (i == 1) x_ok(spm_commit_stage(c, NULL));
    x_ok(spm_commit_rollback(c));
    x_end(c);
    ck_assert_uint_eq(shm->segments_used, used);
  }
  ck_assert_uint_eq(x_read(c, 0, 1), 1);
  x_commit(c, 0, 1, 4);
  ck_assert_uint_eq(x_read(c, 0, 1), 4);
  x_detach(c);
}
END_TEST

/* ----------------------------------------------------------------- entries -- */

/* A record whose payload ends where memory does: what reads too far, dies. */
static spm_record *record_at_the_edge(uint32_t length) {
  static char *pages;
  if (pages == NULL) {
    pages = mmap(NULL, 4 * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(pages, MAP_FAILED);
    ck_assert_int_eq(mprotect(pages + 3 * BLOCK, BLOCK, PROT_NONE), 0);
  }
  /* Records are aligned in memory; so only a length of whole lines ends at the edge. */
  spm_record *record = (spm_record *)(void *)(pages + 3 * BLOCK - spm_record_span(length));
  memset(record, 0, sizeof *record);
  record->type = SPM_REC_DATA;
  record->length = length;
  return record;
}

static uint32_t entries_of(const spm_record *record) {
  uint32_t count = 0;
  const uint8_t *payload = (const uint8_t *)(record + 1);
  spm_entry_cursor e;
  for (spm_entries_open(&e, record); spm_entries_next(&e); count++) {
    ck_assert_uint_le(e.entry.offset + e.entry.length, BLOCK);
    ck_assert(e.bytes >= payload + sizeof(spm_entry));
    ck_assert(e.bytes + e.entry.length <= payload + record->length);
  }
  return count;
}

START_TEST(malformed_entries_end_the_walk) {
  struct { spm_entry entry; uint32_t length, expected; } cases[] = {
      {{1, 0, 8}, 64, 1},       {{1, 0, 56}, 64, 1},  {{1, 0, 57}, 64, 0}, {{1, 0, 0}, 64, 0},
      {{1, 4088, 8}, 64, 1},    {{1, 4089, 8}, 64, 0}, {{1, 65535, 65535}, 64, 0}, {{1, 0, 4097}, 64, 0},
      {{1, 0, 4096}, 4096, 0},  {{1, 0, 4096}, 4160, 1}, {{1, 1, 4096}, 4160, 0}, {{1, 0, 8}, 0, 0}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    spm_record *record = record_at_the_edge(cases[i].length);
    memset(record + 1, 0, cases[i].length);
    if (cases[i].length > 0) memcpy(record + 1, &cases[i].entry, sizeof(spm_entry));
    ck_assert_msg(entries_of(record) == cases[i].expected, "case %zu", i);
    record->type = SPM_REC_PREPARE; /* whose payload is a name */
    ck_assert_uint_eq(entries_of(record), 0);
  }
}
END_TEST

START_TEST(random_entries_stay_in_their_record) {
  uint64_t seed = x_seed();
  for (int round = 0; round < 50000; round++) {
    spm_record *record = record_at_the_edge((uint32_t)(x_random(&seed) % 3) * 64 + 64);
    uint16_t *payload = (uint16_t *)(void *)(record + 1);
    for (uint32_t i = 0; i < record->length / 2; i++)
      payload[i] = (uint16_t)(x_random(&seed) >> (x_random(&seed) % 16));
    (void)entries_of(record);
  }
}
END_TEST

/* ------------------------------------------------------------- differences -- */

static void check_difference(const uint8_t *old_block, const uint8_t *new_block) {
  uint8_t block[BLOCK];
  spm_diff d;
  spm_diff_blocks(&d, old_block, new_block);
  ck_assert_uint_le(d.count, SPM_DIFF_RANGES);
  memcpy(block, old_block, BLOCK);
  uint32_t end = 0;
  for (uint32_t i = 0; i < d.count; i++) {
    ck_assert_uint_gt(d.range[i].length, 0);
    ck_assert_uint_ge(d.range[i].offset, end);
    end = (uint32_t)d.range[i].offset + d.range[i].length;
    ck_assert_uint_le(end, BLOCK);
    memcpy(block + d.range[i].offset, new_block + d.range[i].offset, d.range[i].length);
  }
  ck_assert_mem_eq(block, new_block, BLOCK);
}

START_TEST(differences_reproduce_the_block) {
  static uint8_t old_block[BLOCK], new_block[BLOCK];
  uint64_t seed = x_seed();
  for (uint32_t gap = 8; gap < 128; gap += 8) { /* one word in every `gap` bytes: the most ranges */
    memset(old_block, 1, BLOCK);
    memcpy(new_block, old_block, BLOCK);
    for (uint32_t at = 0; at < BLOCK; at += gap) new_block[at] = 2;
    check_difference(old_block, new_block);
  }
  for (int round = 0; round < 3000; round++) {
    uint32_t changes = (uint32_t)x_random(&seed) % (round % 3 ? 8 : 300);
    for (uint32_t i = 0; i < BLOCK; i++) old_block[i] = (uint8_t)x_random(&seed);
    memcpy(new_block, old_block, BLOCK);
    for (uint32_t i = 0; i < changes; i++) {
      uint32_t at = (uint32_t)x_random(&seed) % BLOCK, n = (uint32_t)x_random(&seed) % 40 + 1;
      for (uint32_t j = at; j < at + n && j < BLOCK; j++) new_block[j] = (uint8_t)x_random(&seed);
    }
    check_difference(old_block, new_block);
  }
}
END_TEST

START_TEST(differences_are_small_or_whole) {
  static uint8_t old_block[BLOCK], new_block[BLOCK];
  spm_diff d;
  spm_diff_blocks(&d, old_block, new_block);
  ck_assert_uint_eq(d.count, 0);
  new_block[BLOCK - 1] = 1;
  spm_diff_blocks(&d, old_block, new_block);
  ck_assert_uint_eq(d.count, 1);
  ck_assert_uint_eq(d.range[0].length, 8);
  memset(new_block, 1, BLOCK / 2 + 8);
  spm_diff_blocks(&d, old_block, new_block);
  ck_assert_uint_eq(d.count, 1);
  ck_assert_uint_eq(d.range[0].length, BLOCK);
}
END_TEST

/* --------------------------------------------------------------- write set -- */

#define SET_BLOCKS 3000u

START_TEST(write_set_remembers_each_block) {
  static int model[SET_BLOCKS]; /* 0: not there, 1: evicted, else its first byte */
  uint64_t seed = x_seed();
  spm_writeset w = {0};
  for (int round = 0; round < 6; round++) {
    memset(model, 0, sizeof model);
    for (uint32_t i = 0; i < 200u << round; i++) {
      uint32_t number = (uint32_t)x_random(&seed) % SET_BLOCKS, block = number * 16384u;
      bool fresh;
      spm_dirty *d = spm_writeset_find(&w, block);
      ck_assert_int_eq(d != NULL, model[number] != 0);
      if (d != NULL && d->bytes != NULL && i % 5 == 0) {
        spm_writeset_evict(&w, d);
        model[number] = 1;
        continue;
      }
      d = spm_writeset_put(&w, block, &fresh);
      ck_assert_int_eq(fresh, model[number] < 2);
      if (!fresh) ck_assert_int_eq(d->bytes[0], model[number]);
      model[number] = 2 + (int)(i % 200);
      memset(d->bytes, model[number], BLOCK);
    }
    uint32_t resident = 0, count = 0;
    for (uint32_t i = 0; i < SET_BLOCKS; i++) {
      spm_dirty *d = spm_writeset_find(&w, i * 16384u);
      ck_assert_int_eq(d != NULL, model[i] != 0);
      if (d == NULL) continue;
      count++;
      resident += d->bytes != NULL;
      if (d->bytes != NULL) ck_assert_int_eq(d->bytes[BLOCK - 1], model[i]);
    }
    ck_assert_uint_eq(count, w.count);
    ck_assert_uint_eq(resident, w.resident);
    spm_writeset_clear(&w);
    for (uint32_t i = 0; i <= w.index_mask; i++) ck_assert_uint_eq(w.index[i], 0);
  }
  spm_writeset_free(&w);
}
END_TEST

/* A transaction that changes every 2^n-th block: were they at one place of the table, finding
** each would take as long as there are blocks. */
START_TEST(blocks_at_regular_distances_have_places_of_their_own) {
  static uint8_t blocks_at[4096];
  for (uint32_t distance = 1; distance <= 1u << 20; distance *= 2) {
    unsigned shared = 0;
    memset(blocks_at, 0, sizeof blocks_at);
    for (uint32_t i = 0; i < 2048; i++) shared += blocks_at[spm_hash_block(i * distance, 4095)]++ != 0;
    ck_assert_msg(shared < 1024, "at distance %u %u of 2048 share a place", distance, shared);
  }
}
END_TEST

/* ------------------------------------------------------------------ images -- */

#define IMAGE_BLOCKS 40u
#define IMAGE_COMMITS 400u
#define IMAGE_SNAPSHOTS 5u

static uint64_t history[IMAGE_COMMITS + 1][IMAGE_BLOCKS]; /* what each LSN holds */

static void put_block(spm_store *s, uint32_t block, uint64_t value) {
  uint64_t *words = (uint64_t *)(void *)(s->data.base + (uint64_t)block * BLOCK);
  for (uint32_t i = 0; i < BLOCK / 8; i++) words[i] = value;
}

/* What a reader would get: the image, or else the block in place. */
static uint64_t seen(spm_store *s, uint32_t block, uint64_t snapshot) {
  uint64_t word;
  uint32_t at = (block * 8 + (uint32_t)snapshot * 40) % BLOCK;
  memcpy(&word, s->data.base + (uint64_t)block * BLOCK + at, 8);
  int rc = spm_versions_read(s, block, snapshot, at, 8, &word);
  if (rc != SQLITE_OK && rc != SQLITE_NOTFOUND) ck_abort_msg("the table says %d", rc);
  return word;
}

static void check_snapshots(spm_store *s, const uint64_t *live) {
  for (uint32_t i = 0; i < IMAGE_SNAPSHOTS; i++)
    for (uint32_t b = 0; live[i] != 0 && b < IMAGE_BLOCKS; b++)
      if (seen(s, b, live[i]) != history[live[i]][b])
        ck_abort_msg("block %u at LSN %llu is %llu, not %llu", b, (unsigned long long)live[i],
                     (unsigned long long)seen(s, b, live[i]), (unsigned long long)history[live[i]][b]);
}

static void limits(const uint64_t *live, uint64_t *oldest, uint64_t *newest) {
  *oldest = UINT64_MAX;
  *newest = 0;
  for (uint32_t i = 0; i < IMAGE_SNAPSHOTS; i++) {
    if (live[i] == 0) continue;
    if (live[i] < *oldest) *oldest = live[i];
    if (live[i] > *newest) *newest = live[i];
  }
}

/* S12: random commits over random snapshots; each snapshot sees its own LSN, a sweep
** changes nothing, an image is saved once a block and newest snapshot, and all are free
** in the end. */
START_TEST(images_serve_every_snapshot) {
  spm_conn *c = x_create(x_new("x.db", IMAGE_BLOCKS));
  spm_store *s = c->store;
  spm_shm *shm = s->shm;
  uint64_t seed = x_seed(), live[IMAGE_SNAPSHOTS] = {0}, oldest, newest;
  for (uint32_t b = 0; b < IMAGE_BLOCKS; b++) put_block(s, b, history[1][b] = b);
  for (uint64_t lsn = 1; lsn < IMAGE_COMMITS; lsn++) {
    live[x_random(&seed) % IMAGE_SNAPSHOTS] = x_random(&seed) % 3 ? lsn : 0;
    limits(live, &oldest, &newest);
    memcpy(history[lsn + 1], history[lsn], sizeof history[lsn]);
    uint32_t changed = (uint32_t)x_random(&seed) % 12;
    x_ok(spm_versions_reserve(s, 2 * changed));
    for (uint32_t i = 0; i < changed; i++) {
      uint32_t b = (uint32_t)x_random(&seed) % IMAGE_BLOCKS, before = atomic_load(&shm->images_live);
      if (newest != 0) x_ok(spm_versions_save(s, b, lsn + 1, newest));
      uint32_t after = atomic_load(&shm->images_live);
      if (newest != 0) x_ok(spm_versions_save(s, b, lsn + 1, newest));
      ck_assert_uint_eq(atomic_load(&shm->images_live), after); /* once a commit */
      ck_assert_uint_le(after, before + 1);
      put_block(s, b, history[lsn + 1][b] = lsn * 1000 + i);
    }
    if (lsn % 7 == 0) x_ok(spm_versions_rebuild(s, lsn + 1));
    spm_versions_reclaim(s, oldest, (uint32_t)x_random(&seed) % 20);
    check_snapshots(s, live);
  }
  spm_versions_reclaim(s, UINT64_MAX, UINT32_MAX);
  ck_assert_uint_eq(atomic_load(&shm->images_live), 0);
  ck_assert_uint_eq(shm->image_free_count, shm->image_count);
  for (uint32_t i = 0; i < SPM_BUCKET_COUNT; i++) ck_assert_uint_eq(shm->buckets[i], SPM_IMAGE_NONE);
  x_detach_dirty(c);
}
END_TEST

/* S12: what was saved for a commit that never came to be goes in the sweep. */
START_TEST(sweep_drops_images_of_no_commit) {
  spm_conn *c = x_create(x_new("x.db", 4));
  spm_store *s = c->store;
  uint64_t word;
  put_block(s, 1, 11);
  x_ok(spm_versions_save(s, 1, 5, 4));
  put_block(s, 1, 12);
  x_ok(spm_versions_save(s, 1, 6, 5));
  x_ok(spm_versions_rebuild(s, 5));
  ck_assert_int_eq(spm_versions_read(s, 1, 4, 0, 8, &word), SQLITE_OK);
  ck_assert_uint_eq(word, 11);
  ck_assert_int_eq(spm_versions_read(s, 1, 5, 0, 8, &word), SQLITE_NOTFOUND);
  ck_assert_uint_eq(atomic_load(&s->shm->images_live), 1);
  x_detach_dirty(c);
}
END_TEST

static void set_published(spm_store *s, uint64_t lsn) {
  atomic_store(&s->shm->published, SPM_PUBLISHED(lsn, SPM_PHASE_IDLE));
}

/* The only image of its block leaves its bucket, as if its writer had died on the way. */
static void unlink_only(spm_store *s) {
  for (uint32_t i = 0; i < SPM_BUCKET_COUNT; i++) atomic_store(&s->shm->buckets[i], SPM_IMAGE_NONE);
}

/* S12: dead between an image and its bucket: what the commit to be finished needs comes
** in; what was on its way out does not come back. */
START_TEST(sweep_finishes_what_was_begun) {
  for (uint64_t published = 4; published <= 5; published++) {
    spm_conn *c = x_create(x_new("x.db", 4));
    spm_store *s = c->store;
    uint64_t word;
    put_block(s, 1, 11);
    x_ok(spm_versions_save(s, 1, 5, 4));
    put_block(s, 1, 12);
    unlink_only(s);
    set_published(s, published);
    x_ok(spm_versions_rebuild(s, 5));
    int rc = spm_versions_read(s, 1, 4, 0, 8, &word);
    ck_assert_int_eq(rc, published == 4 ? SQLITE_OK : SQLITE_NOTFOUND);
    if (rc == SQLITE_OK) ck_assert_uint_eq(word, 11);
    ck_assert_uint_eq(atomic_load(&s->shm->images_live), published == 4);
    ck_assert_uint_eq(s->shm->image_free_count + (published == 4), s->shm->image_count);
    x_detach_dirty(c);
  }
}
END_TEST

/* A chain in a circle is no reason to walk for ever. */
START_TEST(sweep_refuses_a_circle) {
  spm_conn *c = x_create(x_new("x.db", 4));
  spm_store *s = c->store;
  put_block(s, 1, 11);
  x_ok(spm_versions_save(s, 1, 5, 4));
  for (uint32_t i = 0; i < SPM_BUCKET_COUNT; i++)
    if (s->shm->buckets[i] == SPM_IMAGE_NONE) atomic_store(&s->shm->buckets[i], s->shm->images.newest);
  ck_assert_int_eq(spm_versions_rebuild(s, 5), SQLITE_CORRUPT);
  x_detach_dirty(c);
}
END_TEST

#define CHAIN_BLOCKS 40000u
#define CHAIN_US 500000u

typedef struct chain {
  spm_store *s;
  uint32_t pinned, near, far; /* two blocks of one bucket, and one of another */
  _Atomic bool stop;
} chain;

static uint32_t bucket_number(uint32_t block) { return (block * 2654435769u) >> 18; }

/* Images come and go in the pinned one's bucket, and what is freed is used elsewhere. */
static void *churn(void *argument) {
  chain *k = argument;
  for (uint64_t lsn = 10; !k->stop; lsn += 2) {
    if (spm_versions_reserve(k->s, 4) != SQLITE_OK) abort();
    if (spm_versions_save(k->s, k->near, lsn, lsn - 1) != SQLITE_OK) abort();
    if (spm_versions_save(k->s, k->far, lsn + 1, lsn) != SQLITE_OK) abort();
    for (int i = 0; i < 2; i++) {
      k->s->shm->sweep_bucket = bucket_number(i ? k->far : k->near);
      spm_versions_sweep(k->s, (uint64_t[]){4}, 1, 1);
    }
  }
  return NULL;
}

/* S12: a reader's walk that meets a change is walked again. */
START_TEST(walks_that_met_a_change_do_not_count) {
  spm_conn *c = x_create(x_new("x.db", CHAIN_BLOCKS));
  chain k = {.s = c->store, .pinned = 1, .far = 2};
  for (k.near = 3; bucket_number(k.near) != bucket_number(k.pinned);) k.near++;
  ck_assert_uint_lt(k.near, CHAIN_BLOCKS);
  put_block(k.s, k.pinned, 11);
  x_ok(spm_versions_save(k.s, k.pinned, 5, 4));
  put_block(k.s, k.pinned, 12);
  pthread_t thread;
  ck_assert_int_eq(pthread_create(&thread, NULL, churn, &k), 0);
  uint64_t word = 11;
  for (uint64_t end = spm_now_us() + CHAIN_US; word == 11 && spm_now_us() < end;) word = seen(k.s, k.pinned, 4);
  k.stop = true;
  (void)pthread_join(thread, NULL);
  ck_assert_uint_eq(word, 11);
  x_detach_dirty(c);
}
END_TEST

/* ------------------------------------------------------------- superblocks -- */

static uint64_t sequence_of(spm_region *log) {
  spm_superblock block;
  x_ok(spm_superblock_read(log, &block));
  return block.sequence;
}

/* S6: two slots in turn; a torn one leaves the other. */
START_TEST(either_superblock_may_be_torn) {
  const char *path = x_new("x.db", 4);
  spm_conn *c = x_create(path);
  spm_region *log = &c->store->log;
  spm_superblock block;
  x_ok(spm_superblock_read(log, &block));
  for (uint64_t sequence = 10; sequence < 12; sequence++) {
    for (block.sequence = sequence; block.sequence < sequence + 2; block.sequence++) x_ok(spm_superblock_write(log, &block));
    ck_assert_uint_eq(sequence_of(log), sequence + 1);
    for (uint64_t i = 0; i < sizeof block; i++) {
      x_flip(path, "-pmlog", ((sequence + 1) & 1) * SPM_SUPERBLOCK_STRIDE + i);
      ck_assert_msg(sequence_of(log) == sequence, "byte %llu may change", (unsigned long long)i);
      x_flip(path, "-pmlog", ((sequence + 1) & 1) * SPM_SUPERBLOCK_STRIDE + i);
      x_flip(path, "-pmlog", (sequence & 1) * SPM_SUPERBLOCK_STRIDE + i);
      ck_assert_uint_eq(sequence_of(log), sequence + 1);
      x_flip(path, "-pmlog", (sequence & 1) * SPM_SUPERBLOCK_STRIDE + i);
    }
  }
  ck_assert_uint_ge(SPM_SUPERBLOCK_STRIDE, 4096);
  x_detach_dirty(c);
}
END_TEST

static void put_superblock(const char *path, spm_superblock block) {
  block.sequence = 1000;
  block.checksum = XXH3_64bits((const uint8_t *)&block + 8, sizeof block - 8);
  x_patch(path, "-pmlog", 0, &block, sizeof block);
}

START_TEST(superblocks_that_cannot_be_are_refused) {
  const char *path = x_new("x.db", 4);
  spm_conn *c = x_create(path);
  spm_region *log = &c->store->log;
  spm_superblock good, bad, found;
  x_ok(spm_superblock_read(log, &good));
  put_superblock(path, good);
  x_ok(spm_superblock_read(log, &found));
  for (int i = 0; i < 7; i++) {
    bad = good;
    if (i == 0) bad.version = 2;
    if (i == 1) bad.block_size = 8192;
    if (i == 2) bad.segment_size *= 2;
    if (i == 3) bad.checkpoint.offset = 4096;
    if (i == 4) bad.checkpoint.offset += 32;
    if (i == 5) bad.checkpoint.lsn = 0;
    if (i == 6) bad.magic ^= 1; /* another byte order, say: then the older slot counts */
    put_superblock(path, bad);
    int expected = i == 0 ? SQLITE_CANTOPEN : i == 6 ? SQLITE_OK : SQLITE_CORRUPT;
    ck_assert_msg(spm_superblock_read(log, &found) == expected, "case %d", i);
  }
  uint8_t zeros[2 * SPM_SUPERBLOCK_STRIDE] = {0};
  x_patch(path, "-pmlog", 0, zeros, sizeof zeros);
  ck_assert_int_eq(spm_superblock_read(log, &found), SQLITE_CORRUPT);
  x_detach_dirty(c);
}
END_TEST

/* ------------------------------------------------------------------- space -- */

/* The log stays below its limit however much is committed, and a transaction larger
** than the limit gives its space back. */
START_TEST(log_stays_below_its_limit) {
  x_medium(_i);
  const char *path = x_new("x.db", 2000);
  spm_conn *c = x_create(path);
  const uint64_t limit = 2u << 20;
  x_limit_log(c, limit);
  for (uint32_t i = 0; i < 3000; i++) x_commit(c, i % 50, 1, i);
  ck_assert_uint_le(x_length(path, "-pmlog"), limit + SPM_SEGMENT_SIZE + SPM_LOG_HEADER_SIZE);
  x_commit(c, 0, 2000, 1);
  for (uint32_t i = 0; i < 200; i++) x_commit(c, i % 50, 1, i);
  ck_assert_uint_le(x_length(path, "-pmlog"), limit + SPM_SEGMENT_SIZE + SPM_LOG_HEADER_SIZE);
  x_detach(c);
}
END_TEST

Suite *log_suite(void) {
  Suite *suite = suite_create("log");
  TCase *log = tcase_create("log");
  tcase_set_timeout(log, 60);
  tcase_add_loop_test(log, records_form_a_chain, 0, X_MEDIA);
  tcase_add_loop_test(log, segments_are_linked, 0, X_MEDIA);
  tcase_add_loop_test(log, every_flipped_byte_is_noticed, 0, X_MEDIA);
  tcase_add_test(log, whole_records_of_elsewhere_end_the_log);
  tcase_add_test(log, rollback_gives_segments_back);
  tcase_add_test(log, malformed_entries_end_the_walk);
  tcase_add_test(log, random_entries_stay_in_their_record);
  tcase_add_test(log, differences_reproduce_the_block);
  tcase_add_test(log, differences_are_small_or_whole);
  tcase_add_test(log, write_set_remembers_each_block);
  tcase_add_test(log, blocks_at_regular_distances_have_places_of_their_own);
  tcase_add_test(log, images_serve_every_snapshot);
  tcase_add_test(log, sweep_drops_images_of_no_commit);
  tcase_add_test(log, sweep_finishes_what_was_begun);
  tcase_add_test(log, sweep_refuses_a_circle);
  tcase_add_test(log, walks_that_met_a_change_do_not_count);
  tcase_add_test(log, either_superblock_may_be_torn);
  tcase_add_test(log, superblocks_that_cannot_be_are_refused);
  tcase_add_loop_test(log, log_stays_below_its_limit, 0, X_MEDIA);
  suite_add_tcase(suite, log);
  return suite;
}
