#!/bin/bash
# fetch.sh FOLDER: Debian's source package of the SQLite that is installed, unpacked in FOLDER/source.
#
# apt is given lists and caches of its own in FOLDER, with every "deb" of this Debian release turned
# into "deb-src": the system's configuration stays as it is, and no right is needed.
set -euo pipefail
folder=$1
version=$(dpkg-query -W -f '${source:Version}' libsqlite3-0)
codename=$(sed -n "s/^VERSION_CODENAME=//p" /etc/os-release)
mkdir -p "$folder"/apt/{parts,lists/partial,cache/archives/partial} "$folder/download"

# Paragraphs of *.sources and lines of *.list that offer this release.
for file in /etc/apt/sources.list.d/*.sources; do
  [ -f "$file" ] || continue
  awk -v RS= -v ORS='\n\n' -v suite="$codename" '$0 ~ "\nSuites:[^\n]* " suite "[ \n-]"' "$file" |
    sed 's/^Types:.*/Types: deb-src/' > "$folder/apt/parts/$(basename "$file")"
done
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
  [ -f "$file" ] || continue
  grep -E "^deb .*[[:space:]]$codename(-[a-z-]+)?[[:space:]]" "$file" | sed 's/^deb /deb-src /' \
    > "$folder/apt/parts/$(basename "$file" .list).list" || true
done

apt() {
  apt-get -qq -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$folder/apt/parts" \
    -o Dir::State::Lists="$folder/apt/lists" -o Dir::Cache="$folder/apt/cache" \
    -o APT::Sandbox::User=root -o Acquire::Retries=3 "$@"
}

echo "fetching the source package sqlite3 $version"
apt update
cd "$folder/download"
{ apt source "sqlite3=$version" || apt source sqlite3; } > ../fetch.log 2>&1 || { cat ../fetch.log >&2; exit 1; }
mv sqlite3-*/ ../source
rm -rf "$folder/download" "$folder/apt"
