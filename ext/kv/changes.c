/*
** changes.c - see changes.h.
*/
#include "changes.h"

#include "arena.h"

#include <string.h>

#define HEIGHT_MAX 16u /* with a quarter of each level on the next: for 4^16 changes */

/* Laid out as: this, `height` links, the key. */
struct spm_change {
  spm_version *newest; /* NULL: all were rolled back */
  spm_change *back;    /* the change before it, of any tree; NULL: it is the first */
  uint64_t head;       /* the key's first eight bytes, to compare most keys by     */
  uint32_t tree;
  uint32_t nkey;
  uint32_t height;
  uint32_t zero;
  spm_change *forward[];
};

struct spm_changes {
  spm_arena arena;
  uint64_t sequence;
  uint64_t random;
  uint32_t holders;
  spm_mark *marks;        /* the newest first            */
  spm_version *written;   /* the newest first, `before` leads on */
  uint32_t height;        /* levels in use               */
  spm_change *first[HEIGHT_MAX];
  spm_change *last[HEIGHT_MAX]; /* of each level, so that ascending keys need no search */
};

/* What is compared: a key, and where it would stand. */
typedef struct place {
  uint32_t tree, nkey;
  uint64_t head;
  const uint8_t *key;
} place;

/* ----------------------------------------------------------------- compare -- */

static const uint8_t *key_of(const spm_change *c) { return (const uint8_t *)(c->forward + c->height); }

/* The first bytes as a number that orders as they do, short keys as if zeros followed. */
static uint64_t head_of(const uint8_t *key, uint32_t nkey) {
  uint64_t head = 0;
  memcpy(&head, key, nkey < sizeof head ? nkey : sizeof head);
  return __builtin_bswap64(head);
}

static place place_of(uint32_t tree, const void *key, uint32_t nkey) {
  return (place){tree, nkey, nkey > 0 ? head_of(key, nkey) : 0, key};
}

static int compare_keys(const spm_change *c, const place *p) {
  uint32_t n = c->nkey < p->nkey ? c->nkey : p->nkey;
  int order = n > 0 ? memcmp(key_of(c), p->key, n) : 0;
  return order != 0 ? order : (c->nkey > p->nkey) - (c->nkey < p->nkey);
}

static int compare(const spm_change *c, const place *p) {
  if (c->tree != p->tree) return c->tree < p->tree ? -1 : 1;
  if (c->head != p->head) return c->head < p->head ? -1 : 1;
  return compare_keys(c, p);
}

/* --------------------------------------------------------------- skip list -- */

/* For each level the link that leads to the first change not below the place, and the
** change it belongs to, NULL for the list's own. */
static spm_change *search(const spm_changes *s, const place *p, spm_change *before[HEIGHT_MAX]) {
  spm_change *at = NULL, *next = NULL;
  for (uint32_t level = s->height; level-- > 0;) {
    while ((next = at ? at->forward[level] : s->first[level]) != NULL && compare(next, p) < 0) at = next;
    if (before != NULL) before[level] = at;
  }
  return next;
}

/* The same where the place is behind all that is there. */
static spm_change *search_to_put(const spm_changes *s, const place *p, spm_change *before[HEIGHT_MAX]) {
  if (s->height == 0 || compare(s->last[0], p) >= 0) return search(s, p, before);
  memcpy(before, s->last, s->height * sizeof *before);
  return NULL;
}

static uint32_t random_height(spm_changes *s) {
  s->random ^= s->random << 13;
  s->random ^= s->random >> 7;
  s->random ^= s->random << 17;
  uint32_t height = 1 + (uint32_t)__builtin_ctzll(s->random | UINT64_C(1) << 62) / 2;
  return height < HEIGHT_MAX ? height : HEIGHT_MAX;
}

static void link_at(spm_changes *s, spm_change *c, spm_change *before[HEIGHT_MAX]) {
  for (; s->height < c->height; s->height++) before[s->height] = NULL;
  for (uint32_t level = 0; level < c->height; level++) {
    spm_change **link = before[level] ? &before[level]->forward[level] : &s->first[level];
    c->forward[level] = *link;
    *link = c;
    if (c->forward[level] == NULL) s->last[level] = c;
  }
  c->back = before[0];
  if (c->forward[0] != NULL) c->forward[0]->back = c;
}

static spm_change *new_change(spm_changes *s, const place *p) {
  uint32_t height = random_height(s);
  spm_change *c = spm_arena_take(&s->arena, sizeof *c + height * sizeof *c->forward + p->nkey);
  if (c == NULL) return NULL;
  *c = (spm_change){.head = p->head, .tree = p->tree, .nkey = p->nkey, .height = height};
  memcpy(c->forward + height, p->key, p->nkey);
  return c;
}

/* ---------------------------------------------------------------- versions -- */

static void give_version(spm_changes *s, spm_version *v) {
  if (v->after != NULL)
    v->after->before = v->before;
  else
    s->written = v->before;
  if (v->before != NULL) v->before->after = v->after;
  spm_arena_give(&s->arena, v, sizeof *v + v->size);
}

/* Drop the versions behind `newest` that no mark sees: those without a mark between the
** moment they were written and the moment the next one was. */
static void prune(spm_changes *s, spm_version *newest) {
  const spm_mark *mark = s->marks;
  spm_version *newer = newest;
  for (spm_version *v; (v = newer->older) != NULL;) {
    while (mark != NULL && mark->sequence >= newer->sequence) mark = mark->older;
    if (mark != NULL && mark->sequence >= v->sequence) {
      newer = v;
    } else {
      newer->older = v->older;
      give_version(s, v);
    }
  }
}

