/*
** scan.c - see scan.h.
*/
#include "scan.h"

#include "anchor.h"
#include "bounds.h"
#include "key.h"
#include "plan.h"
#include "kvtxn.h"

#include <stddef.h>
#include <string.h>

/* Where the present row comes from. */
typedef enum origin {
  ORIGIN_NONE,   /* there is none: the end                       */
  ORIGIN_SEARCH, /* `value`, of a point                          */
  ORIGIN_TREE,   /* the tree's cursor                            */
  ORIGIN_CHANGE  /* `version`; `shadowed`: the tree has that key */
} origin;

struct spm_scan {
  sqlite3_vtab_cursor base;
  spm_open_scan open; /* in the session's list, if the table is serializable */
  spm_scan *next; /* of the spares */
  void *memory;   /* that this stands in, aligned */
  spm_view *view;
  spm_changes *changes; /* NULL: there were none when it was opened */
  spm_mark mark;
  spm_tree tree;
  bool tree_there;  /* the snapshot has this tree            */
  bool down;
  bool unread;      /* what it has read is not in the read set yet        */
  bool stopped;     /* by LIMIT: it has read up to `key`                  */
  uint32_t range;   /* the present one, of bounds.ranges     */
  int64_t wanted;   /* rows still to be given; -1: all       */
  origin origin;
  bool tree_on;     /* the tree's cursor is on a key of this range     */
  bool shadowed;
  bool value_known; /* `value` is that of the present row of the tree  */
  const spm_change *change; /* the next one of this range, or NULL     */
  const spm_version *version;
  const uint8_t *key;
  uint32_t nkey;
  spm_value value;
  spm_tree_cursor cursor;
  spm_bounds bounds;
};

static spm_table *table_of(const spm_scan *s) { return (spm_table *)s->base.pVtab; }
static const spm_range *range_of(const spm_scan *s) { return &s->bounds.ranges[s->range]; }

/* ------------------------------------------------------------- serializable -- */

/* Rows from where the range was entered up to the present one have been read, and that
** there are no others between them. */
static spm_range read_part(const spm_scan *s, const spm_range *whole) {
  spm_range part = *whole;
  if (s->origin == ORIGIN_NONE && !s->stopped) return part;
  if (s->down) {
    part.low = s->key;
    part.nlow = s->nkey;
    part.low_open = false;
  } else {
    part.high = s->key;
    part.nhigh = s->nkey;
    part.high_open = false;
  }
  return part;
}

/* SQLITE_NOMEM is kept in the read set for the commit, too. */
static int remember_reads(spm_scan *s) {
  spm_table *t = table_of(s);
  int rc = SQLITE_OK;
  if (!s->unread) return rc;
  s->unread = false;
  for (uint32_t i = 0; rc == SQLITE_OK && i < s->bounds.count; i++) {
    if (s->down ? i < s->range : i > s->range) continue; /* not entered yet */
    spm_range part = i == s->range ? read_part(s, &s->bounds.ranges[i]) : s->bounds.ranges[i];
    rc = spm_kvtxn_has_read(t->session, t->named, &part);
  }
  return rc;
}

/* It goes on reading afterwards. */
static int remember_so_far(spm_open_scan *open) {
  spm_scan *s = (spm_scan *)((char *)open - offsetof(spm_scan, open));
  bool unread = s->unread;
  int rc = remember_reads(s);
  s->unread = unread;
  return rc;
}

static void enlist(spm_scan *s) {
  spm_open_scan **list = &table_of(s)->session->scans;
  s->open = (spm_open_scan){.next = *list, .link = list, .remember = remember_so_far};
  if (*list != NULL) (*list)->link = &s->open.next;
  *list = &s->open;
}

static void delist(spm_scan *s) {
  *s->open.link = s->open.next;
  if (s->open.next != NULL) s->open.next->link = s->open.link;
}

/* --------------------------------------------------------- open and close -- */

