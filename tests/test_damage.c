/*
** test_damage.c - what is signed and makes no sense, and shared memory that somebody has
** scribbled over.  Each case is one that fuzzing asked about (tests/fuzz).
*/
#include "fixture.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK SPM_BLOCK_SIZE

/* --------------------------------------------------------- signed nonsense -- */

static const char *log_file(const char *path) { return x_beside(path, "-pmlog"); }

static void read_at(const char *file, uint64_t offset, void *to, size_t n) {
  FILE *f = fopen(file, "rb");
  ck_assert_ptr_nonnull(f);
  ck_assert_int_eq(fseek(f, (long)offset, SEEK_SET), 0);
  ck_assert_uint_eq(fread(to, 1, n, f), n);
  (void)fclose(f);
}

static spm_superblock superblock_of(const char *path) {
  spm_superblock slot[2];
  read_at(log_file(path), 0, &slot[0], sizeof slot[0]);
  read_at(log_file(path), SPM_SUPERBLOCK_STRIDE, &slot[1], sizeof slot[1]);
  return slot[slot[0].sequence > slot[1].sequence ? 0 : 1];
}

/* The record at `offset` with its checksum made right. */
static void put_record(const char *path, uint64_t offset, spm_record *record, size_t n) {
  record->checksum = XXH3_64bits_withSeed((uint8_t *)record + 8, n - 8, superblock_of(path).salt);
  x_patch(path, "-pmlog", offset, record, n);
}

/* With room for a segment. */
static spm_record *read_record(const char *path, uint64_t offset) {
  spm_record head, *record = calloc(1, SPM_SEGMENT_SIZE);
  ck_assert_ptr_nonnull(record);
  read_at(log_file(path), offset, &head, sizeof head);
  ck_assert_uint_le(sizeof head + head.length, SPM_SEGMENT_SIZE);
  read_at(log_file(path), offset, record, sizeof head + head.length);
  return record;
}

/* A crashed database with one commit in the log: of one block, in one record. */
static const char *crashed_once(uint64_t *offset, spm_record **record, size_t *n) {
  const char *path = x_new("x.db", 4);
  spm_conn *c = x_create(path);
  x_commit(c, 1, 1, 7);
  x_detach_dirty(c);
  *offset = superblock_of(path).checkpoint.offset;
  *record = read_record(path, *offset);
  ck_assert_uint_eq((*record)->flags, SPM_REC_COMMIT);
  *n = sizeof **record + (*record)->length;
  return path;
}

static void entry_past_the_block(spm_record *r) { ((spm_entry *)(r + 1))->offset = 4000; }
static void one_entry_too_many(spm_record *r) { r->entries++; }
static void a_size_past_all_bounds(spm_record *r) { r->argument = UINT64_MAX - BLOCK; }
static void a_block_past_all_bounds(spm_record *r) {
  ((spm_entry *)(r + 1))->block = UINT32_MAX;
  r->argument = UINT64_MAX;
}
static void an_unknown_type(spm_record *r) { r->type = 9; }
static void an_unknown_flag(spm_record *r) { r->flags |= 2; }
static void a_link_with_a_payload(spm_record *r) { r->type = SPM_REC_LINK; }
static void a_number_of_the_past(spm_record *r) { r->txid = 0; }
static void a_number_without_successor(spm_record *r) { r->txid = UINT64_MAX; }
static void a_prepare_that_commits(spm_record *r) { r->type = SPM_REC_PREPARE; }

static void (*const nonsense[])(spm_record *) = {
    entry_past_the_block, one_entry_too_many, a_size_past_all_bounds, a_block_past_all_bounds, an_unknown_type,
    an_unknown_flag, a_link_with_a_payload, a_number_of_the_past,
    a_number_without_successor, a_prepare_that_commits};

START_TEST(signed_nonsense_is_refused) {
  uint64_t offset;
  spm_record *record;
  size_t n;
  spm_conn *c;
  const char *path = crashed_once(&offset, &record, &n);
  spm_record whole = *record;
  put_record(path, offset, record, n); /* signing alone is no damage */
  x_detach_dirty(x_join(path));
  path = crashed_once(&offset, &record, &n);
  nonsense[_i](record);
  put_record(path, offset, record, n);
  ck_assert_int_eq(x_try_join(path, &c), SQLITE_CORRUPT);
  ck_assert_ptr_nonnull(strstr(spm_last_error(), "makes no sense"));
  ck_assert_uint_eq(whole.lsn, 2);
  free(record);
}
END_TEST

