/*
** test_vfs_pages.c - every page size, VACUUM in all its forms, and the backup API:
** whatever makes, moves or shortens whole databases.
*/
#include "database.h"
#include "test_vfs.h"

#include <stdio.h>
#include <string.h>

#define PAGE_SIZES 8 /* 512 to 65536 */

static void fill(sqlite3 *db, int rows) {
  run(db, "CREATE TABLE IF NOT EXISTS t(a INTEGER PRIMARY KEY, b BLOB, c TEXT);"
          "CREATE INDEX IF NOT EXISTS i ON t(c);"
          "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
          "INSERT INTO t(b, c) SELECT zeroblob(i %% 700), printf('%%08x', i * 2654435761 %% 4294967296) FROM n",
      rows);
}

/* ------------------------------------------------------------ page sizes -- */

START_TEST(every_page_size) {
  int medium = _i / PAGE_SIZES, page_size = 512 << _i % PAGE_SIZES;
  const char *path = path_on(medium, "pages.db");
  sqlite3 *model, *db = open_pmem(path);
  ck_assert_int_eq(sqlite3_open(":memory:", &model), SQLITE_OK);
  run(db, "PRAGMA page_size = %d", page_size);
  fill(db, 3000);
  fill(model, 3000);
  ck_assert_int_eq(number(db, "PRAGMA page_size"), page_size);
  run(db, "DELETE FROM t WHERE a %% 3 = 0");
  run(model, "DELETE FROM t WHERE a %% 3 = 0");
  integrity(db);
  same_content(db, model);
  close_db(db);

  only_plain_file(path);
  db = open_stock(path);
  ck_assert_int_eq(number(db, "PRAGMA page_size"), page_size);
  ck_assert_int_eq(number(db, "PRAGMA page_count") * page_size, file_size(path));
  integrity(db);
  same_content(db, model);
  fill(db, 500);
  fill(model, 500);
  close_db(db);

  db = open_pmem(path);
  ck_assert_int_eq(number(db, "PRAGMA page_size"), page_size);
  same_content(db, model);
  run(db, "DELETE FROM t");
  run(model, "DELETE FROM t");
  integrity(db);
  same_content(db, model);
  close_db(db);
  stock_accepts(path);
  close_db(model);
}
END_TEST

/* ---------------------------------------------------------------- VACUUM -- */

START_TEST(vacuum_shortens_the_file) {
  const char *path = path_on(_i, "vacuum.db");
  sqlite3 *model, *db = open_pmem(path);
  ck_assert_int_eq(sqlite3_open(":memory:", &model), SQLITE_OK);
  fill(db, 5000);
  fill(model, 5000);
  close_db(db);
  int64_t before = file_size(path);
  db = open_pmem(path);
  run(db, "DELETE FROM t WHERE a > 100");
  run(model, "DELETE FROM t WHERE a > 100");
  run(db, "VACUUM");
  same_content(db, model);
  int64_t pages = number(db, "PRAGMA page_count");
  run(db, "INSERT INTO t(c) VALUES('after VACUUM')");
  run(model, "INSERT INTO t(c) VALUES('after VACUUM')");
  close_db(db);
  ck_assert_int_lt(file_size(path), before / 10);
  ck_assert_int_eq(file_size(path), pages * 4096);
  stock_accepts(path);
  db = open_pmem(path);
  same_content(db, model);
  close_db(db);
  close_db(model);
}
END_TEST

/* Each size to each other, on one connection and with the file reopened in between. */
START_TEST(vacuum_changes_the_page_size) {
  static const int sizes[] = {4096, 1024, 65536, 512, 8192, 32768, 2048, 16384, 65536, 4096};
  const char *path = path_on(_i, "vacuum.db");
  sqlite3 *model, *db = open_pmem(path), *other = open_pmem(path);
  ck_assert_int_eq(sqlite3_open(":memory:", &model), SQLITE_OK);
  fill(db, 1000);
  fill(model, 1000);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    run(db, "PRAGMA page_size = %d; VACUUM", sizes[i]);
    ck_assert_int_eq(number(db, "PRAGMA page_size"), sizes[i]);
    same_content(db, model);
    same_content(other, model); /* its cache holds pages of another size */
    integrity(other);
    if (i % 3 != 2) continue;
    close_db(other);
    close_db(db);
    stock_accepts(path);
    ck_assert_int_eq(file_size(path) % sizes[i], 0);
    db = open_pmem(path);
    other = open_pmem(path);
  }
  close_db(db);
  close_db(other);
  close_db(model);
}
END_TEST