/* The tree's cursor wants its leaf on a cache line. */
static spm_scan *new_scan(void) {
  void *memory = sqlite3_malloc64(sizeof(spm_scan) + _Alignof(spm_scan));
  if (memory == NULL) return NULL;
  spm_scan *s = (spm_scan *)SPM_ALIGN((uintptr_t)memory, _Alignof(spm_scan));
  s->memory = memory;
  return s;
}

static spm_scan *take_spare(spm_table *t) {
  spm_scan *s = t->spares;
  if (s == NULL) return new_scan();
  t->spares = s->next;
  return s;
}

static void keep_spare(spm_table *t, spm_scan *s) {
  s->next = t->spares;
  t->spares = s;
}

void spm_scan_free_spares(spm_table *t) {
  while (t->spares != NULL) {
    spm_scan *s = t->spares;
    t->spares = s->next;
    sqlite3_free(s->memory);
  }
}

/* Whoever reads after a COMMIT that was refused reads the write set, not what was staged. */
static int begin_reading(spm_scan *s, spm_session *session) {
  spm_kvtxn_reopen(session);
  int rc = spm_anchor_read(session);
  if (rc == SQLITE_OK) rc = spm_session_read(session, &s->view);
  if (rc != SQLITE_OK || spm_changes_empty(session->changes)) return rc;
  s->changes = session->changes;
  spm_changes_hold(s->changes);
  spm_changes_mark(s->changes, &s->mark);
  return SQLITE_OK;
}

int spm_scan_open(sqlite3_vtab *vtab, sqlite3_vtab_cursor **out) {
  spm_table *t = (spm_table *)vtab;
  spm_scan *s = take_spare(t);
  if (s == NULL) return SQLITE_NOMEM;
  s->changes = NULL;
  s->origin = ORIGIN_NONE;
  s->unread = false;
  s->bounds.list = NULL;
  int rc = begin_reading(s, t->session);
  if (rc != SQLITE_OK) {
    keep_spare(t, s);
    return spm_table_result(t, rc);
  }
  s->base.pVtab = vtab;
  if (t->serializable) enlist(s);
  *out = &s->base;
  return SQLITE_OK;
}

int spm_scan_close(sqlite3_vtab_cursor *cursor) {
  spm_scan *s = (spm_scan *)cursor;
  spm_table *t = table_of(s);
  (void)remember_reads(s);
  if (t->serializable) delist(s);
  spm_bounds_clear(&s->bounds);
  if (s->changes != NULL) {
    spm_changes_unmark(s->changes, &s->mark);
    spm_changes_free(s->changes);
  }
  spm_session_release(t->session, s->view);
  keep_spare(t, s);
  return SQLITE_OK;
}

/* ------------------------------------------------------------------ search -- */

static const spm_version *changed_to(const spm_scan *s, const uint8_t *key, uint32_t nkey) {
  if (s->changes == NULL) return NULL;
  return spm_changes_find(s->changes, table_of(s)->named->id, key, nkey, s->mark.sequence);
}

/* A range of one key: the row, or the end of the range. */
static int search_point(spm_scan *s, const spm_range *r) {
  s->origin = ORIGIN_NONE;
  s->key = r->low;
  s->nkey = r->nlow;
  s->version = changed_to(s, s->key, s->nkey);
  if (s->version != NULL) {
    if (!s->version->deleted) s->origin = ORIGIN_CHANGE;
    return SQLITE_OK;
  }
  if (!s->tree_there) return SQLITE_OK;
  int rc = spm_tree_get(&s->tree, s->key, s->nkey, &s->value);
  if (rc == SQLITE_NOTFOUND) return SQLITE_OK;
  if (rc == SQLITE_OK) s->origin = ORIGIN_SEARCH;
  return rc;
}

/* ------------------------------------------------------------------- merge -- */

/* After a step of the tree's cursor that returned rc. */
static int tree_stepped(spm_scan *s, int rc) {
  s->tree_on = rc == SQLITE_OK && spm_range_compare(range_of(s), s->cursor.key, s->cursor.nkey) == 0;
  s->value_known = false;
  return rc == SQLITE_NOTFOUND ? SQLITE_OK : rc;
}

