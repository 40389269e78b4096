/*
** test_format.c - pins what reaches media.  A change here is a change of the format:
** edit by hand, together with SPM_FORMAT_VERSION.
*/
#include "tests.h"

#include "../vfs/store/format.h"
#include "../vfs/store/shm_layout.h"

START_TEST(superblock_is_pinned) {
  ck_assert_uint_eq(SPM_FORMAT_VERSION, 1);
  ck_assert_uint_eq(sizeof(spm_superblock), 128);
  ck_assert_uint_eq(offsetof(spm_superblock, checksum), 0);
  ck_assert_uint_eq(offsetof(spm_superblock, magic), 8);
  ck_assert_uint_eq(offsetof(spm_superblock, version), 16);
  ck_assert_uint_eq(offsetof(spm_superblock, block_size), 20);
  ck_assert_uint_eq(offsetof(spm_superblock, segment_size), 24);
  ck_assert_uint_eq(offsetof(spm_superblock, clean), 28);
  ck_assert_uint_eq(offsetof(spm_superblock, life), 32);
  ck_assert_uint_eq(offsetof(spm_superblock, sequence), 48);
  ck_assert_uint_eq(offsetof(spm_superblock, salt), 56);
  ck_assert_uint_eq(offsetof(spm_superblock, checkpoint), 64);
  ck_assert_uint_eq(offsetof(spm_superblock, logical_size), 88);
  ck_assert_uint_eq(offsetof(spm_superblock, next_txid), 96);
  ck_assert_uint_eq(offsetof(spm_superblock, unlogged), 104);
  ck_assert_uint_eq(SPM_SUPERBLOCK_STRIDE, 4096);
  ck_assert_uint_eq(SPM_LOG_HEADER_SIZE, 8192);
  ck_assert_mem_eq(&(uint64_t){SPM_SUPERBLOCK_MAGIC}, "PmemLog1", 8);
}
END_TEST

START_TEST(record_is_pinned) {
  ck_assert_uint_eq(sizeof(spm_record), 64);
  ck_assert_uint_eq(offsetof(spm_record, checksum), 0);
  ck_assert_uint_eq(offsetof(spm_record, magic), 8);
  ck_assert_uint_eq(offsetof(spm_record, type), 12);
  ck_assert_uint_eq(offsetof(spm_record, flags), 14);
  ck_assert_uint_eq(offsetof(spm_record, lsn), 16);
  ck_assert_uint_eq(offsetof(spm_record, txid), 24);
  ck_assert_uint_eq(offsetof(spm_record, prev_checksum), 32);
  ck_assert_uint_eq(offsetof(spm_record, durable_lsn), 40);
  ck_assert_uint_eq(offsetof(spm_record, argument), 48);
  ck_assert_uint_eq(offsetof(spm_record, length), 56);
  ck_assert_uint_eq(offsetof(spm_record, entries), 60);
  ck_assert_mem_eq(&(uint32_t){SPM_RECORD_MAGIC}, "PLcR", 4);
  ck_assert_int_eq(SPM_REC_DATA, 1);
  ck_assert_int_eq(SPM_REC_LINK, 2);
  ck_assert_int_eq(SPM_REC_PREPARE, 3);
  ck_assert_int_eq(SPM_REC_SETTLE, 4);
  ck_assert_uint_eq(SPM_REC_COMMIT, 1);
}
END_TEST

START_TEST(entry_is_pinned) {
  ck_assert_uint_eq(sizeof(spm_entry), 8);
  ck_assert_uint_eq(offsetof(spm_entry, block), 0);
  ck_assert_uint_eq(offsetof(spm_entry, offset), 4);
  ck_assert_uint_eq(offsetof(spm_entry, length), 6);
  ck_assert_uint_eq(spm_entry_span(1), 16);
  ck_assert_uint_eq(spm_entry_span(8), 16);
  ck_assert_uint_eq(spm_record_span(0), 64);
  ck_assert_uint_eq(spm_record_span(1), 128);
  ck_assert_uint_eq(spm_segment_offset(1), 8192 + 262144);
}
END_TEST

START_TEST(shared_memory_is_pinned) {
  ck_assert_uint_eq(SPM_SHM_VERSION, 4);
  ck_assert_uint_eq(sizeof(spm_slot), 64);
  ck_assert_uint_eq(sizeof(spm_image_meta), 32);
  ck_assert_uint_ge(SPM_SLOT_COUNT, 200);
  ck_assert_mem_eq(&(uint64_t){SPM_SHM_MAGIC}, "PmeMshm1", 8);
}
END_TEST

Suite *format_suite(void) {
  Suite *suite = suite_create("format");
  TCase *layout = tcase_create("layout");
  tcase_add_test(layout, superblock_is_pinned);
  tcase_add_test(layout, record_is_pinned);
  tcase_add_test(layout, entry_is_pinned);
  tcase_add_test(layout, shared_memory_is_pinned);
  suite_add_tcase(suite, layout);
  return suite;
}
