/*
** options.c - see options.h.
*/
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "pmem_"

typedef enum kind { WORD, BYTES, SECONDS } kind;
typedef enum change { AT_OPEN, ANYTIME } change;

static const struct {
  const char *name;
  kind kind;
  change change;
  const char *initial, *allowed;
} table[] = {
#define X(name, kind, change, initial, allowed, meaning) {#name, kind, change, initial, allowed},
    SPM_OPTION_TABLE(X) SPM_KV_OPTION_TABLE(X)
#undef X
};

/* The constant in a list like "sync|async" that equals `value`, however written. */
static const char *find_word(const char *allowed, const char *value) {
  size_t length = strlen(value);
  for (const char *at = allowed; *at != 0;) {
    size_t n = strcspn(at, "|");
    if (n == length && sqlite3_strnicmp(at, value, (int)n) == 0) return at;
    at += n + (at[n] == '|');
  }
  return NULL;
}

static bool parse_bytes(const char *value, uint64_t *bytes) {
  char *end;
  if (!isdigit((unsigned char)value[0])) return false;
  errno = 0;
  unsigned long long number = strtoull(value, &end, 10);
  if (errno != 0) return false;
  unsigned shift = 0;
  switch (toupper((unsigned char)*end)) {
    case 'G': shift += 10; /* fall through */
    case 'M': shift += 10; /* fall through */
    case 'K': shift += 10; end++;
  }
  if (*end != 0 || number > (UINT64_MAX >> shift)) return false;
  *bytes = (uint64_t)number << shift;
  return true;
}

#define SECOND_NS 1000000000u

/* Digits, and perhaps a point with digits behind it, of which nine count. */
static bool parse_seconds(const char *value, uint64_t *ns) {
  char *end;
  if (!isdigit((unsigned char)value[0])) return false;
  errno = 0;
  unsigned long long whole = strtoull(value, &end, 10);
  if (errno != 0 || whole > UINT64_MAX / SECOND_NS - 1) return false;
  uint64_t fraction = 0;
  if (*end == '.') {
    if (!isdigit((unsigned char)*++end)) return false;
    for (uint64_t unit = SECOND_NS / 10; isdigit((unsigned char)*end); unit /= 10)
      fraction += unit * (uint64_t)(*end++ - '0');
  }
  *ns = whole * SECOND_NS + fraction;
  return *end == 0;
}

static char *show_seconds(uint64_t ns) {
  char fraction[12] = "";
  unsigned length = ns % SECOND_NS == 0 ? 0 : 10; /* the point and nine digits, without zeros at the end */
  (void)snprintf(fraction, sizeof fraction, ".%09u", (unsigned)(ns % SECOND_NS));
  while (length > 0 && fraction[length - 1] == '0') length--;
  return sqlite3_mprintf("%llu%.*s", ns / SECOND_NS, (int)length, fraction);
}

/* Refusals of a database's options carry the prefix that its user wrote. */
static int set_word(spm_options *o, unsigned i, const char *prefix, const char *value) {
  const char *word = find_word(table[i].allowed, value);
  if (word == NULL)
    return spm_error(SQLITE_CANTOPEN, "%s%s=%s: the value must be one of %s", prefix, table[i].name, value,
                     table[i].allowed);
  o->word[i] = word;
  return SQLITE_OK;
}

static int set_number(spm_options *o, unsigned i, const char *prefix, const char *value,
                      bool (*parse)(const char *, uint64_t *), const char *what) {
  uint64_t number, least;
  if (parse(table[i].allowed, &least) && parse(value, &number) && number >= least) {
    o->number[i] = number;
    return SQLITE_OK;
  }
  return spm_error(SQLITE_CANTOPEN, "%s%s=%s: the value must be a number of %s, at least %s", prefix, table[i].name,
                   value, what, table[i].allowed);
}

static int set_option(spm_options *o, unsigned i, const char *prefix, const char *value) {
  switch (table[i].kind) {
    case WORD: return set_word(o, i, prefix, value);
    case BYTES: return set_number(o, i, prefix, value, parse_bytes, "bytes, with K, M or G behind it if wanted");
    case SECONDS: return set_number(o, i, prefix, value, parse_seconds, "seconds, like 2 or 0.25");
  }
  return SQLITE_ERROR;
}