static int step_tree(spm_scan *s) {
  return tree_stepped(s, s->down ? spm_cursor_prev(&s->cursor) : spm_cursor_next(&s->cursor));
}

static int enter_tree(spm_scan *s, const spm_range *r) {
  s->tree_on = false;
  if (!s->tree_there) return SQLITE_OK;
  spm_cursor_open(&s->cursor, &s->tree);
  uint32_t n = s->down ? r->nhigh : r->nlow;
  const uint8_t *bound = s->down ? r->high : r->low;
  spm_seek seek = s->down ? (n == 0 ? SPM_SEEK_LAST : r->high_open ? SPM_SEEK_LT : SPM_SEEK_LE)
                          : (n == 0 ? SPM_SEEK_FIRST : r->low_open ? SPM_SEEK_GT : SPM_SEEK_GE);
  return tree_stepped(s, spm_cursor_seek(&s->cursor, seek, bound, n));
}

/* The first change from `c` on that this scan sees and that is in the range. */
static const spm_change *visible(const spm_scan *s, const spm_change *c) {
  for (; c != NULL; c = s->down ? spm_change_prev(c) : spm_change_next(c)) {
    uint32_t n;
    const uint8_t *key = spm_change_key(c, &n);
    if (spm_range_compare(range_of(s), key, n) != 0) return NULL;
    if (spm_change_version(c, s->mark.sequence) != NULL) return c;
  }
  return NULL;
}

static void step_changes(spm_scan *s) {
  s->change = visible(s, s->down ? spm_change_prev(s->change) : spm_change_next(s->change));
}

/* A tree's last change comes before the first of the next tree. */
static const spm_change *last_change(const spm_scan *s, const spm_range *r) {
  uint32_t id = table_of(s)->named->id;
  if (r->nhigh > 0) return spm_changes_last(s->changes, id, r->high, r->nhigh, !r->high_open);
  static const uint8_t end = SPM_KEY_TAG_END;
  return spm_changes_last(s->changes, id, &end, 1, false);
}

static void enter_changes(spm_scan *s, const spm_range *r) {
  s->change = NULL;
  if (s->changes == NULL) return;
  uint32_t id = table_of(s)->named->id;
  s->change = visible(s, s->down ? last_change(s, r)
                                 : spm_changes_first(s->changes, id, r->low, r->nlow, !r->low_open));
}

/* Which of the two comes first: below 0 the tree's key, above 0 the change's. */
static int which_first(const spm_scan *s) {
  uint32_t n;
  if (s->change == NULL) return -1;
  if (!s->tree_on) return 1;
  const uint8_t *key = spm_change_key(s->change, &n);
  int order = spm_bytes_compare(s->cursor.key, s->cursor.nkey, key, n);
  return s->down ? -order : order;
}

/* Both are where the next row may be: take it, passing over deleted ones. */
static int settle(spm_scan *s) {
  int rc = SQLITE_OK;
  s->origin = ORIGIN_NONE;
  while (rc == SQLITE_OK && (s->tree_on || s->change != NULL)) {
    int order = which_first(s);
    if (order < 0) {
      s->origin = ORIGIN_TREE;
      s->key = spm_cursor_key(&s->cursor, &s->nkey);
      return SQLITE_OK;
    }
    s->version = spm_change_version(s->change, s->mark.sequence);
    s->shadowed = order == 0;
    if (s->version != NULL && !s->version->deleted) {
      s->origin = ORIGIN_CHANGE;
      s->key = spm_change_key(s->change, &s->nkey);
      return SQLITE_OK;
    }
    step_changes(s);
    if (s->shadowed) rc = step_tree(s);
  }
  return rc;
}

/* ------------------------------------------------------------------ ranges -- */

static bool is_last_range(const spm_scan *s) {
  return s->down ? s->range == 0 : s->range + 1 >= s->bounds.count;
}

