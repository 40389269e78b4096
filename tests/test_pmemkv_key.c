/*
** test_pmemkv_key.c - values as bytes: SQLite's own comparison is the oracle for their
** order, its bindings for what must come back.
*/
#include "database.h"
#include "fixture.h"
#include "test_pmemkv.h"

#include "../ext/kv/key.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool utf8 = true; /* what the database is in */

/* ------------------------------------------------------- the codec in SQL -- */

/* key_of(x): the bytes of a key. */
static void key_of(sqlite3_context *context, int n, sqlite3_value **values) {
  (void)n;
  spm_key key;
  x_ok(spm_key_encode(values[0], utf8, &key));
  ck_assert(!key.cut);
  sqlite3_result_blob(context, key.bytes, (int)key.size, SQLITE_TRANSIENT);
}

/* through_key(x), through_value(x): there and back. */
static void through_key(sqlite3_context *context, int n, sqlite3_value **values) {
  (void)n;
  spm_key key;
  spm_datum d;
  x_ok(spm_key_encode(values[0], utf8, &key));
  x_ok(spm_key_decode(key.bytes, key.size, key.form, &d));
  spm_datum_result(context, &d, false);
}

/* The form of the key goes with the value. */
static void through_value(sqlite3_context *context, int n, sqlite3_value **values) {
  (void)n;
  uint64_t size;
  spm_datum d;
  spm_form form;
  x_ok(spm_datum_measure(values[0], utf8, &size));
  uint8_t *bytes = malloc(size);
  ck_assert_ptr_nonnull(bytes);
  spm_datum_encode(values[0], utf8, SPM_FORM_REAL, bytes);
  x_ok(spm_datum_form(bytes, size, &form));
  ck_assert_int_eq(form, SPM_FORM_REAL);
  x_ok(spm_datum_decode(bytes, size, &d));
  spm_datum_result(context, &d, false);
  free(bytes);
}

static sqlite3 *codec(void) {
  sqlite3 *db;
  x_ok(sqlite3_open(":memory:", &db));
  x_ok(sqlite3_create_function(db, "key_of", 1, SQLITE_UTF8, NULL, key_of, NULL, NULL));
  x_ok(sqlite3_create_function(db, "through_key", 1, SQLITE_UTF8, NULL, through_key, NULL, NULL));
  x_ok(sqlite3_create_function(db, "through_value", 1, SQLITE_UTF8, NULL, through_value, NULL, NULL));
  return db;
}

/* ----------------------------------------------------------- random values -- */

static const double odd_reals[] = {
    0.0, -0.0, INFINITY, -INFINITY, 5e-324, -5e-324, 2.2250738585072014e-308, 2.2250738585072009e-308,
    1.7976931348623157e308, -1.7976931348623157e308, 0.5, -0.5, 1.5, -1.5, 9007199254740993.0,
    9223372036854775808.0, -9223372036854775808.0, 9223372036854774784.0, -9223372036854777856.0,
    18446744073709551616.0, -18446744073709551616.0, 0.1, 1e15, 123456789012345680.0};
static const int64_t odd_integers[] = {
    0, 1, -1, INT64_MAX, INT64_MIN, INT64_MAX - 1, INT64_MIN + 1, 255, 256, -255, -256, 9007199254740991,
    9007199254740992, 9007199254740993, -9007199254740993, 9223372036854774784, 9223372036854774783};
/* check tells its parent of each assertion, which is slow where there are many. */
#define MUST(what) ((what) ? (void)0 : ck_abort_msg("%s", #what))
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Near a power of two, from above or below, or anything. */
static int64_t random_integer(uint64_t *seed) {
  uint64_t r = x_random(seed);
  if (r % 4 == 0) return odd_integers[r / 4 % COUNT(odd_integers)];
  int64_t i = (int64_t)(x_random(seed) >> x_random(seed) % 64);
  if (r % 4 == 1) i = (int64_t)((UINT64_C(1) << x_random(seed) % 63) + x_random(seed) % 5 - 2);
  return r & 8 ? i : (int64_t)-(uint64_t)i;
}

