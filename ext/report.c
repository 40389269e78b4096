/*
** report.c - see report.h.
*/
#include "report.h"

#include "names.h"

#include <stdlib.h>
#include <string.h>

/* --------------------------------------------------------------------- rows -- */

typedef struct cell {
  int type; /* SQLITE_INTEGER, _FLOAT, _TEXT, _NULL */
  union {
    sqlite3_int64 number;
    double real;
    char *text;
  } as;
} cell;

struct spm_rows {
  cell *cells;
  size_t count, capacity;
  int rows;
  bool out_of_memory;
};

static cell *add_cell(spm_rows *r, int type) {
  static _Thread_local cell nowhere;
  if (r->count == r->capacity) {
    size_t capacity = r->capacity ? r->capacity * 2 : 64;
    cell *grown = realloc(r->cells, capacity * sizeof *grown);
    if (grown == NULL) {
      r->out_of_memory = true;
      return &nowhere;
    }
    r->cells = grown;
    r->capacity = capacity;
  }
  r->cells[r->count] = (cell){.type = type};
  return &r->cells[r->count++];
}

void spm_rows_begin(spm_rows *r) { r->rows++; }
void spm_rows_null(spm_rows *r) { (void)add_cell(r, SQLITE_NULL); }
void spm_rows_number(spm_rows *r, uint64_t n) { add_cell(r, SQLITE_INTEGER)->as.number = (sqlite3_int64)n; }
void spm_rows_real(spm_rows *r, double value) { add_cell(r, SQLITE_FLOAT)->as.real = value; }

void spm_rows_text(spm_rows *r, const char *text) {
  char *copy = text ? strdup(text) : NULL;
  if (text != NULL && copy == NULL) r->out_of_memory = true;
  if (copy == NULL)
    spm_rows_null(r);
  else
    add_cell(r, SQLITE_TEXT)->as.text = copy;
}

static void rows_free(spm_rows *r) {
  for (size_t i = 0; i < r->count; i++)
    if (r->cells[i].type == SQLITE_TEXT) free(r->cells[i].as.text);
  free(r->cells);
  *r = (spm_rows){0};
}

/* ------------------------------------------------------------- what is told -- */

#define COLUMN_TEXT "TEXT"
#define COLUMN_COUNT "INTEGER"
#define COLUMN_REAL "REAL"

static int tell_metrics(void *rows, const spm_metrics *m) {
  spm_rows_begin(rows);
#define CELL_TEXT spm_rows_text
#define CELL_COUNT spm_rows_number
#define CELL_REAL spm_rows_real
#define X(name, type, meaning) CELL_##type(rows, m->name);
  SPM_METRIC_TABLE(X)
#undef X
  return SQLITE_OK;
}

static int fill_stats(spm_rows *rows, const char *path) {
  (void)path;
  return spm_inspect_stores(tell_metrics, rows);
}

static int tell_reader(void *rows, const spm_reader *r) {
  spm_rows_begin(rows);
  spm_rows_number(rows, r->slot);
  spm_rows_number(rows, r->pid);
  spm_rows_text(rows, r->alive ? "alive" : "dead");
  spm_rows_number(rows, r->writing);
  if (r->snapshot != 0) {
    spm_rows_number(rows, r->snapshot);
    spm_rows_number(rows, r->behind);
    spm_rows_number(rows, r->seconds);
  } else {
    for (int i = 0; i < 3; i++) spm_rows_null(rows);
  }
  return SQLITE_OK;
}

static int not_open(int rc, const char *path) {
  if (rc != SQLITE_NOTFOUND) return rc;
  return spm_error(SQLITE_ERROR, "%s is not open in this process: give a schema, a pmemkv table, or the path of a store", path);
}

static int fill_readers(spm_rows *rows, const char *path) {
  return not_open(spm_inspect_readers(path, tell_reader, rows), path);
}

static int tell_record(void *rows, const spm_log_item *item) {
  spm_rows_begin(rows);
  spm_rows_number(rows, item->lsn);
  spm_rows_number(rows, item->txid);
  spm_rows_text(rows, item->type);
  spm_rows_number(rows, item->offset);
  spm_rows_number(rows, item->length);
  spm_rows_number(rows, item->checksum_ok);
  spm_rows_text(rows, item->state);
  return SQLITE_OK;
}

