/*
** fuzz_super.c - super-journals and stub journals: what a crash or anybody may have left.
**
** A folder with a database's stub journal, another database's, a super-journal, and a
** file that is none of anybody's business.  The bytes of the first three are made by a
** program in which some numbers stand for the names of files.
**
** ORACLE: only a stub that names its super-journal goes, and a super-journal only if no
** other journal that it lists names it; a file that is missing counts as a commit only if
** its folder is there.
*/
#include "crashed.h"

#include "../../vfs/super.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

#define CONTENT_MAX 2048u
static const uint8_t magic[8] = {0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7};
static const char *const suffixes[] = {"-journal", "-other-journal", "-super", "-mine", ""};
enum { STUB, OTHER, SUPER, BYSTANDER };

typedef struct content {
  uint8_t bytes[CONTENT_MAX + 300];
  size_t size;
} content;

/* Bytes from the program; one in the last 16 of a byte's values is a file's name instead. */
static void write_content(content *c, program *p) {
  size_t wanted = program_number(p, 2) % 400;
  c->size = 0;
  while (c->size < wanted && p->left > 0) {
    uint8_t byte = program_byte(p);
    if (byte < 0xf0) {
      c->bytes[c->size++] = byte;
      continue;
    }
    const char *name = fuzz_path(suffixes[byte % 4]);
    size_t length = strlen(name) + (byte >= 0xf8); /* with or without its end */
    memcpy(c->bytes + c->size, name, length);
    c->size += length;
  }
}

static void put_number(uint8_t *to, uint32_t value) {
  for (int i = 0; i < 4; i++) to[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* The trailer of a journal that names a super-journal, right or nearly so. */
static void sign(content *c, const char *name, uint8_t how) {
  uint32_t length = (uint32_t)strlen(name), sum = 0;
  for (uint32_t i = 0; i < length; i++) sum += (uint32_t)(int)(signed char)name[i];
  memcpy(c->bytes + c->size, name, length);
  uint8_t *trailer = c->bytes + c->size + length;
  put_number(trailer, how & 1 ? length : (uint32_t)how << 24 | length);
  put_number(trailer + 4, how & 2 ? sum : sum + how);
  memcpy(trailer + 8, magic, sizeof magic);
  c->size += length + 16;
}

/* Is what sign() made under `how` a journal that names it? */
static bool names(uint8_t how) { return how == 0 || (how & 3) == 3; }

static bool there(const char *suffix) { return access(fuzz_path(suffix), F_OK) == 0; }

static bool lists(const content *super, const char *name) {
  size_t length = strlen(name) + 1;
  for (size_t at = 0; at + length <= super->size; at++)
    if (memcmp(super->bytes + at, name, length) == 0 && (at == 0 || super->bytes[at - 1] == 0)) return true;
  return false;
}

static void check_decision(const char *super) {
  bool committed = true, exists = access(super, F_OK) == 0;
  int rc = spm_super_decide(fuzz_path(""), super, &committed);
  if (rc == SQLITE_OK && committed == exists) fuzz_wrong("%s is decided the other way", super);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  static content file[3];
  program p = {bytes, n};
  char super[200], missing[200];
  spm_super_parent(sqlite3_vfs_find("unix"));
  (void)snprintf(super, sizeof super, "%s", fuzz_path("-super"));
  uint8_t what = program_byte(&p), stub_how = program_byte(&p), other_how = program_byte(&p);
  bool stub_signed = what & 1, other_signed = what & 2;
  bool stub_names = stub_signed && names(stub_how), other_names = other_signed && names(other_how);
  for (int i = STUB; i <= SUPER; i++) write_content(&file[i], &p);
  if (stub_signed) sign(&file[STUB], super, stub_how);
  if (other_signed) sign(&file[OTHER], super, other_how);
  for (int i = STUB; i <= SUPER; i++) fuzz_write_file(fuzz_path(suffixes[i]), file[i].bytes, file[i].size);
  fuzz_write_file(fuzz_path(suffixes[BYSTANDER]), "mine", 4);
  fuzz_write_file(fuzz_path(""), "", 0);
  bool needed = other_names && lists(&file[SUPER], fuzz_path("-other-journal"));
  (void)snprintf(missing, sizeof missing, "%s%.*s", fuzz_path("-"), (int)(p.left < 60 ? p.left : 60), (const char *)p.at);
  check_decision(super);
  check_decision(missing);
  int rc = what & 4 ? spm_super_settled(fuzz_path(""), super) : spm_super_sweep(fuzz_path(""));
  if (!there("-mine") || !there("") || !there("-other-journal")) fuzz_wrong("a file that is not ours is gone");
  if (!there("-super") && needed) fuzz_wrong("the super-journal is gone that another journal names");
  if (!there("-journal") && !stub_names) fuzz_wrong("a journal is gone that names nothing");
  if (rc == SQLITE_OK && stub_names && there("-journal")) fuzz_wrong("the stub is still there");
  return 0;
}
