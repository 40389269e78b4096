"""What the scripts here share: loading, connecting, processes that die, and what must be.

LIBRARY and FOLDER come from run.sh; so does PMEM_IS_PMEM_FORCE, and with it the medium.
"""
import os
import signal
import sqlite3
import sys
import urllib.parse

LIBRARY = os.environ['LIBRARY']
FOLDER = os.environ['FOLDER']
ON_PMEM = os.environ['PMEM_IS_PMEM_FORCE'] == '1'
NOBODY = 65534


def load(library=LIBRARY, entry='sqlite3_pmem_init'):
    loader = sqlite3.connect(':memory:')
    loader.enable_load_extension(True)
    loader.execute('SELECT load_extension(?, ?)', (library, entry))
    loader.close()


def uri(path, parameters=''):
    return f'file:{urllib.parse.quote(os.fsencode(path))}?vfs=pmem{parameters}'


def connect(path, parameters='', timeout=20):
    return sqlite3.connect(uri(path, parameters), uri=True, isolation_level=None, timeout=timeout)


def value(db, sql, *arguments):
    return db.execute(sql, arguments).fetchone()[0]


def check(condition, what):
    if not condition:
        sys.exit(f'FAILED: {what}')


def refused(action, *words):
    """It fails, and what it says, PRAGMA pmem_error included, has these words in it."""
    try:
        action()
    except sqlite3.Error as error:
        name = f'{FOLDER}/asked.{os.getpid()}'
        asked = sqlite3.connect(uri(name), uri=True)
        said = f"{error}; {value(asked, 'PRAGMA pmem_error')}"
        asked.close()
        os.unlink(name)
        for word in words:
            check(word in said, f'the error does not say {word!r}: {said}')
        return said
    sys.exit(f'FAILED: not refused: {words}')


def whole(db):
    check(value(db, 'PRAGMA integrity_check') == 'ok', 'integrity_check finds damage')


def only(path):
    """Nothing stands beside the database, and stock SQLite accepts it."""
    folder, name = os.path.split(path)
    beside = [f for f in os.listdir(folder or '.') if f.startswith(name) and f != name]
    check(beside == [], f'{beside!r} beside {path!r} after a clean close')
    stock = sqlite3.connect(path)
    whole(stock)
    stock.close()


def child(work, *arguments):
    """Run it in a process of its own: the signal it died of, or its exit status negated."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            work(*arguments)
        except BaseException as error:
            print(f'in a child: {error!r}', file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return pid


def ended(pid):
    status = os.waitpid(pid, 0)[1]
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def become_nobody():
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def done(what):
    print(f'  {what}')