/* The first `count` are a database's, or those of both. */
static int find_option(const char *name, int count) {
  for (int i = 0; i < count; i++)
    if (sqlite3_stricmp(name, table[i].name) == 0) return i;
  return -1;
}

void spm_options_default(spm_options *o) {
  *o = (spm_options){0};
  for (unsigned i = 0; i < SPM_OPTION_ALL; i++) (void)set_option(o, i, "", table[i].initial);
}

int spm_options_parse(spm_options *o, const char *uri_name) {
  const char *key;
  for (int n = 0; (key = sqlite3_uri_key(uri_name, n)) != NULL; n++) {
    if (sqlite3_strnicmp(key, PREFIX, sizeof PREFIX - 1) != 0) continue;
    int i = find_option(key + sizeof PREFIX - 1, SPM_OPTION_COUNT);
    if (i < 0) return spm_error(SQLITE_CANTOPEN, "%s: there is no such option", key);
    int rc = set_option(o, (unsigned)i, PREFIX, sqlite3_uri_parameter(uri_name, key));
    if (rc != SQLITE_OK) return rc;
  }
  return SQLITE_OK;
}

int spm_options_set(spm_options *o, const char *pragma, const char *value) {
  int i = find_option(pragma + sizeof PREFIX - 1, SPM_OPTION_COUNT);
  const char *word = o->word[i];
  uint64_t number = o->number[i];
  if (set_option(o, (unsigned)i, PREFIX, value) != SQLITE_OK) return SQLITE_ERROR;
  if (table[i].change == AT_OPEN && (o->word[i] != word || o->number[i] != number))
    return spm_error(SQLITE_ERROR, "%s is chosen when the database is opened, in its URI", pragma);
  return SQLITE_OK;
}

int spm_options_argument(spm_options *o, const char *name, const char *value) {
  int i = find_option(name, SPM_OPTION_ALL);
  if (i < 0) return spm_error(SQLITE_ERROR, "%s: there is no such option", name);
  return set_option(o, (unsigned)i, "", value) == SQLITE_OK ? SQLITE_OK : SQLITE_ERROR;
}

spm_store_options spm_options_of_store(const spm_options *o) {
  bool soon = spm_options_is(o, SPM_OPTION_mode, "async"), ticks = spm_options_is(o, SPM_OPTION_mode, "periodic");
  return (spm_store_options){.durability = soon ? SPM_DURABLE_SOON : ticks ? SPM_DURABLE_AT_TICKS : SPM_DURABLE_AT_ONCE,
                             .flush_interval_ns = o->number[SPM_OPTION_flush_interval],
                             .unlogged = spm_options_is(o, SPM_OPTION_wal, "off"),
                             .recover_never = spm_options_is(o, SPM_OPTION_recovery, "none"),
                             .verify_first = spm_options_is(o, SPM_OPTION_recovery, "full"),
                             .log_size_max = o->number[SPM_OPTION_max_log_size],
                             .size_max = o->number[SPM_OPTION_size],
                             .checkpoint_interval_ns = o->number[SPM_OPTION_checkpoint_interval]};
}

void spm_options_in_force(spm_options *o, const spm_store_options *store) {
  o->word[SPM_OPTION_wal] = store->unlogged ? "off" : "on";
  o->number[SPM_OPTION_max_log_size] = store->log_size_max;
  o->number[SPM_OPTION_size] = store->size_max;
  o->number[SPM_OPTION_checkpoint_interval] = store->checkpoint_interval_ns;
}

bool spm_options_is(const spm_options *o, spm_option_id i, const char *word) {
  return strncmp(o->word[i], word, strlen(word)) == 0;
}

char *spm_options_show(const spm_options *o, const char *pragma) {
  if (sqlite3_strnicmp(pragma, PREFIX, sizeof PREFIX - 1) != 0) return NULL;
  int i = find_option(pragma + sizeof PREFIX - 1, SPM_OPTION_COUNT);
  if (i < 0) return NULL;
  if (table[i].kind == BYTES) return sqlite3_mprintf("%llu", o->number[i]);
  if (table[i].kind == SECONDS) return show_seconds(o->number[i]);
  return sqlite3_mprintf("%.*s", (int)strcspn(o->word[i], "|"), o->word[i]);
}
