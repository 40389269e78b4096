/*
** fuzz_kv.c - a key-value store's file, damaged, and everything that can be done with one.
**
** Nodes have no checksums: whatever stands on media is looked at.  An input is a program of
** damage to a store of three trees, closed cleanly, and of the work that follows.
**
** ORACLE.  kvmodel.c says whether the file still is what the format says.
**   - The engine's check says the same, both ways.
**   - A whole store opens, shows as many keys as the model counts, forwards and backwards,
**     finds each of them, takes writes, and is whole after every one of them.
**   - Of any other, each call gives what it finds or an error that fits damage, and ends.
**   - A damaged node by itself, in memory that ends where it ends, is neither read nor
**     written beside, and is valid to the engine exactly if it is to the model.
*/
#include "crashed.h"
#include "kvmodel.h"

#include "../../ext/kv/kvcheck.h"
#include "../../ext/kv/node.h"
#include "../../ext/kv/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

#define PATH fuzz_path(".kv")
#define DAMAGED_MAX 16u
#define STEPS_MAX 100000u

/* The store, whole, and the nodes in it. */
static struct {
  uint8_t *bytes;
  size_t size;
  uint32_t node[256], nodes;
} store;

/* Where a program has been: nodes that are to be looked at by themselves. */
typedef struct hit {
  uint32_t block[DAMAGED_MAX], count;
} hit;

static const char *const names[] = {"small", "large", "long"};

/* ------------------------------------------------------------------ the store -- */

static void must(int rc, const char *what) {
  if (rc != SQLITE_OK) fuzz_wrong("making a store: %s: %d", what, rc);
}

static sqlite3 *open_sql(int *rc) {
  sqlite3 *db;
  must(sqlite3_open(":memory:", &db), "a connection");
  must(spm_table_register(db), "the module");
  for (int i = 0; i < 3; i++) {
    char *sql = sqlite3_mprintf("CREATE VIRTUAL TABLE %s USING pmemkv(path=%Q)", names[i], PATH);
    rc[i] = sqlite3_exec(db, sql, NULL, NULL, NULL);
    sqlite3_free(sql);
  }
  return db;
}

/* Leaves and branches with and without prefix, runs, long keys, free blocks, two levels. */
static void make_store(void) {
  int rc[3];
  static const char sql[] =
      "CREATE TEMP TABLE n AS WITH RECURSIVE c(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM c WHERE i < 500) SELECT i FROM c;"
      "INSERT INTO small SELECT 'user:' || (i * 7919 % 9973), hex(i) || substr(hex(zeroblob(20)), i % 30) FROM n;"
      "INSERT INTO large SELECT i, zeroblob(i * 131 % 9000) FROM n WHERE i <= 40;"
      "INSERT INTO long SELECT printf('%.*c%d', 300 + i * 37 % 700, 'k', i), i FROM n WHERE i <= 30;"
      "DELETE FROM large WHERE key % 3 = 0; DELETE FROM long WHERE value % 5 = 0";
  sqlite3 *db = open_sql(rc);
  must(sqlite3_exec(db, sql, NULL, NULL, NULL), sqlite3_errmsg(db));
  must(sqlite3_close(db), "closing");
  store.bytes = fuzz_read_file(PATH, &store.size);
  for (uint32_t b = SPM_KV_DIRECTORY_BLOCK; b < store.size / SPM_BLOCK_SIZE && store.nodes < 256; b++)
    if (kvmodel_node(store.bytes + (size_t)b * SPM_BLOCK_SIZE, b)) store.node[store.nodes++] = b;
  kvmodel whole;
  kvmodel_read(store.bytes, store.size, &whole);
  if (!whole.whole || whole.trees != 3) fuzz_wrong("the store as it was made: %s", whole.why ? whole.why : "no trees");
}

/* ------------------------------------------------------------------- damage -- */

typedef struct field {
  uint32_t at, size;
} field;
#define IN(type, member) {offsetof(type, member), sizeof(((type *)0)->member)}
static const field header_fields[] = {IN(spm_kv_header, magic),       IN(spm_kv_header, version),    IN(spm_kv_header, block_size),
                                      IN(spm_kv_header, open),        IN(spm_kv_header, generation), IN(spm_kv_header, next_number),
                                      IN(spm_kv_header, directory),   IN(spm_kv_header, trees),      IN(spm_kv_header, internal_trees),
                                      IN(spm_kv_header, used),        IN(spm_kv_header, lowest_free)};
