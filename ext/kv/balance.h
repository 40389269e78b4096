/*
** balance.h - changing the cells of a node, whatever that means for the nodes around it.
**
** A change that fits its node stays there.  One that does not:
**
**   even out   node and its emptier sibling share their cells, if both then have some
**              room left
**   split      else node and sibling become three, each two thirds full; a node without
**              sibling becomes two
**   pack       what does not fit is at an end of the node, so keys seem to come in order:
**              the sibling they come from is filled up first, and nodes stay full
**   join       a node that ran low and one or two siblings become one node less
**
** Each is a change of cells in the parent, where the same begins again.  A root that
** overflows moves its cells to a new child; one with a single child takes its cells.
*/
#ifndef SPM_BALANCE_H
#define SPM_BALANCE_H

#include "walk.h"

/* Slots [at, at + removed) go, `count` cells come in their place. */
typedef struct spm_change {
  uint32_t at, removed;
  const spm_cell *cells;
  uint32_t count;
} spm_change;

/* To the leaf that the path leads to.  The path is of no use afterwards. */
int spm_balance(const spm_tree *, spm_path *, spm_change) SPM_MUST_CHECK;

#endif