/* A path may name a store that nobody has open: after a crash, say. */
static int fill_log(spm_rows *rows, const char *path) {
  int rc = spm_inspect_log(path, tell_record, rows);
  return rc == SQLITE_NOTFOUND ? spm_error(SQLITE_ERROR, "%s has no log: it is no store, or not open", path) : rc;
}

static int tell_step(void *rows, const spm_recovery_step *step) {
  spm_rows_begin(rows);
  spm_rows_text(rows, step->phase);
  if (step->txid != 0)
    spm_rows_number(rows, step->txid);
  else
    spm_rows_null(rows);
  spm_rows_text(rows, step->action);
  spm_rows_number(rows, step->first_lsn);
  spm_rows_number(rows, step->last_lsn);
  spm_rows_number(rows, step->bytes);
  if (step->ms >= 0)
    spm_rows_real(rows, step->ms);
  else
    spm_rows_null(rows);
  return SQLITE_OK;
}

static int fill_recovery(spm_rows *rows, const char *path) {
  return not_open(spm_inspect_recovery(path, tell_step, rows), path);
}

#define X(name, type, meaning) "\"" #name "\" " COLUMN_##type ","
static const spm_report reports[] = {
    {"pmem_stats", SPM_METRIC_TABLE(X), -1, fill_stats},
    {"pmem_readers",
     "slot INTEGER, pid INTEGER, state TEXT, writing INTEGER, snapshot_lsn INTEGER, lsns_behind INTEGER, seconds INTEGER,", 7,
     fill_readers},
    {"pmem_log",
     "lsn INTEGER, txid INTEGER, type TEXT, \"offset\" INTEGER, length INTEGER, checksum_ok INTEGER, state TEXT,", 7, fill_log},
    {"pmem_recovery",
     "phase TEXT, txid INTEGER, action TEXT, first_lsn INTEGER, last_lsn INTEGER, bytes INTEGER, ms REAL,", 7, fill_recovery},
};
#undef X

/* ---------------------------------------------------------- virtual table -- */

typedef struct report_table {
  sqlite3_vtab base;
  sqlite3 *db;
  const spm_report *report;
} report_table;

typedef struct report_cursor {
  sqlite3_vtab_cursor base;
  spm_rows rows;
  int row;
  char *argument; /* as the hidden column shows it */
} report_cursor;

/* Column names come with a comma behind each; what follows them is the argument, which is
** hidden and there for every table, to keep the list one string. */
static int report_connect(sqlite3 *db, void *report, int argc, const char *const *argv, sqlite3_vtab **out, char **error) {
  (void)argc, (void)argv, (void)error;
  const spm_report *r = report;
  char *sql = sqlite3_mprintf("CREATE TABLE x(%s name HIDDEN)", r->columns);
  int rc = sql ? sqlite3_declare_vtab(db, sql) : SQLITE_NOMEM;
  sqlite3_free(sql);
  if (rc != SQLITE_OK) return rc;
  (void)sqlite3_vtab_config(db, SQLITE_VTAB_DIRECTONLY);
  report_table *table = sqlite3_malloc(sizeof *table);
  if (table == NULL) return SQLITE_NOMEM;
  *table = (report_table){.db = db, .report = r};
  *out = &table->base;
  return SQLITE_OK;
}

static int report_disconnect(sqlite3_vtab *base) {
  sqlite3_free(base);
  return SQLITE_OK;
}

/* The argument must be given where there is one, and is the only thing to be narrowed by. */
static int report_best(sqlite3_vtab *base, sqlite3_index_info *info) {
  const spm_report *r = ((report_table *)(void *)base)->report;
  info->estimatedCost = 1000;
  if (r->argument < 0) return SQLITE_OK;
  for (int i = 0; i < info->nConstraint; i++) {
    if (info->aConstraint[i].iColumn != r->argument || info->aConstraint[i].op != SQLITE_INDEX_CONSTRAINT_EQ) continue;
    if (!info->aConstraint[i].usable) return SQLITE_CONSTRAINT;
    info->aConstraintUsage[i].argvIndex = 1;
    info->aConstraintUsage[i].omit = 1;
    info->idxNum = 1;
  }
  return SQLITE_OK;
}

