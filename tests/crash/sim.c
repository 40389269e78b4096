/*
** sim.c - see sim.h.
*/
#define _GNU_SOURCE
#include "sim.h"

#include "crash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE 64u
#define WORD 8u
#define WORDS (SECTOR / WORD)
#define LINES (SECTOR / LINE)
#define FILES_MAX 64u
#define NAMES_MAX 64u
#define DOUBTS_MAX 64u

/* Bytes on their way to one sector: whole words, as they were after the store. */
typedef struct pending {
  uint64_t number; /* of the event */
  uint64_t mask;   /* bit i: word i; those that a later durable one has not replaced */
  uint32_t actor;
  uint32_t kind; /* EV_STORE, EV_NT, EV_WRITE, EV_PUNCH; EV_SIZE: zeros that a cut left */
  uint32_t cut;  /* EV_SIZE: it is there if so many of the file's pending lengths are */
  uint64_t *words; /* WORDS of them, of a store only those of its line */
} pending;

typedef struct sector {
  uint32_t count, capacity, place; /* place + 1 in the list of its file */
  pending *entries;
} sector;

typedef struct sim_file {
  uint64_t inode;
  uint8_t *durable, *present;
  uint64_t capacity; /* bytes, a multiple of SECTOR */
  uint64_t size, durable_size;
  uint64_t *sizes; /* since the last sync, oldest first */
  uint32_t size_count, size_capacity;
  sector *sectors; /* capacity / SECTOR */
  uint32_t *touched;
  uint32_t touched_count, touched_capacity;
  uint64_t sum; /* of the hashes of durable sectors */
} sim_file;

/* A name: which file it means (an index + 1, 0: none), for certain and since then. */
typedef struct sim_name {
  char text[128];
  uint32_t durable;
  uint32_t pending[32];
  uint32_t count;
} sim_name;

typedef struct capture {
  uint32_t actor, file, line;
  uint64_t number;
} capture;

/* A unit of choice, see sim_units(). */
typedef enum unit_kind { UNIT_LINE, UNIT_SECTOR, UNIT_SIZE, UNIT_NAME } unit_kind;
typedef struct unit {
  unit_kind kind;
  uint32_t file; /* UNIT_NAME: the name */
  uint32_t sector;
  uint32_t line;
  uint32_t steps; /* contents beyond the durable one */
  uint32_t pick;  /* in the image: 0 durable ... steps present */
  bool torn;      /* and parts of the next one */
  bool words;     /* non-temporal: each word for itself */
  uint64_t dice;
} unit;

struct sim {
  uint64_t number; /* events applied */
  sim_file files[FILES_MAX];
  uint32_t file_count;
  sim_name names[NAMES_MAX];
  uint32_t name_count;
  capture *captures;
  uint32_t capture_count, capture_capacity;
  uint64_t redundant;
  uint64_t kept, doubts[DOUBTS_MAX];
  uint32_t doubt_count;
  bool in_scope;
  unit *units;
  uint32_t unit_count, unit_capacity;
  bool units_known;
  uint32_t lengths[FILES_MAX]; /* in the image: how many of the pending ones are there */
  uint8_t *scratch;
  uint64_t scratch_size;
};

#define GROW(array, count, capacity)                                                  \
  do {                                                                                \
    if ((count) == (capacity)) {                                                      \
      (capacity) = (capacity) ? (capacity)*2 : 16;                                    \
      (array) = realloc((array), (capacity) * sizeof *(array));                       \
      if ((array) == NULL) crash_die("no memory");                                    \
    }                                                                                 \
  } while (0)

/* ----------------------------------------------------------------- files -- */

static uint64_t sector_hash(uint32_t number, const uint8_t *bytes) {
  static const uint8_t zeros[SECTOR];
  return memcmp(bytes, zeros, SECTOR) == 0 ? 0 : XXH3_64bits_withSeed(bytes, SECTOR, number);
}

