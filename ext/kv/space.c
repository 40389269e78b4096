/*
** space.c - see space.h.
*/
#include "space.h"

#include <string.h>

#define BITS_A_BLOCK (8u * SPM_BLOCK_SIZE)
#define WORD_BITS 64u

static int damaged(uint32_t block, const char *what) {
  return spm_error(SQLITE_CORRUPT, "block %u: %s", block, what);
}

/* -------------------------------------------------------------- header -- */

int spm_header_edit(spm_conn *c, spm_kv_header **header) {
  uint8_t *bytes;
  int rc = spm_write_edit(c, 0, &bytes);
  *header = (spm_kv_header *)(void *)bytes;
  return rc;
}

int spm_header_read(spm_conn *c, spm_kv_header *header) {
  if (spm_conn_size(c) < (uint64_t)SPM_KV_FIRST_BLOCKS * SPM_BLOCK_SIZE)
    return damaged(0, "the store is shorter than an empty one");
  int rc = spm_conn_read(c, 0, sizeof *header, header);
  if (rc != SQLITE_OK) return rc;
  if (memcmp(header->magic, SPM_KV_MAGIC, sizeof header->magic) != 0)
    return damaged(0, "it is not the header of a key-value store");
  if (header->version != SPM_KV_VERSION)
    return spm_error(SQLITE_CANTOPEN, "the key-value store has format version %u, and this library knows %u",
                     header->version, SPM_KV_VERSION);
  if (header->block_size != SPM_BLOCK_SIZE || spm_conn_size(c) % SPM_BLOCK_SIZE != 0)
    return damaged(0, "the header's block size is wrong");
  if (header->directory != SPM_KV_DIRECTORY_BLOCK) return damaged(0, "the directory is not where it belongs");
  return SQLITE_OK;
}

/* ------------------------------------------------------------- bitmaps -- */

static uint32_t bitmap_block(uint32_t block) {
  uint32_t group = block / SPM_GROUP_BLOCKS, first = group == 0 ? 1 : group * SPM_GROUP_BLOCKS;
  return first + block % SPM_GROUP_BLOCKS / BITS_A_BLOCK;
}

/* The first block behind what every group begins with. */
static uint32_t group_front(uint32_t group) {
  return group * SPM_GROUP_BLOCKS + SPM_BITMAP_BLOCKS + (group == 0 ? 1 : 0);
}

/* The words of the bitmap block for `block`, to look at. */
static int bitmap_words(spm_conn *c, uint32_t block, const uint64_t **words) {
  const uint8_t *bytes = spm_conn_peek(c, bitmap_block(block));
  uint8_t *edited = NULL;
  int rc = bytes == NULL ? spm_write_edit(c, bitmap_block(block), &edited) : SQLITE_OK; /* back from the log */
  *words = (const uint64_t *)(const void *)(bytes != NULL ? bytes : edited);
  return rc;
}

/* The first block at or above `from`, below `end`, whose bit is `value`; `end`: none.
** Both in one bitmap block. */
static uint32_t find_bit(const uint64_t *words, uint32_t from, uint32_t end, bool value) {
  uint32_t base = from - from % BITS_A_BLOCK;
  while (from < end) {
    uint64_t word = words[(from - base) / WORD_BITS];
    word = (value ? word : ~word) >> (from % WORD_BITS);
    if (word != 0) {
      uint32_t found = from + (uint32_t)__builtin_ctzll(word);
      return found < end ? found : end;
    }
    from = from - from % WORD_BITS + WORD_BITS;
  }
  return end;
}

/* The same over all bitmap blocks. */
static int find(spm_conn *c, uint32_t from, uint32_t end, bool value, uint32_t *found) {
  while (from < end) {
    uint64_t stop = (uint64_t)from - from % BITS_A_BLOCK + BITS_A_BLOCK;
    uint32_t part = stop < end ? (uint32_t)stop : end;
    const uint64_t *words;
    int rc = bitmap_words(c, from, &words);
    if (rc != SQLITE_OK) return rc;
    *found = find_bit(words, from, part, value);
    if (*found < part) return SQLITE_OK;
    from = part;
  }
  *found = end;
  return SQLITE_OK;
}