static int report_open(sqlite3_vtab *base, sqlite3_vtab_cursor **out) {
  (void)base;
  report_cursor *c = sqlite3_malloc(sizeof *c);
  if (c == NULL) return SQLITE_NOMEM;
  *c = (report_cursor){0};
  *out = &c->base;
  return SQLITE_OK;
}

static int report_close(sqlite3_vtab_cursor *base) {
  report_cursor *c = (report_cursor *)(void *)base;
  rows_free(&c->rows);
  sqlite3_free(c->argument);
  sqlite3_free(c);
  return SQLITE_OK;
}

static int report_fill(report_cursor *c, report_table *table) {
  char *path = c->argument ? spm_name_path(table->db, c->argument) : NULL;
  if (c->argument != NULL && path == NULL) return SQLITE_NOMEM;
  int rc = table->report->fill(&c->rows, path);
  sqlite3_free(path);
  if (rc == SQLITE_OK) return c->rows.out_of_memory ? SQLITE_NOMEM : SQLITE_OK;
  sqlite3_free(table->base.zErrMsg);
  table->base.zErrMsg = sqlite3_mprintf("%s", spm_last_error());
  return rc;
}

static int report_filter(sqlite3_vtab_cursor *base, int number, const char *text, int argc, sqlite3_value **argv) {
  (void)text, (void)number;
  report_cursor *c = (report_cursor *)(void *)base;
  report_table *table = (report_table *)(void *)base->pVtab;
  rows_free(&c->rows);
  sqlite3_free(c->argument);
  c->argument = NULL;
  c->row = 0;
  if (table->report->argument >= 0) {
    const unsigned char *name = argc > 0 ? sqlite3_value_text(argv[0]) : (const unsigned char *)"main";
    c->argument = sqlite3_mprintf("%s", name ? (const char *)name : "");
    if (c->argument == NULL) return SQLITE_NOMEM;
  }
  return report_fill(c, table);
}

static int report_next(sqlite3_vtab_cursor *base) {
  ((report_cursor *)(void *)base)->row++;
  return SQLITE_OK;
}

static int report_eof(sqlite3_vtab_cursor *base) {
  const report_cursor *c = (report_cursor *)(void *)base;
  return c->row >= c->rows.rows;
}

static int report_column(sqlite3_vtab_cursor *base, sqlite3_context *context, int column) {
  const report_cursor *c = (report_cursor *)(void *)base;
  int columns = c->rows.rows > 0 ? (int)(c->rows.count / (size_t)c->rows.rows) : 0;
  if (column >= columns) {
    if (c->argument != NULL) sqlite3_result_text(context, c->argument, -1, SQLITE_TRANSIENT);
    return SQLITE_OK;
  }
  const cell *at = &c->rows.cells[c->row * columns + column];
  switch (at->type) {
    case SQLITE_INTEGER: sqlite3_result_int64(context, at->as.number); break;
    case SQLITE_FLOAT: sqlite3_result_double(context, at->as.real); break;
    case SQLITE_TEXT: sqlite3_result_text(context, at->as.text, -1, SQLITE_TRANSIENT); break;
    default: break;
  }
  return SQLITE_OK;
}

static int report_rowid(sqlite3_vtab_cursor *base, sqlite3_int64 *rowid) {
  *rowid = ((report_cursor *)(void *)base)->row;
  return SQLITE_OK;
}

/* Without xCreate: eponymous only. */
static const sqlite3_module module = {
    .iVersion = 0,
    .xConnect = report_connect,
    .xBestIndex = report_best,
    .xDisconnect = report_disconnect,
    .xOpen = report_open,
    .xClose = report_close,
    .xFilter = report_filter,
    .xNext = report_next,
    .xEof = report_eof,
    .xColumn = report_column,
    .xRowid = report_rowid,
};

int spm_report_register(sqlite3 *db) {
  int rc = SQLITE_OK;
  for (size_t i = 0; rc == SQLITE_OK && i < sizeof reports / sizeof *reports; i++)
    rc = sqlite3_create_module(db, reports[i].name, &module, (void *)(uintptr_t)&reports[i]);
  return rc;
}
