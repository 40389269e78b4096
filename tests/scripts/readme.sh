# Every example of README.md does what README.md shows.
. tests/scripts/lib.inc
folder=$DISK/readme
mkdir "$folder"
ln -s "$BUILD" "$folder/build"
ln -s "$PWD/sql" "$folder/sql"
python3 tests/readme.py README.md "$folder" || fail "README.md and reality differ"
