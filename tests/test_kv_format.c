/*
** test_kv_format.c - pins what a key-value store keeps on media.  A change here is a change
** of the format: edit by hand, together with SPM_KV_VERSION.
*/
#include "test_kv.h"

#include <stdio.h>

START_TEST(header_is_pinned) {
  ck_assert_uint_eq(SPM_KV_VERSION, 1);
  ck_assert_uint_eq(sizeof(spm_kv_header), 128);
  ck_assert_uint_eq(offsetof(spm_kv_header, magic), 0);
  ck_assert_uint_eq(offsetof(spm_kv_header, version), 16);
  ck_assert_uint_eq(offsetof(spm_kv_header, block_size), 20);
  ck_assert_uint_eq(offsetof(spm_kv_header, open), 24);
  ck_assert_uint_eq(offsetof(spm_kv_header, zero), 28);
  ck_assert_uint_eq(offsetof(spm_kv_header, life), 32);
  ck_assert_uint_eq(offsetof(spm_kv_header, id), 48);
  ck_assert_uint_eq(offsetof(spm_kv_header, generation), 64);
  ck_assert_uint_eq(offsetof(spm_kv_header, next_number), 72);
  ck_assert_uint_eq(offsetof(spm_kv_header, directory), 80);
  ck_assert_uint_eq(offsetof(spm_kv_header, trees), 84);
  ck_assert_uint_eq(offsetof(spm_kv_header, internal_trees), 88);
  ck_assert_uint_eq(offsetof(spm_kv_header, used), 92);
  ck_assert_uint_eq(offsetof(spm_kv_header, lowest_free), 96);
  ck_assert_uint_eq(offsetof(spm_kv_header, reserved), 100);
  ck_assert_mem_eq(SPM_KV_MAGIC, "sqlite-pmemkv\0\0\0", 16);
  ck_assert_mem_eq(&(uint32_t){SPM_KV_OPEN}, "open", 4);
}
END_TEST

START_TEST(space_is_pinned) {
  ck_assert_uint_eq(SPM_GROUP_BLOCKS, 262144);
  ck_assert_uint_eq(SPM_BITMAP_BLOCKS, 8);
  ck_assert_uint_eq(SPM_KV_DIRECTORY_BLOCK, 9);
  ck_assert_uint_eq(SPM_KV_FIRST_BLOCKS, 10);
}
END_TEST

START_TEST(node_is_pinned) {
  ck_assert_uint_eq(sizeof(spm_node), 48);
  ck_assert_uint_eq(offsetof(spm_node, magic), 0);
  ck_assert_uint_eq(offsetof(spm_node, level), 2);
  ck_assert_uint_eq(offsetof(spm_node, nprefix), 3);
  ck_assert_uint_eq(offsetof(spm_node, self), 4);
  ck_assert_uint_eq(offsetof(spm_node, count), 8);
  ck_assert_uint_eq(offsetof(spm_node, heap), 10);
  ck_assert_uint_eq(offsetof(spm_node, dead), 12);
  ck_assert_uint_eq(offsetof(spm_node, prefix), 16);
  ck_assert_uint_eq(SPM_KV_PREFIX_MAX, 28);
  ck_assert_uint_eq(sizeof(spm_node_slot), 8);
  ck_assert_uint_eq(offsetof(spm_node_slot, head), 0);
  ck_assert_uint_eq(offsetof(spm_node_slot, offset), 4);
  ck_assert_uint_eq(offsetof(spm_node_slot, nkey), 6);
  ck_assert_uint_eq(SPM_LEAF_CELL_HEAD, 2);
  ck_assert_uint_eq(SPM_BRANCH_CELL_HEAD, 4);
  ck_assert_uint_eq(SPM_CELL_RUN, 0xffff);
  ck_assert_uint_eq(SPM_KV_CELL_MAX, 1340);
  ck_assert_uint_eq(SPM_KV_LEVEL_MAX, 15);
}
END_TEST

START_TEST(run_and_entry_are_pinned) {
  ck_assert_uint_eq(sizeof(spm_kv_run), 16);
  ck_assert_uint_eq(offsetof(spm_kv_run, size), 0);
  ck_assert_uint_eq(offsetof(spm_kv_run, block), 8);
  ck_assert_uint_eq(sizeof(spm_kv_entry), 8);
  ck_assert_uint_eq(offsetof(spm_kv_entry, root), 0);
  ck_assert_uint_ge(SPM_KV_KEY_MAX, 1024);
  ck_assert_uint_ge(SPM_KV_VALUE_MAX, UINT64_C(256) << 20);
}
END_TEST

/* A store with one key, byte for byte where the format says it is. */
START_TEST(bytes_are_where_the_format_says) {
  const char *path = kv_path("x.kv");
  spm_kv *kv = kv_open(path);
  spm_tree t = kv_create(kv, "tree");
  kv_begin(kv);
  x_ok(spm_tree_put(&t, "a key", 5, "its value", 9));
  kv_commit(kv);
  spm_kv_close(kv, false);
  ck_assert_uint_eq(x_length(path, ""), 11 * SPM_BLOCK_SIZE);
  FILE *file = fopen(path, "rb");
  static uint8_t bytes[11 * SPM_BLOCK_SIZE];
  ck_assert_uint_eq(fread(bytes, 1, sizeof bytes, file), sizeof bytes);
  (void)fclose(file);
  const uint8_t *leaf = bytes + 10 * SPM_BLOCK_SIZE;
  ck_assert_mem_eq(bytes, "sqlite-pmemkv\0\0\0\1\0\0\0\0\20\0\0\0\0\0\0", 28);
  ck_assert_uint_eq(bytes[SPM_BLOCK_SIZE], 0xff); /* blocks 0 to 10 are in use */
  ck_assert_uint_eq(bytes[SPM_BLOCK_SIZE + 1], 0x07);
  ck_assert_mem_eq(bytes + 10 * SPM_BLOCK_SIZE - 4 - 8, "tree\12\0\0\0\0\0\0\0", 12);
  ck_assert_mem_eq(leaf, "vn\0\0\12\0\0\0\1\0\360\17\0\0\0\0", 16);
  ck_assert_mem_eq(leaf + 48, "ek a\360\17\5\0", 8);
  ck_assert_mem_eq(leaf + 4096 - 16, "\11\0a keyits value", 16);
}
END_TEST

void kv_format_cases(TCase *tcase) {
  tcase_add_test(tcase, header_is_pinned);
  tcase_add_test(tcase, space_is_pinned);
  tcase_add_test(tcase, node_is_pinned);
  tcase_add_test(tcase, run_and_entry_are_pinned);
  tcase_add_test(tcase, bytes_are_where_the_format_says);
}