/* Set or clear the bits of a run; each must have been the other. */
static int change_bits(spm_conn *c, uint32_t block, uint32_t count, bool value) {
  for (uint32_t end = block + count; block < end;) {
    uint32_t bit = block % BITS_A_BLOCK, part = BITS_A_BLOCK - bit < end - block ? BITS_A_BLOCK - bit : end - block;
    uint8_t *bytes;
    int rc = spm_write_edit(c, bitmap_block(block), &bytes);
    if (rc != SQLITE_OK) return rc;
    if (find_bit((const uint64_t *)(const void *)bytes, block, block + part, value) != block + part)
      return damaged(bitmap_block(block), value ? "a free block was in use" : "a block that is not in use was freed");
    uint64_t *words = (uint64_t *)(void *)bytes;
    for (uint32_t i = bit; i < bit + part;) {
      uint32_t n = WORD_BITS - i % WORD_BITS < bit + part - i ? WORD_BITS - i % WORD_BITS : bit + part - i;
      words[i / WORD_BITS] ^= (n == WORD_BITS ? UINT64_MAX : (UINT64_C(1) << n) - 1) << (i % WORD_BITS);
      i += n;
    }
    block += part;
  }
  return SQLITE_OK;
}

/* -------------------------------------------------------------- format -- */

/* Bits of what a group begins with; its bitmap is all zero before. */
static int start_group(spm_conn *c, uint32_t group) {
  uint32_t first = group == 0 ? 0 : group * SPM_GROUP_BLOCKS;
  uint8_t *bytes;
  int rc = SQLITE_OK;
  for (uint32_t block = first; rc == SQLITE_OK && block < group_front(group); block++)
    rc = spm_write_edit(c, block, &bytes);
  return rc == SQLITE_OK ? change_bits(c, first, group_front(group) - first, true) : rc;
}

int spm_space_format(spm_conn *c) {
  spm_kv_header *header;
  int rc = start_group(c, 0);
  if (rc == SQLITE_OK) rc = spm_header_edit(c, &header);
  if (rc != SQLITE_OK) return rc;
  *header = (spm_kv_header){.version = SPM_KV_VERSION, .block_size = SPM_BLOCK_SIZE, .open = SPM_KV_OPEN};
  memcpy(header->magic, SPM_KV_MAGIC, sizeof header->magic);
  memcpy(header->life, spm_store_life(c), sizeof header->life);
  header->generation = header->next_number = 1;
  header->used = header->lowest_free = group_front(0);
  header->directory = SPM_KV_DIRECTORY_BLOCK;
  return SQLITE_OK;
}

/* ------------------------------------------------------------ allocate -- */

static int full(uint32_t limit) {
  return spm_error(SQLITE_FULL, "the key-value store would pass its size of %llu bytes",
                   (unsigned long long)limit * SPM_BLOCK_SIZE);
}

/* A free run below `end`, or up to it, at or above `from`; not across groups.  *found
** may be `end`: nothing below it is of use. */
static int find_run(spm_conn *c, uint32_t from, uint32_t end, uint32_t count, uint32_t *found) {
  for (;;) {
    uint32_t to;
    int rc = find(c, from, end, false, found);
    if (rc != SQLITE_OK || *found == end) return rc;
    uint64_t group_end = (uint64_t)*found - *found % SPM_GROUP_BLOCKS + SPM_GROUP_BLOCKS;
    uint32_t stop = group_end < end ? (uint32_t)group_end : end;
    if (stop - *found > count) stop = *found + count;
    rc = find(c, *found, stop, true, &to);
    if (rc != SQLITE_OK) return rc;
    if (to - *found == count) return SQLITE_OK;
    if (to == end && *found + count <= group_end) return SQLITE_OK; /* the rest is behind the end */
    from = to;
  }
}

/* What is behind the end can be taken too, but a group's bitmap comes first, and a run
** that does not fit the last group leaves the rest of it free. */
static int extend(spm_conn *c, uint32_t limit, uint32_t count, uint32_t *block) {
  spm_kv_header *header;
  uint32_t group = *block / SPM_GROUP_BLOCKS, used = *block % SPM_GROUP_BLOCKS;
  if (used != 0 && used + count <= SPM_GROUP_BLOCKS) return SQLITE_OK;
  if (used != 0) group++;
  *block = group_front(group);
  if ((uint64_t)*block + count > limit) return full(limit);
  int rc = start_group(c, group);
  if (rc == SQLITE_OK) rc = spm_header_edit(c, &header);
  if (rc == SQLITE_OK) header->used += SPM_BITMAP_BLOCKS;
  return rc;
}

/* Where the lowest free block may be. */
static int lowest(spm_conn *c, uint32_t end, uint32_t *block) {
  spm_kv_header *header;
  int rc = spm_header_edit(c, &header);
  if (rc == SQLITE_OK) *block = header->lowest_free < end ? header->lowest_free : end;
  return rc;
}

/* `from` is where the search for it began. */
static int take(spm_conn *c, uint32_t block, uint32_t count, uint32_t from) {
  spm_kv_header *header;
  int rc = change_bits(c, block, count, true);
  if (rc == SQLITE_OK) rc = spm_header_edit(c, &header);
  if (rc != SQLITE_OK) return rc;
  header->used += count;
  if (block == from || count == 1) header->lowest_free = block + count;
  return SQLITE_OK;
}