static int enter_range(spm_scan *s) {
  const spm_range *r = range_of(s);
  if (spm_range_is_point(r)) return search_point(s, r);
  int rc = enter_tree(s, r);
  if (rc == SQLITE_OK) enter_changes(s, r);
  return rc == SQLITE_OK ? settle(s) : rc;
}

/* At the end of a range: the first row of those that follow. */
static int go_on(spm_scan *s) {
  int rc = SQLITE_OK;
  while (rc == SQLITE_OK && s->origin == ORIGIN_NONE && !is_last_range(s)) {
    s->range = s->down ? s->range - 1 : s->range + 1;
    rc = enter_range(s);
  }
  return rc;
}

static int next_row(spm_scan *s) {
  int rc = SQLITE_OK;
  bool point = spm_range_is_point(range_of(s));
  if (!point && s->origin == ORIGIN_CHANGE) {
    step_changes(s);
    if (s->shadowed) rc = step_tree(s);
  } else if (!point) {
    rc = step_tree(s);
  }
  s->origin = ORIGIN_NONE;
  if (rc == SQLITE_OK && !point) rc = settle(s);
  return rc == SQLITE_OK ? go_on(s) : rc;
}

/* ------------------------------------------------------------------ filter -- */

static int find_tree(spm_scan *s) {
  spm_table *t = table_of(s);
  int rc = spm_session_tree(t->session, s->view, t->named, &s->tree);
  s->tree_there = rc == SQLITE_OK;
  return rc == SQLITE_NOTFOUND ? SQLITE_OK : rc;
}

/* LIMIT and OFFSET come last, and are only planned where every row counts. */
static int first_row(spm_scan *s, int plan, sqlite3_value **arguments) {
  s->wanted = plan & SPM_PLAN_LIMIT ? sqlite3_value_int64(*arguments++) : -1;
  int64_t skipped = plan & SPM_PLAN_OFFSET ? sqlite3_value_int64(*arguments) : 0;
  if (s->bounds.count == 0 || s->wanted == 0) return SQLITE_OK;
  s->range = s->down ? s->bounds.count - 1 : 0;
  s->unread = table_of(s)->serializable;
  int rc = enter_range(s);
  if (rc == SQLITE_OK) rc = go_on(s);
  for (; rc == SQLITE_OK && skipped > 0 && s->origin != ORIGIN_NONE; skipped--) rc = next_row(s);
  return rc;
}

int spm_scan_filter(sqlite3_vtab_cursor *cursor, int plan, const char *text, int argc, sqlite3_value **argv) {
  (void)text, (void)argc;
  spm_scan *s = (spm_scan *)cursor;
  spm_table *t = table_of(s);
  int used;
  int rc = remember_reads(s);
  if (rc != SQLITE_OK) return rc;
  s->origin = ORIGIN_NONE;
  s->value_known = s->stopped = false;
  s->down = (plan & SPM_PLAN_DOWN) != 0;
  rc = spm_bounds_set(&s->bounds, plan, t->binary, argv, &used);
  if (rc == SQLITE_OK) rc = find_tree(s);
  if (rc == SQLITE_OK) rc = first_row(s, plan, argv + used);
  return rc == SQLITE_OK ? rc : spm_table_result(t, rc);
}

int spm_scan_next(sqlite3_vtab_cursor *cursor) {
  spm_scan *s = (spm_scan *)cursor;
  if (s->wanted > 0 && --s->wanted == 0) {
    s->origin = ORIGIN_NONE;
    s->stopped = true;
    return SQLITE_OK;
  }
  int rc = next_row(s);
  return rc == SQLITE_OK ? rc : spm_table_result(table_of(s), rc);
}

int spm_scan_eof(sqlite3_vtab_cursor *cursor) { return ((spm_scan *)cursor)->origin == ORIGIN_NONE; }

int spm_scan_rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *rowid) {
  (void)cursor;
  *rowid = 0; /* the table has none, and SQLite does not ask */
  return SQLITE_OK;
}

