/*
** kvmodel.c - see kvmodel.h.  Slow and plain: a byte says who owns a byte, a byte a block.
*/
#include "kvmodel.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 16u
#define NAMES_MAX 64u

typedef struct cell {
  const uint8_t *key, *value;
  uint32_t nkey, nvalue, child;
  bool run;
} cell;

typedef struct reading {
  kvmodel *m;
  const uint8_t *file;
  uint32_t end; /* blocks */
  uint8_t *owned;
  uint64_t keys;
  /* Of the directory: the trees that its entries name. */
  bool directory;
  uint32_t roots[NAMES_MAX], count, internal;
} reading;

static bool no(reading *r, const char *why) {
  if (r->m->why == NULL) r->m->why = why;
  return false;
}

static uint64_t number(const uint8_t *at, uint32_t n) {
  uint64_t value = 0;
  memcpy(&value, at, n); /* little-endian, as the images are */
  return value;
}
#define FIELD(base, type, member) number((base) + offsetof(type, member), sizeof(((type *)0)->member))

static int compare(const uint8_t *a, uint32_t na, const uint8_t *b, uint32_t nb) {
  int difference = memcmp(a, b, na < nb ? na : nb);
  return difference != 0 ? difference : na < nb ? -1 : na > nb;
}

/* ---------------------------------------------------------------- a node -- */

static const uint8_t *slot_of(const uint8_t *node, uint32_t i) {
  return node + sizeof(spm_node) + i * sizeof(spm_node_slot);
}

/* (2), of one cell. */
static bool read_cell(const uint8_t *node, uint32_t i, cell *c) {
  uint32_t at = (uint32_t)FIELD(slot_of(node, i), spm_node_slot, offset);
  uint32_t head = FIELD(node, spm_node, level) > 0 ? SPM_BRANCH_CELL_HEAD : SPM_LEAF_CELL_HEAD;
  memset(c, 0, sizeof *c);
  c->nkey = (uint32_t)FIELD(slot_of(node, i), spm_node_slot, nkey);
  if (c->nkey > SPM_KV_KEY_MAX || at + head + c->nkey > SPM_BLOCK_SIZE) return false;
  c->key = node + at + head;
  c->value = c->key + c->nkey;
  if (head == SPM_BRANCH_CELL_HEAD) {
    c->child = (uint32_t)number(node + at, 4);
    return true;
  }
  c->nvalue = (uint32_t)number(node + at, 2);
  c->run = c->nvalue == SPM_CELL_RUN;
  if (c->run) c->nvalue = sizeof(spm_kv_run);
  return at + head + c->nkey + c->nvalue <= SPM_BLOCK_SIZE;
}

/* (2): header, slots, gap, cells and dead bytes are the block, and no byte is two of them. */
static bool bytes_valid(const uint8_t *node) {
  uint8_t used[SPM_BLOCK_SIZE] = {0};
  uint32_t count = (uint32_t)FIELD(node, spm_node, count), heap = (uint32_t)FIELD(node, spm_node, heap), cells = 0;
  if (heap > SPM_BLOCK_SIZE || sizeof(spm_node) + count * sizeof(spm_node_slot) > heap) return false;
  for (uint32_t i = 0; i < count; i++) {
    cell c;
    uint32_t at = (uint32_t)FIELD(slot_of(node, i), spm_node_slot, offset);
    if (at < heap || !read_cell(node, i, &c)) return false;
    for (const uint8_t *byte = node + at; byte < c.value + c.nvalue; byte++, cells++)
      if (used[byte - node]++ != 0) return false;
  }
  return heap + cells + FIELD(node, spm_node, dead) == SPM_BLOCK_SIZE;
}

/* (4) */
static uint32_t head_of(const cell *c, uint32_t nprefix) {
  uint32_t head = 0;
  for (uint32_t i = nprefix; i < nprefix + 4; i++) head = head * 256 + (i < c->nkey ? c->key[i] : 0);
  return head;
}

/* (3) and (4) */
static bool keys_valid(const uint8_t *node) {
  uint32_t count = (uint32_t)FIELD(node, spm_node, count), nprefix = (uint32_t)FIELD(node, spm_node, nprefix);
  bool branch = FIELD(node, spm_node, level) > 0;
  cell c, before;
  if (nprefix > SPM_KV_PREFIX_MAX) return false;
  for (uint32_t i = 0; i < count; i++, before = c) {
    if (!read_cell(node, i, &c)) return false;
    if (branch && i == 0) {
      if (c.nkey != 0) return false;
      continue;
    }
    if (c.nkey < nprefix || memcmp(c.key, node + offsetof(spm_node, prefix), nprefix) != 0) return false;
    if (FIELD(slot_of(node, i), spm_node_slot, head) != head_of(&c, nprefix)) return false;
    if (i > branch && compare(before.key, before.nkey, c.key, c.nkey) >= 0) return false;
  }
  return count > 0 || !branch;
}

bool kvmodel_node(const uint8_t *node, uint32_t self) {
  return FIELD(node, spm_node, magic) == SPM_NODE_MAGIC && FIELD(node, spm_node, self) == self && bytes_valid(node) &&
         keys_valid(node);
}

/* ----------------------------------------------------------------- a tree -- */

static bool own(reading *r, uint64_t block, uint64_t count) {
  if (block + count > r->end) return no(r, "a block behind the end");
  for (uint64_t b = block; b < block + count; b++)
    if (r->owned[b]++ != 0) return no(r, "a block of two owners");
  return true;
}

