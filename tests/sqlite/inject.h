/*
** inject.h - what the two files that are linked into SQLite's test programs share.
*/
#ifndef SPM_INJECT_H
#define SPM_INJECT_H

#include "sqlite3.h"

/* The VFS under its own name with os_unix.c's test instrumentation on top (instrument.c);
** the VFS itself in a program that has no such instrumentation. */
sqlite3_vfs *spm_instrument(sqlite3_vfs *below);

#endif