int spm_space_allocate(spm_conn *c, uint32_t limit, uint32_t count, uint32_t *block) {
  uint32_t end = spm_space_end(c), from;
  int rc = lowest(c, end, &from);
  if (rc == SQLITE_OK) rc = find_run(c, from, end, count, block);
  if (rc == SQLITE_OK && (uint64_t)*block + count > limit) rc = full(limit);
  if (rc == SQLITE_OK && *block == end) rc = extend(c, limit, count, block);
  return rc == SQLITE_OK ? take(c, *block, count, from) : rc;
}

int spm_space_allocate_below(spm_conn *c, uint32_t below, uint32_t count, uint32_t *block) {
  uint32_t from;
  int rc = lowest(c, below, &from);
  if (rc == SQLITE_OK) rc = find_run(c, from, below, count, block);
  if (rc == SQLITE_OK && (uint64_t)*block + count > below) rc = SQLITE_NOTFOUND;
  return rc == SQLITE_OK ? take(c, *block, count, from) : rc;
}

int spm_space_free(spm_conn *c, uint32_t block, uint32_t count) {
  spm_kv_header *header;
  uint64_t end = (uint64_t)block + count;
  if (count == 0 || end > spm_space_end(c) || block < group_front(block / SPM_GROUP_BLOCKS) ||
      (end - 1) / SPM_GROUP_BLOCKS != block / SPM_GROUP_BLOCKS)
    return damaged(block, "it is no block that could be freed");
  int rc = spm_header_edit(c, &header);
  if (rc == SQLITE_OK) rc = change_bits(c, block, count, false);
  if (rc != SQLITE_OK) return rc;
  header->used -= count;
  if (block < header->lowest_free) header->lowest_free = block;
  return SQLITE_OK;
}

/* -------------------------------------------------------------- shrink -- */

/* The end of the last block in use at or below `end`, in end's bitmap block. */
static uint32_t last_used(const uint64_t *words, uint32_t end) {
  uint32_t base = (end - 1) - (end - 1) % BITS_A_BLOCK;
  while (end > base) {
    uint32_t word = (end - 1 - base) / WORD_BITS, top = (end - 1) % WORD_BITS;
    uint64_t bits = words[word] << (WORD_BITS - 1 - top);
    if (bits != 0) return end - (uint32_t)__builtin_clzll(bits);
    end -= top + 1;
  }
  return base;
}

static int find_end(spm_conn *c, spm_kv_header *header, uint32_t *end) {
  while (*end > SPM_KV_FIRST_BLOCKS) {
    const uint64_t *words;
    uint32_t group = (*end - 1) / SPM_GROUP_BLOCKS;
    if (group > 0 && *end <= group_front(group)) { /* a bitmap of nothing but itself */
      *end = group * SPM_GROUP_BLOCKS;
      header->used -= SPM_BITMAP_BLOCKS;
      continue;
    }
    int rc = bitmap_words(c, *end - 1, &words);
    if (rc != SQLITE_OK) return rc;
    uint32_t last = last_used(words, *end);
    if (last == *end) return SQLITE_OK;
    uint32_t least = group > 0 ? group_front(group) : SPM_KV_FIRST_BLOCKS;
    *end = last > least ? last : least;
  }
  return SQLITE_OK;
}

int spm_space_trim(spm_conn *c) {
  spm_kv_header *header;
  int rc = spm_header_edit(c, &header);
  if (rc != SQLITE_OK) return rc;
  uint32_t before = spm_space_end(c), end = before;
  rc = find_end(c, header, &end);
  if (rc != SQLITE_OK || end == before) return rc;
  if (header->lowest_free > end) header->lowest_free = end;
  return spm_write_truncate(c, (uint64_t)end * SPM_BLOCK_SIZE);
}

int spm_space_packed(spm_conn *c, uint32_t *blocks) {
  spm_kv_header header;
  int rc = spm_header_read(c, &header);
  if (rc != SQLITE_OK) return rc;
  uint32_t end = spm_space_end(c), groups = (end + SPM_GROUP_BLOCKS - 1) / SPM_GROUP_BLOCKS;
  uint32_t bitmaps = groups * SPM_BITMAP_BLOCKS, used = header.used > bitmaps ? header.used - bitmaps : 0;
  uint32_t group_room = SPM_GROUP_BLOCKS - SPM_BITMAP_BLOCKS;
  uint64_t packed = used + (uint64_t)((used + group_room - 1) / group_room) * SPM_BITMAP_BLOCKS;
  *blocks = packed < end ? (uint32_t)packed : end;
  return SQLITE_OK;
}