static double random_real(uint64_t *seed) {
  uint64_t bits = x_random(seed), r = x_random(seed);
  double real;
  if (r % 4 == 0) return odd_reals[r / 4 % COUNT(odd_reals)];
  if (r % 4 == 1) return (double)random_integer(seed);
  if (r % 4 == 2) return (double)random_integer(seed) / 8;
  memcpy(&real, &bits, sizeof real);
  return isnan(real) ? 0.25 : real;
}

/* Few letters, so that one is often the beginning of another; zeros among them. */
static int random_bytes(uint64_t *seed, char to[32]) {
  static const char letters[] = {0, 'a', 'b', 1, (char)0xFF, (char)0xC3, (char)0xA9};
  int n = (int)(x_random(seed) % 12);
  for (int i = 0; i < n; i++) to[i] = letters[x_random(seed) % COUNT(letters)];
  return n;
}

static void bind_random(sqlite3_stmt *s, int parameter, uint64_t *seed) {
  char bytes[32];
  int n = random_bytes(seed, bytes);
  switch (x_random(seed) % 6) {
    case 0: case 1: MUST((sqlite3_bind_int64(s, parameter, random_integer(seed))) == SQLITE_OK); break;
    case 2: case 3: MUST((sqlite3_bind_double(s, parameter, random_real(seed))) == SQLITE_OK); break;
    case 4: MUST((sqlite3_bind_text(s, parameter, bytes, n, SQLITE_TRANSIENT)) == SQLITE_OK); break;
    default: MUST((sqlite3_bind_blob(s, parameter, bytes, n, SQLITE_TRANSIENT)) == SQLITE_OK); break;
  }
}

static void insert_values(sqlite3 *db, uint64_t *seed, unsigned count) {
  sqlite3_stmt *s;
  run(db, "CREATE TABLE v(x, k)");
  x_ok(sqlite3_prepare_v2(db, "INSERT INTO v SELECT ?1, key_of(?1)", -1, &s, NULL));
  for (size_t i = 0; i < COUNT(odd_reals) + COUNT(odd_integers) + count; i++) {
    if (i < COUNT(odd_reals))
      x_ok(sqlite3_bind_double(s, 1, odd_reals[i]));
    else if (i < COUNT(odd_reals) + COUNT(odd_integers))
      x_ok(sqlite3_bind_int64(s, 1, odd_integers[i - COUNT(odd_reals)]));
    else
      bind_random(s, 1, seed);
    ck_assert_int_eq(sqlite3_step(s), SQLITE_DONE);
    x_ok(sqlite3_reset(s));
  }
  x_ok(sqlite3_finalize(s));
}

/* ------------------------------------------------------------------- tests -- */

START_TEST(keys_are_ordered_as_sqlite_orders) {
  uint64_t seed = _i == 0 ? 1 : x_seed();
  sqlite3 *db = codec();
  insert_values(db, &seed, 600);
  /* Every pair: lower, equal, and so also higher. */
  expect(db, "SELECT count(*), max(typeof(a.x) || ' ' || quote(a.x) || ' and ' || quote(b.x)) FROM v a, v b "
             "WHERE (a.x < b.x) <> (a.k < b.k) OR (a.x = b.x) <> (a.k = b.k)", "0|NULL");
  ck_assert_int_gt(number(db, "SELECT count(*) FROM v a, v b WHERE a.x = b.x AND typeof(a.x) <> typeof(b.x)"), 10);
  close_db(db);
}
END_TEST

static void same_value(sqlite3_stmt *s, int a, int b) {
  MUST(sqlite3_column_type(s, a) == sqlite3_column_type(s, b));
  double x = sqlite3_column_double(s, a), y = sqlite3_column_double(s, b);
  MUST(memcmp(&x, &y, sizeof x) == 0);
  MUST(sqlite3_column_int64(s, a) == sqlite3_column_int64(s, b));
  int n = sqlite3_column_bytes(s, a);
  MUST(sqlite3_column_bytes(s, b) == n);
  if (n > 0) MUST(memcmp(sqlite3_column_blob(s, a), sqlite3_column_blob(s, b), (size_t)n) == 0);
}

