"""File names of every kind: each is created, written, killed, recovered, and closed to one file."""
from lib import *

NAMES = [
    'plain', 'two words.db', "o'clock.db", 'double"quote.db', 'percent%20.db', '100%.db', 'question?.db', 'hash#.db',
    'ampersand&vfs=unix.db', 'semi;colon.db', 'dollar$HOME.db', 'back\\slash.db', '`tick`.db', '*.db', '[a-z].db',
    'ñandú 漢字 🎉.db', 'new\nline.db', 'tab\t.db', '-dash.db', '.hidden', 'dot.', ' ', '~', 'x-journal', 'x-wal', 'x-pmlog',
    os.fsdecode(b'not \xff\xfe UTF-8.db'),
]


def write_and_die(path):
    db = connect(path)
    db.execute("INSERT INTO t VALUES('durable')")
    db.execute('BEGIN')
    db.execute("INSERT INTO t VALUES('not committed')")
    die()


def live(path):
    db = connect(path)
    db.execute('CREATE TABLE t(a)')
    for suffix in ('-pmlog', '-pmshm'):
        check(os.path.exists(path + suffix), f'no {suffix} of {path!r}')
    db.close()
    only(path)
    check(ended(child(write_and_die, path)) == signal.SIGKILL, 'not killed')
    db = connect(path)
    check(db.execute('SELECT * FROM t').fetchall() == [('durable',)], f'{path!r} was not recovered')
    whole(db)
    db.close()
    only(path)


def every_name():
    for number, name in enumerate(NAMES):
        folder = f'{FOLDER}/{number}'
        os.mkdir(folder)
        live(f'{folder}/{name}')
    done(f'{len(NAMES)} names, blanks, quotes, URI characters, line ends and bytes that are no text among them')


def longest():
    """Up to the file system's limit the sidecars count: what passes it is refused, unharmed."""
    works = refusals = 0
    for length in range(236, 256):
        path = f'{FOLDER}/{"n" * length}'
        stock = sqlite3.connect(f'{FOLDER}/made')
        stock.execute('CREATE TABLE t(a)')
        stock.close()
        os.rename(f'{FOLDER}/made', path)
        try:
            db = connect(path)
            db.execute("INSERT INTO t VALUES('fits')")
            works += 1
            check(length + len('-pmshm') <= 255, f'a sidecar of {length + 6} bytes')
        except sqlite3.Error:
            refused(lambda: connect(path).execute('SELECT * FROM t'), 'name too long')
            check(length + len('-pmlog') > 255, f'{length} bytes and a suffix fit, and are refused')
            check(value(sqlite3.connect(path), 'SELECT count(*) FROM t') == 0, 'a refused database was touched')
            refusals += 1
        db.close()
        only(path)
        os.unlink(path)
    check(works >= 12 and refusals >= 6, f'{works} work, {refusals} are refused')
    done(f'names of 236 to 255 bytes: {works} work, {refusals} are refused with a reason')


def deep():
    """SQLite's own limit is 512 bytes of path."""
    folder = FOLDER
    while len(folder) < 470:
        folder += '/' + 'd' * min(100, 479 - len(folder))
    os.makedirs(folder)
    for length in range(485, 520):
        path = f'{folder}/{"n" * (length - len(folder) - 1)}'
        try:
            live(path)
            longest_path = length
        except sqlite3.Error:
            break
    else:
        check(False, 'a path of any length works')
    check(longest_path >= 490, f'only {longest_path} bytes of path work')
    done(f'paths of up to {longest_path} bytes')


def relative():
    os.makedirs(f'{FOLDER}/here/there')
    os.chdir(f'{FOLDER}/here')
    db = connect('relative.db')
    db.execute('CREATE TABLE t(a)')
    os.chdir('there')
    db.execute("INSERT INTO t VALUES('elsewhere')")
    other = connect('../relative.db')
    check(value(other, 'SELECT a FROM t') == 'elsewhere', 'the same file by another path')
    other.execute("INSERT INTO t VALUES('both')")
    other.close()
    db.close()
    check(os.listdir('.') == [], 'something was made in the new folder')
    only(f'{FOLDER}/here/relative.db')
    os.chdir('/')
    done('a relative path, and chdir() while it is open')


