/*
** node.c - see node.h.
*/
#include "node.h"

#include <string.h>

/* A view of a node whose fields were read once and are in bounds. */
typedef struct view {
  const uint8_t *bytes;
  const volatile spm_node_slot *slot;
  const uint8_t *prefix;
  uint32_t count, level, nprefix;
} view;

/* ---------------------------------------------------------------- keys -- */

SPM_RACY static inline uint64_t load_big8(const uint8_t *p) {
  uint64_t value;
  memcpy(&value, p, sizeof value);
  return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap64(value) : value;
}

SPM_RACY static int compare_bytes(const uint8_t *a, const uint8_t *b, uint32_t n) {
  for (; n >= 8; n -= 8, a += 8, b += 8) {
    uint64_t x = load_big8(a), y = load_big8(b);
    if (x != y) return x < y ? -1 : 1;
  }
  for (; n > 0; n--, a++, b++)
    if (*a != *b) return *a < *b ? -1 : 1;
  return 0;
}

SPM_RACY int spm_key_compare(const void *a, uint32_t na, const void *b, uint32_t nb) {
  int difference = compare_bytes(a, b, na < nb ? na : nb);
  if (difference != 0) return difference;
  return na < nb ? -1 : na > nb;
}

uint32_t spm_key_common(const uint8_t *a, uint32_t na, const uint8_t *b, uint32_t nb) {
  uint32_t n = na < nb ? na : nb, i = 0;
  while (i < n && a[i] == b[i]) i++;
  return i;
}

/* The four bytes behind the prefix. */
static inline uint32_t head_of(const uint8_t *key, uint32_t nkey, uint32_t nprefix) {
  uint32_t head = 0;
  if (nkey >= nprefix + 4) {
    memcpy(&head, key + nprefix, sizeof head);
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap32(head) : head;
  }
  for (uint32_t i = nprefix; i < nprefix + 4; i++) head = head << 8 | (i < nkey ? key[i] : 0);
  return head;
}

/* ------------------------------------------------------------- reading -- */

SPM_RACY bool spm_node_sane(const uint8_t *node, uint32_t self, uint32_t level) {
  const volatile spm_node *n = (const volatile spm_node *)(const void *)node;
  uint32_t count = n->count, heap = n->heap;
  return n->magic == SPM_NODE_MAGIC && n->self == self && n->nprefix <= SPM_KV_PREFIX_MAX &&
         (level == SPM_ANY_LEVEL ? n->level <= SPM_KV_LEVEL_MAX : n->level == level) && heap <= SPM_BLOCK_SIZE &&
         sizeof(spm_node) + count * sizeof(spm_node_slot) <= heap && (count > 0 || n->level == 0);
}

/* Sane once; it may have been changed since. */
SPM_RACY static inline bool look(view *v, const uint8_t *node) {
  const volatile spm_node *n = (const volatile spm_node *)(const void *)node;
  v->bytes = node;
  v->slot = (const volatile spm_node_slot *)(const void *)(node + sizeof(spm_node));
  v->prefix = node + offsetof(spm_node, prefix);
  v->count = n->count;
  v->level = n->level;
  v->nprefix = n->nprefix;
  return v->count <= SPM_NODE_SLOTS_MAX && v->nprefix <= SPM_KV_PREFIX_MAX;
}

SPM_RACY static inline bool cell_of(const view *v, uint32_t at, spm_cell *c) {
  if (at >= v->count) return false;
  uint32_t offset = v->slot[at].offset;
  c->nkey = v->slot[at].nkey;
  uint32_t start = offset + (v->level > 0 ? SPM_BRANCH_CELL_HEAD : SPM_LEAF_CELL_HEAD);
  if (offset < sizeof(spm_node) || start + c->nkey > SPM_BLOCK_SIZE || c->nkey > SPM_KV_KEY_MAX) return false;
  c->key = v->bytes + start;
  c->value = c->key + c->nkey;
  c->child = 0;
  c->nvalue = 0;
  if (v->level > 0) {
    memcpy(&c->child, v->bytes + offset, sizeof c->child);
    return true;
  }
  memcpy(&c->nvalue, v->bytes + offset, sizeof c->nvalue);
  return start + c->nkey + spm_cell_value_size(c) <= SPM_BLOCK_SIZE;
}