static const field node_fields[] = {IN(spm_node, magic), IN(spm_node, level), IN(spm_node, nprefix), IN(spm_node, self),
                                    IN(spm_node, count), IN(spm_node, heap),  IN(spm_node, dead),    IN(spm_node, prefix)};
static const field slot_fields[] = {IN(spm_node_slot, head), IN(spm_node_slot, offset), IN(spm_node_slot, nkey)};
static const field run_fields[] = {IN(spm_kv_run, size), IN(spm_kv_run, block)};
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* A little more or less, or something that hurts. */
static void change(uint8_t *base, const field *f, program *p) {
  uint64_t value = 0;
  uint32_t size = f->size < 8 ? f->size : 8;
  memcpy(&value, base + f->at, size);
  uint8_t how = program_byte(p);
  value = how & 1 ? value + (uint64_t)(int64_t)(int8_t)program_byte(p) : program_hurting(p);
  memcpy(base + f->at, &value, size);
}

static uint8_t *slot_at(uint8_t *node, uint32_t i) { return node + sizeof(spm_node) + i * sizeof(spm_node_slot); }
static uint16_t get2(const uint8_t *at) {
  uint16_t value;
  memcpy(&value, at, sizeof value);
  return value;
}

/* One of the slots that there are, in bounds whatever the node says by now. */
static uint8_t *choose_slot(uint8_t *node, program *p) {
  uint32_t count = get2(node + offsetof(spm_node, count)), i = (uint32_t)program_number(p, 1);
  count = count == 0 || count > SPM_NODE_SLOTS_MAX ? 1 : count;
  return slot_at(node, i % count);
}

/* What its cell begins with: the length of a value, or a child; or its run. */
static void change_cell(uint8_t *node, program *p) {
  const uint8_t *slot = choose_slot(node, p);
  uint32_t at = get2(slot + offsetof(spm_node_slot, offset)), nkey = get2(slot + offsetof(spm_node_slot, nkey));
  bool branch = node[offsetof(spm_node, level)] > 0;
  if (at + 4 > SPM_BLOCK_SIZE) return;
  bool run = !branch && get2(node + at) == SPM_CELL_RUN && at + 2 + nkey + sizeof(spm_kv_run) <= SPM_BLOCK_SIZE;
  if (run && program_byte(p) % 4 != 0)
    change(node + at + 2 + nkey, &run_fields[program_byte(p) % COUNT(run_fields)], p);
  else
    change(node + at, &(field){0, branch ? 4 : 2}, p);
}

static void swap_slots(uint8_t *node, program *p) {
  uint8_t *a = choose_slot(node, p), *b = choose_slot(node, p), kept[sizeof(spm_node_slot)];
  memcpy(kept, a, sizeof kept);
  memcpy(a, b, sizeof kept);
  memcpy(b, kept, sizeof kept);
}

/* A node in another's place, said to be the one that belongs there. */
static void copy_node(uint8_t *file, uint32_t to, uint32_t from) {
  if (to == from) return;
  memcpy(file + (size_t)to * SPM_BLOCK_SIZE, file + (size_t)from * SPM_BLOCK_SIZE, SPM_BLOCK_SIZE);
  memcpy(file + (size_t)to * SPM_BLOCK_SIZE + offsetof(spm_node, self), &to, sizeof to);
}

static void damage_node(uint8_t *file, uint8_t what, program *p, hit *h) {
  uint32_t block = store.node[program_byte(p) % store.nodes];
  uint8_t *node = file + (size_t)block * SPM_BLOCK_SIZE;
  if (h->count < DAMAGED_MAX) h->block[h->count++] = block;
  switch (what) {
    case 0: case 1: change(node, &node_fields[program_byte(p) % COUNT(node_fields)], p); break;
    case 2: case 3: change(choose_slot(node, p), &slot_fields[program_byte(p) % COUNT(slot_fields)], p); break;
    case 4: case 5: change_cell(node, p); break;
    case 6: swap_slots(node, p); break;
    case 7: copy_node(file, block, store.node[program_byte(p) % store.nodes]); break;
    default: node[program_number(p, 2) % SPM_BLOCK_SIZE] = program_byte(p); break;
  }
}

