/*
** words.c - see words.h.
*/
#include "words.h"

#include "log.h"
#include "redo.h"

#include <stdlib.h>
#include <string.h>

#define WORD_SIZE 8u
#define LINE_WORDS (SPM_LINE_SIZE / WORD_SIZE)
#define LINES 4096u                 /* that have a home in the hash table: 512 KiB */
#define PLACES (LINES * LINE_WORDS)
#define WORDS_MAX (PLACES / 4 * 3)
#define LONGEST (8 * SPM_LINE_SIZE) /* change, in bytes */
#define FIRST LINE_WORDS            /* the number of X's first word: 0 is a free place's */

typedef struct spm_word {
  uint64_t number;
  uint64_t value;
} word;

void spm_words_init(spm_words *w, spm_log_pos from) { *w = (spm_words){.until = from}; }

void spm_words_free(spm_words *w) { free(w->place); }

/* Not calloc: memory that is read before it is written to takes two page faults. */
static bool has_table(spm_words *w) {
  if (w->place == NULL && (w->place = malloc(PLACES * sizeof *w->place)) != NULL)
    memset(w->place, 0, PLACES * sizeof *w->place);
  return w->place != NULL;
}

/* The words of a line have their homes side by side. */
static word *place_of(spm_words *w, uint64_t number) {
  uint32_t home = spm_hash_block((uint32_t)(number / LINE_WORDS), LINES - 1);
  uint32_t at = home * LINE_WORDS + (uint32_t)(number % LINE_WORDS);
  while (w->place[at].number != 0 && w->place[at].number != number) at = (at + 1) % PLACES;
  return &w->place[at];
}

/* Writers log whole words (diff.h), and pages that are new as a whole.  What is long costs less
** in one piece, and is seldom changed again. */
static bool can_take(const spm_words *w, const spm_entry *entry) {
  return entry->offset % WORD_SIZE == 0 && entry->length % WORD_SIZE == 0 && entry->length <= LONGEST &&
         w->count + entry->length / WORD_SIZE <= WORDS_MAX;
}

static void add_entry(spm_words *w, const spm_entry *entry, const uint8_t *bytes) {
  uint64_t number = FIRST + ((uint64_t)entry->block * SPM_BLOCK_SIZE + entry->offset) / WORD_SIZE;
  for (uint32_t left = entry->length; left > 0; left -= WORD_SIZE, bytes += WORD_SIZE, number++) {
    word *p = place_of(w, number);
    w->count += p->number == 0;
    p->number = number;
    memcpy(&p->value, bytes, WORD_SIZE);
  }
}

void spm_words_add(spm_words *w, const spm_record *record, spm_log_pos after) {
  spm_entry_cursor c;
  spm_entries_open(&c, record);
  while (!w->ended && spm_entries_next(&c))
    if (can_take(w, &c.entry) && has_table(w)) {
      w->newest_lsn = record->lsn;
      add_entry(w, &c.entry, c.bytes);
    } else {
      w->ended = true;
    }
  if (!w->ended) w->until = after;
}

/* How many words of one line follow each other from a place on; their bytes. */
static uint32_t run_at(const spm_words *w, uint32_t at, uint8_t *bytes) {
  uint64_t first = w->place[at].number;
  uint32_t n = 0;
  do {
    memcpy(bytes + (size_t)n * WORD_SIZE, &w->place[at + n].value, WORD_SIZE);
    n++;
  } while (at + n < PLACES && (first + n) % LINE_WORDS != 0 && w->place[at + n].number == first + n);
  return n;
}

static int store_run(spm_store *s, uint64_t offset, const uint8_t *bytes, uint32_t n) {
  spm_entry entry = {.block = (uint32_t)(offset / SPM_BLOCK_SIZE),
                     .offset = (uint16_t)(offset % SPM_BLOCK_SIZE),
                     .length = (uint16_t)n};
  int rc = spm_redo_at_once(s, &entry, bytes);
  spm_flush(&s->data, offset, n);
  return rc;
}

/* What a later truncate cut is skipped (S9). */
int spm_words_store(spm_store *s, const spm_words *w, uint64_t size) {
  int rc = SQLITE_OK;
  uint8_t bytes[SPM_LINE_SIZE];
  for (uint32_t at = 0, n; rc == SQLITE_OK && w->place != NULL && at < PLACES; at += n) {
    n = 1;
    if (w->place[at].number == 0) continue;
    uint64_t offset = (w->place[at].number - FIRST) * WORD_SIZE;
    n = run_at(w, at, bytes);
    if (offset < size) rc = store_run(s, offset, bytes, n * WORD_SIZE);
  }
  return rc;
}