bool spm_node_cell(const uint8_t *node, uint32_t at, spm_cell *c) {
  view v;
  return look(&v, node) && cell_of(&v, at, c);
}

/* The thread sanitizer would see the memcpy() that it puts in place of libc's. */
SPM_RACY void spm_node_copy(void *to, const uint8_t *from, size_t n) {
#if defined(__SANITIZE_THREAD__)
  for (size_t i = 0; i < n; i++) ((volatile uint8_t *)to)[i] = ((const volatile uint8_t *)from)[i];
#else
  memcpy(to, from, n);
#endif
}

/* The first slot in [from, to) whose head is not below `head`.  Without a branch that
** depends on what is compared: a mispredicted one costs more than the whole loop. */
SPM_RACY static inline uint32_t lower_head(const view *v, uint32_t from, uint32_t to, uint32_t head) {
  if (from >= to) return from;
  uint32_t n = to - from;
  while (n > 1) {
    uint32_t half = n / 2;
    from += (v->slot[from + half - 1].head < head) * half;
    n -= half;
  }
  return from + (v->slot[from].head < head);
}

/* Among slots of one head their keys decide. */
static bool search_equal(const view *v, uint32_t from, uint32_t to, const uint8_t *key, uint32_t nkey,
                         uint32_t *at, bool *found) {
  spm_cell c;
  while (from < to) {
    uint32_t middle = from + (to - from) / 2;
    if (!cell_of(v, middle, &c)) return false;
    int difference = spm_key_compare(c.key, c.nkey, key, nkey);
    if (difference == 0) *found = true;
    if (difference < 0)
      from = middle + 1;
    else
      to = middle;
  }
  *at = from;
  return true;
}

/* The first slot from `first` on whose key is not below `key`. */
SPM_RACY static bool search(const view *v, uint32_t first, const uint8_t *key, uint32_t nkey, uint32_t *at,
                            bool *found) {
  *found = false;
  if (v->nprefix > 0) {
    uint32_t n = nkey < v->nprefix ? nkey : v->nprefix;
    int difference = compare_bytes(key, v->prefix, n);
    if (difference != 0 || nkey < v->nprefix) {
      *at = difference > 0 ? v->count : first;
      return true;
    }
  }
  uint32_t head = head_of(key, nkey, v->nprefix);
  uint32_t from = lower_head(v, first, v->count, head), to = from;
  if (from < v->count && v->slot[from].head == head) to = from + 1;
  if (to > from && to < v->count && v->slot[to].head == head)
    to = head == UINT32_MAX ? v->count : lower_head(v, to, v->count, head + 1);
  return search_equal(v, from, to, key, nkey, at, found);
}

bool spm_node_search(const uint8_t *node, const void *key, uint32_t nkey, uint32_t *at, bool *found) {
  view v;
  return look(&v, node) && search(&v, 0, key, nkey, at, found);
}

bool spm_node_route(const uint8_t *node, const void *key, uint32_t nkey, uint32_t *at) {
  view v;
  bool found;
  if (!look(&v, node) || v.count == 0 || !search(&v, 1, key, nkey, at, &found)) return false;
  if (!found) (*at)--;
  return *at < v.count;
}

/* ------------------------------------------------- which bytes are cells -- */

typedef struct bytemap {
  uint64_t word[SPM_BLOCK_SIZE / 64]; /* bit set: the byte belongs to a cell */
} bytemap;

/* False: one of them did already. */
static bool mark(bytemap *m, uint32_t from, uint32_t n) {
  for (uint32_t to = from + n; from < to;) {
    uint32_t bit = from % 64, part = 64 - bit < to - from ? 64 - bit : to - from;
    uint64_t mask = (part == 64 ? UINT64_MAX : (UINT64_C(1) << part) - 1) << bit;
    if (m->word[from / 64] & mask) return false;
    m->word[from / 64] |= mask;
    from += part;
  }
  return true;
}

