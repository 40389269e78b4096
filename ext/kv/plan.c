/*
** plan.c - see plan.h.
*/
#include "plan.h"

#include "table.h"

/* Guesses; what counts is that a point is cheaper than a range, and that than all. */
#define ROWS_ALL 1000000
#define ROWS_HALF_BOUNDED 250000
#define ROWS_BOUNDED 50000
#define ROWS_PREFIX 20000
#define ROWS_IN 16
#define COST_OF_SEEK 10.0

#define NONE (-1)

/* Which constraint serves for what. */
typedef struct choice {
  int equal, in, low, high, glob, like, limit, offset;
} choice;

static bool is_lower_bound(int op) { return op == SQLITE_INDEX_CONSTRAINT_GT || op == SQLITE_INDEX_CONSTRAINT_GE; }
static bool is_upper_bound(int op) { return op == SQLITE_INDEX_CONSTRAINT_LT || op == SQLITE_INDEX_CONSTRAINT_LE; }

static void take(int *which, int i) {
  if (*which == NONE) *which = i;
}

/* Keys are compared as BINARY does: a constraint with another collation means others. */
static void consider_comparison(sqlite3_index_info *info, int i, choice *c) {
  int op = info->aConstraint[i].op;
  if (sqlite3_stricmp(sqlite3_vtab_collation(info, i), "BINARY") != 0) return;
  if (op == SQLITE_INDEX_CONSTRAINT_EQ || op == SQLITE_INDEX_CONSTRAINT_IS)
    take(sqlite3_vtab_in(info, i, -1) ? &c->in : &c->equal, i);
  else if (is_lower_bound(op))
    take(&c->low, i);
  else if (is_upper_bound(op))
    take(&c->high, i);
}

static void consider(sqlite3_index_info *info, int i, choice *c) {
  int op = info->aConstraint[i].op;
  if (!info->aConstraint[i].usable) return;
  if (op == SQLITE_INDEX_CONSTRAINT_LIMIT)
    take(&c->limit, i);
  else if (op == SQLITE_INDEX_CONSTRAINT_OFFSET)
    take(&c->offset, i);
  else if (info->aConstraint[i].iColumn != SPM_COLUMN_KEY)
    return;
  else if (op == SQLITE_INDEX_CONSTRAINT_GLOB)
    take(&c->glob, i);
  else if (op == SQLITE_INDEX_CONSTRAINT_LIKE)
    take(&c->like, i);
  else
    consider_comparison(info, i, c);
}

/* A point makes the rest superfluous, SQLite checks it.  A pattern does not: only its
** value will tell whether it narrows. */
static void choose(sqlite3_index_info *info, choice *c) {
  *c = (choice){NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE};
  for (int i = 0; i < info->nConstraint; i++) consider(info, i, c);
  bool point = c->equal != NONE || c->in != NONE;
  if (c->equal != NONE) c->in = NONE;
  if (point) c->low = c->high = c->glob = c->like = NONE;
  if (c->glob != NONE) c->like = NONE;
}

static void use(sqlite3_index_info *info, int i, int bit, bool exact, int *arguments) {
  if (i == NONE) return;
  info->idxNum |= bit;
  info->aConstraintUsage[i].argvIndex = ++*arguments;
  info->aConstraintUsage[i].omit = exact;
  if (info->aConstraint[i].op == SQLITE_INDEX_CONSTRAINT_GT) info->idxNum |= SPM_PLAN_LOW_OPEN;
  if (info->aConstraint[i].op == SQLITE_INDEX_CONSTRAINT_LT) info->idxNum |= SPM_PLAN_HIGH_OPEN;
}

/* Keys are unique: what is ordered by them first is ordered whatever comes behind.  For
** DISTINCT and GROUP BY, where equal rows need only be neighbours, any place will do. */
static void plan_order(sqlite3_index_info *info, bool binary) {
  int distinct = sqlite3_vtab_distinct(info);
  if (info->nOrderBy == 0) return;
  bool single = (info->idxNum & SPM_PLAN_EQUAL) != 0;
  bool by_key = binary && info->aOrderBy[0].iColumn == SPM_COLUMN_KEY;
  if (by_key && info->aOrderBy[0].desc) info->idxNum |= SPM_PLAN_DOWN;
  for (int i = 0; i < info->nOrderBy; i++)
    single |= (distinct == 1 || distinct == 2) && info->aOrderBy[i].iColumn == SPM_COLUMN_KEY;
  info->orderByConsumed = single || by_key;
}