static void damage_store(uint8_t *file, size_t *size, program *p, hit *h) {
  for (uint8_t left = program_byte(p) % 6; left > 0; left--) {
    uint8_t what = program_byte(p) % 16;
    if (what < 12)
      damage_node(file, what, p, h);
    else if (what == 12)
      change(file, &header_fields[program_byte(p) % COUNT(header_fields)], p);
    else if (what == 13)
      file[SPM_BLOCK_SIZE + program_byte(p)] ^= (uint8_t)(1u << program_byte(p) % 8); /* a bitmap's */
    else if (what == 14)
      file[program_number(p, 4) % store.size] = program_byte(p);
    else
      *size = store.size - program_number(p, 2) % 64 * (program_byte(p) & 1 ? SPM_BLOCK_SIZE : 100);
  }
}

/* --------------------------------------------------------- a node by itself -- */

static bool node_code(int rc) { return rc == SQLITE_OK || rc == SQLITE_FULL || rc == SPM_DAMAGED; }

static void read_node(const uint8_t *node) {
  static const char *const keys[] = {"", "\240user:5", "\240kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk", "\377"};
  uint32_t at, sum = 0;
  bool found;
  for (size_t i = 0; i < COUNT(keys); i++) {
    if (spm_node_search(node, keys[i], (uint32_t)strlen(keys[i]), &at, &found) && at > spm_node_count(node)) fuzz_wrong("a search ends outside");
    if (spm_node_route(node, keys[i], (uint32_t)strlen(keys[i]), &at) && at >= spm_node_count(node)) fuzz_wrong("a way leads outside");
  }
  for (uint32_t i = 0; i < spm_node_count(node); i++) {
    spm_cell c;
    if (!spm_node_cell(node, i, &c)) continue;
    if (c.nkey > SPM_KV_KEY_MAX) fuzz_wrong("a key of %u bytes", c.nkey);
    for (uint32_t b = 0; b < c.nkey; b++) sum += c.key[b];
    for (uint32_t b = 0; b < spm_cell_value_size(&c) && spm_node_level(node) == 0; b++) sum += c.value[b];
  }
  if (sum == UINT32_MAX) fuzz_wrong("a sum that cannot be"); /* the bytes were read */
}

static void write_node(uint8_t *node) {
  static const uint8_t value[600];
  spm_cell c = {.key = (const uint8_t *)"\240user:55", .nkey = 8, .value = value, .nvalue = 600, .child = 3};
  uint32_t at = spm_node_count(node) / 2 + 1;
  int rc = spm_node_insert(node, at, &c);
  if (node_code(rc)) rc = spm_node_remove(node, at / 2);
  if (node_code(rc)) rc = spm_node_set_child(node, 0, 5);
  if (node_code(rc)) rc = spm_node_set_value(node, 0, 4, value);
  if (!node_code(rc)) fuzz_wrong("changing a node: %d", rc);
}

static void look_at_node(const uint8_t *bytes, uint32_t self) {
  uint8_t *node = aligned_alloc(SPM_BLOCK_SIZE, SPM_BLOCK_SIZE); /* the sanitizer sees its ends */
  if (node == NULL) fuzz_wrong("no memory");
  memcpy(node, bytes, SPM_BLOCK_SIZE);
  bool wanted = kvmodel_node(node, self) && spm_node_level(node) <= SPM_KV_LEVEL_MAX;
  if (spm_node_valid(node, self, SPM_ANY_LEVEL) != wanted) fuzz_wrong("block %u is %s a valid node", self, wanted ? "" : "not");
  if (spm_node_sane(node, self, SPM_ANY_LEVEL)) {
    read_node(node);
    write_node(node);
  }
  free(node);
}

/* ---------------------------------------------------------------- the store -- */