static void reach(sim_file *f, uint64_t size) {
  uint64_t wanted = (size + SECTOR - 1) / SECTOR * SECTOR;
  if (wanted <= f->capacity) return;
  if (wanted < f->capacity * 2) wanted = f->capacity * 2;
  if (wanted < 65536) wanted = 65536;
  f->durable = realloc(f->durable, wanted);
  f->present = realloc(f->present, wanted);
  f->sectors = realloc(f->sectors, wanted / SECTOR * sizeof *f->sectors);
  if (f->durable == NULL || f->present == NULL || f->sectors == NULL) crash_die("no memory");
  memset(f->durable + f->capacity, 0, wanted - f->capacity);
  memset(f->present + f->capacity, 0, wanted - f->capacity);
  memset(f->sectors + f->capacity / SECTOR, 0, (wanted - f->capacity) / SECTOR * sizeof *f->sectors);
  f->capacity = wanted;
}

static uint32_t file_index(const sim *s, uint64_t inode) {
  for (uint32_t i = s->file_count; i-- > 0;)
    if (s->files[i].inode == inode) return i;
  crash_die("the trace names an unknown file");
}

static uint32_t file_add(sim *s, uint64_t inode) {
  if (s->file_count == FILES_MAX) crash_die("too many files");
  s->files[s->file_count] = (sim_file){.inode = inode};
  return s->file_count++;
}

static sim_name *name_of(sim *s, const char *text) {
  for (uint32_t i = 0; i < s->name_count; i++)
    if (strcmp(s->names[i].text, text) == 0) return &s->names[i];
  if (s->name_count == NAMES_MAX || strlen(text) >= sizeof s->names[0].text) crash_die("too many names");
  sim_name *name = &s->names[s->name_count++];
  *name = (sim_name){.count = 0};
  (void)snprintf(name->text, sizeof name->text, "%s", text);
  return name;
}

sim *sim_new(void) {
  sim *s = calloc(1, sizeof *s);
  if (s == NULL) crash_die("no memory");
  return s;
}

static void sim_clear(sim *s) {
  for (uint32_t i = 0; i < s->file_count; i++) {
    sim_file *f = &s->files[i];
    for (uint64_t n = 0; n < f->capacity / SECTOR; n++) {
      for (uint32_t e = 0; e < f->sectors[n].count; e++) free(f->sectors[n].entries[e].words);
      free(f->sectors[n].entries);
    }
    free(f->durable), free(f->present), free(f->sectors), free(f->sizes), free(f->touched);
  }
  s->file_count = s->name_count = s->capture_count = s->doubt_count = s->unit_count = 0;
  s->number = s->redundant = s->kept = 0;
  s->in_scope = s->units_known = false;
}

void sim_free(sim *s) {
  sim_clear(s);
  free(s->captures), free(s->units), free(s->scratch);
  free(s);
}

static void load_file(sim *s, const char *folder, const char *text) {
  char path[4300];
  struct stat status;
  (void)snprintf(path, sizeof path, "%s/%s", folder, text);
  if (trace_name(path) == NULL) return;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &status) != 0) crash_die("opening a file of the folder");
  uint32_t index = file_add(s, status.st_ino);
  sim_file *f = &s->files[index];
  f->size = f->durable_size = (uint64_t)status.st_size;
  reach(f, f->size);
  if (pread(fd, f->durable, f->size, 0) != (ssize_t)f->size) crash_die("reading a file of the folder");
  close(fd);
  memcpy(f->present, f->durable, f->size);
  for (uint32_t n = 0; n < f->capacity / SECTOR; n++) f->sum += sector_hash(n, f->durable + (uint64_t)n * SECTOR);
  name_of(s, text)->durable = index + 1;
  trace_add_file(status.st_ino);
}

void sim_load(sim *s, const char *folder) {
  sim_clear(s);
  DIR *directory = opendir(folder);
  if (directory == NULL) crash_die("opening the folder");
  for (const struct dirent *e; (e = readdir(directory)) != NULL;)
    if (e->d_name[0] != '.') load_file(s, folder, e->d_name);
  (void)closedir(directory);
}

/* --------------------------------------------------------------- pending -- */

static sector *touch(sim_file *f, uint32_t number) {
  sector *sec = &f->sectors[number];
  if (sec->place != 0) return sec;
  GROW(f->touched, f->touched_count, f->touched_capacity);
  f->touched[f->touched_count++] = number;
  sec->place = f->touched_count;
  return sec;
}

static void untouch(sim_file *f, sector *sec) {
  uint32_t last = f->touched[f->touched_count - 1];
  f->touched[sec->place - 1] = last;
  f->sectors[last].place = sec->place;
  f->touched_count--;
  sec->place = 0;
}