static bool read_entry(reading *r, const cell *c) {
  if (c->nkey == 0 || c->nkey > SPM_KV_NAME_MAX || memchr(c->key, 0, c->nkey) != NULL || c->run ||
      c->nvalue != sizeof(spm_kv_entry))
    return no(r, "an entry of the directory");
  if (r->count == NAMES_MAX) return no(r, "too many trees for this model");
  r->internal += c->key[0] < 0x20;
  r->roots[r->count++] = (uint32_t)number(c->value, 4);
  return true;
}

static bool read_value(reading *r, const cell *c) {
  r->keys++;
  if (r->directory) return read_entry(r, c);
  if (!c->run) return c->nvalue <= SPM_KV_CELL_MAX || no(r, "the length of a value");
  uint64_t size = number(c->value, 8), block = number(c->value + 8, 4);
  if (size == 0 || size > SPM_KV_VALUE_MAX || block < SPM_KV_FIRST_BLOCKS) return no(r, "a run");
  return own(r, block, (size + SPM_BLOCK_SIZE - 1) / SPM_BLOCK_SIZE);
}

/* `low` and `high`: NULL for no bound; `level` above 15: a root of any. */
static bool read_node(reading *r, uint32_t block, uint32_t level, const cell *low, const cell *high) {
  if (!own(r, block, 1)) return false;
  const uint8_t *node = r->file + (size_t)block * SPM_BLOCK_SIZE;
  uint32_t count = (uint32_t)FIELD(node, spm_node, count), own_level = (uint32_t)FIELD(node, spm_node, level);
  bool root = level >= DEPTH_MAX;
  if (!kvmodel_node(node, block)) return no(r, "a node");
  if (root ? own_level > SPM_KV_LEVEL_MAX : own_level != level) return no(r, "a level");
  if (!root && count == 0) return no(r, "an empty leaf");
  for (uint32_t i = 0; i < count; i++) {
    cell c, next;
    (void)read_cell(node, i, &c);
    bool first = own_level > 0 && i == 0, last = i + 1 == count;
    if (!first && low != NULL && compare(c.key, c.nkey, low->key, low->nkey) < 0) return no(r, "a key below its parent's");
    if (!first && high != NULL && compare(c.key, c.nkey, high->key, high->nkey) >= 0) return no(r, "a key above its parent's");
    if (!last) (void)read_cell(node, i + 1, &next);
    if (own_level == 0 ? !read_value(r, &c) : !read_node(r, c.child, own_level - 1, first ? low : &c, last ? high : &next))
      return false;
  }
  return true;
}

/* ---------------------------------------------------------------- a store -- */

static bool read_header(reading *r) {
  const uint8_t *h = r->file;
  if (r->end < SPM_KV_FIRST_BLOCKS) return no(r, "the length");
  if (memcmp(h, SPM_KV_MAGIC, 16) != 0 || FIELD(h, spm_kv_header, version) != SPM_KV_VERSION) return no(r, "the magic");
  if (FIELD(h, spm_kv_header, block_size) != SPM_BLOCK_SIZE) return no(r, "the block size");
  if (FIELD(h, spm_kv_header, directory) != SPM_KV_DIRECTORY_BLOCK) return no(r, "the directory's place");
  uint64_t changes = FIELD(h, spm_kv_header, generation), next = FIELD(h, spm_kv_header, next_number);
  if (changes == 0 || next == 0 || (changes | next) >> 62 != 0) return no(r, "a number that no store gets to");
  return true;
}

static bool read_trees(reading *r) {
  r->directory = true;
  if (!read_node(r, SPM_KV_DIRECTORY_BLOCK, DEPTH_MAX, NULL, NULL)) return false;
  r->directory = false;
  r->keys = 0;
  for (uint32_t i = 0; i < r->count; i++)
    if (!read_node(r, r->roots[i], DEPTH_MAX, NULL, NULL)) return false;
  return true;
}

/* Of stores of one group: the bitmap is exactly what is owned, and the counts are right. */
static bool check_space(reading *r) {
  const uint8_t *bitmap = r->file + SPM_BLOCK_SIZE;
  uint64_t used = 0, lowest = r->end;
  for (uint32_t b = 0; b < SPM_GROUP_BLOCKS; b++) {
    bool owned = b < r->end && r->owned[b] != 0;
    used += owned;
    if (b < r->end && !owned && b < lowest) lowest = b;
    if ((bitmap[b / 8] >> b % 8 & 1) != owned) return no(r, "the bitmap");
  }
  if (FIELD(r->file, spm_kv_header, used) != used) return no(r, "the blocks in use");
  if (FIELD(r->file, spm_kv_header, lowest_free) > lowest) return no(r, "the lowest free block");
  if (FIELD(r->file, spm_kv_header, trees) != r->count - r->internal ||
      FIELD(r->file, spm_kv_header, internal_trees) != r->internal)
    return no(r, "the count of trees");
  return true;
}

void kvmodel_read(const uint8_t *file, size_t size, kvmodel *m) {
  *m = (kvmodel){0};
  reading r = {.m = m, .file = file, .end = (uint32_t)(size / SPM_BLOCK_SIZE)};
  r.owned = calloc(r.end + 1u, 1);
  if (r.owned == NULL) abort();
  m->whole = (size % SPM_BLOCK_SIZE == 0 || no(&r, "the length")) && read_header(&r) &&
             own(&r, 0, 1 + SPM_BITMAP_BLOCKS) && read_trees(&r) && check_space(&r);
  m->trees = r.count - r.internal;
  m->keys = r.keys;
  free(r.owned);
}