/* Every cell is inside and none overlaps; *size: the bytes of all. */
static bool map_cells(const view *v, bytemap *m, uint32_t *size) {
  spm_cell c;
  memset(m, 0, sizeof *m);
  *size = 0;
  for (uint32_t i = 0; i < v->count; i++) {
    uint32_t offset = v->slot[i].offset;
    if (!cell_of(v, i, &c)) return false;
    uint32_t n = spm_cell_size(&c, v->level);
    if (offset < ((const spm_node *)(const void *)v->bytes)->heap || !mark(m, offset, n)) return false;
    *size += n;
  }
  return true;
}

static uint32_t next_byte(const bytemap *m, uint32_t from, bool used) {
  while (from < SPM_BLOCK_SIZE) {
    uint64_t word = (used ? m->word[from / 64] : ~m->word[from / 64]) >> (from % 64);
    if (word != 0) return from + (uint32_t)__builtin_ctzll(word);
    from = (from / 64 + 1) * 64;
  }
  return SPM_BLOCK_SIZE;
}

/* The smallest hole between cells that holds `n` bytes; 0: there is none. */
static uint32_t find_hole(const bytemap *m, uint32_t heap, uint32_t n) {
  uint32_t best = 0, best_size = UINT32_MAX;
  for (uint32_t from = next_byte(m, heap, false); from < SPM_BLOCK_SIZE;) {
    uint32_t to = next_byte(m, from, true);
    if (to - from >= n && to - from < best_size) {
      best = from;
      best_size = to - from;
    }
    from = next_byte(m, to, false);
  }
  return best;
}

static bool keys_valid(const view *v) {
  spm_cell before = {0}, c;
  for (uint32_t i = v->level > 0 ? 1 : 0; i < v->count; i++) {
    if (!cell_of(v, i, &c)) return false;
    if (before.key != NULL && spm_key_compare(before.key, before.nkey, c.key, c.nkey) >= 0) return false;
    if (c.nkey < v->nprefix || memcmp(c.key, v->prefix, v->nprefix) != 0) return false;
    if (v->slot[i].head != head_of(c.key, c.nkey, v->nprefix)) return false;
    before = c;
  }
  return v->level == 0 || (cell_of(v, 0, &c) && c.nkey == 0);
}

bool spm_node_valid(const uint8_t *node, uint32_t self, uint32_t level) {
  const spm_node *n = (const spm_node *)(const void *)node;
  bytemap map;
  uint32_t size;
  view v;
  if (!spm_node_sane(node, self, level) || !look(&v, node) || !map_cells(&v, &map, &size)) return false;
  return n->heap + size + n->dead == SPM_BLOCK_SIZE && keys_valid(&v);
}

/* ------------------------------------------------------------ changing -- */

static spm_node *header_of(uint8_t *node) { return (spm_node *)(void *)node; }
static spm_node_slot *slots_of(uint8_t *node) { return (spm_node_slot *)(void *)(node + sizeof(spm_node)); }

static uint32_t gap_of(const uint8_t *node) {
  const spm_node *n = (const spm_node *)(const void *)node;
  return n->heap - (uint32_t)sizeof(spm_node) - n->count * (uint32_t)sizeof(spm_node_slot);
}

uint32_t spm_node_used(const uint8_t *node) {
  uint32_t free_bytes = gap_of(node) + ((const spm_node *)(const void *)node)->dead;
  return free_bytes < SPM_NODE_ROOM ? SPM_NODE_ROOM - free_bytes : 0;
}

static void write_cell(uint8_t *node, uint32_t offset, const spm_cell *c) {
  uint8_t *to = node + offset;
  if (header_of(node)->level > 0) {
    memcpy(to, &c->child, sizeof c->child);
    memcpy(to + SPM_BRANCH_CELL_HEAD, c->key, c->nkey);
    return;
  }
  memcpy(to, &c->nvalue, sizeof c->nvalue);
  memcpy(to + SPM_LEAF_CELL_HEAD, c->key, c->nkey);
  memcpy(to + SPM_LEAF_CELL_HEAD + c->nkey, c->value, spm_cell_value_size(c));
}

