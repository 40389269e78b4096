/*
** test_pmemkv_model.c - some thousand random statements (sqlmodel.h); make check-kv-model
** runs a million.
*/
#include "fixture.h"
#include "sqlmodel.h"
#include "test_pmemkv.h"

START_TEST(sql_behaves_as_on_an_ordinary_table) {
  static const char *const encodings[] = {"UTF-8", "UTF-8", "UTF-16le"};
  static const char *const schemas[] = {"main", "temp", "main"};
  uint64_t seed = _i < 3 ? 1 : x_seed();
  sqlmodel_options options = {.folder = pmem_path("."), .seed = seed, .steps = 4000,
                              .encoding = encodings[_i % 3], .schema = schemas[_i % 3]};
  ck_assert_uint_gt(sqlmodel_run(&options), 20);
}
END_TEST

TCase *pmemkv_model_case(void) {
  TCase *c = tcase_create("model");
  tcase_set_timeout(c, 300);
  tcase_add_loop_test(c, sql_behaves_as_on_an_ordinary_table, 0, 6);
  return c;
}
