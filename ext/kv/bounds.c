/*
** bounds.c - see bounds.h.
*/
#include "bounds.h"

#include "plan.h"

#include <stdlib.h>
#include <string.h>

#define PREFIX_MAX 255u /* bytes of a pattern's beginning that are made use of */

static const uint8_t text_begin = SPM_KEY_TAG_TEXT, blob_begin = SPM_KEY_TAG_BLOB, keys_end = SPM_KEY_TAG_END;

static spm_range *add_own(spm_bounds *b) {
  spm_range *r = &b->own[b->count++];
  *r = (spm_range){0};
  return r;
}

static void set_low(spm_range *r, const uint8_t *bytes, uint32_t n, bool open) {
  r->low = bytes;
  r->nlow = n;
  r->low_open = open;
}

static void set_high(spm_range *r, const uint8_t *bytes, uint32_t n, bool open) {
  r->high = bytes;
  r->nhigh = n;
  r->high_open = open;
}

/* ----------------------------------------------------------------- bounds -- */

/* Nothing is below, above or equal to NULL. */
static int encode(sqlite3_value *value, bool binary, spm_key *key, bool *null) {
  int rc = spm_key_encode(value, binary, key);
  *null = rc == SQLITE_CONSTRAINT_NOTNULL;
  return *null ? SQLITE_OK : rc;
}

static int set_point(spm_bounds *b, bool binary, sqlite3_value *value) {
  bool null;
  int rc = encode(value, binary, &b->keys[0], &null);
  if (rc != SQLITE_OK || null || b->keys[0].cut) return rc;
  spm_range *r = add_own(b);
  set_low(r, b->keys[0].bytes, b->keys[0].size, false);
  set_high(r, b->keys[0].bytes, b->keys[0].size, false);
  return SQLITE_OK;
}

/* A bound that was cut equals no key; those above it are those above what is left. */
static void bound_below(spm_range *r, const spm_key *k, bool open, bool binary) {
  if (!binary && k->bytes[0] == SPM_KEY_TAG_TEXT)
    set_low(r, &text_begin, 1, false);
  else
    set_low(r, k->bytes, k->size, open || k->cut);
}

static void bound_above(spm_range *r, const spm_key *k, bool open, bool binary) {
  if (!binary && k->bytes[0] == SPM_KEY_TAG_TEXT)
    set_high(r, &blob_begin, 1, true);
  else
    set_high(r, k->bytes, k->size, open && !k->cut);
}

static int set_between(spm_bounds *b, int plan, bool binary, sqlite3_value **arguments) {
  bool null = false;
  int rc = SQLITE_OK;
  spm_range r = {0};
  if (plan & SPM_PLAN_LOW) {
    rc = encode(*arguments++, binary, &b->keys[0], &null);
    if (rc != SQLITE_OK || null) return rc;
    bound_below(&r, &b->keys[0], (plan & SPM_PLAN_LOW_OPEN) != 0, binary);
  }
  if (plan & SPM_PLAN_HIGH) {
    rc = encode(*arguments, binary, &b->keys[1], &null);
    if (rc != SQLITE_OK || null) return rc;
    bound_above(&r, &b->keys[1], (plan & SPM_PLAN_HIGH_OPEN) != 0, binary);
  }
  *add_own(b) = r;
  return SQLITE_OK;
}

/* --------------------------------------------------------------- patterns -- */

/* Bytes that every match begins with. */
static uint32_t literal_beginning(const char *pattern, bool like) {
  uint32_t n = (uint32_t)strcspn(pattern, like ? "%_" : "*?[");
  const char *odd = strstr(pattern, "\xEF\xBF\xBD"); /* what SQLite reads damaged text as */
  if (odd != NULL && (uint32_t)(odd - pattern) < n) n = (uint32_t)(odd - pattern);
  return n < PREFIX_MAX ? n : PREFIX_MAX;
}

/* The lowest and the first too high key that begin so, in letters of either case if
** that is how they match: all of those lie between the two. */
static void set_beginning(spm_range *r, spm_key *low, spm_key *high, uint8_t tag, const char *bytes, uint32_t n, bool like) {
  low->bytes[0] = high->bytes[0] = tag;
  for (uint32_t i = 0; i < n; i++) {
    uint8_t c = (uint8_t)bytes[i];
    low->bytes[1 + i] = like && c >= 'a' && c <= 'z' ? (uint8_t)(c - 'a' + 'A') : c;
    high->bytes[1 + i] = like && c >= 'A' && c <= 'Z' ? (uint8_t)(c - 'A' + 'a') : c;
  }
  low->size = high->size = n + 1;
  while (high->bytes[high->size - 1] == 0xFF) high->size--;
  high->bytes[high->size - 1]++;
  set_low(r, low->bytes, low->size, false);
  set_high(r, high->bytes, high->size, true);
}

/* Patterns match numbers too, by their text: digits, a sign, Inf. */
static bool may_begin_number(char c) { return c != 0 && strchr("0123456789+-.iInN", c) != NULL; }

/* Blobs are read as text of the database's encoding. */
static void set_prefix(spm_bounds *b, const char *pattern, uint32_t n, bool like, bool binary) {
  if (may_begin_number(pattern[0])) set_high(add_own(b), &text_begin, 1, true);
  set_beginning(add_own(b), &b->keys[0], &b->keys[1], SPM_KEY_TAG_TEXT, pattern, n, like);
  spm_range *blobs = add_own(b);
  if (binary)
    set_beginning(blobs, &b->keys[2], &b->keys[3], SPM_KEY_TAG_BLOB, pattern, n, like);
  else {
    set_low(blobs, &blob_begin, 1, false);
    set_high(blobs, &keys_end, 1, true);
  }
}

