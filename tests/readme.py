"""Type the examples of a Markdown file at a terminal and compare what appears.

    readme.py FILE FOLDER

In FOLDER, in the file's order: a fence ```LANGUAGE NAME becomes the file NAME; a fence
```console is a session in one sh on a terminal of its own.  Its lines that begin with a
prompt ("$ ", "sqlite> ", "   ...> ") are typed, each when that very prompt stands there,
and the screen must end up as the fence shows it.  Exit status 1 tells the differences.
"""
import difflib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

PROMPT = re.compile(r"(?:^|\n)(\$ |sqlite> |   \.\.\.> )$")
TYPED = re.compile(r"(\$ |sqlite> |   \.\.\.> )(.*)")
# What the shell says when it starts, and the terminal's own control sequences.
GREETING = re.compile(r"SQLite version .*\nEnter \"\.help\".*\nConnected to .*\nUse \"\.open FILENAME\".*\n")
CONTROL = re.compile(r"\x1b\[[?0-9;]*[A-Za-z]|\r|\x07")
TIMEOUT_S = 60


def fences(text):
    """(language, name, body) of every fenced block; a fence without a language is an error."""
    for match in re.finditer(r"^```([^\n]*)\n(.*?)^```$", text, re.M | re.S):
        words = match.group(1).split()
        yield (words or [""])[0], words[1] if len(words) > 1 else "", match.group(2)


class Terminal:
    def __init__(self, folder):
        environment = {
            "PATH": "/usr/bin:/bin:" + os.environ.get("PATH", ""),
            "HOME": folder, "INPUTRC": "/dev/null", "TERM": "dumb", "PS1": "$ ", "LC_ALL": "C",
        }
        self.child, self.screen_fd = pty.fork()
        if self.child == 0:
            os.chdir(folder)
            os.execve("/bin/sh", ["sh", "-i"], environment)
        fcntl.ioctl(self.screen_fd, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 500, 0, 0))
        self.screen = ""

    def wait_for_prompt(self, seen):
        """The prompt that ends the screen, once something has appeared beyond `seen`."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            found = PROMPT.search(self.screen)
            if found and len(self.screen) > seen:
                return found.group(1)
            left = deadline - time.monotonic()
            if left < 0 or not select.select([self.screen_fd], [], [], left)[0]:
                raise TimeoutError
            self.screen = CONTROL.sub("", self.screen + os.read(self.screen_fd, 65536).decode())

    def type(self, line):
        # Its echo is waited for first: it moves the prompt away from the end.
        seen = len(self.screen) + len(line)
        os.write(self.screen_fd, line.encode() + b"\n")
        return self.wait_for_prompt(seen)

    def close(self):
        os.kill(self.child, signal.SIGKILL)
        os.close(self.screen_fd)
        os.waitpid(self.child, 0)


def run(session, folder):
    """What the screen shows at the end of a session, in the form the fence has."""
    terminal = Terminal(folder)
    try:
        prompt = terminal.wait_for_prompt(0)
        for line in session.splitlines():
            typed = TYPED.fullmatch(line)
            if not typed:
                continue
            if typed.group(1) != prompt:
                terminal.screen += f"<{typed.group(1)!r} expected here for: {typed.group(2)}>\n"
                break
            prompt = terminal.type(typed.group(2))
    except (TimeoutError, OSError) as error:
        terminal.screen += f"\n<no prompt: {error or 'time is up'}>\n"
    finally:
        terminal.close()
    screen = terminal.screen
    if screen.endswith("\n$ "):
        screen = screen[:-2]
    return GREETING.sub("", screen)


def main(path, folder):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    sessions = failures = 0
    for language, name, body in fences(text):
        if language == "console":
            sessions += 1
            got = run(body, folder)
            if got == body:
                continue
            failures += 1
            sys.stdout.writelines(difflib.unified_diff(
                body.splitlines(True), got.splitlines(True), f"{path}, session {sessions}", "the terminal"))
        elif name:
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(body)
        else:
            failures += 1
            print(f"{path}: a fence of language {language!r} that is never run")
    print(f"{path}: {sessions} sessions, {failures} failures")
    return 0 if sessions > 0 and failures == 0 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