static void set_prefix(uint8_t *node, const uint8_t *key, uint32_t n) {
  spm_node *header = header_of(node);
  memset(header->prefix, 0, sizeof header->prefix);
  memcpy(header->prefix, key, n);
  header->nprefix = (uint8_t)n;
}

/* The prefix that the keys from the first to the last have in common. */
static uint32_t common_prefix(const spm_cell *first, const spm_cell *last) {
  uint32_t n = spm_key_common(first->key, first->nkey, last->key, last->nkey);
  return n < SPM_KV_PREFIX_MAX ? n : SPM_KV_PREFIX_MAX;
}

void spm_node_build(uint8_t *node, uint32_t self, uint32_t level, const spm_cell *cells, uint32_t count) {
  spm_node *header = header_of(node);
  spm_node_slot *slot = slots_of(node);
  uint32_t first = level > 0, heap = SPM_BLOCK_SIZE;
  memset(node, 0, SPM_BLOCK_SIZE);
  *header = (spm_node){.magic = SPM_NODE_MAGIC, .level = (uint8_t)level, .self = self, .count = (uint16_t)count};
  if (count > first + 1) set_prefix(node, cells[first].key, common_prefix(&cells[first], &cells[count - 1]));
  for (uint32_t i = 0; i < count; i++) {
    spm_cell c = cells[i];
    if (i < first) c.nkey = 0; /* "below all" */
    heap -= spm_cell_size(&c, level);
    write_cell(node, heap, &c);
    uint32_t head = i < first ? 0 : head_of(c.key, c.nkey, header->nprefix);
    slot[i] = (spm_node_slot){head, (uint16_t)heap, c.nkey};
  }
  header->heap = (uint16_t)heap;
}

/* Move the cells together; the slots stay. */
static bool defragment(uint8_t *node) {
  uint8_t old[SPM_BLOCK_SIZE];
  spm_node *header = header_of(node);
  spm_node_slot *slot = slots_of(node);
  uint32_t heap = SPM_BLOCK_SIZE, size;
  bytemap map;
  view v;
  memcpy(old, node, sizeof old);
  if (!look(&v, old) || !map_cells(&v, &map, &size)) return false;
  for (uint32_t i = 0; i < v.count; i++) {
    spm_cell c;
    if (!cell_of(&v, i, &c)) return false;
    heap -= spm_cell_size(&c, v.level);
    write_cell(node, heap, &c);
    slot[i].offset = (uint16_t)heap;
  }
  header->heap = (uint16_t)heap;
  header->dead = 0;
  return true;
}

/* Heads for another prefix. */
static bool change_prefix(uint8_t *node, const uint8_t *key, uint32_t n) {
  view v;
  set_prefix(node, key, n);
  if (!look(&v, node)) return false;
  for (uint32_t i = v.level > 0; i < v.count; i++) {
    spm_cell c;
    if (!cell_of(&v, i, &c) || c.nkey < n) return false;
    slots_of(node)[i].head = head_of(c.key, c.nkey, n);
  }
  return true;
}

/* Before `key` becomes one of the node's.  The second key sets the prefix, since of the
** first all is common, and each one after it can only make it shorter. */
static bool fit_prefix(uint8_t *node, const uint8_t *key, uint32_t nkey) {
  spm_node *header = header_of(node);
  uint32_t first = header->level > 0;
  spm_cell only;
  if (header->count <= first) {
    set_prefix(node, key, 0);
    return true;
  }
  if (header->count == first + 1u) {
    if (!spm_node_cell(node, first, &only)) return false;
    uint32_t n = spm_key_common(only.key, only.nkey, key, nkey);
    return change_prefix(node, key, n < SPM_KV_PREFIX_MAX ? n : SPM_KV_PREFIX_MAX);
  }
  uint32_t n = spm_key_common(header->prefix, header->nprefix, key, nkey);
  return n == header->nprefix || change_prefix(node, key, n);
}

