/*
** key.c - see key.h.
*/
#include "key.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TAG_MINUS_INFINITY 0x08u
#define TAG_NEGATIVE_LARGE 0x09u
#define TAG_NEGATIVE 0x0Au /* exponent 63, and so on down to NEGATIVE_LEAST */
#define TAG_NEGATIVE_SMALL 0x4Bu
#define TAG_ZERO 0x4Cu
#define TAG_POSITIVE_SMALL 0x4Du
#define TAG_POSITIVE 0x4Eu /* exponent 0, and so on up to EXPONENT_MOST */
#define TAG_POSITIVE_LARGE 0x8Eu
#define TAG_INFINITY 0x8Fu

#define EXPONENT_MOST 63   /* of those that have a tag of their own */
#define NEGATIVE_LEAST (-1)
#define EXPONENT_BIAS 2048
#define LEADING_ONE (UINT64_C(1) << 63)
#define MESSAGE_BYTES 40u /* of a key, in a message */
#define SHORT_TEXT 256u   /* bytes, with the terminating zero */

#define TYPE_MASK 0x07u
#define FORM_SHIFT 4
#define FORM_MASK 0x30u

/* A finite number other than zero: (-1)^negative * (1 + fraction / 2^64) * 2^exponent. */
typedef struct number {
  bool negative;
  int exponent;
  uint64_t fraction;
} number;

/* ----------------------------------------------------------------- numbers -- */

static number number_of_magnitude(bool negative, uint64_t magnitude, int scale) {
  int zeros = __builtin_clzll(magnitude);
  return (number){negative, 63 - zeros + scale, magnitude << zeros << 1};
}

static number number_of_integer(int64_t i) {
  return number_of_magnitude(i < 0, i < 0 ? -(uint64_t)i : (uint64_t)i, 0);
}

static number number_of_real(double r) {
  int exponent;
  double half_to_one = frexp(fabs(r), &exponent);
  return number_of_magnitude(signbit(r) != 0, (uint64_t)ldexp(half_to_one, 53), exponent - 53);
}

static bool number_equals(number a, number b) {
  return a.negative == b.negative && a.exponent == b.exponent && a.fraction == b.fraction;
}

/* 1.f as an integer whose highest bit is the one. */
static uint64_t number_mantissa(number n) { return LEADING_ONE | n.fraction >> 1; }

static bool number_to_integer(number n, int64_t *i) {
  if (n.exponent < 0 || n.exponent > 63 || n.fraction << n.exponent != 0) return false;
  uint64_t magnitude = number_mantissa(n) >> (63 - n.exponent);
  if (magnitude - n.negative >= LEADING_ONE) return false;
  *i = (int64_t)(n.negative ? -magnitude : magnitude);
  return true;
}

static bool number_to_real(number n, double *r) {
  *r = ldexp((double)number_mantissa(n), n.exponent - 63);
  if (n.negative) *r = -*r;
  return *r != 0 && isfinite(*r) && number_equals(n, number_of_real(*r));
}

/* --------------------------------------------------------------- key bytes -- */

static uint32_t put_exponent(uint8_t *to, int exponent, bool complement) {
  uint32_t biased = (uint32_t)(exponent + EXPONENT_BIAS);
  if (complement) biased = ~biased;
  to[0] = (uint8_t)(biased >> 8);
  to[1] = (uint8_t)biased;
  return 2;
}

static uint32_t put_fraction(uint8_t *to, uint64_t fraction) {
  uint32_t n = 0;
  for (; fraction != 0; fraction <<= 8) to[n++] = (uint8_t)(fraction >> 56);
  return n;
}

static uint32_t put_negative(uint8_t *to, number n) {
  uint32_t size = 1;
  int exponent = n.fraction == 0 ? n.exponent - 1 : n.exponent;
  if (exponent > EXPONENT_MOST || exponent < NEGATIVE_LEAST) {
    to[0] = exponent > 0 ? TAG_NEGATIVE_LARGE : TAG_NEGATIVE_SMALL;
    size += put_exponent(to + size, exponent, true);
  } else {
    to[0] = (uint8_t)((int)TAG_NEGATIVE + EXPONENT_MOST - exponent);
  }
  return size + put_fraction(to + size, -n.fraction);
}