static bool whole_sector(uint32_t kind) { return kind == EV_WRITE || kind == EV_PUNCH || kind == EV_SIZE; }

static unsigned line_of(uint64_t mask) { return (unsigned)__builtin_ctzll(mask) / (LINE / WORD); }

/* The word i of an entry, wherever it keeps it. */
static uint64_t *word_at(const pending *p, unsigned i) {
  return &p->words[whole_sector(p->kind) ? i : i % (LINE / WORD)];
}

static void put(sim *s, sim_file *f, const event *e, uint32_t number, uint32_t from, uint32_t to) {
  sector *sec = touch(f, number);
  GROW(sec->entries, sec->count, sec->capacity);
  pending *p = &sec->entries[sec->count++];
  *p = (pending){.number = s->number, .actor = e->actor, .kind = e->kind, .cut = f->size_count + 1};
  p->words = malloc(whole_sector(e->kind) ? SECTOR : LINE);
  if (p->words == NULL) crash_die("no memory");
  for (unsigned i = from / WORD; i <= (to - 1) / WORD; i++) {
    p->mask |= UINT64_C(1) << i;
    memcpy(word_at(p, i), f->present + (uint64_t)number * SECTOR + i * WORD, WORD);
  }
}

/* NULL bytes: zeros. */
static void write_bytes(sim *s, sim_file *f, const event *e, uint64_t offset, const uint8_t *bytes, uint64_t n) {
  uint32_t grain = whole_sector(e->kind) ? SECTOR : LINE;
  reach(f, offset + n);
  while (n > 0) {
    uint64_t part = grain - offset % grain;
    if (part > n) part = n;
    if (bytes != NULL)
      memcpy(f->present + offset, bytes, part);
    else
      memset(f->present + offset, 0, part);
    uint32_t at = (uint32_t)(offset % SECTOR);
    put(s, f, e, (uint32_t)(offset / SECTOR), at, at + (uint32_t)part);
    offset += part;
    n -= part;
    if (bytes != NULL) bytes += part;
  }
}

/* Sectors that are zero already, for certain and at present, stay out of it. */
static void write_zeros(sim *s, sim_file *f, const event *e, uint64_t from, uint64_t to) {
  static const uint8_t zeros[SECTOR];
  if (to > f->capacity) to = f->capacity;
  while (from < to) {
    uint64_t number = from / SECTOR, part = SECTOR - from % SECTOR;
    if (part > to - from) part = to - from;
    bool zero = f->sectors[number].count == 0 && memcmp(f->durable + number * SECTOR, zeros, SECTOR) == 0;
    if (!zero) write_bytes(s, f, e, from, NULL, part);
    from += part;
  }
}

/* Entry i of the sector is on media; what older entries say of its words is not any more. */
static void arrive(sim_file *f, uint32_t number, uint32_t i) {
  sector *sec = &f->sectors[number];
  pending p = sec->entries[i];
  uint8_t *bytes = f->durable + (uint64_t)number * SECTOR;
  f->sum -= sector_hash(number, bytes);
  for (unsigned w = 0; w < WORDS; w++)
    if (p.mask >> w & 1) memcpy(bytes + w * WORD, word_at(&p, w), WORD);
  f->sum += sector_hash(number, bytes);
  free(p.words);
  uint32_t kept = 0;
  for (uint32_t k = 0; k < sec->count; k++) {
    pending *q = &sec->entries[k];
    if (k == i) continue;
    if (k < i) q->mask &= ~p.mask;
    if (q->mask == 0)
      free(q->words);
    else
      sec->entries[kept++] = *q;
  }
  sec->count = kept;
}

/* ---------------------------------------------------------------- events -- */

/* Everything of the line that is there now goes with this actor's next fence. */
static void flush(sim *s, const event *e) {
  uint32_t index = file_index(s, e->file);
  sim_file *f = &s->files[index];
  for (uint64_t line = e->offset / LINE; line <= (e->offset + e->length - 1) / LINE; line++) {
    uint64_t newest = 0;
    const sector *sec = line / LINES < f->capacity / SECTOR ? &f->sectors[line / LINES] : NULL;
    for (uint32_t i = 0; sec != NULL && i < sec->count; i++)
      if (!whole_sector(sec->entries[i].kind) && line_of(sec->entries[i].mask) == line % LINES)
        newest = sec->entries[i].number;
    for (uint32_t i = s->capture_count; newest != 0 && i-- > 0;) {
      const capture *c = &s->captures[i];
      if (c->actor == e->actor && c->file == index && c->line == line && c->number >= newest) newest = 0;
    }
    if (newest == 0) {
      s->redundant++;
      continue;
    }
    GROW(s->captures, s->capture_count, s->capture_capacity);
    s->captures[s->capture_count++] = (capture){e->actor, index, (uint32_t)line, newest};
  }
}

