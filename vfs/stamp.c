/*
** stamp.c - see stamp.h.
*/
#include "stamp.h"

#include "store/region.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define SQLITE_MAGIC "SQLite format 3"
#define PAGE_SIZE_AT 16
#define FORMAT_AT 18
#define FORMAT_STAMP 0x70
#define COUNTER_AT 24
#define SIZE_AT 28 /* in pages; to SQLite it counts only beside two equal counters */
#define LIFE_AT 72
#define LIFE_MAGIC "PMEM"
#define LIFE_SIZE (4 + SPM_LIFE_SIZE)
#define LIFE_HEAD_SIZE 8 /* the word with the magic in it: it is on media whole or not at all */
#define COUNTER_TWIN_AT 92

uint32_t spm_get4(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

void spm_put4(uint8_t *p, uint32_t value) {
  p[0] = (uint8_t)(value >> 24);
  p[1] = (uint8_t)(value >> 16);
  p[2] = (uint8_t)(value >> 8);
  p[3] = (uint8_t)value;
}

/* A power loss can keep the length of a placeholder and lose its bytes. */
static bool lost_placeholder(const uint8_t *page, uint64_t n) {
  static const uint8_t zeros[SPM_BLOCK_SIZE];
  return n == SPM_BLOCK_SIZE && memcmp(page, zeros, sizeof zeros) == 0;
}

spm_header_kind spm_stamp_kind(const uint8_t *header, uint64_t n) {
  if (n == 0 || lost_placeholder(header, n)) return SPM_HEADER_EMPTY;
  if (n < SPM_HEADER_SIZE || memcmp(header, SQLITE_MAGIC, sizeof SQLITE_MAGIC) != 0)
    return SPM_HEADER_FOREIGN;
  uint8_t write_format = header[FORMAT_AT], read_format = header[FORMAT_AT + 1];
  if (write_format == 1 && read_format == FORMAT_STAMP) {
    static const uint8_t none[LIFE_HEAD_SIZE];
    if (memcmp(header + LIFE_AT, LIFE_MAGIC, 4) == 0) return SPM_HEADER_STAMPED;
    return memcmp(header + LIFE_AT, none, sizeof none) == 0 ? SPM_HEADER_HALF : SPM_HEADER_FOREIGN;
  }
  if (write_format == 2 && read_format == 2) return SPM_HEADER_WAL;
  return write_format == 1 && read_format == 1 ? SPM_HEADER_PLAIN : SPM_HEADER_FOREIGN;
}

bool spm_stamp_possible(const void *page) { return memcmp(page, SQLITE_MAGIC, sizeof SQLITE_MAGIC) == 0; }

bool spm_stamp_placeholder(const uint8_t *header) { return header[16] == 0 && header[17] == 0; }

bool spm_stamp_matches(const uint8_t *header, const uint8_t life[SPM_LIFE_SIZE]) {
  return memcmp(header + LIFE_AT + 4, life, SPM_LIFE_SIZE) == 0;
}

void spm_stamp_show(uint8_t *buffer, uint64_t offset, uint64_t n) {
  for (uint64_t at = FORMAT_AT; at < FORMAT_AT + 2; at++)
    if (at >= offset && at - offset < n) buffer[at - offset] = 1;
  for (uint64_t at = LIFE_AT; at < LIFE_AT + LIFE_SIZE; at++)
    if (at >= offset && at - offset < n) buffer[at - offset] = 0;
}

static void fill_life(uint8_t *to, const uint8_t life[SPM_LIFE_SIZE]) {
  memcpy(to, LIFE_MAGIC, 4);
  memcpy(to + 4, life, SPM_LIFE_SIZE);
}

int spm_stamp_write(spm_conn *c) {
  static const uint8_t format[2] = {1, FORMAT_STAMP};
  uint8_t life[LIFE_SIZE];
  fill_life(life, spm_store_life(c));
  int rc = spm_write(c, FORMAT_AT, sizeof format, format);
  return rc == SQLITE_OK ? spm_write(c, LIFE_AT, sizeof life, life) : rc;
}

/* -------------------------------------------------------- X on its media -- */

/* As much of the header as there is; -1: an error. */
static ssize_t read_header(int fd, uint8_t header[SPM_HEADER_SIZE]) {
  ssize_t n = 0, got;
  do {
    got = pread(fd, header + n, (size_t)(SPM_HEADER_SIZE - n), (off_t)n);
    if (got > 0) n += got;
  } while (n < SPM_HEADER_SIZE && (got > 0 || (got < 0 && errno == EINTR)));
  return got < 0 ? -1 : n;
}

int spm_stamp_identify(int fd, uint8_t life[SPM_LIFE_SIZE]) {
  uint8_t header[SPM_HEADER_SIZE];
  ssize_t n = read_header(fd, header);
  if (n < 0) return spm_error(SQLITE_IOERR_READ, "reading the header: %s", strerror(errno));
  if (spm_stamp_kind(header, (uint64_t)n) != SPM_HEADER_STAMPED) return SQLITE_NOTFOUND;
  memcpy(life, header + LIFE_AT + 4, SPM_LIFE_SIZE);
  return SQLITE_OK;
}

/* A file of no length is stamped by one write, which makes its page as well: a page of
** zeros without a stamp would be no database, neither here nor for stock SQLite. */
static int write_placeholder(spm_region *data, const uint8_t life[SPM_LIFE_SIZE]) {
  uint8_t page[SPM_BLOCK_SIZE] = SQLITE_MAGIC;
  page[FORMAT_AT] = 1;
  page[FORMAT_AT + 1] = FORMAT_STAMP;
  spm_put4(page + COUNTER_AT, 1);
  fill_life(page + LIFE_AT, life);
  int rc = spm_media_file.append(data, 0, page, sizeof page);
  if (rc == SQLITE_OK) rc = spm_region_fsync(data);
  return rc == SQLITE_OK ? spm_region_refresh(data) : rc;
}

/* A writer that knows nothing of the size in the header (SQLite before 3.7.0) moves only the
** counter on.  Both are made equal here, which would make the size it left a valid one: it
** becomes what SQLite takes in its place, the file's. */
static void replace_stale_size(uint8_t header[SPM_HEADER_SIZE], uint64_t bytes) {
  uint64_t page = (uint64_t)header[PAGE_SIZE_AT] << 8 | header[PAGE_SIZE_AT + 1];
  if (memcmp(header + COUNTER_AT, header + COUNTER_TWIN_AT, 4) == 0) return;
  if (page == 1) page = 65536;
  spm_put4(header + SIZE_AT, page == 0 ? 0 : (uint32_t)((bytes + page - 1) / page));
}

/* The whole header in one piece: it lies in one sector, and on persistent memory
** the life is durable before the format bytes are. */
int spm_stamp_on(spm_region *data, const uint8_t life[SPM_LIFE_SIZE], uint64_t *logical_size) {
  static const uint8_t format[2] = {1, FORMAT_STAMP};
  uint8_t header[SPM_HEADER_SIZE];
  if (*logical_size == 0) return write_placeholder(data, life);
  int rc = spm_region_read(data, 0, header, sizeof header);
  if (rc != SQLITE_OK) return rc;
  replace_stale_size(header, *logical_size);
  uint32_t counter = spm_get4(header + COUNTER_AT) + 1;
  spm_put4(header + COUNTER_AT, counter);
  spm_put4(header + COUNTER_TWIN_AT, counter);
  fill_life(header + LIFE_AT, life);
  header[FORMAT_AT] = header[FORMAT_AT + 1] = 1;
  rc = spm_store_durably(data, 0, header, sizeof header);
  return rc == SQLITE_OK ? spm_store_durably(data, FORMAT_AT, format, sizeof format) : rc;
}

/* The word with the magic goes first, by itself: of more than a word persistent memory may
** keep any part, and half a life is one that no log belongs to.  The counter moves on as
** well: a stock connection that looked at the stamped page in the meantime must not take
** its cached copy for the present one. */
static int take_off(spm_region *data) {
  static const uint8_t format[2] = {1, 1}, none[LIFE_HEAD_SIZE];
  uint8_t counter[4], rest[LIFE_SIZE - LIFE_HEAD_SIZE + sizeof counter] = {0};
  int rc = spm_region_read(data, COUNTER_AT, counter, sizeof counter);
  if (rc != SQLITE_OK) return rc;
  spm_put4(counter, spm_get4(counter) + 1);
  memcpy(rest + (LIFE_SIZE - LIFE_HEAD_SIZE), counter, sizeof counter);
  rc = spm_store_durably(data, LIFE_AT, none, sizeof none);
  if (rc == SQLITE_OK) rc = spm_store_durably(data, LIFE_AT + LIFE_HEAD_SIZE, rest, sizeof rest);
  if (rc == SQLITE_OK) rc = spm_store_durably(data, COUNTER_AT, counter, sizeof counter);
  if (rc == SQLITE_OK) rc = spm_store_durably(data, FORMAT_AT, format, sizeof format);
  return rc == SQLITE_OK ? spm_region_fsync(data) : rc;
}

int spm_stamp_off(spm_region *data, uint64_t logical_size) {
  if (logical_size > 0) return take_off(data);
  int rc = spm_region_truncate(data, 0);
  return rc == SQLITE_OK ? spm_region_fsync(data) : rc;
}

int spm_stamp_finish(const char *path) {
  int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return spm_error(SQLITE_CANTOPEN, "opening %s: %s", path, strerror(errno));
  spm_region data;
  int rc = spm_region_open(&data, fd, path, &spm_media_file, SPM_HEADER_SIZE);
  if (rc == SQLITE_OK) rc = take_off(&data);
  spm_region_close(&data);
  return rc;
}
