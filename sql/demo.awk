# Debian package stanzas (apt-cache dumpavail, /var/lib/dpkg/status) to rows that the
# shell's `.import --ascii` takes: fields end with 1F, rows with 1E.  With -v total=N a
# progress bar goes to standard error; `tty` says whether it may be redrawn in place.

BEGIN {
  FS = "\n"; RS = ""; ORS = "\036"; OFS = "\037"
  wanted = "Package Version Architecture Section Priority Maintainer Size Installed-Size Pre-Depends Depends Description Tag"
  columns = split(wanted, name, " ")
}

{
  delete value
  for (i = 1; i <= NF; i++) {
    if ($i ~ /^[ \t]/) { # a continuation line
      if (field == "Description" || field == "Tag") value[field] = value[field] $i
      continue
    }
    colon = index($i, ":")
    field = substr($i, 1, colon - 1)
    value[field] = substr($i, colon + 2)
  }
  if (!("Package" in value) || !("Version" in value)) next
  row = value[name[1]]
  for (i = 2; i <= columns; i++) row = row OFS value[name[i]]
  print row
  rows++
  if (total > 0 && rows % step() == 0) show(rows)
}

END { if (total > 0) { show(rows); if (tty) printf "\n" > "/dev/stderr" } }

function step() { return tty ? 500 : 20000 }

function show(n,   done, bar, i) {
  done = int(n * 40 / total)
  for (i = 0; i < 40; i++) bar = bar (i < done ? "#" : ".")
  printf "%s  loading [%s] %6d of %d%s", (tty ? "\r" : ""), bar, n, total, (tty ? "" : "\n") > "/dev/stderr"
}