static void settle_line(sim_file *f, const capture *c) {
  uint32_t number = c->line / LINES;
  sector *sec = &f->sectors[number];
  for (uint32_t i = 0; i < sec->count;) {
    const pending *p = &sec->entries[i];
    bool meant = !whole_sector(p->kind) && line_of(p->mask) == c->line % LINES && p->number <= c->number;
    if (!meant) {
      i++;
      continue;
    }
    arrive(f, number, i);
    i = 0;
  }
  if (sec->count == 0 && sec->place != 0) untouch(f, sec);
}

static void settle_stores(sim_file *f, uint32_t actor) {
  for (uint32_t t = f->touched_count; t-- > 0;) {
    uint32_t number = f->touched[t];
    sector *sec = &f->sectors[number];
    for (uint32_t i = 0; i < sec->count;) {
      if (sec->entries[i].kind == EV_NT && sec->entries[i].actor == actor) {
        arrive(f, number, i);
        i = 0;
      } else {
        i++;
      }
    }
    if (sec->count == 0) untouch(f, sec);
  }
}

static void drain(sim *s, uint32_t actor) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < s->capture_count; i++) {
    const capture *c = &s->captures[i];
    if (c->actor == actor)
      settle_line(&s->files[c->file], c);
    else
      s->captures[kept++] = *c;
  }
  s->capture_count = kept;
  for (uint32_t i = 0; i < s->file_count; i++) settle_stores(&s->files[i], actor);
}

static void sync_file(sim_file *f) {
  for (uint32_t t = f->touched_count; t-- > 0;) {
    uint32_t number = f->touched[t];
    sector *sec = &f->sectors[number];
    for (uint32_t i = 0; i < sec->count;) {
      if (whole_sector(sec->entries[i].kind)) {
        arrive(f, number, i);
        i = 0;
      } else {
        i++;
      }
    }
    if (sec->count == 0) untouch(f, sec);
  }
  f->durable_size = f->size;
  f->size_count = 0;
}

static void set_size(sim *s, sim_file *f, const event *e, uint64_t size) {
  if (size == f->size) return;
  if (size < f->size) {
    event cut = *e;
    cut.kind = EV_SIZE;
    write_zeros(s, f, &cut, size, f->size);
  }
  reach(f, size);
  f->size = size;
  GROW(f->sizes, f->size_count, f->size_capacity);
  f->sizes[f->size_count++] = size;
}

static void set_name(sim *s, const char *text, uint32_t file) {
  sim_name *name = name_of(s, text);
  if (name->count == sizeof name->pending / sizeof *name->pending) crash_die("a name changes too often");
  name->pending[name->count++] = file;
}

static void sync_folder(sim *s) {
  for (uint32_t i = 0; i < s->name_count; i++) {
    sim_name *name = &s->names[i];
    if (name->count == 0) continue;
    name->durable = name->pending[name->count - 1];
    name->count = 0;
  }
}

static void note_promise(sim *s, const event *e) {
  switch ((promise_phase)e->file) {
    case PROMISE_STARTED:
      if (s->doubt_count == DOUBTS_MAX) crash_die("too many states in doubt");
      s->doubts[s->doubt_count++] = e->offset;
      return;
    case PROMISE_KEPT: s->kept = e->offset; break;
    case PROMISE_DROPPED: break;
  }
  s->doubt_count = 0;
}