START_TEST(auto_vacuum) {
  static const char *const modes[] = {"FULL", "INCREMENTAL"};
  for (size_t i = 0; i < 2; i++) {
    const char *path = path_on(_i, modes[i]);
    sqlite3 *db = open_pmem(path);
    run(db, "PRAGMA page_size = 1024; PRAGMA auto_vacuum = %s", modes[i]);
    fill(db, 2000);
    int64_t before = number(db, "PRAGMA page_count");
    run(db, "BEGIN; DELETE FROM t WHERE a > 50");
    run(db, "ROLLBACK");
    ck_assert_int_eq(number(db, "PRAGMA page_count"), before);
    run(db, "DELETE FROM t WHERE a > 50");
    run(db, "PRAGMA incremental_vacuum(100)");
    run(db, "PRAGMA incremental_vacuum");
    int64_t pages = number(db, "PRAGMA page_count");
    ck_assert_int_lt(pages, before / 5);
    fill(db, 100); /* grows again over what was cut */
    integrity(db);
    pages = number(db, "PRAGMA page_count");
    close_db(db);
    ck_assert_int_eq(file_size(path), pages * 1024);
    stock_accepts(path);
  }
}
END_TEST

/* A cut and a regrowth in one transaction, and one that is taken back. */
START_TEST(shrinking_inside_a_transaction) {
  const char *path = path_on(_i, "shrink.db");
  sqlite3 *model, *db = open_pmem(path);
  ck_assert_int_eq(sqlite3_open(":memory:", &model), SQLITE_OK);
  run(db, "PRAGMA auto_vacuum = INCREMENTAL");
  for (int round = 0; round < 3; round++) {
    sqlite3 *both[] = {db, model};
    for (int i = 0; i < 2; i++) {
      fill(both[i], 800);
      run(both[i], "BEGIN; DELETE FROM t WHERE a %% 10 != 0; PRAGMA incremental_vacuum;"
                   "SAVEPOINT s; DELETE FROM t; PRAGMA incremental_vacuum");
      fill(both[i], 300);
      run(both[i], "ROLLBACK TO s");
      fill(both[i], 200);
      run(both[i], round == 1 ? "ROLLBACK" : "COMMIT");
    }
    integrity(db);
    same_content(db, model);
  }
  close_db(db);
  stock_accepts(path);
  close_db(model);
}
END_TEST

START_TEST(vacuum_into) {
  const char *stock_path = path_on(_i, "stock.db"), *path = path_on(_i, "pmem.db");
  sqlite3 *db = open_pmem(path);
  fill(db, 1000);
  run(db, "VACUUM INTO 'file:%s?vfs=unix'", stock_path);
  sqlite3 *stock = open_stock(stock_path);
  same_content(db, stock);
  const char *second_path = path_on(_i, "second.db"), *third_path = path_on(_i, "third.db");
  run(db, "VACUUM INTO 'file:%s?vfs=pmem'", second_path);
  run(stock, "VACUUM INTO 'file:%s?vfs=pmem'", third_path);
  stock_accepts(second_path);
  stock_accepts(third_path);
  sqlite3 *second = open_pmem(second_path), *third = open_pmem(third_path);
  same_content(db, second);
  same_content(db, third);
  /* Inside a WAL-mode source nothing of the WAL may come along. */
  run(stock, "PRAGMA journal_mode = WAL");
  fill(stock, 10);
  const char *fourth_path = path_on(_i, "fourth.db");
  run(stock, "VACUUM INTO 'file:%s?vfs=pmem'", fourth_path);
  stock_accepts(fourth_path);
  sqlite3 *all[] = {db, stock, second, third};
  for (int i = 0; i < 4; i++) close_db(all[i]);
}
END_TEST

/* ---------------------------------------------------------------- backup -- */

static void backup(sqlite3 *to, sqlite3 *from, int pages) {
  sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");
  ck_assert_msg(b != NULL, "%s", sqlite3_errmsg(to));
  int rc;
  while ((rc = sqlite3_backup_step(b, pages)) == SQLITE_OK) continue;
  ck_assert_int_eq(rc, SQLITE_DONE);
  ck_assert_int_eq(sqlite3_backup_finish(b), SQLITE_OK);
}

