# One table of options: README.md tells what vfs/options.h has, and every option is
# answered, and refused by name, from the stock shell.
. tests/scripts/lib.inc
folder=$DISK/options
mkdir "$folder"

# The table itself, a line an option: name|kind|change|default|allowed|meaning, with ; for the
# bars inside a list of values.
cat >"$folder/table.c" <<'C'
#include "vfs/options.h"
#include <stdio.h>
static void put(const char *s, const char *end) {
  for (; *s; s++) putchar(*s == '|' ? ';' : *s);
  printf("%s", end);
}
int main(int argc, char **argv) {
#define X(name, kind, change, initial, allowed, meaning) \
  put(#name, "|"); put(#kind, "|"); put(#change, "|"); put(initial, "|"); put(allowed, "|"); put(meaning, "\n");
  (void)argv;
  if (argc == 1) { SPM_OPTION_TABLE(X) }
  else { SPM_KV_OPTION_TABLE(X) }
  return 0;
}
C
gcc -DSQLITE_CORE -I. -o "$folder/table" "$folder/table.c"
"$folder/table" >"$folder/table.txt"
"$folder/table" kv >"$folder/table-kv.txt"
[ "$(wc -l <"$folder/table.txt")" -ge 4 ] || fail "the table of options is shorter than it was"

# ------------------------------------------------------------------------ README --

awk -F'|' '{
  values = $5; gsub(/;/, "`, `", values); values = "`" values "`"
  if ($2 != "WORD") values = tolower($2) ", at least " values
  printf "| `%s` | `%s` | %s | %s | %s |\n", $1, $4, values, $3 == "ANYTIME" ? "any time" : "at open", $6
}' "$folder/table.txt" >"$folder/expected"
awk '/^## / { inside = $0 == "## Options" } inside && /^\| `/' README.md >"$folder/found"
diff -u "$folder/found" "$folder/expected" || fail "the options in README.md (-) are not those of vfs/options.h (+)"
awk -F'|' '{ values = $5; gsub(/;/, "`, `", values); printf "| `%s` | `%s` | `%s` | %s |\n", $1, $4, values, $6 }' \
  "$folder/table-kv.txt" >"$folder/expected"
awk '/^## / { inside = $0 == "## Key-value tables" } inside && /^\| `/ && !/`path`/' README.md >"$folder/found"
diff -u "$folder/found" "$folder/expected" || fail "the options of pmemkv in README.md (-) are not those of vfs/options.h (+)"

# ------------------------------------------------------------------ from the shell --

db=$folder/options.db
# opening URI-PARAMETERS SQL: what the stock shell prints; $status is 0 if nothing failed.
# After a failed .open the shell goes on, with a database in memory.
opening() {
  status=0
  said=$(printf '%s\n' ".load $LIB" ".open file:$db?vfs=pmem&$1" "$2" | sqlite3 -batch -bail 2>&1) || status=$?
  case $said in *'unable to open database'*) status=1 ;; esac
}
# refused NAME VALUE: at open, with the option and the value named, and no file made or changed.
refused() {
  before=$(ls -l "$folder")
  opening "$1=$2" 'SELECT 1;'
  [ "$status" != 0 ] || fail "$1=$2 was accepted"
  said=${said#*automatic extension loading failed: } # the shell itself repeats the URI
  case $said in *"$1"*) ;; *) fail "the error does not name $1: $said" ;; esac
  case $said in *"$2"*) ;; *) [ "$1" = "$unknown" ] || fail "the error does not name the value $2: $said" ;; esac
  same "$before" "$(ls -l "$folder")" 'files after a refused open'
}
taken() { # taken NAME VALUE SHOWN
  opening "$1=$2" "PRAGMA $1;"
  same "0 $3" "$status $said" "$1=$2"
}

for unknown in pmem_ pmem_bogus pmem_mode2 pmem_max_log_siz PMEM_BOGUS; do refused "$unknown" 1; done
unknown=
opening 'cache=private&other=1' 'SELECT 1;' # names without the prefix are not ours
same '0 1' "$status $said" 'other parameters of the URI'