/* Where a cell of `size` bytes can go, a slot for it being left in the gap. */
static int make_room(uint8_t *node, uint32_t size, uint32_t *offset) {
  spm_node *header = header_of(node);
  uint32_t gap = gap_of(node), slot = sizeof(spm_node_slot), cells;
  if (gap >= size + slot) {
    header->heap = (uint16_t)(header->heap - size);
    *offset = header->heap;
    return SQLITE_OK;
  }
  if (gap + header->dead < size + slot) return SQLITE_FULL;
  bytemap map;
  view v;
  if (!look(&v, node) || !map_cells(&v, &map, &cells)) return SPM_DAMAGED;
  if (header->heap + cells + header->dead != SPM_BLOCK_SIZE) return SPM_DAMAGED;
  *offset = gap >= slot ? find_hole(&map, header->heap, size) : 0;
  if (*offset != 0) {
    header->dead = (uint16_t)(header->dead - size);
    return SQLITE_OK;
  }
  if (!defragment(node)) return SPM_DAMAGED;
  header->heap = (uint16_t)(header->heap - size);
  *offset = header->heap;
  return SQLITE_OK;
}

int spm_node_insert(uint8_t *node, uint32_t at, const spm_cell *c) {
  spm_node *header = header_of(node);
  spm_node_slot *slot = slots_of(node);
  uint32_t offset;
  if (at > header->count || (at == 0 && header->level > 0)) return SPM_DAMAGED;
  int rc = make_room(node, spm_cell_size(c, header->level), &offset);
  if (rc != SQLITE_OK) return rc;
  if (!fit_prefix(node, c->key, c->nkey)) return SPM_DAMAGED;
  write_cell(node, offset, c);
  memmove(slot + at + 1, slot + at, (header->count - at) * sizeof *slot);
  slot[at] = (spm_node_slot){head_of(c->key, c->nkey, header->nprefix), (uint16_t)offset, c->nkey};
  header->count++;
  return SQLITE_OK;
}

static void give_back(uint8_t *node, uint32_t offset, uint32_t n) {
  spm_node *header = header_of(node);
  if (offset == header->heap)
    header->heap = (uint16_t)(header->heap + n);
  else
    header->dead = (uint16_t)(header->dead + n);
}

int spm_node_remove(uint8_t *node, uint32_t at) {
  spm_node *header = header_of(node);
  spm_node_slot *slot = slots_of(node);
  spm_cell c;
  if (!spm_node_cell(node, at, &c)) return SPM_DAMAGED;
  if (slot[at].offset < header->heap) return SPM_DAMAGED;
  give_back(node, slot[at].offset, spm_cell_size(&c, header->level));
  header->count--;
  memmove(slot + at, slot + at + 1, (header->count - at) * sizeof *slot);
  if (header->count == 0) {
    header->heap = SPM_BLOCK_SIZE;
    header->dead = 0;
  } else if (at == 0 && header->level > 0) { /* the first child's key is empty */
    header->dead = (uint16_t)(header->dead + slot[0].nkey);
    slot[0].nkey = 0;
    slot[0].head = 0;
  }
  return SQLITE_OK;
}

int spm_node_set_value(uint8_t *node, uint32_t at, uint16_t nvalue, const uint8_t *value) {
  spm_cell c, changed;
  if (!spm_node_cell(node, at, &c)) return SPM_DAMAGED;
  changed = c;
  changed.nvalue = nvalue;
  uint32_t before = spm_cell_value_size(&c), after = spm_cell_value_size(&changed);
  if (after > before) return SQLITE_FULL;
  uint32_t offset = slots_of(node)[at].offset;
  memcpy(node + offset, &nvalue, sizeof nvalue);
  memcpy(node + (c.value - node), value, after);
  header_of(node)->dead = (uint16_t)(header_of(node)->dead + before - after);
  return SQLITE_OK;
}

int spm_node_set_child(uint8_t *node, uint32_t at, uint32_t child) {
  spm_cell c;
  if (header_of(node)->level == 0 || !spm_node_cell(node, at, &c)) return SPM_DAMAGED;
  memcpy(node + slots_of(node)[at].offset, &child, sizeof child);
  return SQLITE_OK;
}
