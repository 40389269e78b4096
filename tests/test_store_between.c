/*
** test_store_between.c - what happens between any two instructions (S11, S12).
**
** Readers and the writer meet in a few words of shared memory, in an order that is right
** or wrong by one instruction.  So one of them goes through it an instruction at a time,
** and wherever it stands still, the other does all that it does.
*/
#include "test_store.h"

#include "../vfs/store/snapshot.h"
#include "steps.h"

#include <sys/mman.h>

#define HISTORY 4096u /* LSNs; fewer commits are in one snapshot's reach */

typedef struct meeting {
  const char *path;
  spm_conn *c; /* of the one who does not go by instructions */
  int commits; /* at each instruction */
  uint64_t turn, began_with;
  bool begun;
  uint64_t *value_of; /* by LSN; shared */
} meeting;

static meeting meet_at(const char *path, int commits) {
  meeting m = {.path = path, .commits = commits};
  m.value_of = mmap(NULL, HISTORY * sizeof *m.value_of, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ck_assert_ptr_ne(m.value_of, MAP_FAILED);
  m.c = x_create(path);
  return m;
}

static void leave(meeting *m) {
  x_detach(m->c);
  ck_assert_int_eq(munmap(m->value_of, HISTORY * sizeof *m->value_of), 0);
}

/* One word of each of two blocks. */
static void write_words(spm_conn *c, uint64_t value) {
  x_ok(x_begin(c));
  for (uint32_t b = 0; b < 2; b++) x_ok(spm_write(c, X_AT(b) + 8, sizeof value, &value));
}

static uint64_t read_word(spm_conn *c, uint32_t block) {
  uint64_t value;
  x_ok(spm_conn_read(c, X_AT(block) + 8, sizeof value, &value));
  return value;
}

static void commit_some(meeting *m) {
  for (int i = 0; i < m->commits; i++) {
    write_words(m->c, ++m->turn);
    x_ok(spm_commit_finish(m->c));
    m->value_of[spm_conn_lsn(m->c) % HISTORY] = m->turn;
    x_end(m->c);
  }
}

static bool commit_meanwhile(void *argument) {
  commit_some(argument);
  return true;
}

static void commit_after(void *argument) { commit_some(argument); }

static void expect_words(const meeting *m, spm_conn *c) {
  uint64_t wanted = m->value_of[c->snapshot % HISTORY];
  for (uint32_t b = 0; b < 2; b++) {
    uint64_t found = read_word(c, b);
    if (found != wanted)
      ck_abort_msg("the snapshot of LSN %llu is of %llu in block %u, not of %llu", (unsigned long long)c->snapshot,
                   (unsigned long long)found, b, (unsigned long long)wanted);
  }
}

static void register_in_steps(void *argument) {
  meeting *m = argument;
  spm_conn *c = x_join(m->path);
  for (;;) {
    step_mark();
    int rc = spm_snapshot_begin(c);
    step_mark();
    ck_assert_msg(rc == SQLITE_OK, "a snapshot could not be had: %d, %s", rc, spm_last_error());
    expect_words(m, c);
    spm_snapshot_end(c);
  }
}

/* One commit, or several, while a snapshot begins: it may be of before or of after, but it
** begins, and what it sees is what was committed at its LSN. */
START_TEST(s11_commits_while_a_snapshot_begins) {
  meeting m = meet_at(x_new("x.db", 4), 1 + _i);
  commit_some(&m);
  int turns = visit_instructions(0, register_in_steps, &m, (step_visit){commit_meanwhile, commit_after});
  ck_assert_int_gt(turns, 50);
  ck_assert(!spm_conn_poisoned(m.c));
  leave(&m);
}
END_TEST

static void read_in_steps(void *argument) {
  meeting *m = argument;
  spm_conn *c = x_join(m->path);
  for (uint32_t turn = 0;; turn++) {
    x_ok(spm_snapshot_begin(c));
    uint64_t wanted = m->value_of[c->snapshot % HISTORY], found = 0;
    step_mark();
    int rc = spm_conn_read(c, X_AT(turn % 2) + 8, sizeof found, &found);
    step_mark();
    x_ok(rc);
    ck_assert_uint_eq(found, wanted);
    expect_words(m, c);
    spm_snapshot_end(c);
  }
}

START_TEST(s12_commits_while_a_snapshot_reads) {
  meeting m = meet_at(x_new("x.db", 4), 1 + _i);
  commit_some(&m);
  int turns = visit_instructions(0, read_in_steps, &m, (step_visit){commit_meanwhile, commit_after});
  ck_assert_int_gt(turns, 20);
  ck_assert(!spm_conn_poisoned(m.c));
  leave(&m);
}
END_TEST

static void commit_in_steps(void *argument) {
  meeting *m = argument;
  spm_conn *c = x_join(m->path);
  for (uint64_t value = 1;; value++) {
    write_words(c, value);
    x_ok(spm_commit_stage(c, NULL));
    step_mark();
    int rc = spm_commit_finish(c);
    step_mark();
    x_ok(rc);
    x_end(c);
  }
}

/* A snapshot that begins while the commit has not been announced is of before it, and stays
** so, although the writer may have looked for snapshots a moment ago. */
static bool begin_meanwhile(void *argument) {
  meeting *m = argument;
  m->begun = SPM_PUBLISHED_PHASE(atomic_load(&m->c->store->shm->published)) == SPM_PHASE_IDLE;
  if (!m->begun) return false;
  x_ok(spm_snapshot_begin(m->c));
  m->began_with = read_word(m->c, 0);
  return true;
}

static void still_as_begun(void *argument) {
  meeting *m = argument;
  if (!m->begun) return;
  for (uint32_t b = 0; b < 2; b++) ck_assert_uint_eq(read_word(m->c, b), m->began_with);
  spm_snapshot_end(m->c);
  x_ok(spm_snapshot_begin(m->c));
  ck_assert_uint_eq(read_word(m->c, 1), m->began_with + 1);
  spm_snapshot_end(m->c);
}

START_TEST(s11_a_snapshot_begins_while_a_commit_does) {
  meeting m = meet_at(x_new("x.db", 4), 0);
  int turns = visit_instructions(0, commit_in_steps, &m, (step_visit){begin_meanwhile, still_as_begun});
  ck_assert(!m.begun); /* it came as far as the announcement */
  ck_assert_int_gt(turns, 50);
  leave(&m);
}
END_TEST

void store_between(TCase *tcase) {
  tcase_set_tags(tcase, "every-instruction");
  tcase_add_loop_test(tcase, s11_commits_while_a_snapshot_begins, 0, 3);
  tcase_add_test(tcase, s11_a_snapshot_begins_while_a_commit_does);
  tcase_add_loop_test(tcase, s12_commits_while_a_snapshot_reads, 0, 2);
}