void sim_apply(sim *s, const event *e) {
  s->number++;
  s->units_known = false;
  sim_file *f = e->kind == EV_STORE || e->kind == EV_NT || e->kind == EV_WRITE || e->kind == EV_SYNC ||
                        e->kind == EV_SIZE || e->kind == EV_PUNCH
                    ? &s->files[file_index(s, e->file)]
                    : NULL;
  switch ((event_kind)e->kind) {
    case EV_STORE:
    case EV_NT: write_bytes(s, f, e, e->offset, event_payload(e), e->bytes); return;
    case EV_WRITE:
      if (e->offset + e->bytes > f->size) set_size(s, f, e, e->offset + e->bytes);
      write_bytes(s, f, e, e->offset, event_payload(e), e->bytes);
      return;
    case EV_FLUSH: flush(s, e); return;
    case EV_DRAIN: drain(s, e->actor); return;
    case EV_SYNC: sync_file(f); return;
    case EV_SIZE: set_size(s, f, e, e->offset); return;
    case EV_PUNCH: write_zeros(s, f, e, e->offset, e->offset + e->length); return;
    case EV_CREATE: set_name(s, (const char *)event_payload(e), file_add(s, e->file) + 1); return;
    case EV_UNLINK: set_name(s, (const char *)event_payload(e), 0); return;
    case EV_FOLDER: sync_folder(s); return;
    case EV_PROMISE: note_promise(s, e); return;
    case EV_SCOPE: s->in_scope = e->file != 0; return;
    case EV_KINDS: break;
  }
  crash_die("unknown event");
}

uint64_t sim_redundant_flushes(const sim *s) { return s->redundant; }
bool sim_in_scope(const sim *s) { return s->in_scope; }
uint64_t sim_kept(const sim *s) { return s->kept; }

bool sim_allows(const sim *s, uint64_t state) {
  bool allowed = state == s->kept;
  for (uint32_t i = 0; i < s->doubt_count; i++) allowed |= state == s->doubts[i];
  return allowed;
}

void sim_describe_allowed(const sim *s, char *to, size_t n) {
  int used = snprintf(to, n, "%016llx", (unsigned long long)s->kept);
  for (uint32_t i = 0; i < s->doubt_count && used > 0 && (size_t)used < n; i++)
    used += snprintf(to + used, n - (size_t)used, " or %016llx", (unsigned long long)s->doubts[i]);
}

static uint32_t name_now(const sim_name *name) {
  return name->count > 0 ? name->pending[name->count - 1] : name->durable;
}

