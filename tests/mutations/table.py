"""The planted faults: one entry breaks one rule of the store or the VFS.

name      of the entry: make check-mutations ONLY=name
rule      which of the design's rules it breaks (S1 to S22, V1 to V11, K1 to K7)
what      in one line
edits     (file, exact old text, new text); each old text must stand there once, and once only
catcher   what must fail: crash(...) is the enumerator with these options,
          suite(...) a suite of the check program, command(...) a target and a command line
"""


def crash(workload, medium="pmem", units=72, images=1800, nested=12, seed=20260101):
    options = f"--workload {workload} --medium {medium} --units {units} --images {images} --nested {nested} --seed {seed}"
    return ("build/crash", f"build/crash --jobs 1 --first {options}")


def suite(name):
    return ("build/tests", f"CK_RUN_SUITE={name} ./tests/run.sh")


def command(target, line):
    return (target, line)


STORE = "vfs/store/"

MUTATIONS = [
    # ---- durability of a commit ----
    dict(name="commit-without-sync", rule="S4", what="a commit returns before its record is durable",
         edits=[(STORE + "commit.c",
                 "  if (rc == SQLITE_OK) rc = spm_sync(&s->log);\n  if (rc != SQLITE_OK) repudiate(c, offset);",
                 "  if (rc != SQLITE_OK) repudiate(c, offset);")],
         catcher=crash("store")),
    dict(name="commit-without-sync-file", rule="S4", what="the same on FILE",
         edits=[(STORE + "commit.c",
                 "  if (rc == SQLITE_OK) rc = spm_sync(&s->log);\n  if (rc != SQLITE_OK) repudiate(c, offset);",
                 "  if (rc != SQLITE_OK) repudiate(c, offset);")],
         catcher=crash("store", "file")),
    dict(name="drain-dropped", rule="S4", what="the fence of persistent memory does nothing",
         edits=[(STORE + "region.c", "  (void)r;\n  pmem_drain();\n", "  (void)r;\n")],
         catcher=crash("store")),
    dict(name="fdatasync-dropped", rule="S4", what="the sync of a file does nothing",
         edits=[(STORE + "region.c", "  if (fdatasync(r->fd) == 0) return SQLITE_OK;\n",
                 "  if (r->fd >= 0) return SQLITE_OK;\n")],
         catcher=crash("store", "file")),
    dict(name="payload-not-in-checksum", rule="S4", what="a commit record is accepted before its data are there",
         edits=[(STORE + "log.c", "sizeof *record - sizeof record->checksum + record->length, salt);",
                 "sizeof *record - sizeof record->checksum, salt);")],
         catcher=crash("store")),
    dict(name="apply-before-durable", rule="S5", what="data are changed before the log that says so is durable",
         edits=[(STORE + "commit.c", "static int append_commit(spm_conn *c) {",
                 "static int apply_set(spm_conn *c);\nstatic int append_commit(spm_conn *c) {"),
                (STORE + "commit.c",
                 "  if (rc == SQLITE_OK) rc = spm_sync(&s->log);\n  if (rc != SQLITE_OK) repudiate(c, offset);",
                 "  if (rc == SQLITE_OK && c->set.resident == c->set.count) rc = apply_set(c);\n"
                 "  if (rc == SQLITE_OK) rc = spm_sync(&s->log);\n  if (rc != SQLITE_OK) repudiate(c, offset);")],
         catcher=crash("store")),
    # ---- the log's space and its end ----
    dict(name="segments-freed-early", rule="S6", what="segments are used again without a superblock that frees them",
         edits=[(STORE + "checkpoint.c",
                 "  if (left == 0) return SQLITE_OK;\n  rc = write_superblock(s, false);\n",
                 "  if (left == 0) return SQLITE_OK;\n")],
         catcher=crash("laps")),
    dict(name="superblock-without-fence", rule="S6", what="the superblock that frees segments has no fence of its own",
         edits=[(STORE + "superblock.c", "  return rc == SQLITE_OK ? spm_sync(log) : rc;", "  return rc;")],
         catcher=crash("laps")),
    dict(name="superblock-one-slot", rule="S6", what="the superblock is written over itself",
         edits=[(STORE + "superblock.c", "(block->sequence & 1) * SPM_SUPERBLOCK_STRIDE", "UINT64_C(0)")],
         catcher=crash("life")),
    dict(name="superblock-older-counts", rule="S6", what="of two superblocks the older one is taken",
         edits=[(STORE + "superblock.c", "(found && slot.sequence < chosen->sequence)",
                 "(found && slot.sequence > chosen->sequence)")],
         catcher=crash("store")),
    dict(name="stale-lap-accepted", rule="S7", what="neither LSN nor predecessor of a record is checked",
         edits=[(STORE + "log.c",
                 "  if (record->lsn != r->pos.lsn + 1 || record->prev_checksum != r->pos.chain) return SQLITE_DONE;\n", "")],
         catcher=crash("laps")),
    dict(name="lost-records-cut", rule="S7", what="a damaged record in the middle ends the log",
         edits=[(STORE + "recovery.c", "  if (rc == SQLITE_OK && lost)\n", "  if (rc == SQLITE_OK && lost && s->path == NULL)\n")],
         catcher=suite("recovery")),
    # ---- growing and shrinking ----
    dict(name="length-not-synced", rule="S10", what="a file's new length is not durable before it is relied on",
         edits=[(STORE + "region.c", "return r->media->persistent ? file_sync(r) : SQLITE_OK;",
                 "(void)r;\n  return SQLITE_OK;")],
         catcher=crash("large")),
    dict(name="length-of-the-dead-trusted", rule="S10", what="a segment counts as durable because the file reaches so far",
         edits=[(STORE + "log.c", "  int rc = spm_region_fill(&s->log, offset, SPM_SEGMENT_SIZE);\n",
                 "  int rc = spm_region_grow(&s->log, offset + SPM_SEGMENT_SIZE, SPM_BLOCK_SIZE);\n"),
                (STORE + "recovery.c", "  return rc == SQLITE_OK && s->log.media->persistent ? spm_region_fsync(&s->log) : rc;",
                 "  return rc;")],
         catcher=crash("processes", images=4000, nested=100)),
    dict(name="fresh-as-difference", rule="S9", what="a block behind the end is logged as a difference to what lies there",
         edits=[(STORE + "commit.c", "d->whole || start + SPM_BLOCK_SIZE > c->snapshot_size", "d->whole")],
         catcher=crash("random", images=3000)),
    dict(name="redo-keeps-size", rule="S9", what="REDO does not set the size",
         edits=[(STORE + "recovery.c", "spm_publish(s, sum.accepted, sum.size, next);",
                 "spm_publish(s, sum.accepted, block->logical_size, next);")],
         catcher=crash("store")),
    dict(name="cut-while-shared", rule="S22", what="the file is cut while another process has it open",
         edits=[(STORE + "growth.c", "  return alone ? spm_region_truncate", "  return alone || end > 0 ? spm_region_truncate")],
         catcher=suite("growth")),
    # ---- checkpoints and recovery ----
    dict(name="checkpoint-without-flush", rule="S18", what="a checkpoint moves on without flushing what it passed",
         edits=[(STORE + "checkpoint.c", "  flush_sets(s, &lines);\n  if (rc == SQLITE_OK) rc = spm_sync(&s->data);",
                 "  if (rc == SQLITE_OK) rc = spm_sync(&s->data);")],
         catcher=crash("store")),
    dict(name="checkpoint-without-fence", rule="S18", what="a checkpoint counts before a fence",
         edits=[(STORE + "checkpoint.c", "  flush_sets(s, &lines);\n  if (rc == SQLITE_OK) rc = spm_sync(&s->data);",
                 "  flush_sets(s, &lines);")],
         catcher=crash("store")),
    dict(name="checkpoint-without-sync-file", rule="S18", what="on FILE a checkpoint counts before the data are synced",
         edits=[(STORE + "checkpoint.c", "    rc = spm_sync(&s->data); /* of everything applied: the whole committed log */",
                 "    rc = SQLITE_OK;")],
         catcher=crash("store", "file")),
    dict(name="recovery-without-checkpoint", rule="S19", what="the log is begun anew before what was redone is durable",
         edits=[(STORE + "recovery.c", "    rc = spm_checkpoint_all(s);\n  }\n  if (rc == SQLITE_OK) rc = spm_checkpoint_restart",
                 "    rc = SQLITE_OK;\n  }\n  if (rc == SQLITE_OK) rc = spm_checkpoint_restart")],
         catcher=crash("store")),
    dict(name="takeover-not-hardened", rule="S19", what="a take-over applies a record that is in the cache only",
         edits=[(STORE + "takeover.c", "  if (rc == SQLITE_OK) rc = spm_log_harden(s, state->tail, &sum);\n", "")],
         catcher=crash("processes", images=4000, nested=100)),
    dict(name="takeover-not-hardened-file", rule="S19", what="the same on FILE",
         edits=[(STORE + "takeover.c", "  if (rc == SQLITE_OK) rc = spm_log_harden(s, state->tail, &sum);\n", "")],
         catcher=crash("processes", "file", images=4000, nested=100)),
    dict(name="takeover-not-applied", rule="S17", what="a take-over publishes a commit without applying it",
         edits=[(STORE + "takeover.c", "  rc = spm_apply_range(s, from, until, txid, sum->size);\n", "  rc = SQLITE_OK;\n")],
         catcher=crash("processes", images=4000, nested=100)),
    dict(name="image-skipped", rule="S12", what="a block is overwritten without its before-image",
         edits=[(STORE + "commit.c", "  s->shm->saved_lsn = until;\n  atomic_thread_fence", "  atomic_thread_fence"),
                (STORE + "commit.c", "    if (d->changed && (uint64_t)d->block * SPM_BLOCK_SIZE < s->shm->covered_size)\n",
                 "    if (d->changed && s->path == NULL)\n")],
         catcher=suite("store")),
    dict(name="failed-commit-not-poisoned", rule="S8", what="after a failed sync the store goes on",
         edits=[(STORE + "commit.c", "  spm_poison(c->store);\n  if (spm_append", "  if (spm_append")],
         catcher=suite("store")),
    # ---- the stamp ----
    dict(name="stamp-before-log", rule="S2", what="X is stamped before its log is durable",
         edits=[(STORE + "store.c", "  if (rc == SQLITE_OK) rc = spm_region_fsync(&s->log);\n", "")],
         catcher=crash("life")),
    dict(name="log-without-name", rule="S2", what="X is stamped before its log's name is durable",
         edits=[(STORE + "store.c", "  if (rc == SQLITE_OK) rc = spm_folder_fsync(s->path);\n", "")],
         catcher=crash("life")),
    dict(name="stamp-off-before-data", rule="S2", what="the stamp is taken off before the data are durable",
         edits=[(STORE + "store.c", "  if (rc == SQLITE_OK) rc = spm_checkpoint_all(s);\n  if (rc != SQLITE_OK) return rc;\n  uint64_t size",
                 "  if (rc != SQLITE_OK) return rc;\n  uint64_t size")],
         catcher=crash("life")),
    dict(name="stamp-off-out-of-order", rule="S2", what="the life's tail is cleared before its first word",
         edits=[("vfs/stamp.c", "  rc = write_durably(data, LIFE_AT, none, sizeof none);\n"
                 "  if (rc == SQLITE_OK) rc = write_durably(data, LIFE_AT + LIFE_HEAD_SIZE, rest, sizeof rest);\n",
                 "  rc = write_durably(data, LIFE_AT + LIFE_HEAD_SIZE, rest, sizeof rest);\n"
                 "  if (rc == SQLITE_OK) rc = write_durably(data, LIFE_AT, none, sizeof none);\n")],
         catcher=crash("life")),
    dict(name="length-after-stamp", rule="S2", what="a clean close does not wait for the file's length",
         edits=[(STORE + "store.c", "  if (rc == SQLITE_OK) rc = spm_region_fsync(&s->data);\n", "")],
         catcher=crash("random", images=3000)),
    dict(name="placeholder-lost", rule="V5", what="a placeholder that lost its bytes is taken for another's file",
         edits=[("vfs/stamp.c", "n == 0 || lost_placeholder(header, n)", "n == 0 || (lost_placeholder(header, n) && header == NULL)")],
         catcher=crash("life")),
    # ---- several databases ----
    dict(name="stub-skipped", rule="S20", what="no stub journal names the super-journal",
         edits=[("vfs/dbfile.c", "rc = f->super ? spm_super_stub(f->path, super) : SQLITE_NOMEM;",
                 "rc = f->super ? SQLITE_OK : SQLITE_NOMEM;")],
         catcher=crash("multi", images=3000)),
    dict(name="prepare-not-durable", rule="S20", what="FCNTL_SYNC returns before PREPARE is durable",
         edits=[(STORE + "commit.c", "  rc = spm_sync(&s->log);\n  if (rc == SQLITE_OK)\n    c->stage = SPM_PREPARED;",
                 "  if (rc == SQLITE_OK)\n    c->stage = SPM_PREPARED;")],
         catcher=crash("multi", images=3000)),
    dict(name="prepared-never-committed", rule="S20", what="recovery rolls a prepared transaction back whose super-journal is gone",
         edits=[("vfs/super.c", "    if (*committed) return spm_folder_fsync(super);\n", "    *committed = false;\n    return SQLITE_OK;\n")],
         catcher=crash("multi", images=3000)),
]