static uint32_t put_positive(uint8_t *to, number n) {
  uint32_t size = 1;
  if (n.exponent > EXPONENT_MOST || n.exponent < 0) {
    to[0] = n.exponent > 0 ? TAG_POSITIVE_LARGE : TAG_POSITIVE_SMALL;
    size += put_exponent(to + size, n.exponent, false);
  } else {
    to[0] = (uint8_t)((int)TAG_POSITIVE + n.exponent);
  }
  return size + put_fraction(to + size, n.fraction);
}

static uint32_t put_number(uint8_t *to, number n) {
  return n.negative ? put_negative(to, n) : put_positive(to, n);
}

static void encode_integer(int64_t i, spm_key *key) {
  key->bytes[0] = TAG_ZERO;
  key->size = i == 0 ? 1 : put_number(key->bytes, number_of_integer(i));
}

static void encode_real(double r, spm_key *key) {
  int64_t i;
  if (r == 0) {
    encode_integer(0, key);
    key->form = signbit(r) ? SPM_FORM_NEGATIVE_ZERO : SPM_FORM_REAL;
  } else if (isinf(r)) {
    key->bytes[0] = r < 0 ? TAG_MINUS_INFINITY : TAG_INFINITY;
    key->size = 1;
  } else {
    number n = number_of_real(r);
    key->size = put_number(key->bytes, n);
    if (number_to_integer(n, &i)) key->form = SPM_FORM_REAL;
  }
}

static void encode_bytes(uint8_t tag, const void *bytes, uint32_t size, spm_key *key) {
  key->cut = size > SPM_KEY_MAX - 1;
  if (key->cut) size = SPM_KEY_MAX - 1;
  key->bytes[0] = tag;
  if (size > 0) memcpy(key->bytes + 1, bytes, size);
  key->size = size + 1;
}

/* Of text and blobs.  NULL: there are none, or memory did not suffice. */
static const void *bytes_of(sqlite3_value *value, int type, bool utf8) {
  return type == SQLITE_TEXT && !utf8 ? (const void *)sqlite3_value_text(value) : sqlite3_value_blob(value);
}

static int encode_value_bytes(sqlite3_value *value, int type, bool utf8, spm_key *key) {
  const void *bytes = bytes_of(value, type, utf8);
  uint32_t size = (uint32_t)sqlite3_value_bytes(value);
  if (bytes == NULL && (size > 0 || (type == SQLITE_TEXT && !utf8))) return SQLITE_NOMEM;
  encode_bytes(type == SQLITE_TEXT ? SPM_KEY_TAG_TEXT : SPM_KEY_TAG_BLOB, bytes, size, key);
  return SQLITE_OK;
}

int spm_key_encode(sqlite3_value *value, bool utf8, spm_key *key) {
  int type = sqlite3_value_type(value);
  key->form = SPM_FORM_PLAIN;
  key->cut = false;
  switch (type) {
    case SQLITE_INTEGER: encode_integer(sqlite3_value_int64(value), key); return SQLITE_OK;
    case SQLITE_FLOAT: encode_real(sqlite3_value_double(value), key); return SQLITE_OK;
    case SQLITE_TEXT:
    case SQLITE_BLOB: return encode_value_bytes(value, type, utf8, key);
    default: return SQLITE_CONSTRAINT_NOTNULL;
  }
}

/* ------------------------------------------------------------ decoding keys -- */

static int damaged(const uint8_t *bytes, uint64_t size) {
  return spm_error(SQLITE_CORRUPT, "a key of %llu bytes that begins with 0x%02x is no value's",
                   (unsigned long long)size, size > 0 ? bytes[0] : 0u);
}

static bool get_exponent(const uint8_t **at, const uint8_t *end, bool complement, int *exponent) {
  if (end - *at < 2) return false;
  uint32_t biased = (uint32_t)(*at)[0] << 8 | (*at)[1];
  if (complement) biased ^= 0xFFFFu;
  *exponent = (int)biased - EXPONENT_BIAS;
  *at += 2;
  return true;
}