/* Two transactions in one another: the second record belongs to somebody else. */
START_TEST(transactions_follow_each_other) {
  spm_conn *c;
  const char *path = x_new("x.db", 120);
  c = x_create(path);
  x_commit(c, 0, 100, 7); /* more than a segment: several records */
  x_detach_dirty(c);
  spm_superblock block = superblock_of(path);
  spm_record *record = read_record(path, block.checkpoint.offset);
  ck_assert_uint_eq(record->flags, 0);
  record->txid++;
  put_record(path, block.checkpoint.offset, record, sizeof *record + record->length);
  /* The one behind it has to chain to the new checksum. */
  uint64_t after = block.checkpoint.offset + spm_record_span(record->length);
  spm_record link;
  read_at(log_file(path), after, &link, sizeof link);
  ck_assert_uint_eq(link.type, SPM_REC_LINK);
  link.prev_checksum = record->checksum;
  put_record(path, after, &link, sizeof link);
  ck_assert_int_eq(x_try_join(path, &c), SQLITE_CORRUPT);
  free(record);
}
END_TEST

/* No writer leaves so little room; who reads goes on in the segment behind it, and recovers
** what the two records mean, from memory and on a disk. */
START_TEST(a_record_may_fill_its_segment) {
  x_medium(_i);
  const char *path = x_new("x.db", 120);
  spm_conn *c = x_create(path);
  x_commit(c, 0, 100, 7);
  x_detach_dirty(c);
  uint64_t first = superblock_of(path).checkpoint.offset, second = first + SPM_SEGMENT_SIZE;
  ck_assert_uint_eq(first, spm_segment_offset(0));
  spm_record *record = read_record(path, first);
  uint8_t *payload = (uint8_t *)(record + 1);
  spm_entry more = {.block = 1, .length = (uint16_t)(SPM_SEGMENT_SIZE - sizeof *record - record->length - sizeof more)};
  ck_assert_uint_le(more.length, BLOCK);
  memcpy(payload + record->length, &more, sizeof more);
  memcpy(payload + record->length + sizeof more, payload + sizeof more, more.length);
  record->length = SPM_SEGMENT_SIZE - sizeof *record;
  record->entries++;
  put_record(path, first, record, SPM_SEGMENT_SIZE);
  spm_record *last = read_record(path, second);
  ck_assert_uint_eq(last->flags, SPM_REC_COMMIT);
  last->lsn = record->lsn + 1;
  last->prev_checksum = record->checksum;
  put_record(path, second, last, sizeof *last + last->length);
  c = x_join(path);
  ck_assert_uint_eq(x_read(c, 0, 100), 7);
  x_detach(c);
  free(last);
  free(record);
}
END_TEST

static void an_lsn_past_all_bounds(spm_superblock *b) { b->checkpoint.lsn = UINT64_C(1) << 62; }
static void a_place_past_all_bounds(spm_superblock *b) { b->checkpoint.offset = UINT64_MAX - 63; }
static void a_length_past_all_bounds(spm_superblock *b) { b->logical_size = (UINT64_C(1) << 44) + 1; }
static void no_number_for_a_transaction(spm_superblock *b) { b->next_txid = 0; }
static void (*const contradictions[])(spm_superblock *) = {an_lsn_past_all_bounds, a_place_past_all_bounds,
                                                           a_length_past_all_bounds, no_number_for_a_transaction};

START_TEST(signed_superblocks_that_cannot_be_are_refused) {
  uint64_t offset;
  spm_record *record;
  size_t n;
  spm_conn *c;
  const char *path = crashed_once(&offset, &record, &n);
  spm_superblock block = superblock_of(path);
  contradictions[_i](&block);
  block.checksum = XXH3_64bits((uint8_t *)&block + 8, sizeof block - 8);
  x_patch(path, "-pmlog", (block.sequence & 1) * SPM_SUPERBLOCK_STRIDE, &block, sizeof block);
  ck_assert_int_eq(x_try_join(path, &c), SQLITE_CORRUPT);
  ck_assert_ptr_nonnull(strstr(spm_last_error(), "contradict"));
  free(record);
}
END_TEST

#define COUNT(array) (int)(sizeof(array) / sizeof *(array))

Suite *damage_suite(void) {
  Suite *suite = suite_create("damage");
  TCase *log = tcase_create("signed");
  tcase_set_timeout(log, 60);
  tcase_add_loop_test(log, signed_nonsense_is_refused, 0, COUNT(nonsense));
  tcase_add_test(log, transactions_follow_each_other);
  tcase_add_loop_test(log, a_record_may_fill_its_segment, 0, X_MEDIA);
  tcase_add_loop_test(log, signed_superblocks_that_cannot_be_are_refused, 0, COUNT(contradictions));
  suite_add_tcase(suite, log);
  return suite;
}