static void add_version(spm_changes *s, spm_change *c, spm_version *v) {
  v->change = c;
  v->sequence = ++s->sequence;
  v->older = c->newest;
  v->before = s->written;
  v->after = NULL;
  if (s->written != NULL) s->written->after = v;
  s->written = v;
  c->newest = v;
  prune(s, v);
}

/* ------------------------------------------------------------------ public -- */

int spm_changes_new(spm_changes **out) {
  *out = sqlite3_malloc64(sizeof **out);
  if (*out == NULL) return SQLITE_NOMEM;
  **out = (spm_changes){.random = UINT64_C(0x9E3779B97F4A7C15), .holders = 1};
  return SQLITE_OK;
}

void spm_changes_hold(spm_changes *s) { s->holders++; }
bool spm_changes_held(const spm_changes *s) { return s->holders > 1; }

void spm_changes_free(spm_changes *s) {
  if (s == NULL || --s->holders > 0) return;
  spm_arena_free(&s->arena);
  sqlite3_free(s);
}

void spm_changes_clear(spm_changes *s) {
  spm_arena_clear(&s->arena);
  memset(s->first, 0, s->height * sizeof *s->first);
  s->written = NULL;
  s->height = 0;
}

bool spm_changes_empty(const spm_changes *s) { return s->written == NULL; }
uint64_t spm_changes_sequence(const spm_changes *s) { return s->sequence; }

static int write_version(spm_changes *s, const place *p, uint64_t size, spm_version **version) {
  spm_change *before[HEIGHT_MAX];
  spm_version *v = spm_arena_take(&s->arena, sizeof *v + size);
  if (v == NULL) return SQLITE_NOMEM;
  spm_change *c = search_to_put(s, p, before);
  if (c == NULL || compare(c, p) != 0) {
    c = new_change(s, p);
    if (c == NULL) {
      spm_arena_give(&s->arena, v, sizeof *v + size);
      return SQLITE_NOMEM;
    }
    link_at(s, c, before);
  }
  v->size = size;
  add_version(s, c, v);
  *version = v;
  return SQLITE_OK;
}

int spm_changes_put(spm_changes *s, uint32_t tree, const void *key, uint32_t nkey, uint64_t size, uint8_t **bytes) {
  place p = place_of(tree, key, nkey);
  spm_version *v;
  int rc = write_version(s, &p, size, &v);
  if (rc != SQLITE_OK) return rc;
  v->deleted = false;
  *bytes = v->bytes;
  return SQLITE_OK;
}

int spm_changes_delete(spm_changes *s, uint32_t tree, const void *key, uint32_t nkey) {
  place p = place_of(tree, key, nkey);
  spm_version *v;
  int rc = write_version(s, &p, 0, &v);
  if (rc == SQLITE_OK) v->deleted = true;
  return rc;
}

/* The newest version of all is the newest of its key. */
void spm_changes_rollback(spm_changes *s, uint64_t sequence) {
  while (s->written != NULL && s->written->sequence > sequence) {
    spm_version *v = s->written;
    v->change->newest = v->older;
    give_version(s, v);
  }
}

void spm_changes_mark(spm_changes *s, spm_mark *mark) {
  mark->sequence = s->sequence;
  mark->newer = NULL;
  mark->older = s->marks;
  if (s->marks != NULL) s->marks->newer = mark;
  s->marks = mark;
}

void spm_changes_unmark(spm_changes *s, spm_mark *mark) {
  if (mark->newer != NULL)
    mark->newer->older = mark->older;
  else
    s->marks = mark->older;
  if (mark->older != NULL) mark->older->newer = mark->newer;
}

const spm_version *spm_change_newest(const spm_change *c) { return c->newest; }

const spm_version *spm_change_version(const spm_change *c, uint64_t sequence) {
  const spm_version *v = c->newest;
  while (v != NULL && v->sequence > sequence) v = v->older;
  return v;
}

const spm_version *spm_changes_find(const spm_changes *s, uint32_t tree, const void *key, uint32_t nkey,
                                    uint64_t sequence) {
  place p = place_of(tree, key, nkey);
  const spm_change *c = search(s, &p, NULL);
  return c != NULL && compare(c, &p) == 0 ? spm_change_version(c, sequence) : NULL;
}

static const spm_change *of_tree(const spm_change *c, uint32_t tree) {
  return c != NULL && c->tree == tree ? c : NULL;
}

const spm_change *spm_changes_first(const spm_changes *s, uint32_t tree, const void *key, uint32_t nkey,
                                    bool included) {
  place p = place_of(tree, key, nkey);
  const spm_change *c = search(s, &p, NULL);
  if (c != NULL && !included && compare(c, &p) == 0) c = c->forward[0];
  return of_tree(c, tree);
}

const spm_change *spm_changes_last(const spm_changes *s, uint32_t tree, const void *key, uint32_t nkey,
                                   bool included) {
  place p = place_of(tree, key, nkey);
  const spm_change *c = search(s, &p, NULL);
  if (c == NULL) return s->height > 0 ? of_tree(s->last[0], tree) : NULL;
  return of_tree(included && compare(c, &p) == 0 ? c : c->back, tree);
}

const spm_change *spm_change_next(const spm_change *c) { return of_tree(c->forward[0], c->tree); }
const spm_change *spm_change_prev(const spm_change *c) { return of_tree(c->back, c->tree); }
const spm_change *spm_changes_begin(const spm_changes *s) { return s->first[0]; }
const spm_change *spm_change_following(const spm_change *c) { return c->forward[0]; }

uint32_t spm_change_tree(const spm_change *c) { return c->tree; }
const uint8_t *spm_change_key(const spm_change *c, uint32_t *nkey) {
  *nkey = c->nkey;
  return key_of(c);
}