START_TEST(values_come_back_as_they_were) {
  uint64_t seed = _i == 0 ? 2 : x_seed();
  sqlite3 *db = codec();
  sqlite3_stmt *s;
  insert_values(db, &seed, 3000);
  x_ok(sqlite3_prepare_v2(db, "SELECT x, through_key(x), through_value(x) FROM v", -1, &s, NULL));
  unsigned rows = 0;
  for (; sqlite3_step(s) == SQLITE_ROW; rows++) {
    same_value(s, 0, 1);
    same_value(s, 0, 2);
  }
  ck_assert_uint_gt(rows, 3000);
  x_ok(sqlite3_finalize(s));
  expect(db, "SELECT typeof(through_value(NULL)), typeof(through_key(1.0)), typeof(through_key(1)), "
             "typeof(through_key(-0.0)), length(through_value(zeroblob(1000000)))", "null|real|integer|real|1000000");
  close_db(db);
}
END_TEST

/* In a database of another encoding the same text has the same bytes. */
START_TEST(text_is_utf8_in_every_database) {
  static const char *const encodings[] = {"UTF-16le", "UTF-16be", "UTF-8"};
  for (size_t i = 0; i < COUNT(encodings); i++) {
    sqlite3 *db = codec();
    utf8 = i == 2;
    run(db, "PRAGMA encoding='%s'; CREATE TABLE t(x); INSERT INTO t VALUES('a\xC3\xA9\xF0\x9F\x98\x80')", encodings[i]);
    expect(db, "SELECT hex(key_of(x)), through_key(x), through_value(x) = x FROM t",
           "A061C3A9F09F9880|a\xC3\xA9\xF0\x9F\x98\x80|1");
    close_db(db);
  }
}
END_TEST

/* Bytes that are nobody's key or value are refused, and what is accepted is a value whose
** bytes are these: nothing on media can stand for two things. */
static uint32_t mutate(uint64_t *seed, uint8_t *bytes, uint32_t n, uint32_t room) {
  uint64_t r = x_random(seed);
  if (r % 3 == 0 && n < room) bytes[n++] = (uint8_t)x_random(seed);
  else if (r % 3 == 1 && n > 0) n--;
  if (n > 0) bytes[x_random(seed) % n] = (uint8_t)x_random(seed);
  return n;
}

static void bind_datum(sqlite3_stmt *s, const spm_datum *d) {
  switch (d->type) {
    case SQLITE_INTEGER: MUST((sqlite3_bind_int64(s, 1, d->integer)) == SQLITE_OK); break;
    case SQLITE_FLOAT: MUST((sqlite3_bind_double(s, 1, d->real)) == SQLITE_OK); break;
    case SQLITE_TEXT: MUST((sqlite3_bind_text64(s, 1, d->bytes, d->size, SQLITE_TRANSIENT, SQLITE_UTF8)) == SQLITE_OK); break;
    case SQLITE_BLOB: MUST((sqlite3_bind_blob64(s, 1, d->bytes, d->size, SQLITE_TRANSIENT)) == SQLITE_OK); break;
    default: MUST((sqlite3_bind_null(s, 1)) == SQLITE_OK);
  }
  MUST(sqlite3_step(s) == SQLITE_ROW);
}

START_TEST(nothing_decoded_is_trusted) {
  uint64_t seed = _i == 0 ? 3 : x_seed();
  sqlite3 *db = codec();
  sqlite3_stmt *s;
  MUST((sqlite3_prepare_v2(db, "SELECT ?1", -1, &s, NULL)) == SQLITE_OK);
  unsigned accepted = 0, refused = 0;
  for (unsigned i = 0; i < 20000; i++) {
    spm_key key, again;
    spm_datum d;
    uint8_t value[64];
    bind_random(s, 1, &seed);
    MUST(sqlite3_step(s) == SQLITE_ROW);
    MUST((spm_key_encode(sqlite3_column_value(s, 0), utf8, &key)) == SQLITE_OK);
    key.size = mutate(&seed, key.bytes, key.size, 40);
    key.form = x_random(&seed) % 3;
    bool sound = spm_key_decode(key.bytes, key.size, key.form, &d) == SQLITE_OK;
    MUST((sqlite3_reset(s)) == SQLITE_OK);
    sound ? accepted++ : refused++;
    if (!sound) continue;
    bind_datum(s, &d);
    MUST((spm_key_encode(sqlite3_column_value(s, 0), utf8, &again)) == SQLITE_OK);
    MUST(again.size == key.size);
    MUST(again.form == key.form);
    MUST(memcmp(again.bytes, key.bytes, key.size) == 0);
    /* The same of a value. */
    uint64_t size;
    MUST((spm_datum_measure(sqlite3_column_value(s, 0), utf8, &size)) == SQLITE_OK);
    MUST(size < sizeof value);
    spm_datum_encode(sqlite3_column_value(s, 0), utf8, SPM_FORM_PLAIN, value);
    uint32_t n = mutate(&seed, value, (uint32_t)size, sizeof value);
    MUST((sqlite3_reset(s)) == SQLITE_OK);
    if (spm_datum_decode(value, n, &d) != SQLITE_OK) continue;
    uint8_t back[80];
    spm_form form;
    MUST((spm_datum_form(value, n, &form)) == SQLITE_OK);
    bind_datum(s, &d);
    MUST((spm_datum_measure(sqlite3_column_value(s, 0), utf8, &size)) == SQLITE_OK);
    MUST(size == n);
    spm_datum_encode(sqlite3_column_value(s, 0), utf8, form, back);
    MUST(memcmp(back, value, n) == 0);
    MUST((sqlite3_reset(s)) == SQLITE_OK);
  }
  ck_assert_uint_gt(accepted, 1000);
  ck_assert_uint_gt(refused, 1000);
  MUST((sqlite3_finalize(s)) == SQLITE_OK);
  close_db(db);
}
END_TEST