while IFS='|' read -r name kind change initial allowed _; do
  case $kind in
    WORD)
      shown=$initial
      for bad in nonsense "${initial}x" 1 ''; do refused "pmem_$name" "$bad"; done
      for good in $(echo "$allowed" | tr ';' ' '); do
        taken "pmem_$name" "$good" "$good"
        taken "pmem_$name" "$(echo "$good" | tr a-z A-Z)" "$good"
      done ;;
    BYTES)
      shown=$(numfmt --from=iec "$initial")
      least=$(numfmt --from=iec "$allowed")
      for bad in -1 12x M 5T 1_M 1.5M 0x900000 99999999999999999999 99999999999999G '' $((least - 1)); do
        refused "pmem_$name" "$bad"
      done
      [ "$least" = 0 ] || for bad in 0 1; do refused "pmem_$name" "$bad"; done
      taken "pmem_$name" "$least" "$least"
      taken "pmem_$name" $((least + 1)) $((least + 1))
      taken "pmem_$name" "$((least / 1024 + 1))k" $((least + 1024))
      taken "pmem_$name" 3G 3221225472 ;;
    SECONDS)
      shown=$initial
      for bad in -1 1s 1e3 .5 1. 1..5 0x1 inf nan 18446744073 99999999999999999999 ''; do refused "pmem_$name" "$bad"; done
      less=$(echo "$allowed" | tr 123456789 0)
      [ "$less" = "$allowed" ] || refused "pmem_$name" "$less"
      taken "pmem_$name" "$allowed" "$allowed"
      taken "pmem_$name" 7 7
      taken "pmem_$name" 2.50 2.5
      taken "pmem_$name" 3.0 3
      taken "pmem_$name" 1.0000000019 1.000000001 ;;
    *) fail "options.sh does not know the kind $kind" ;;
  esac
  opening '' "PRAGMA pmem_$name;"
  same "0 $shown" "$status $said" "the default of $name"

  # While it is open: what can change does, and a bad value changes nothing.
  opening '' "PRAGMA pmem_$name='nonsense';"
  [ "$status" != 0 ] || fail "PRAGMA pmem_$name='nonsense' was accepted"
  case $said in *"pmem_$name=nonsense"*) ;; *) fail "the pragma's error does not name pmem_$name: $said" ;; esac
  opening '' "PRAGMA pmem_$name='$initial';"
  same "0 $shown" "$status $said" "pmem_$name set to what it is"
  case $kind in
    WORD) others=$(echo "$allowed" | tr ';' '\n' | grep -vx "$initial" || true) ;;
    BYTES) others=33554432 ;;
    SECONDS) others='0.75 90' ;;
  esac
  for other in $others; do
    opening '' "PRAGMA pmem_$name='$other'; PRAGMA pmem_$name;"
    if [ "$change" = ANYTIME ]; then
      same "0 $other $other" "$status $(echo $said)" "pmem_$name set while open"
    else
      [ "$status" != 0 ] || fail "pmem_$name was set to $other while open"
      case $said in *"pmem_$name is chosen when the database is opened"*) ;; *) fail "why it cannot be set: $said" ;; esac
    fi
    opening '' "SELECT count(*) FROM sqlite_schema; PRAGMA pmem_$name='$other'; SELECT count(*) FROM sqlite_schema; PRAGMA pmem_$name;"
    [ "$change" != ANYTIME ] || same "0 0 $other 0 $other" "$status $(echo $said)" "pmem_$name set in an attached database"
  done
done <"$folder/table.txt"

# What is in force is what is answered, whoever chose it, and setting one leaves the others.
same '3145728 5 3145728 4096000 3145728 5 4096000' "$(python - "$LIB" "$folder/shared.db" <<'PY'
import sqlite3, sys
boot = sqlite3.connect(':memory:')
boot.enable_load_extension(True)
boot.load_extension(sys.argv[1])
def connect(options):
    db = sqlite3.connect(f'file:{sys.argv[2]}?vfs=pmem{options}', uri=True, isolation_level=None)
    db.execute('SELECT * FROM sqlite_schema')
    return db
def told(db, *names):
    return [db.execute(f'PRAGMA pmem_{name}').fetchone()[0] for name in names]
first = connect('&pmem_max_log_size=3M&pmem_checkpoint_interval=5')
second = connect('&pmem_max_log_size=4M')
said = told(second, 'max_log_size', 'checkpoint_interval')
second.execute('PRAGMA pmem_size=4096000')
said += told(second, 'max_log_size', 'size') + told(first, 'max_log_size', 'checkpoint_interval', 'size')
print(*said)
PY
)" 'the options of two connections'

# The first bad one of several is named, and an option is one database's own.
opening 'pmem_max_log_size=64M&pmem_wal=maybe&pmem_bogus=1' 'SELECT 1;'
case $said in *pmem_wal=maybe*) ;; *) fail "not the first bad option: $said" ;; esac
opening 'pmem_max_log_size=64M' "
ATTACH 'file:$folder/other.db?vfs=pmem&pmem_max_log_size=2M' AS other;
CREATE TABLE other.t(a); PRAGMA main.pmem_max_log_size; PRAGMA other.pmem_max_log_size;"
same '0 67108864 2097152' "$status $(echo $said)" 'the options of two databases'

# ATTACH has no room for our text; the pragma has.
said=$(printf '%s\n' ".load $LIB" ".open file:$db?vfs=pmem" \
  "ATTACH 'file:$folder/third.db?vfs=pmem&pmem_bogus=1' AS third;" 'PRAGMA pmem_error;' | sqlite3 -batch 2>/dev/null) || true
same 'pmem_bogus: there is no such option' "$said" 'PRAGMA pmem_error after a refused ATTACH'
[ ! -e "$folder/third.db" ] || fail 'a refused ATTACH made a file'

# ------------------------------------------------------------ arguments of a table --

# The same names, kinds and refusals, without the prefix.
table() { # table ARGUMENT: creates, and drops again, a table with it
  status=0
  said=$(printf '%s\n' ".load $LIB" "CREATE VIRTUAL TABLE temp.x USING pmemkv(path='$folder/x.kv', $1);" \
    'SELECT count(*) FROM x;' 'DROP TABLE x;' | sqlite3 -batch -bail 2>&1) || status=$?
}
while IFS='|' read -r name kind change initial allowed _; do
  for bad in nonsense '' -1 1x; do
    table "$name='$bad'"
    [ "$status" != 0 ] || fail "pmemkv($name='$bad') was accepted"
    case $said in *"$name=$bad: the value must be "*) ;; *) fail "the error does not name $name=$bad: $said" ;; esac
  done
  [ "$kind" = WORD ] && goods=$(echo "$allowed" | tr ';' ' ') || goods="$initial 12345678"
  for good in $goods; do
    table "$name='$good'"
    same '0 0' "$status $said" "pmemkv($name='$good')"
  done
done <<EOF
$(cat "$folder/table.txt" "$folder/table-kv.txt")
EOF
table "pmem_mode='sync'"
case $said in *'pmem_mode: there is no such option'*) ;; *) fail "an option with the prefix of a URI: $said" ;; esac
