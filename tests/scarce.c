/*
** scarce.c - see scarce.h.
*/
#include "fixture.h"
#include "scarce.h"

#include <sqlite3.h>

static sqlite3_mem_methods real_memory;
long scarce_left = -1;

static bool refuse(void) {
  if (scarce_left == 0) return true;
  if (scarce_left > 0) scarce_left--;
  return false;
}

static void *scarce_malloc(int n) { return refuse() ? NULL : real_memory.xMalloc(n); }
static void *scarce_realloc(void *p, int n) { return refuse() ? NULL : real_memory.xRealloc(p, n); }

void scarce_install(void) {
  x_ok(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real_memory));
  sqlite3_mem_methods scarce = real_memory;
  scarce.xMalloc = scarce_malloc;
  scarce.xRealloc = scarce_realloc;
  x_ok(sqlite3_config(SQLITE_CONFIG_MALLOC, &scarce));
  x_ok(sqlite3_initialize());
}
