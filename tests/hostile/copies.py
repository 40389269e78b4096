"""Two copies of the library in one process, and two copies of SQLite: refused, and harmless."""
import ctypes
import glob
import shutil

from lib import *


def a_second_copy():
    for copy in ('one', 'two'):
        os.mkdir(f'{FOLDER}/{copy}')
        shutil.copy(LIBRARY + '.so', f'{FOLDER}/{copy}/pmem.so')
    load(f'{FOLDER}/one/pmem')
    path = f'{FOLDER}/a.db'
    db = connect(path)
    db.execute('CREATE TABLE t(a)')
    for entry in ('sqlite3_pmem_init', 'sqlite3_pmemdefault_init'):
        said = refused(lambda: load(f'{FOLDER}/two/pmem', entry), 'another copy', 'one only')
    load(f'{FOLDER}/one/pmem')
    other = connect(path)
    other.execute('INSERT INTO t VALUES(1)')
    check(value(db, 'SELECT count(*) FROM t') == 1, 'the first copy goes on')
    other.close()
    db.close()
    only(path)
    done(f'a second copy is refused: {said.split(";")[0]}')


def a_second_sqlite():
    """The same library loaded by another SQLite must not be led away from the first one."""
    found = glob.glob('/usr/lib/*/libsqlite3.so.0')
    check(found, 'no libsqlite3 to copy')
    shutil.copy(found[0], f'{FOLDER}/second.so')
    second = ctypes.CDLL(f'{FOLDER}/second.so', mode=os.RTLD_LOCAL)
    handle, text = ctypes.c_void_p(), ctypes.c_char_p()
    check(second.sqlite3_open(b':memory:', ctypes.byref(handle)) == 0, 'the second SQLite')
    second.sqlite3_enable_load_extension(handle, 1)
    library = os.fsencode(f'{FOLDER}/one/pmem')
    rc = second.sqlite3_load_extension(handle, library, b'sqlite3_pmem_init', ctypes.byref(text))
    check(rc != 0 and b'another SQLite library' in (text.value or b''), f'the second SQLite: {rc}, {text.value}')
    second.sqlite3_close(handle)
    db = connect(f'{FOLDER}/b.db')
    db.execute('CREATE TABLE t(a)')
    db.close()
    only(f'{FOLDER}/b.db')
    done('a second SQLite is refused, and the first one goes on')


a_second_copy()
a_second_sqlite()
