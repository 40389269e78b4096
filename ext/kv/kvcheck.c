/*
** kvcheck.c - see kvcheck.h.
*/
#include "kvcheck.h"

#include "walk.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODES_A_LOOK 64u /* whether to stop */

typedef struct check {
  spm_conn *conn;
  spm_kv *kv;
  spm_kv_report report;
  void *argument;
  spm_kv_header header;
  const char *tree; /* being walked */
  uint32_t end;
  uint64_t *seen; /* a bit a block: somebody's */
  uint32_t used;  /* bits set in it */
  uint32_t nodes; /* looked at */
  uint32_t trees, internal_trees;
  bool faulty, stopped;
} check;

/* The keys a node may have: from `low` on, below `high`; NULL: no bound. */
typedef struct bounds {
  const uint8_t *low, *high;
  uint32_t nlow, nhigh;
} bounds;

__attribute__((format(printf, 2, 3))) static void fault(check *k, const char *format, ...) {
  char text[512];
  int n = 0;
  va_list arguments;
  k->faulty = true;
  if (k->stopped) return;
  if (k->tree != NULL) n = snprintf(text, sizeof text, "tree %.100s: ", k->tree);
  va_start(arguments, format);
  (void)vsnprintf(text + n, sizeof text - (size_t)n, format, arguments);
  va_end(arguments);
  k->stopped = !k->report(k->argument, text);
}

/* -------------------------------------------------------------- blocks -- */

static bool is_seen(const check *k, uint32_t block) { return k->seen[block / 64] >> (block % 64) & 1; }

/* False: not all of them can be somebody's. */
static bool see(check *k, uint32_t block, uint64_t count, const char *what) {
  if (block + count > k->end) {
    fault(k, "%s at block %u lies behind the end", what, block);
    return false;
  }
  for (uint32_t i = block; i < block + count; i++) {
    if (is_seen(k, i)) {
      fault(k, "block %u belongs to %s, and to something else", i, what);
      return false;
    }
    k->seen[i / 64] |= UINT64_C(1) << (i % 64);
    k->used++;
  }
  return true;
}

static int read_block(check *k, uint32_t block, uint8_t *to) {
  return spm_conn_read(k->conn, (uint64_t)block * SPM_BLOCK_SIZE, SPM_BLOCK_SIZE, to);
}

static void see_bitmaps(check *k) {
  for (uint64_t group = 0; group < k->end; group += SPM_GROUP_BLOCKS)
    (void)see(k, (uint32_t)group, SPM_BITMAP_BLOCKS + (group == 0), "a bitmap");
}

/* Exactly what was seen is in use, and nothing behind the end. */
static int check_bitmaps(check *k) {
  _Alignas(8) uint8_t bytes[SPM_BLOCK_SIZE];
  uint32_t wrong = 0, bits = 8 * SPM_BLOCK_SIZE;
  uint64_t last_group = k->end - 1 - (k->end - 1) % SPM_GROUP_BLOCKS;
  for (uint64_t base = 0; base < last_group + SPM_GROUP_BLOCKS && !k->stopped; base += bits) {
    uint64_t group = base - base % SPM_GROUP_BLOCKS,
             bitmap = (group == 0 ? 1 : group) + base % SPM_GROUP_BLOCKS / bits;
    int rc = read_block(k, (uint32_t)bitmap, bytes);
    if (rc != SQLITE_OK) return rc;
    for (uint32_t i = 0; i < bits; i++) {
      bool set = bytes[i / 8] >> (i % 8) & 1, wanted = base + i < k->end && is_seen(k, (uint32_t)(base + i));
      if (set == wanted) continue;
      if (wrong++ < 10)
        fault(k, "block %llu is %s", (unsigned long long)base + i,
              set ? "marked as used and belongs to nothing" : "in use and marked as free");
    }
  }
  if (wrong > 10) fault(k, "%u blocks in all are marked wrongly", wrong);
  return SQLITE_OK;
}

static void check_lowest_free(check *k) {
  uint32_t lowest = 0;
  while (lowest < k->end && is_seen(k, lowest)) lowest++;
  if (k->header.lowest_free > lowest)
    fault(k, "block %u is free below the lowest free block, %u", lowest, k->header.lowest_free);
}

/* --------------------------------------------------------------- nodes -- */

static int check_node(check *k, uint32_t block, uint32_t level, const bounds *b);

static void check_run(check *k, const spm_cell *c) {
  spm_value v;
  spm_walk w = spm_walk_new(k->conn, SPM_WALK_COPY, NULL);
  if (spm_walk_value(&w, c, &v) != SQLITE_OK)
    fault(k, "a value is said to be %llu bytes at block %u", (unsigned long long)v.size, v.block);
  else if (v.block != 0)
    (void)see(k, v.block, spm_run_blocks(v.size), "a value");
}

static void check_bounds(check *k, uint32_t block, const uint8_t *node, const bounds *b) {
  uint32_t first = spm_node_level(node) > 0, count = spm_node_count(node);
  spm_cell low, high;
  if (count <= first || !spm_node_cell(node, first, &low) || !spm_node_cell(node, count - 1, &high)) return;
  if (b->low != NULL && spm_key_compare(low.key, low.nkey, b->low, b->nlow) < 0)
    fault(k, "block %u has a key below those its parent says it has", block);
  if (b->high != NULL && spm_key_compare(high.key, high.nkey, b->high, b->nhigh) >= 0)
    fault(k, "block %u has a key above those its parent says it has", block);
}