def links():
    os.makedirs(f'{FOLDER}/links/real')
    os.symlink('real', f'{FOLDER}/links/folder')
    os.symlink('real/file.db', f'{FOLDER}/links/link.db')
    os.symlink('loop.db', f'{FOLDER}/links/loop.db')
    real, ways = f'{FOLDER}/links/real/file.db', ['real/file.db', 'link.db', 'folder/file.db', 'folder/../link.db']
    connections = [connect(f'{FOLDER}/links/{way}') for way in ways]
    connections[1].execute('CREATE TABLE t(a)')
    for number, db in enumerate(connections):
        db.execute('INSERT INTO t VALUES(?)', (number,))
    for db in connections:
        check(value(db, 'SELECT count(*) FROM t') == len(ways), 'one way to the file sees something else')
    check(sorted(os.listdir(f'{FOLDER}/links')) == ['folder', 'link.db', 'loop.db', 'real'], 'a sidecar beside a link')
    for db in connections:
        db.close()
    only(real)
    check(ended(child(write_and_die, f'{FOLDER}/links/link.db')) == signal.SIGKILL, 'not killed')
    db = connect(f'{FOLDER}/links/folder/file.db')
    check(value(db, "SELECT count(*) FROM t WHERE a='durable'") == 1, 'recovered by another way')
    db.close()
    only(real)
    refused(lambda: connect(f'{FOLDER}/links/loop.db').execute('SELECT 1 FROM sqlite_schema'), 'unable to open')
    done('symbolic links to the file and to its folder are the file')


def hard_links():
    """Two names, one file: while it is open or crashed, the log stands beside one of them."""
    first, second = f'{FOLDER}/first.db', f'{FOLDER}/second.db'
    live(first)
    os.link(first, second)
    one, two = connect(first), connect(second)
    one.execute("INSERT INTO t VALUES('one')")
    two.execute("INSERT INTO t VALUES('two')")
    check(value(one, 'SELECT count(*) FROM t') == 3, 'two names in one process are one database')
    check(not os.path.exists(second + '-pmlog'), 'a second log')
    stranger = child(lambda: refused(lambda: connect(second).execute('SELECT * FROM t'), 'second.db-pmlog', 'missing'))
    check(ended(stranger) == 0, 'another process is told, not misled')
    one.close()
    two.close()
    only(first)
    check(ended(child(write_and_die, first)) == signal.SIGKILL, 'not killed')
    refused(lambda: connect(second).execute('SELECT * FROM t'), 'second.db-pmlog', 'missing')
    db = connect(first)
    check(value(db, 'SELECT count(*) FROM t') == 4, 'recovered by the name it was opened with')
    db.close()
    db = connect(second)
    check(value(db, 'SELECT count(*) FROM t') == 4, 'and readable by the other one then')
    db.close()
    done('hard links: one database in a process, refused with a reason where the log has another name')


def collisions():
    """What stands at a sidecar's place and is no file is neither followed nor removed."""
    for suffix in ('-pmlog', '-pmshm'):
        path = f'{FOLDER}/collision{suffix}.db'
        stock = sqlite3.connect(path)
        stock.execute('CREATE TABLE t(a)')
        stock.close()
        os.makedirs(f'{path}{suffix}/kept')
        refused(lambda: connect(path).execute('SELECT * FROM t'), suffix)
        check(os.path.isdir(f'{path}{suffix}/kept'), 'a folder was removed')
        check(value(sqlite3.connect(path), 'SELECT count(*) FROM t') == 0, 'a refused database was touched')
        os.removedirs(f'{path}{suffix}/kept')
        os.mkfifo(path + suffix)
        db = connect(path)
        db.execute('INSERT INTO t VALUES(1)')
        db.close()
        only(path)
    done('a folder or a pipe at the place of a sidecar')


load()
every_name()
longest()
deep()
relative()
links()
hard_links()
collisions()