/* *narrow: the pattern has a beginning, or is NULL and matches nothing. */
static int set_pattern(spm_bounds *b, int plan, bool binary, sqlite3_value *value, bool *narrow) {
  bool like = (plan & SPM_PLAN_LIKE) != 0;
  *narrow = true;
  if (sqlite3_value_type(value) == SQLITE_NULL) return SQLITE_OK;
  const char *pattern = (const char *)sqlite3_value_text(value);
  if (pattern == NULL) return SQLITE_NOMEM;
  uint32_t n = literal_beginning(pattern, like);
  *narrow = n > 0;
  if (*narrow) set_prefix(b, pattern, n, like, binary);
  return SQLITE_OK;
}

/* ------------------------------------------------------------- IN (a, b, ...) -- */

typedef struct key_list {
  uint8_t *bytes; /* each key behind its size */
  uint64_t used, room;
  uint32_t count;
} key_list;

static int append_key(key_list *l, const spm_key *key) {
  uint64_t need = l->used + sizeof key->size + key->size;
  if (need > l->room) {
    uint64_t room = need * 2 + 256;
    uint8_t *bytes = sqlite3_realloc64(l->bytes, room);
    if (bytes == NULL) return SQLITE_NOMEM;
    l->bytes = bytes;
    l->room = room;
  }
  memcpy(l->bytes + l->used, &key->size, sizeof key->size);
  memcpy(l->bytes + l->used + sizeof key->size, key->bytes, key->size);
  l->used = need;
  l->count++;
  return SQLITE_OK;
}

static int collect(spm_bounds *b, bool binary, sqlite3_value *set, key_list *l) {
  sqlite3_value *value;
  spm_key *key = &b->keys[0];
  int rc;
  for (rc = sqlite3_vtab_in_first(set, &value); rc == SQLITE_OK; rc = sqlite3_vtab_in_next(set, &value)) {
    bool null;
    rc = encode(value, binary, key, &null);
    if (rc == SQLITE_OK && !null && !key->cut) rc = append_key(l, key);
    if (rc != SQLITE_OK) return rc;
  }
  return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int compare_points(const void *x, const void *y) {
  const spm_range *a = x, *b = y;
  return spm_bytes_compare(a->low, a->nlow, b->low, b->nlow);
}

/* The ranges stand behind the keys, in the same piece of memory. */
static int points_of(spm_bounds *b, key_list *l) {
  uint64_t at = (l->used + 15) & ~UINT64_C(15);
  uint8_t *bytes = sqlite3_realloc64(l->bytes, at + l->count * sizeof(spm_range));
  if (bytes == NULL) return SQLITE_NOMEM;
  l->bytes = bytes;
  b->ranges = (spm_range *)(void *)(bytes + at);
  for (uint64_t from = 0; from < l->used;) {
    uint32_t n;
    memcpy(&n, bytes + from, sizeof n);
    from += sizeof n;
    spm_range *r = &b->ranges[b->count++];
    *r = (spm_range){.low = bytes + from, .high = bytes + from, .nlow = n, .nhigh = n};
    from += n;
  }
  qsort(b->ranges, b->count, sizeof *b->ranges, compare_points);
  uint32_t kept = 1;
  for (uint32_t i = 1; i < b->count; i++)
    if (compare_points(&b->ranges[kept - 1], &b->ranges[i]) != 0) b->ranges[kept++] = b->ranges[i];
  b->count = kept;
  return SQLITE_OK;
}

static int set_list(spm_bounds *b, bool binary, sqlite3_value *set) {
  key_list l = {0};
  int rc = collect(b, binary, set, &l);
  if (rc == SQLITE_OK && l.count > 0) rc = points_of(b, &l);
  b->list = l.bytes;
  return rc;
}

/* ------------------------------------------------------------------ public -- */

void spm_bounds_clear(spm_bounds *b) {
  sqlite3_free(b->list);
  b->list = NULL;
  b->count = 0;
  b->ranges = b->own;
}

static int set_ranges(spm_bounds *b, int plan, bool binary, sqlite3_value **arguments, int *used) {
  bool narrow = false;
  int rc = SQLITE_OK;
  *used = ((plan & SPM_PLAN_LOW) != 0) + ((plan & SPM_PLAN_HIGH) != 0);
  if (plan & (SPM_PLAN_GLOB | SPM_PLAN_LIKE)) rc = set_pattern(b, plan, binary, arguments[(*used)++], &narrow);
  return rc == SQLITE_OK && !narrow ? set_between(b, plan, binary, arguments) : rc;
}

int spm_bounds_set(spm_bounds *b, int plan, bool binary, sqlite3_value **arguments, int *used) {
  spm_bounds_clear(b);
  *used = (plan & (SPM_PLAN_EQUAL | SPM_PLAN_IN)) != 0;
  if (plan & SPM_PLAN_EQUAL) return set_point(b, binary, arguments[0]);
  if (plan & SPM_PLAN_IN) return set_list(b, binary, arguments[0]);
  return set_ranges(b, plan, binary, arguments, used);
}