static int check_children(check *k, const uint8_t *node, const bounds *b) {
  uint32_t level = spm_node_level(node), count = spm_node_count(node);
  int rc = SQLITE_OK;
  for (uint32_t i = 0; rc == SQLITE_OK && i < count && !k->stopped; i++) {
    spm_cell c, next;
    bounds inner = *b;
    if (!spm_node_cell(node, i, &c)) break;
    if (level == 0) {
      check_run(k, &c);
      continue;
    }
    if (i > 0) inner.low = c.key, inner.nlow = c.nkey;
    if (i + 1 < count && spm_node_cell(node, i + 1, &next)) inner.high = next.key, inner.nhigh = next.nkey;
    rc = check_node(k, c.child, level - 1, &inner);
  }
  return rc;
}

static int check_node(check *k, uint32_t block, uint32_t level, const bounds *b) {
  _Alignas(SPM_LINE_SIZE) uint8_t node[SPM_BLOCK_SIZE];
  if (!see(k, block, 1, "a node")) return SQLITE_OK;
  if (++k->nodes % NODES_A_LOOK == 0 && spm_kv_stopped(k->kv))
    return spm_error(SQLITE_INTERRUPT, "%s: interrupted", spm_kv_path(k->kv));
  int rc = read_block(k, block, node);
  if (rc != SQLITE_OK) return rc;
  if (!spm_node_valid(node, block, level)) {
    fault(k, "block %u is no valid node", block);
    return SQLITE_OK;
  }
  if (level != SPM_ANY_LEVEL && spm_node_count(node) == 0) fault(k, "block %u is an empty leaf", block);
  check_bounds(k, block, node, b);
  return check_children(k, node, b);
}

/* --------------------------------------------------------------- trees -- */

static int check_tree(check *k, const char *name, uint32_t root) {
  static const bounds all;
  k->tree = name;
  int rc = check_node(k, root, SPM_ANY_LEVEL, &all);
  k->tree = NULL;
  return rc;
}

/* Only if the directory itself is sound: its cursor would be led astray. */
static int check_named_trees(check *k) {
  char name[SPM_KV_NAME_MAX + 1] = "";
  int rc = SQLITE_OK;
  while (!k->stopped) {
    spm_tree t;
    rc = spm_kv_tree_next(k->kv, name, name);
    if (rc == SQLITE_OK) rc = spm_kv_tree(k->kv, name, &t);
    if (rc != SQLITE_OK) break;
    if ((uint8_t)name[0] < 0x20)
      k->internal_trees++;
    else
      k->trees++;
    rc = check_tree(k, name, t.root);
    if (rc != SQLITE_OK) return rc;
  }
  if (rc == SQLITE_CORRUPT) fault(k, "the directory: %s", spm_last_error());
  return rc == SQLITE_NOTFOUND || rc == SQLITE_CORRUPT ? SQLITE_OK : rc;
}

static void check_counts(check *k) {
  const spm_kv_header *h = &k->header;
  if (h->trees != k->trees || h->internal_trees != k->internal_trees)
    fault(k, "the header counts %u trees and %u internal ones, there are %u and %u", h->trees, h->internal_trees,
          k->trees, k->internal_trees);
  if (h->used != k->used) fault(k, "the header counts %u blocks in use, there are %u", h->used, k->used);
  if (h->generation == 0 || h->generation >= SPM_KV_NUMBER_END || h->next_number == 0 || h->next_number >= SPM_KV_NUMBER_END)
    fault(k, "the header's generation or number is none that a store gets to");
}

static int check_all(check *k) {
  see_bitmaps(k);
  int rc = check_tree(k, "(directory)", SPM_KV_DIRECTORY_BLOCK);
  if (rc == SQLITE_OK && !k->faulty) rc = check_named_trees(k);
  if (rc != SQLITE_OK || k->faulty) return rc; /* what is not seen need not be free */
  check_counts(k);
  check_lowest_free(k);
  return check_bitmaps(k);
}

static int check_snapshot(check *k) {
  k->end = spm_space_end(k->conn);
  if (!spm_space_formatted(k->conn)) return SQLITE_OK;
  int rc = spm_header_read(k->conn, &k->header);
  if (rc == SQLITE_CORRUPT) fault(k, "%s", spm_last_error());
  if (rc != SQLITE_OK) return rc;
  k->seen = calloc((size_t)k->end / 64 + 1, sizeof *k->seen);
  if (k->seen == NULL) return SQLITE_NOMEM;
  rc = check_all(k);
  free(k->seen);
  return rc == SQLITE_OK && k->faulty ? SQLITE_CORRUPT : rc;
}

int spm_kv_check(spm_kv *kv, spm_kv_report report, void *argument) {
  check k = {.conn = spm_kv_conn(kv), .kv = kv, .report = report, .argument = argument};
  bool own = spm_kv_lsn(kv) == 0;
  int rc = own ? spm_kv_snapshot_begin(kv) : SQLITE_OK;
  if (rc != SQLITE_OK) return rc;
  rc = check_snapshot(&k);
  if (own) spm_kv_snapshot_end(kv);
  return rc;
}