/* What may come of a store that is not whole.  SQLITE_ERROR: a tree has lost its name. */
static bool fits(int rc) {
  switch (rc & 0xff) {
    case SQLITE_OK: case SQLITE_NOTFOUND: case SQLITE_CORRUPT: case SQLITE_CANTOPEN: case SQLITE_NOTADB: case SQLITE_FULL:
    case SQLITE_ERROR: case SQLITE_CONSTRAINT: case SQLITE_TOOBIG: return true;
    default: return rc == SQLITE_IOERR_READ; /* shorter than it says */
  }
}

/* A store that was whole has no excuse but a full disk. */
static int allowed(int rc, bool whole, const char *what) {
  if (whole ? rc != SQLITE_OK && rc != SQLITE_NOTFOUND && rc != SQLITE_FULL : !fits(rc)) fuzz_wrong("%s: %d", what, rc);
  return rc;
}

static uint64_t scan(const spm_tree *t, bool up, bool whole) {
  spm_tree_cursor c;
  uint64_t keys = 0;
  spm_cursor_open(&c, t);
  int rc = spm_cursor_seek(&c, up ? SPM_SEEK_FIRST : SPM_SEEK_LAST, NULL, 0);
  for (; rc == SQLITE_OK; rc = up ? spm_cursor_next(&c) : spm_cursor_prev(&c)) {
    spm_value v;
    uint8_t byte;
    int read = allowed(spm_cursor_value(&c, &v), whole, "a value");
    if (read == SQLITE_OK && v.size > 0) (void)allowed(spm_value_read(t->conn, &v, v.size - 1, 1, &byte), whole, "its end");
    if (up) read = allowed(spm_tree_get(t, c.key, c.nkey, &v), whole, "a get");
    if (whole && read != SQLITE_OK) fuzz_wrong("a key that a scan shows is not found");
    if (++keys > STEPS_MAX) fuzz_wrong("a scan does not end");
  }
  (void)allowed(rc, whole, "a scan");
  return keys;
}

static void read_trees(spm_kv *kv, const kvmodel *m) {
  char name[SPM_KV_NAME_MAX + 1] = "";
  uint64_t up = 0, down = 0;
  int rc;
  if (allowed(spm_kv_snapshot_begin(kv), m->whole, "a snapshot") != SQLITE_OK) return;
  for (unsigned i = 0; (rc = allowed(spm_kv_tree_next(kv, name, name), m->whole, "the names")) == SQLITE_OK; i++) {
    spm_tree t;
    if (i > STEPS_MAX) fuzz_wrong("the names do not end");
    if (allowed(spm_kv_tree(kv, name, &t), m->whole, "a tree") != SQLITE_OK) continue;
    up += scan(&t, true, m->whole);
    down += scan(&t, false, m->whole);
  }
  spm_kv_snapshot_end(kv);
  if (m->whole && (up != m->keys || down != m->keys))
    fuzz_wrong("%llu keys upwards, %llu downwards, there are %llu", (unsigned long long)up, (unsigned long long)down, (unsigned long long)m->keys);
}

static bool count_fault(void *argument, const char *text) {
  (void)snprintf(argument, 200, "%s", text);
  return true;
}

static void check(spm_kv *kv, bool whole, const char *when, const char *why) {
  char fault[200] = "";
  int rc = spm_kv_check(kv, count_fault, fault);
  if (rc == SQLITE_FULL || rc == SQLITE_NOMEM) return;
  if (whole != (rc == SQLITE_OK)) fuzz_wrong("%s the check says %d, %s; the model: %s", when, rc, fault, why ? why : "whole");
}

/* Puts and deletes in one tree, committed or not; then all of it must be as good as before. */
static void write_tree(spm_kv *kv, program *p, bool whole) {
  static uint8_t value[9000];
  spm_tree t;
  uint8_t what = program_byte(p);
  int rc = allowed(spm_kv_begin(kv), whole, "begin");
  if (rc == SQLITE_OK) rc = allowed(spm_kv_tree(kv, names[what % 3], &t), whole, "a tree to write");
  for (unsigned i = 0; rc == SQLITE_OK && i < 24; i++) {
    char key[40];
    uint8_t byte = program_byte(p);
    int n = snprintf(key, sizeof key, "\240user:%u", (byte * 37u + i * 7919u) % 9973u);
    rc = byte % 3 == 0 ? spm_tree_delete(&t, key, (uint32_t)n) : spm_tree_put(&t, key, (uint32_t)n, value, byte * 131u % sizeof value);
    if (allowed(rc, whole, "writing") == SQLITE_NOTFOUND) rc = SQLITE_OK;
  }
  if (rc == SQLITE_OK && what & 0x40) rc = allowed(spm_kv_tree_drop(kv, names[what / 4 % 3]), whole, "dropping");
  if (rc == SQLITE_OK && what & 0x80) (void)allowed(spm_kv_commit(kv), whole, "committing");
  spm_kv_rollback(kv);
  if (whole) check(kv, true, "after writing", NULL);
}

