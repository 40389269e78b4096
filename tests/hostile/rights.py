"""Another user, folders that become read-only while a database is open, sidecars exchanged for links."""
from lib import *


def start(path):
    db = connect(path)
    db.execute('CREATE TABLE t(a)')
    db.execute("INSERT INTO t VALUES('before')")
    return db


def folder_closed_meanwhile(path):
    folder = os.path.dirname(path)
    become_nobody()
    db = start(path)
    os.chmod(folder, 0o555)
    db.execute("INSERT INTO t VALUES('after')")
    db.close()
    stock = sqlite3.connect(f'file:{path}?mode=ro', uri=True)
    check(value(stock, 'SELECT count(*) FROM t') == 2, 'the file is not complete')
    stock.close()
    db = connect(path)
    check(value(db, 'SELECT count(*) FROM t') == 2, 'it cannot be read in a closed folder')
    db.close()
    os.chmod(folder, 0o755)
    db = connect(path)
    db.execute("INSERT INTO t VALUES('later')")
    db.close()
    only(path)


def of_nobody(name):
    folder = f'{FOLDER}/{name}'
    os.mkdir(folder)
    os.chown(folder, NOBODY, NOBODY)
    return f'{folder}/a.db'


def a_closing_folder():
    check(ended(child(folder_closed_meanwhile, of_nobody('closing'))) == 0, 'a folder that is closed meanwhile')
    done('a folder that becomes read-only while it is open: complete, readable, and cleaned up later')


def crash_as(path, user):
    if user == NOBODY:
        become_nobody()
    db = connect(path)
    db.execute("INSERT INTO t VALUES('durable')")
    die()


def recover_as_nobody(path, words):
    become_nobody()
    if words:
        refused(lambda: connect(path).execute('SELECT * FROM t'), *words)
        return
    db = connect(path)
    db.execute("INSERT INTO t VALUES('mine')")
    db.close()
    only(path)


def the_owner_after_root():
    """Root made the sidecars of nobody's database: nobody can recover it."""
    path = of_nobody('owner')
    check(ended(child(lambda: (become_nobody(), start(path).close()))) == 0, 'nobody starts')
    check(ended(child(crash_as, path, 0)) == signal.SIGKILL, 'not killed')
    check(os.stat(path + '-pmlog').st_uid == NOBODY, "root's log of nobody's database")
    check(ended(child(recover_as_nobody, path, ())) == 0, 'the owner cannot recover what root left')
    done("sidecars that root makes belong to the database's owner, who recovers")


def the_wrong_owner():
    """Root's own, crashed: for nobody it is an error with the file's name, and nothing changes."""
    os.mkdir(f'{FOLDER}/root')
    path = f'{FOLDER}/root/a.db'
    start(path).close()
    os.chmod(path, 0o600)
    check(ended(child(crash_as, path, 0)) == signal.SIGKILL, 'not killed')
    before = [os.stat(path + suffix).st_mtime_ns for suffix in ('', '-pmlog')]
    check(ended(child(recover_as_nobody, path, ('unable to open', 'a.db'))) == 0, 'a user without rights is told')
    os.chmod(path, 0o644)
    check(ended(child(recover_as_nobody, path, ('a.db',))) == 0, 'a user who may only read is told')
    check(before == [os.stat(path + suffix).st_mtime_ns for suffix in ('', '-pmlog')], 'it was changed')
    db = connect(path)
    check(value(db, 'SELECT count(*) FROM t') == 2, 'the commit is missing')
    db.close()
    only(path)
    done('the wrong owner: an error, no change')


def links_while_open():
    """The log's name exchanged for a link: what it points to is none of ours."""
    path, victim = f'{FOLDER}/linked.db', f'{FOLDER}/victim'
    with open(victim, 'w', encoding='ascii') as file:
        file.write('untouched')
    db = start(path)
    for suffix in ('-pmlog', '-pmshm'):
        os.unlink(path + suffix)
        os.symlink(victim, path + suffix)
    check(ended(child(lambda: refused(lambda: connect(path).execute('SELECT * FROM t'), '-pmlog'))) == 0, 'another process joins')
    db.execute("INSERT INTO t VALUES('after')")
    db.close()
    only(path)
    check(open(victim, encoding='ascii').read() == 'untouched', 'a file behind a link was changed')
    done('sidecars exchanged for links while it is open: not followed')


load()
check(os.geteuid() == 0, 'this script is for root, who can become others')
a_closing_folder()
the_owner_after_root()
the_wrong_owner()
links_while_open()