START_TEST(backup_both_ways) {
  const char *path = path_on(_i, "pmem.db"), *stock_path = path_on(_i, "stock.db");
  sqlite3 *db = open_pmem(path), *stock = open_stock(stock_path);
  fill(db, 1000);
  backup(stock, db, 7);
  same_content(db, stock);
  integrity(stock);
  fill(stock, 500);
  sqlite3 *witness = open_pmem(path);
  ck_assert_int_eq(number(witness, "SELECT count(*) FROM t"), 1000);
  backup(db, stock, 7);
  same_content(db, stock);
  same_content(witness, stock); /* its cache must not survive */
  integrity(witness);
  /* A shorter database over a longer one, of another page size. */
  run(stock, "DELETE FROM t WHERE a > 5; VACUUM");
  backup(db, stock, -1);
  same_content(witness, stock);
  run(witness, "INSERT INTO t(c) VALUES('goes on')");
  close_db(witness);
  close_db(db);
  close_db(stock);
  stock_accepts(path);
}
END_TEST

/* The source changes while it is copied: SQLite begins again, or follows. */
START_TEST(backup_of_a_changing_source) {
  const char *path = path_on(_i, "pmem.db");
  sqlite3 *db = open_pmem(path), *writer = open_pmem(path), *copy = open_stock(path_on(_i, "copy.db"));
  fill(db, 2000);
  sqlite3_backup *b = sqlite3_backup_init(copy, "main", db, "main");
  for (int i = 0; i < 20; i++) {
    int rc = sqlite3_backup_step(b, 5);
    ck_assert_int_eq(rc, SQLITE_OK);
    if (i % 5 == 0) run(i % 2 ? db : writer, "UPDATE t SET c = c || 'x' WHERE a %% 100 = %d", i);
  }
  ck_assert_int_eq(sqlite3_backup_step(b, -1), SQLITE_DONE);
  ck_assert_int_eq(sqlite3_backup_finish(b), SQLITE_OK);
  same_content(db, copy);
  integrity(copy);
  close_db(copy);
  close_db(writer);
  close_db(db);
}
END_TEST

/* V5: a page 1 that says WAL arrives; the connection that wrote it, others, and the
** file that is left behind must all be in rollback mode. */
static void backup_from_wal(int medium, bool exclusive) {
  const char *path = path_on(medium, exclusive ? "exclusive.db" : "pmem.db");
  sqlite3 *db = open_pmem(path), *stock = open_stock(path_on(medium, exclusive ? "wal2.db" : "wal.db"));
  expect(stock, "PRAGMA journal_mode = WAL", "wal");
  fill(stock, 300);
  if (exclusive) run(db, "PRAGMA locking_mode = EXCLUSIVE");
  run(db, "CREATE TABLE old(a)");
  for (int round = 0; round < 2; round++) {
    backup(db, stock, 9);
    same_content(db, stock);
    expect(db, "PRAGMA journal_mode", "delete");
    fill(db, 20);
    integrity(db);
    if (!exclusive) {
      sqlite3 *other = open_pmem(path);
      same_content(other, db);
      fill(other, 20);
      fill(db, 20);
      close_db(other);
    }
  }
  close_db(db);
  close_db(stock);
  uint8_t format[2];
  raw_read(path, 18, format, 2);
  ck_assert_uint_eq(format[0], 1);
  ck_assert_uint_eq(format[1], 1);
  stock_accepts(path);
  db = open_stock(path);
  expect(db, "PRAGMA journal_mode", "delete");
  close_db(db);
}

START_TEST(backup_from_wal_mode) { backup_from_wal(_i, false); }
END_TEST
START_TEST(backup_from_wal_mode_in_exclusive_mode) { backup_from_wal(_i, true); }
END_TEST

TCase *vfs_pages_case(void) {
  TCase *pages = tcase_create("pages");
  tcase_set_timeout(pages, 120);
  tcase_add_loop_test(pages, every_page_size, 0, MEDIA * PAGE_SIZES);
  tcase_add_loop_test(pages, vacuum_shortens_the_file, 0, MEDIA);
  tcase_add_loop_test(pages, vacuum_changes_the_page_size, 0, MEDIA);
  tcase_add_loop_test(pages, auto_vacuum, 0, MEDIA);
  tcase_add_loop_test(pages, shrinking_inside_a_transaction, 0, MEDIA);
  tcase_add_loop_test(pages, vacuum_into, 0, MEDIA);
  tcase_add_loop_test(pages, backup_both_ways, 0, MEDIA);
  tcase_add_loop_test(pages, backup_of_a_changing_source, 0, MEDIA);
  tcase_add_loop_test(pages, backup_from_wal_mode, 0, MEDIA);
  tcase_add_loop_test(pages, backup_from_wal_mode_in_exclusive_mode, 0, MEDIA);
  return pages;
}