/* Rows may be left out only if nothing is left out of them afterwards. */
static void plan_limit(sqlite3_index_info *info, const choice *c, bool exact, int *arguments) {
  exact &= info->nOrderBy == 0 || info->orderByConsumed;
  for (int i = 0; i < info->nConstraint; i++)
    if (i != c->limit && i != c->offset) exact &= info->aConstraintUsage[i].argvIndex > 0;
  if (!exact) return;
  use(info, c->limit, SPM_PLAN_LIMIT, true, arguments);
  use(info, c->offset, SPM_PLAN_OFFSET, true, arguments);
}

static void estimate(sqlite3_index_info *info) {
  int64_t rows = ROWS_ALL;
  int bounds = info->idxNum & (SPM_PLAN_LOW | SPM_PLAN_HIGH);
  if (bounds != 0) rows = ROWS_HALF_BOUNDED;
  if (bounds == (SPM_PLAN_LOW | SPM_PLAN_HIGH)) rows = ROWS_BOUNDED;
  if (info->idxNum & (SPM_PLAN_GLOB | SPM_PLAN_LIKE)) rows = ROWS_PREFIX;
  if (info->idxNum & SPM_PLAN_IN) rows = ROWS_IN;
  if (info->idxNum & SPM_PLAN_EQUAL) rows = 1;
  info->estimatedRows = rows;
  info->estimatedCost = COST_OF_SEEK + (double)rows;
  if (info->idxNum & SPM_PLAN_EQUAL) info->idxFlags = SQLITE_INDEX_SCAN_UNIQUE;
}

/* "key>=? AND key<? ORDER BY key DESC LIMIT ?" */
static char *describe(int plan) {
  sqlite3_str *text = sqlite3_str_new(NULL);
  if (plan & SPM_PLAN_EQUAL) sqlite3_str_appendall(text, "key=?");
  if (plan & SPM_PLAN_IN) sqlite3_str_appendall(text, "key IN (?)");
  if (plan & SPM_PLAN_LOW) sqlite3_str_appendf(text, "key>%s?", plan & SPM_PLAN_LOW_OPEN ? "" : "=");
  if ((plan & SPM_PLAN_LOW) && (plan & SPM_PLAN_HIGH)) sqlite3_str_appendall(text, " AND ");
  if (plan & SPM_PLAN_HIGH) sqlite3_str_appendf(text, "key<%s?", plan & SPM_PLAN_HIGH_OPEN ? "" : "=");
  bool ranged = (plan & (SPM_PLAN_LOW | SPM_PLAN_HIGH)) != 0;
  if (plan & (SPM_PLAN_GLOB | SPM_PLAN_LIKE))
    sqlite3_str_appendf(text, "%skey %s ?", ranged ? " AND " : "", plan & SPM_PLAN_GLOB ? "GLOB" : "LIKE");
  if (sqlite3_str_length(text) == 0) sqlite3_str_appendall(text, "all");
  if (plan & SPM_PLAN_DOWN) sqlite3_str_appendall(text, " DESC");
  if (plan & SPM_PLAN_LIMIT) sqlite3_str_appendall(text, " LIMIT ?");
  if (plan & SPM_PLAN_OFFSET) sqlite3_str_appendall(text, " OFFSET ?");
  return sqlite3_str_finish(text);
}

int spm_plan(sqlite3_index_info *info, bool binary) {
  choice c;
  int arguments = 0;
  choose(info, &c);
  info->idxNum = 0;
  use(info, c.equal, SPM_PLAN_EQUAL, true, &arguments);
  if (c.in != NONE) (void)sqlite3_vtab_in(info, c.in, 1);
  use(info, c.in, SPM_PLAN_IN, true, &arguments);
  bool ranges_exact = binary && c.glob == NONE && c.like == NONE;
  use(info, c.low, SPM_PLAN_LOW, ranges_exact, &arguments);
  use(info, c.high, SPM_PLAN_HIGH, ranges_exact, &arguments);
  use(info, c.glob, SPM_PLAN_GLOB, false, &arguments);
  use(info, c.like, SPM_PLAN_LIKE, false, &arguments);
  plan_order(info, binary);
  bool exact = (info->idxNum & (SPM_PLAN_GLOB | SPM_PLAN_LIKE)) == 0;
  if (info->idxNum & (SPM_PLAN_LOW | SPM_PLAN_HIGH)) exact = ranges_exact;
  plan_limit(info, &c, exact, &arguments);
  estimate(info);
  info->idxStr = describe(info->idxNum);
  info->needToFreeIdxStr = 1;
  return info->idxStr != NULL ? SQLITE_OK : SQLITE_NOMEM;
}
