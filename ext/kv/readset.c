/*
** readset.c - see readset.h.
*/
#include "readset.h"

#include <stdlib.h>
#include <string.h>

#define READS_MIN 64u

int spm_bytes_compare(const uint8_t *a, uint32_t na, const uint8_t *b, uint32_t nb) {
  uint32_t n = na < nb ? na : nb;
  int order = n > 0 ? memcmp(a, b, n) : 0;
  return order != 0 ? order : (na > nb) - (na < nb);
}

int spm_range_compare(const spm_range *r, const uint8_t *key, uint32_t nkey) {
  if (r->nlow > 0) {
    int order = spm_bytes_compare(key, nkey, r->low, r->nlow);
    if (order < 0 || (order == 0 && r->low_open)) return -1;
  }
  if (r->nhigh > 0) {
    int order = spm_bytes_compare(key, nkey, r->high, r->nhigh);
    if (order > 0 || (order == 0 && r->high_open)) return 1;
  }
  return 0;
}

/* Where ranges begin: an open bound begins behind a closed one, none before all. */
static int compare_lows(const spm_range *a, const spm_range *b) {
  int order = spm_bytes_compare(a->low, a->nlow, b->low, b->nlow);
  return order != 0 ? order : a->low_open - b->low_open;
}

static int compare_highs(const spm_range *a, const spm_range *b) {
  if (a->nhigh == 0 || b->nhigh == 0) return (a->nhigh == 0) - (b->nhigh == 0);
  int order = spm_bytes_compare(a->high, a->nhigh, b->high, b->nhigh);
  return order != 0 ? order : b->high_open - a->high_open;
}

static int compare_reads(const void *x, const void *y) {
  const spm_read *a = x, *b = y;
  if (a->tree != b->tree) return a->tree < b->tree ? -1 : 1;
  return compare_lows(&a->range, &b->range);
}

/* Does `b`, which does not begin before `a`, begin within it? */
static bool overlap(const spm_read *a, const spm_read *b) {
  if (a->tree != b->tree) return false;
  if (a->range.nhigh == 0 || b->range.nlow == 0) return true;
  int order = spm_bytes_compare(b->range.low, b->range.nlow, a->range.high, a->range.nhigh);
  return order < 0 || (order == 0 && !a->range.high_open && !b->range.low_open);
}

/* Both bounds are in one piece of memory, which `low` points to. */
static void free_range(spm_range *r) { sqlite3_free((uint8_t *)(uintptr_t)r->low); }

static int copy_range(const spm_range *from, spm_range *to) {
  uint8_t *bytes = sqlite3_malloc64((uint64_t)from->nlow + from->nhigh + 1);
  if (bytes == NULL) return SQLITE_NOMEM;
  *to = *from;
  if (from->nlow > 0) memcpy(bytes, from->low, from->nlow);
  if (from->nhigh > 0) memcpy(bytes + from->nlow, from->high, from->nhigh);
  to->low = bytes;
  to->high = bytes + from->nlow;
  return SQLITE_OK;
}

/* `a` becomes both, `b` goes.  On lack of memory both stay. */
static bool join(spm_read *a, spm_read *b) {
  if (!overlap(a, b)) return false;
  if (compare_highs(&a->range, &b->range) < 0) {
    spm_range both = a->range, owned;
    both.high = b->range.high;
    both.nhigh = b->range.nhigh;
    both.high_open = b->range.high_open;
    if (copy_range(&both, &owned) != SQLITE_OK) return false;
    free_range(&a->range);
    a->range = owned;
  }
  free_range(&b->range);
  return true;
}

static void join_all(spm_readset *s) {
  if (s->count == 0) return;
  qsort(s->reads, s->count, sizeof *s->reads, compare_reads);
  uint32_t last = 0;
  for (uint32_t i = 1; i < s->count; i++)
    if (!join(&s->reads[last], &s->reads[i])) s->reads[++last] = s->reads[i];
  s->joined = s->count = last + 1;
}

static int make_room(spm_readset *s) {
  if (s->count >= READS_MIN && s->count >= 2 * s->joined) join_all(s);
  if (s->count < s->capacity) return SQLITE_OK;
  uint32_t capacity = s->capacity ? s->capacity * 2 : READS_MIN;
  spm_read *reads = sqlite3_realloc64(s->reads, capacity * sizeof *reads);
  if (reads == NULL) return SQLITE_NOMEM;
  s->reads = reads;
  s->capacity = capacity;
  return SQLITE_OK;
}

int spm_readset_add(spm_readset *s, uint32_t tree, const spm_range *range) {
  int rc = make_room(s);
  if (rc == SQLITE_OK) rc = copy_range(range, &s->reads[s->count].range);
  if (rc == SQLITE_OK) s->reads[s->count++].tree = tree;
  s->lost |= rc != SQLITE_OK;
  return rc;
}

void spm_readset_clear(spm_readset *s) {
  for (uint32_t i = 0; i < s->count; i++) free_range(&s->reads[i].range);
  s->count = s->joined = 0;
  s->lost = false;
}

void spm_readset_free(spm_readset *s) {
  spm_readset_clear(s);
  sqlite3_free(s->reads);
  *s = (spm_readset){0};
}