static bool get_fraction(const uint8_t *at, const uint8_t *end, uint64_t *fraction) {
  if (end - at > 8 || (end > at && end[-1] == 0)) return false;
  *fraction = 0;
  for (int shift = 56; at < end; shift -= 8) *fraction |= (uint64_t)*at++ << shift;
  return true;
}

static bool get_negative(const uint8_t *at, const uint8_t *end, number *n) {
  uint8_t tag = *at++;
  uint64_t rest;
  bool own = tag >= TAG_NEGATIVE && tag < TAG_NEGATIVE_SMALL;
  if (own)
    n->exponent = (int)TAG_NEGATIVE + EXPONENT_MOST - tag;
  else if (!get_exponent(&at, end, true, &n->exponent) ||
           (tag == TAG_NEGATIVE_LARGE ? n->exponent <= EXPONENT_MOST : n->exponent >= NEGATIVE_LEAST))
    return false;
  if (!get_fraction(at, end, &rest)) return false;
  n->negative = true;
  n->fraction = -rest;
  if (rest == 0) n->exponent++;
  return true;
}

static bool get_positive(const uint8_t *at, const uint8_t *end, number *n) {
  uint8_t tag = *at++;
  bool own = tag >= TAG_POSITIVE && tag < TAG_POSITIVE_LARGE;
  if (own)
    n->exponent = tag - (int)TAG_POSITIVE;
  else if (!get_exponent(&at, end, false, &n->exponent) ||
           (tag == TAG_POSITIVE_LARGE ? n->exponent <= EXPONENT_MOST : n->exponent >= 0))
    return false;
  n->negative = false;
  return get_fraction(at, end, &n->fraction);
}

static bool decode_real(const uint8_t *bytes, uint64_t size, number n, spm_datum *d) {
  d->type = SQLITE_FLOAT;
  if (bytes[0] != TAG_MINUS_INFINITY && bytes[0] != TAG_INFINITY) return number_to_real(n, &d->real);
  d->real = bytes[0] == TAG_INFINITY ? INFINITY : -INFINITY;
  return size == 1;
}

static bool decode_zero(uint64_t size, spm_form form, spm_datum *d) {
  d->type = form == SPM_FORM_PLAIN ? SQLITE_INTEGER : SQLITE_FLOAT;
  d->integer = 0;
  d->real = form == SPM_FORM_NEGATIVE_ZERO ? -0.0 : 0.0;
  return size == 1;
}

static bool decode_number(const uint8_t *bytes, uint64_t size, spm_form form, spm_datum *d) {
  number n = {0};
  uint8_t tag = bytes[0];
  if (tag == TAG_ZERO) return decode_zero(size, form, d);
  if (form == SPM_FORM_NEGATIVE_ZERO) return false;
  bool finite = tag != TAG_MINUS_INFINITY && tag != TAG_INFINITY;
  if (finite && tag < TAG_ZERO && !get_negative(bytes, bytes + size, &n)) return false;
  if (finite && tag > TAG_ZERO && !get_positive(bytes, bytes + size, &n)) return false;
  bool integral = finite && number_to_integer(n, &d->integer);
  if (form == SPM_FORM_REAL) return integral && decode_real(bytes, size, n, d);
  if (!integral) return decode_real(bytes, size, n, d);
  d->type = SQLITE_INTEGER;
  return true;
}

int spm_key_decode(const uint8_t *bytes, uint64_t size, spm_form form, spm_datum *d) {
  if (size == 0 || size > SPM_KEY_MAX) return damaged(bytes, size);
  uint8_t tag = bytes[0];
  if (tag >= TAG_MINUS_INFINITY && tag <= TAG_INFINITY)
    return decode_number(bytes, size, form, d) ? SQLITE_OK : damaged(bytes, size);
  if ((tag != SPM_KEY_TAG_TEXT && tag != SPM_KEY_TAG_BLOB) || form != SPM_FORM_PLAIN) return damaged(bytes, size);
  d->type = tag == SPM_KEY_TAG_TEXT ? SQLITE_TEXT : SQLITE_BLOB;
  d->bytes = bytes + 1;
  d->size = size - 1;
  return SQLITE_OK;
}