/* ----------------------------------------------------------------- columns -- */

/* Make `value` the present row's, if it comes from the tree. */
static int know_value(spm_scan *s) {
  if (s->origin != ORIGIN_TREE || s->value_known) return SQLITE_OK;
  int rc = spm_cursor_value(&s->cursor, &s->value);
  s->value_known = rc == SQLITE_OK;
  return rc;
}

static int first_byte(spm_scan *s, uint8_t *byte) {
  if (s->origin == ORIGIN_CHANGE) {
    *byte = s->version->bytes[0];
    return SQLITE_OK;
  }
  int rc = know_value(s);
  if (rc != SQLITE_OK) return rc;
  if (s->value.size == 0) return spm_error(SQLITE_CORRUPT, "a value without a type");
  return spm_value_read(s->tree.conn, &s->value, 0, 1, byte);
}

/* Only numbers have a form that the key's bytes do not tell. */
static int answer_key(spm_scan *s, sqlite3_context *context) {
  spm_form form = SPM_FORM_PLAIN;
  spm_datum d;
  uint8_t byte;
  int rc = SQLITE_OK;
  if (s->key[0] < SPM_KEY_TAG_TEXT) {
    rc = first_byte(s, &byte);
    if (rc == SQLITE_OK) rc = spm_datum_form(&byte, 1, &form);
  }
  if (rc == SQLITE_OK) rc = spm_key_decode(s->key, s->nkey, form, &d);
  if (rc == SQLITE_OK) spm_datum_result(context, &d, false);
  return rc;
}

static int answer_bytes(sqlite3_context *context, const uint8_t *bytes, uint64_t size, bool lasting) {
  spm_datum d;
  int rc = spm_datum_decode(bytes, size, &d);
  if (rc == SQLITE_OK) spm_datum_result(context, &d, lasting);
  return rc;
}

/* A run that cannot be pointed to is read once, into the memory SQLite then owns. */
static int answer_run(spm_scan *s, sqlite3_context *context) {
  uint64_t size = s->value.size - SPM_VALUE_HEAD;
  uint8_t head, *bytes = sqlite3_malloc64(size + 1);
  spm_datum d;
  if (bytes == NULL) return SQLITE_NOMEM;
  int rc = spm_value_read(s->tree.conn, &s->value, 0, 1, &head);
  if (rc == SQLITE_OK) rc = spm_value_read(s->tree.conn, &s->value, SPM_VALUE_HEAD, (uint32_t)size, bytes);
  if (rc == SQLITE_OK) rc = spm_datum_head(head, &d);
  if (rc != SQLITE_OK) {
    sqlite3_free(bytes);
    return rc;
  }
  if (d.type == SQLITE_TEXT)
    sqlite3_result_text64(context, (char *)bytes, size, sqlite3_free, SQLITE_UTF8);
  else
    sqlite3_result_blob64(context, bytes, size, sqlite3_free);
  return SQLITE_OK;
}

static int answer_value(spm_scan *s, sqlite3_context *context) {
  if (s->origin == ORIGIN_CHANGE) return answer_bytes(context, s->version->bytes, s->version->size, false);
  int rc = know_value(s);
  if (rc != SQLITE_OK) return rc;
  if (s->value.bytes == NULL) return answer_run(s, context);
  return answer_bytes(context, s->value.bytes, s->value.size, s->value.block != 0);
}

/* A value that an UPDATE leaves as it is need not be read (sqlite3_vtab_nochange). */
int spm_scan_column(sqlite3_vtab_cursor *cursor, sqlite3_context *context, int column) {
  spm_scan *s = (spm_scan *)cursor;
  if (column == SPM_COLUMN_VALUE && sqlite3_vtab_nochange(context)) return SQLITE_OK;
  int rc = column == SPM_COLUMN_KEY ? answer_key(s, context) : answer_value(s, context);
  return rc == SQLITE_OK ? rc : spm_table_result(table_of(s), rc);
}