/* A key past the limit is cut so that comparisons with keys that are none still hold. */
START_TEST(long_keys_are_cut) {
  sqlite3 *db;
  sqlite3_stmt *s;
  spm_key key;
  x_ok(sqlite3_open(":memory:", &db));
  x_ok(sqlite3_prepare_v2(db, "SELECT zeroblob(1087), zeroblob(1088), NULL", -1, &s, NULL));
  ck_assert_int_eq(sqlite3_step(s), SQLITE_ROW);
  x_ok(spm_key_encode(sqlite3_column_value(s, 0), utf8, &key));
  ck_assert(!key.cut && key.size == SPM_KEY_MAX);
  x_ok(spm_key_encode(sqlite3_column_value(s, 1), utf8, &key));
  ck_assert(key.cut && key.size == SPM_KEY_MAX);
  ck_assert_int_eq(spm_key_encode(sqlite3_column_value(s, 2), utf8, &key), SQLITE_CONSTRAINT_NOTNULL);
  x_ok(sqlite3_finalize(s));
  close_db(db);
}
END_TEST

START_TEST(keys_are_printed_for_people) {
  static const char *const shown[][2] = {
      {"1", "1"}, {"-9223372036854775808", "-9223372036854775808"}, {"1.5", "1.5"}, {"'it''s'", "'it''s'"},
      {"x'00ff'", "x'00ff'"}, {"char(9) || 'a'", "'?a'"}, {"''", "''"},
      {"'0123456789012345678901234567890123456789x'", "'0123456789012345678901234567890123456789...'"}};
  sqlite3 *db;
  sqlite3_stmt *s;
  x_ok(sqlite3_open(":memory:", &db));
  for (size_t i = 0; i < COUNT(shown); i++) {
    spm_key key;
    char sql[100], text[120];
    (void)sqlite3_snprintf(sizeof sql, sql, "SELECT %s", shown[i][0]);
    x_ok(sqlite3_prepare_v2(db, sql, -1, &s, NULL));
    ck_assert_int_eq(sqlite3_step(s), SQLITE_ROW);
    x_ok(spm_key_encode(sqlite3_column_value(s, 0), utf8, &key));
    spm_key_print(key.bytes, key.size, text, sizeof text);
    ck_assert_str_eq(text, shown[i][1]);
    x_ok(sqlite3_finalize(s));
  }
  close_db(db);
}
END_TEST

TCase *pmemkv_key_case(void) {
  TCase *c = tcase_create("key");
  tcase_set_timeout(c, 120);
  tcase_add_loop_test(c, keys_are_ordered_as_sqlite_orders, 0, 2);
  tcase_add_loop_test(c, values_come_back_as_they_were, 0, 2);
  tcase_add_test(c, text_is_utf8_in_every_database);
  tcase_add_loop_test(c, nothing_decoded_is_trusted, 0, 2);
  tcase_add_test(c, long_keys_are_cut);
  tcase_add_test(c, keys_are_printed_for_people);
  return c;
}