/* Text as a literal, with what is not printable as a question mark. */
static void print_text(const spm_datum *d, char *to, size_t n) {
  char shown[MESSAGE_BYTES + 1];
  size_t length = d->size < MESSAGE_BYTES ? (size_t)d->size : MESSAGE_BYTES;
  for (size_t i = 0; i < length; i++) {
    uint8_t byte = ((const uint8_t *)d->bytes)[i];
    shown[i] = (char)(byte < 0x20 || byte == 0x7F ? '?' : byte);
  }
  shown[length] = 0;
  (void)sqlite3_snprintf((int)n, to, "'%q%s'", shown, d->size > length ? "..." : "");
}

static void print_blob(const spm_datum *d, char *to, size_t n) {
  char shown[2 * MESSAGE_BYTES + 1] = "";
  size_t length = d->size < MESSAGE_BYTES ? (size_t)d->size : MESSAGE_BYTES;
  for (size_t i = 0; i < length; i++)
    (void)snprintf(shown + 2 * i, 3, "%02x", ((const uint8_t *)d->bytes)[i]);
  (void)sqlite3_snprintf((int)n, to, "x'%s%s'", shown, d->size > length ? "..." : "");
}

void spm_key_print(const uint8_t *bytes, uint64_t size, char *to, size_t n) {
  spm_datum d;
  int rc = spm_key_decode(bytes, size, SPM_FORM_PLAIN, &d);
  int type = rc == SQLITE_OK ? d.type : SQLITE_NULL;
  switch (type) {
    case SQLITE_INTEGER: (void)sqlite3_snprintf((int)n, to, "%lld", (long long)d.integer); break;
    case SQLITE_FLOAT: (void)sqlite3_snprintf((int)n, to, "%!.17g", d.real); break;
    case SQLITE_TEXT: print_text(&d, to, n); break;
    case SQLITE_BLOB: print_blob(&d, to, n); break;
    default: (void)sqlite3_snprintf((int)n, to, "(damaged)"); break;
  }
}

/* ------------------------------------------------------------------ values -- */

static uint32_t integer_size(int64_t i) {
  uint32_t n = 0;
  uint64_t bits = (uint64_t)(i < 0 ? ~i : i);
  if (i == 0) return 0;
  do {
    n++;
    bits >>= n == 1 ? 7 : 8;
  } while (bits != 0);
  return n;
}

static void put_big_endian(uint64_t bits, uint32_t n, uint8_t *to) {
  for (uint32_t i = 0; i < n; i++) to[i] = (uint8_t)(bits >> 8 * (n - 1 - i));
}

/* The lowest n bytes of a number whose sign is that of its highest byte. */
static int64_t get_big_endian(const uint8_t *bytes, uint64_t n) {
  uint64_t bits = n > 0 && (bytes[0] & 0x80) != 0 ? UINT64_MAX : 0;
  for (uint64_t i = 0; i < n; i++) bits = bits << 8 | bytes[i];
  return (int64_t)bits;
}

static uint64_t real_bits(double r) {
  uint64_t bits;
  memcpy(&bits, &r, sizeof bits);
  return bits;
}

int spm_datum_measure(sqlite3_value *value, bool utf8, uint64_t *size) {
  int type = sqlite3_value_type(value);
  *size = SPM_VALUE_HEAD;
  if (type == SQLITE_INTEGER) *size += integer_size(sqlite3_value_int64(value));
  if (type == SQLITE_FLOAT) *size += sizeof(double);
  if (type != SQLITE_TEXT && type != SQLITE_BLOB) return SQLITE_OK;
  const void *bytes = bytes_of(value, type, utf8);
  *size += (uint64_t)sqlite3_value_bytes(value);
  return bytes != NULL || *size == SPM_VALUE_HEAD ? SQLITE_OK : SQLITE_NOMEM;
}

void spm_datum_encode(sqlite3_value *value, bool utf8, spm_form form, uint8_t *to) {
  int type = sqlite3_value_type(value);
  *to++ = (uint8_t)((unsigned)type | (unsigned)form << FORM_SHIFT);
  if (type == SQLITE_INTEGER) {
    int64_t i = sqlite3_value_int64(value);
    put_big_endian((uint64_t)i, integer_size(i), to);
  } else if (type == SQLITE_FLOAT) {
    put_big_endian(real_bits(sqlite3_value_double(value)), sizeof(double), to);
  } else if (type == SQLITE_TEXT || type == SQLITE_BLOB) {
    const void *bytes = bytes_of(value, type, utf8);
    if (bytes != NULL) memcpy(to, bytes, (size_t)sqlite3_value_bytes(value));
  }
}

