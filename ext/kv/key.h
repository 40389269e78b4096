/*
** key.h - SQLite values as bytes: keys that memcmp orders, values that come back as
** they went in.
**
** KEY.  The first byte is a tag; the order of the tags is the order of SQLite's types
** and, among numbers, of sign and magnitude.  A number, integer or real, is
** (-1)^s * 1.f * 2^e with e its exponent and f its fraction, so that equal numbers
** have equal bytes whatever their type, and integers above 2^53 are not rounded.
**
**     TAG          BEHIND IT           IS
**     08                               minus infinity
**     09           exponent, fraction  negative, e above 63
**     0A .. 4A     fraction            negative, e from 63 down to -1
**     4B           exponent, fraction  negative, e below -1
**     4C                               zero
**     4D           exponent, fraction  positive, e below 0
**     4E .. 8D     fraction            positive, e from 0 up to 63
**     8E           exponent, fraction  positive, e above 63
**     8F                               infinity
**     A0           the bytes           text in UTF-8
**     C0           the bytes           blob
**
** An exponent is two bytes, the higher first, biased by 2048, and complemented for
** negative numbers.  A fraction is at most eight bytes, the highest first, without the
** zeros at its end: a shorter string sorts before all that continue it, as it should.
** For that to hold below zero as well, a negative number is written from the other end,
** as -2^(e+1) + g * 2^e with g = 2 - 1.f; where f is 0 it is written with the next lower
** exponent, and g is 0 again.
**
** What the bytes do not say, whether 1 was 1 or 1.0 and whether 0 was -0.0, is the
** key's *form*, and is kept with the value.
**
** VALUE.  A byte with the type (SQLite's number for it, bits 0 to 2) and the form of
** the key (bits 4 and 5), then
**
**     INTEGER   as few bytes as hold it, two's complement, the highest first
**     FLOAT     its eight bytes, the highest first
**     TEXT      its bytes in UTF-8
**     BLOB      its bytes
**     NULL      nothing
**
** Nothing decoded here is trusted: bytes that no value has are SQLITE_CORRUPT.  Takes
** no lock, allocates nothing.
*/
#ifndef SPM_KV_KEY_H
#define SPM_KV_KEY_H

#include "../../vfs/store/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPM_KEY_MAX 1088u         /* bytes of a key, its tag included    */
#define SPM_VALUE_HEAD 1u         /* bytes before a value's own          */
#define SPM_KEY_TAG_NUMBER 0x08u  /* no key is lower than this byte      */
#define SPM_KEY_TAG_TEXT 0xA0u    /* numbers are below, text begins here */
#define SPM_KEY_TAG_BLOB 0xC0u
#define SPM_KEY_TAG_END 0xC1u     /* every key is lower than this byte   */

typedef enum spm_form {
  SPM_FORM_PLAIN,        /* an integer where the number is one that fits, text, blob */
  SPM_FORM_REAL,         /* a real, though its number could be an integer            */
  SPM_FORM_NEGATIVE_ZERO /* -0.0                                                     */
} spm_form;

/* A key being made: the bytes, and what they leave out. */
typedef struct spm_key {
  uint32_t size;
  spm_form form;
  bool cut; /* the value is longer than SPM_KEY_MAX: no stored key can equal it, and
            ** those that are lower are exactly those not above these bytes */
  uint8_t bytes[SPM_KEY_MAX];
} spm_key;

/* A decoded value; `bytes` points into what it was decoded from. */
typedef struct spm_datum {
  int type; /* SQLITE_INTEGER ... SQLITE_NULL */
  int64_t integer;
  double real;
  const void *bytes;
  uint64_t size;
} spm_datum;

/* SQLITE_CONSTRAINT_NOTNULL: it is NULL; SQLITE_NOMEM: text could not be converted.
** `utf8`: that is the encoding of the database, and so of the value, whose text can be
** taken as it is; asking for it as text would copy it, for the zero behind it. */
int spm_key_encode(sqlite3_value *, bool utf8, spm_key *) SPM_MUST_CHECK;
int spm_key_decode(const uint8_t *bytes, uint64_t size, spm_form, spm_datum *) SPM_MUST_CHECK;
/* The bytes as a person would write them in SQL, cut if long, for messages: `to` has
** room for n. */
void spm_key_print(const uint8_t *bytes, uint64_t size, char *to, size_t n);

/* Bytes that the encoded value takes; SQLITE_NOMEM.  Encoding itself cannot fail. */
int spm_datum_measure(sqlite3_value *, bool utf8, uint64_t *size) SPM_MUST_CHECK;
void spm_datum_encode(sqlite3_value *, bool utf8, spm_form of_the_key, uint8_t *to);
int spm_datum_decode(const uint8_t *bytes, uint64_t size, spm_datum *) SPM_MUST_CHECK;
/* Of text and blobs, whose first byte tells all but the length: the type. */
int spm_datum_head(uint8_t first, spm_datum *) SPM_MUST_CHECK;
/* The form of the key that a value's first byte tells. */
int spm_datum_form(const uint8_t *bytes, uint64_t size, spm_form *) SPM_MUST_CHECK;

void spm_datum_set_form(uint8_t *bytes, spm_form);

/* Answer an SQL function or column with it.  `lasting`: the bytes stay where they are
** for as long as the statement runs, and are not copied. */
void spm_datum_result(sqlite3_context *, const spm_datum *, bool lasting);

#endif