bool sim_verify(const sim *s, const char *folder) {
  for (uint32_t i = 0; i < s->name_count; i++) {
    char path[4300];
    struct stat status;
    uint32_t index = name_now(&s->names[i]);
    (void)snprintf(path, sizeof path, "%s/%s", folder, s->names[i].text);
    if ((stat(path, &status) == 0) != (index != 0)) return false;
    if (index == 0) continue;
    const sim_file *f = &s->files[index - 1];
    if ((uint64_t)status.st_size != f->size) return false;
    uint8_t *bytes = malloc(f->size + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool same = bytes != NULL && fd >= 0 && pread(fd, bytes, f->size, 0) == (ssize_t)f->size &&
                memcmp(bytes, f->present, f->size) == 0;
    if (fd >= 0) close(fd);
    free(bytes);
    if (!same) return false;
  }
  return true;
}

/* ----------------------------------------------------------------- units -- */

static unit *unit_add(sim *s, unit_kind kind, uint32_t file, uint32_t number, uint32_t steps) {
  GROW(s->units, s->unit_count, s->unit_capacity);
  unit *u = &s->units[s->unit_count++];
  *u = (unit){.kind = kind, .file = file, .sector = number, .steps = steps};
  return u;
}

static unsigned place_of(const pending *p) { return whole_sector(p->kind) ? LINES : line_of(p->mask); }

/* The units of one sector stand one after the other, lines first. */
static void sector_units(sim *s, uint32_t file, uint32_t number) {
  const sector *sec = &s->files[file].sectors[number];
  uint32_t steps[LINES + 1] = {0};
  bool words[LINES + 1] = {false}, there[LINES + 1] = {false};
  for (uint32_t i = 0; i < sec->count; i++) {
    const pending *p = &sec->entries[i];
    unsigned at = place_of(p);
    there[at] = true;
    steps[at] += p->kind != EV_SIZE;
    words[at] |= p->kind == EV_NT;
  }
  for (unsigned at = 0; at <= LINES; at++) {
    if (!there[at]) continue;
    unit *u = unit_add(s, at == LINES ? UNIT_SECTOR : UNIT_LINE, file, number, steps[at]);
    u->line = at;
    u->words = words[at];
  }
}

unsigned sim_units(sim *s) {
  if (s->units_known) return s->unit_count;
  s->unit_count = 0;
  for (uint32_t i = 0; i < s->file_count; i++) {
    const sim_file *f = &s->files[i];
    for (uint32_t t = 0; t < f->touched_count; t++) sector_units(s, i, f->touched[t]);
    if (f->size_count > 0) (void)unit_add(s, UNIT_SIZE, i, 0, f->size_count);
  }
  for (uint32_t i = 0; i < s->name_count; i++)
    if (s->names[i].count > 0) (void)unit_add(s, UNIT_NAME, i, 0, s->names[i].count);
  s->units_known = true;
  return s->unit_count;
}

/* ---------------------------------------------------------------- images -- */

static void throw_dice(unit *u, uint64_t density) {
  uint64_t face = chance(8);
  u->pick = chance(8) < density ? u->steps : 0;
  if (face >= 2) return;
  u->pick = (uint32_t)chance(u->steps + 1);
  u->torn = face == 0 && u->kind == UNIT_LINE;
  u->dice = mix(chance(UINT64_MAX));
}

static void choose(sim *s, outcome o, uint64_t choice) {
  uint64_t density = 1 + chance(7);
  memset(s->lengths, 0, sizeof s->lengths);
  for (uint32_t i = 0; i < s->unit_count; i++) {
    unit *u = &s->units[i];
    u->torn = false;
    switch (o) {
      case OUTCOME_NONE: u->pick = 0; break;
      case OUTCOME_ALL: u->pick = u->steps; break;
      case OUTCOME_ONE: u->pick = i == choice ? u->steps : 0; break;
      case OUTCOME_BUT_ONE: u->pick = i == choice ? 0 : u->steps; break;
      case OUTCOME_SUBSET: u->pick = choice >> i & 1 ? u->steps : 0; break;
      case OUTCOME_RANDOM: throw_dice(u, density); break;
    }
    if (u->kind == UNIT_SIZE) s->lengths[u->file] = u->pick;
  }
}

/* The words of an entry that its unit's choice takes; `step`: how many came before it. */
static uint64_t words_taken(const unit *u, const pending *p, uint32_t step) {
  if (u->torn && u->words) return p->mask & mix(u->dice + step);
  if (step < u->pick) return p->mask;
  return step == u->pick && u->torn ? p->mask & u->dice : 0;
}

/* One sector of the image; the number of the first unit behind its own.  What was written
** behind a cut that is not there is not there either. */
static uint32_t image_sector(const sim *s, uint32_t first, uint8_t *bytes) {
  const unit *of[LINES + 1] = {NULL}, *u = &s->units[first];
  const sim_file *f = &s->files[u->file];
  const sector *sec = &f->sectors[u->sector];
  uint32_t steps[LINES + 1] = {0}, behind = first;
  for (; behind < s->unit_count && s->units[behind].kind <= UNIT_SECTOR && s->units[behind].file == u->file &&
         s->units[behind].sector == u->sector; behind++)
    of[s->units[behind].line] = &s->units[behind];
  memcpy(bytes, f->durable + (uint64_t)u->sector * SECTOR, SECTOR);
  for (uint32_t i = 0; i < sec->count; i++) {
    const pending *p = &sec->entries[i];
    unsigned at = place_of(p);
    bool cut = p->kind == EV_SIZE;
    if (cut && p->cut > s->lengths[u->file]) break;
    uint64_t mask = cut ? p->mask : words_taken(of[at], p, steps[at]++);
    for (unsigned w = 0; mask != 0 && w < WORDS; w++)
      if (mask >> w & 1) memcpy(bytes + w * WORD, word_at(p, w), WORD);
  }
  return behind;
}

static uint64_t size_picked(const sim *s, uint32_t file) {
  const sim_file *f = &s->files[file];
  return s->lengths[file] == 0 ? f->durable_size : f->sizes[s->lengths[file] - 1];
}

static uint32_t name_picked(const sim *s, uint32_t name) {
  const sim_name *n = &s->names[name];
  for (uint32_t i = 0; i < s->unit_count; i++)
    if (s->units[i].kind == UNIT_NAME && s->units[i].file == name)
      return s->units[i].pick == 0 ? n->durable : n->pending[s->units[i].pick - 1];
  return n->durable;
}

/* A file of the image in memory, `size` bytes of it. */
static const uint8_t *image_file(sim *s, uint32_t file) {
  const sim_file *f = &s->files[file];
  if (s->scratch_size < f->capacity + SECTOR) {
    s->scratch_size = f->capacity + SECTOR;
    s->scratch = realloc(s->scratch, s->scratch_size);
    if (s->scratch == NULL) crash_die("no memory");
  }
  if (f->capacity > 0) memcpy(s->scratch, f->durable, f->capacity);
  for (uint32_t i = 0; i < s->unit_count;) {
    const unit *u = &s->units[i];
    if (u->kind > UNIT_SECTOR || u->file != file)
      i++;
    else
      i = image_sector(s, i, s->scratch + (uint64_t)u->sector * SECTOR);
  }
  return s->scratch;
}

/* Not of the sums: what lies behind the end does not count. */
static uint64_t cut_sum(sim *s, uint32_t file, uint64_t size) {
  uint64_t sum = 0;
  const uint8_t *bytes = image_file(s, file);
  if (size < s->scratch_size) memset(s->scratch + size, 0, s->scratch_size - size);
  for (uint32_t n = 0; (uint64_t)n * SECTOR < size && (uint64_t)n * SECTOR < s->files[file].capacity; n++)
    sum += sector_hash(n, bytes + (uint64_t)n * SECTOR);
  return sum;
}

uint64_t sim_image(sim *s, outcome o, uint64_t choice) {
  uint64_t sums[FILES_MAX], hash = 0;
  uint8_t bytes[SECTOR];
  (void)sim_units(s);
  choose(s, o, choice);
  for (uint32_t i = 0; i < s->file_count; i++) sums[i] = s->files[i].sum;
  for (uint32_t i = 0; i < s->unit_count;) {
    const unit *u = &s->units[i];
    if (u->kind > UNIT_SECTOR) {
      i++;
      continue;
    }
    i = image_sector(s, i, bytes);
    sums[u->file] -= sector_hash(u->sector, s->files[u->file].durable + (uint64_t)u->sector * SECTOR);
    sums[u->file] += sector_hash(u->sector, bytes);
  }
  for (uint32_t n = 0; n < s->name_count; n++) {
    uint32_t file = name_picked(s, n);
    if (file == 0) continue;
    uint64_t size = size_picked(s, file - 1);
    if (s->files[file - 1].size_count > 0) sums[file - 1] = cut_sum(s, file - 1, size);
    uint64_t fields[3] = {n, sums[file - 1], size};
    hash += XXH3_64bits(fields, sizeof fields);
  }
  return hash;
}

static void write_runs(int fd, const uint8_t *bytes, uint64_t size) {
  static const uint8_t zeros[4096];
  for (uint64_t at = 0; at < size;) {
    uint64_t end = at, page = size - at < 4096 ? size - at : 4096;
    if (memcmp(bytes + at, zeros, page) == 0) {
      at += page;
      continue;
    }
    for (; end < size; end += page) {
      page = size - end < 4096 ? size - end : 4096;
      if (memcmp(bytes + end, zeros, page) == 0) break;
    }
    if (pwrite(fd, bytes + at, end - at, (off_t)at) != (ssize_t)(end - at)) crash_die("writing an image");
    at = end;
  }
}

static void write_file(sim *s, uint32_t file, const char *path) {
  uint64_t size = size_picked(s, file), capacity = s->files[file].capacity;
  const uint8_t *bytes = image_file(s, file);
  int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) crash_die("making a file of an image");
  write_runs(fd, bytes, size < capacity ? size : capacity);
  if (ftruncate(fd, (off_t)size) != 0) crash_die("sizing a file of an image");
  close(fd);
}

void sim_write_image(sim *s, const char *folder) {
  for (uint32_t n = 0; n < s->name_count; n++) {
    char path[4300];
    uint32_t file = name_picked(s, n);
    (void)snprintf(path, sizeof path, "%s/%s", folder, s->names[n].text);
    if (file != 0) write_file(s, file - 1, path);
  }
}

void folder_clear(const char *folder) {
  DIR *directory = opendir(folder);
  if (directory == NULL) crash_die("opening the folder");
  for (const struct dirent *e; (e = readdir(directory)) != NULL;)
    if (e->d_name[0] != '.' && unlinkat(dirfd(directory), e->d_name, 0) != 0) crash_die("clearing the folder");
  (void)closedir(directory);
}