int spm_datum_form(const uint8_t *bytes, uint64_t size, spm_form *form) {
  unsigned bits = size > 0 ? (bytes[0] & FORM_MASK) >> FORM_SHIFT : FORM_MASK;
  if (bits > SPM_FORM_NEGATIVE_ZERO) return spm_error(SQLITE_CORRUPT, "a value without a type");
  *form = (spm_form)bits;
  return SQLITE_OK;
}

void spm_datum_set_form(uint8_t *bytes, spm_form form) {
  bytes[0] = (uint8_t)((bytes[0] & ~FORM_MASK) | (unsigned)form << FORM_SHIFT);
}

static bool decode_fixed(const uint8_t *bytes, uint64_t size, spm_datum *d) {
  if (d->type == SQLITE_NULL) return size == 0;
  if (size > 8) return false;
  d->integer = get_big_endian(bytes, size);
  if (d->type == SQLITE_INTEGER) return integer_size(d->integer) == size;
  memcpy(&d->real, &d->integer, sizeof d->real);
  return size == 8 && !isnan(d->real);
}

int spm_datum_decode(const uint8_t *bytes, uint64_t size, spm_datum *d) {
  spm_form form;
  int rc = spm_datum_form(bytes, size, &form);
  if (rc != SQLITE_OK) return rc;
  d->type = bytes[0] & TYPE_MASK;
  d->bytes = bytes + SPM_VALUE_HEAD;
  d->size = size - SPM_VALUE_HEAD;
  bool sound = (bytes[0] & ~(TYPE_MASK | FORM_MASK)) == 0;
  if (d->type == SQLITE_INTEGER || d->type == SQLITE_FLOAT || d->type == SQLITE_NULL)
    sound = sound && decode_fixed(d->bytes, d->size, d);
  else
    sound = sound && (d->type == SQLITE_TEXT || d->type == SQLITE_BLOB);
  if (sound) return SQLITE_OK;
  return spm_error(SQLITE_CORRUPT, "a value of %llu bytes that begins with 0x%02x", (unsigned long long)size, bytes[0]);
}

int spm_datum_head(uint8_t first, spm_datum *d) {
  d->type = first & TYPE_MASK;
  bool sound = (first & ~(TYPE_MASK | FORM_MASK)) == 0 && (d->type == SQLITE_TEXT || d->type == SQLITE_BLOB);
  return sound ? SQLITE_OK : spm_error(SQLITE_CORRUPT, "a large value that begins with 0x%02x", first);
}

/* ----------------------------------------------------------------- answers -- */

/* Short text is handed over with a terminating zero: only text that SQLite has measured
** by itself counts as terminated, and all other is moved once more when it is asked for. */
static void answer_text(sqlite3_context *context, const spm_datum *d, bool lasting) {
  char terminated[SHORT_TEXT];
  if (lasting || d->size >= SHORT_TEXT || memchr(d->bytes, 0, d->size) != NULL) {
    sqlite3_result_text64(context, d->bytes, d->size, lasting ? SQLITE_STATIC : SQLITE_TRANSIENT, SQLITE_UTF8);
    return;
  }
  memcpy(terminated, d->bytes, d->size);
  terminated[d->size] = 0;
  sqlite3_result_text(context, terminated, -1, SQLITE_TRANSIENT);
}

void spm_datum_result(sqlite3_context *context, const spm_datum *d, bool lasting) {
  sqlite3_destructor_type destructor = lasting ? SQLITE_STATIC : SQLITE_TRANSIENT;
  switch (d->type) {
    case SQLITE_INTEGER: sqlite3_result_int64(context, d->integer); break;
    case SQLITE_FLOAT: sqlite3_result_double(context, d->real); break;
    case SQLITE_TEXT: answer_text(context, d, lasting); break;
    case SQLITE_BLOB: sqlite3_result_blob64(context, d->bytes, d->size, destructor); break;
    default: sqlite3_result_null(context); break;
  }
}