static void work(spm_kv *kv, program *p, const kvmodel *m) {
  for (unsigned i = program_byte(p) % 4; i > 0; i--) write_tree(kv, p, m->whole);
  if (program_byte(p) % 4 != 1) return;
  (void)allowed(spm_kv_shrink(kv), m->whole, "shrinking");
  spm_kv_rollback(kv);
  if (m->whole) check(kv, true, "after shrinking", NULL);
}

/* ------------------------------------------------------------------- and SQL -- */

static const char *const statements[] = {
    "SELECT sum(length(value)), count(*), max(key) FROM small",
    "SELECT key, value FROM large ORDER BY key DESC",
    "SELECT count(*) FROM long WHERE key > 'kkkk' AND value > 3",
    "SELECT value FROM small WHERE key = 'user:500' OR key IN ('user:1', 'user:77', 5, x'00')",
    "SELECT * FROM small WHERE key GLOB 'user:9*' ORDER BY key LIMIT 7 OFFSET 2",
    "INSERT OR REPLACE INTO small SELECT 'user:' || key, value FROM large",
    "INSERT INTO large SELECT value, key FROM long",
    "UPDATE large SET value = zeroblob(20000) WHERE key < 20",
    "UPDATE small SET key = key || 'x' WHERE key GLOB 'user:1*'",
    "DELETE FROM small WHERE key > 'user:3'",
    "DELETE FROM long",
    "DROP TABLE large",
    "BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT s", "ROLLBACK TO s", "RELEASE s",
};

static void sql(program *p, bool whole) {
  int rc[3];
  sqlite3 *db = open_sql(rc);
  for (int i = 0; i < 3; i++) (void)allowed(rc[i], whole, "a table");
  for (unsigned i = program_byte(p) % 8; i > 0; i--) {
    int code = sqlite3_exec(db, statements[program_byte(p) % COUNT(statements)], NULL, NULL, NULL);
    if (!fits(code)) fuzz_wrong("%d: %s", code, sqlite3_errmsg(db));
  }
  (void)sqlite3_close(db);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  program p = {bytes, n};
  hit h = {.count = 0};
  kvmodel m;
  spm_kv *kv = NULL;
  if (store.bytes == NULL) make_store();
  uint8_t *file = malloc(store.size);
  if (file == NULL) fuzz_wrong("no memory");
  memcpy(file, store.bytes, store.size);
  size_t size = store.size;
  damage_store(file, &size, &p, &h);
  for (uint32_t i = 0; i < h.count; i++) look_at_node(file + (size_t)h.block[i] * SPM_BLOCK_SIZE, h.block[i]);
  kvmodel_read(file, size, &m);
  uint32_t open_word;
  memcpy(&open_word, file + offsetof(spm_kv_header, open), sizeof open_word);
  bool whole = m.whole = m.whole && open_word == 0;
  fuzz_write_file(PATH, file, size);
  free(file);
  if (allowed(spm_kv_open(PATH, &(spm_kv_options){0}, &kv), whole, "opening") == SQLITE_OK) {
    check(kv, whole, "opened,", m.why);
    read_trees(kv, &m);
    work(kv, &p, &m);
  }
  spm_kv_close(kv, program_byte(&p) & 1);
  sql(&p, whole && access(PATH, F_OK) == 0);
  for (int i = 0; i < 3; i++) (void)unlink(i == 0 ? PATH : fuzz_path(i == 1 ? ".kv-pmlog" : ".kv-pmshm"));
  return 0;
}
